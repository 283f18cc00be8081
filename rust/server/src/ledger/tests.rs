//! Invariants of the ledger under any order of calls.
#![allow(clippy::unwrap_used)]
use super::*;

const LIMITS: DriverLimits =
    DriverLimits { max_waiting_requests: 16, max_waiting_tokens: 100, max_stored_responses: 1 };

fn ledger(num_keys: usize) -> Arc<Ledger> {
    let ledger = Ledger::new(LIMITS);
    ledger.share_among(num_keys);
    ledger
}

fn fill(ledger: &Arc<Ledger>, pool: Pool, key: u32) -> Vec<Charge> {
    std::iter::from_fn(|| ledger.charge(pool, key, 1).ok()).collect()
}

/// A customer who keeps the queue full would have the requests of all others refused.
#[test]
fn a_key_that_takes_all_it_can_leaves_the_parts_of_the_others() {
    let ledger = ledger(2);
    let flood = fill(&ledger, Pool::Requests, 1);
    assert_eq!((flood.len(), ledger.most_of_one_key(Pool::Requests)), (12, 12));
    let others = fill(&ledger, Pool::Requests, 2);
    assert_eq!((others.len(), ledger.held(Pool::Requests)), (4, 16));
    drop(flood);
    assert_eq!(fill(&ledger, Pool::Requests, 2).len(), 8, "twelve in all, and the part of the first");
}

/// More keys than places: a part for each would be no place at all, and the pool would take
/// nothing.
#[test]
fn a_pool_with_fewer_places_than_keys_is_for_those_who_come_first() {
    let ledger = ledger(17);
    assert_eq!(fill(&ledger, Pool::Requests, 1).len(), 16);
    let just_enough = Ledger::new(LIMITS);
    just_enough.share_among(16);
    assert_eq!(fill(&just_enough, Pool::Requests, 1).len(), 1);
}

/// Half of the memory would lie idle on a server that all may use, or that has one key.
#[test]
fn without_several_keys_all_is_for_all() {
    for (num_keys, key) in [(0, 0), (1, 1)] {
        assert_eq!(fill(&ledger(num_keys), Pool::Requests, key).len(), 16);
    }
}

/// A valid prompt would get 429 for ever, and a client that obeys `Retry-After` would never stop.
#[test]
fn a_prompt_longer_than_the_bound_is_taken_by_an_empty_queue() {
    let ledger = ledger(0);
    let long = ledger.charge(Pool::PromptTokens, 0, 500).unwrap();
    assert!(ledger.charge(Pool::PromptTokens, 0, 1).is_err());
    drop(long);
    assert!(ledger.charge(Pool::PromptTokens, 0, 1).is_ok());
    assert!(ledger.charge(Pool::Answers, 0, usize::MAX).is_err(), "nothing holds so much");
}

/// The message is what an operator reads in the client's log.
#[test]
fn a_refusal_says_the_values_and_the_limit() {
    let open = ledger(0);
    let _held = open.charge(Pool::PromptTokens, 0, 60).unwrap();
    let refusal = open.charge(Pool::PromptTokens, 0, 41).unwrap_err();
    assert_eq!(refusal.to_string(), "60 prompt tokens are waiting and 41 more were sent, limit is 100");
    let shared = ledger(2);
    let _flood = fill(&shared, Pool::Requests, 1);
    let refusal = shared.charge(Pool::Requests, 1, 1).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "12 requests are waiting, limit is 16 (this API key has 12, its limit is now 12)"
    );
}

/// What the allocator keeps of a flood would stay with the process for as long as it lives.
#[test]
fn what_was_held_at_the_height_is_told_once() {
    let ledger = ledger(0);
    let mut body = ledger.charge(Pool::LongBodies, 0, 5000).unwrap();
    assert_eq!(ledger.take_bytes_given_back(), 0, "it is there");
    body.resize(2000).unwrap();
    drop(ledger.charge(Pool::Requests, 0, 1).unwrap());
    assert_eq!(ledger.take_bytes_given_back(), 3000, "a request is no byte");
    drop(body);
    drop(ledger.record(Pool::Answers, 0, 400));
    assert_eq!((ledger.take_bytes_given_back(), ledger.take_bytes_given_back()), (2400, 0));
}

/// Any count that is off by one for each request fills up within a day.
#[test]
fn what_is_charged_is_what_is_held_and_nothing_is_left_behind() {
    for seed in 1..=200 {
        let mut dice = Dice(seed);
        let num_keys = dice.below(4);
        let ledger = ledger(num_keys);
        let mut charges: Vec<Charge> = Vec::new();
        for _ in 0..300 {
            let pool = Pool::ALL[dice.below(Pool::ALL.len())];
            let key = dice.below(num_keys + 1) as u32;
            match dice.below(5) {
                0 | 1 => charges.extend(ledger.charge(pool, key, dice.below(40)).ok()),
                2 => charges.push(ledger.record(pool, key, dice.below(4))),
                3 if !charges.is_empty() => {
                    let at = dice.below(charges.len());
                    let (before, wanted) = (charges[at].amount(), dice.below(60));
                    let is_resized = charges[at].resize(wanted).is_ok();
                    assert_eq!(charges[at].amount(), if is_resized { wanted } else { before });
                    charges[at].record(dice.below(30));
                }
                _ if !charges.is_empty() => drop(charges.swap_remove(dice.below(charges.len()))),
                _ => {}
            }
            check(&ledger, &charges, num_keys, seed);
        }
        charges.clear();
        check(&ledger, &charges, num_keys, seed);
    }
}

fn check(ledger: &Ledger, charges: &[Charge], num_keys: usize, seed: u64) {
    for pool in Pool::ALL {
        let of = |key| charges.iter().filter(move |charge| charge.pool == pool && charge.key == key);
        let sum = |key| of(key).map(Charge::amount).sum::<usize>();
        let held = ledger.of(pool);
        for key in 0..=num_keys as u32 {
            assert_eq!(held.of(key), sum(key), "seed {seed}, {pool:?}, key {key}");
        }
        assert_eq!(held.total(), (0..=num_keys as u32).map(sum).sum::<usize>(), "seed {seed}, {pool:?}");
        let parts = (1..=num_keys as u32).map(|key| held.of_part(key, sum(key))).sum::<usize>();
        assert_eq!(held.total_of_parts, parts, "seed {seed}, {pool:?}");
    }
}

/// The generator of Lehmer.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0 * 48_271 % 0x7fff_ffff;
        self.0 as usize % limit
    }
}
