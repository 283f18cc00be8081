//! One key against the flood of another. Steps are the time.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, VecDeque};

use common::model::Rng;
use common::{config, request};
use streamcore_engine::{
    Engine, EngineConfig, EventKind, OwnedStepBuffers, Request, RequestId, Scores, StepPlan,
};

const LIGHT: u32 = 1;
const FLOOD: u32 = 2;

/// Requests of one key that may wait; more are refused, as a server does.
const MAX_WAITING: usize = 20;

/// The repeated requests of one key.
#[derive(Debug, Clone, Copy)]
struct Sender {
    key: u32,
    /// Tokens of prompts and outputs, at most.
    prompt_len: usize,
    max_tokens: usize,
    /// Requests in a hundred steps.
    rate: usize,
}

/// Steps that requests waited, by key, in the order in which they were scheduled.
type Waits = BTreeMap<u32, Vec<(RequestId, usize)>>;

struct Arena {
    engine: Engine,
    columns: OwnedStepBuffers,
    plans: VecDeque<StepPlan>,
    arrivals: Vec<(u32, usize)>,
    waits: Waits,
    step: usize,
}

impl Arena {
    fn new(limits: EngineConfig) -> Self {
        let columns = OwnedStepBuffers::new(&limits);
        let engine = Engine::new(limits).unwrap();
        Self { engine, columns, plans: VecDeque::new(), arrivals: vec![], waits: Waits::new(), step: 0 }
    }

    fn add(&mut self, key: u32, prompt_len: usize, max_tokens: usize) {
        let request = request(self.arrivals.len() as u64, prompt_len, max_tokens);
        self.engine.add_request(Request { key, ..request }).unwrap();
        self.arrivals.push((key, self.step));
    }

    fn num_waiting(&self, key: u32) -> usize {
        let num_sent = self.arrivals.iter().filter(|(sender, _)| *sender == key).count();
        num_sent - self.waits.get(&key).map_or(0, Vec::len)
    }

    fn step(&mut self) {
        self.step += 1;
        self.plans.extend(self.engine.schedule(&mut self.columns.borrow()));
        let is_full = self.plans.len() == self.engine.config().max_steps_in_flight;
        if is_full {
            let plan = self.plans.pop_front().unwrap();
            self.engine.complete(plan.id, &vec![7; plan.num_samples], Scores::default()).unwrap();
        }
        let mut events = vec![];
        self.engine.drain_events(&mut events);
        for event in events.iter().filter(|event| matches!(event.kind, EventKind::Scheduled { .. })) {
            let (key, arrival) = self.arrivals[event.request_id.0 as usize];
            self.waits.entry(key).or_default().push((event.request_id, self.step - arrival));
        }
    }
}

/// Each key draws from its own dice, so that it sends the same whether it is alone or not.
fn play(limits: &EngineConfig, senders: &[Sender], num_steps: usize) -> Waits {
    let mut arena = Arena::new(limits.clone());
    let mut dice: Vec<Rng> = senders.iter().map(|sender| Rng::new(u64::from(sender.key))).collect();
    for _ in 0..num_steps {
        for (sender, rng) in senders.iter().zip(&mut dice) {
            let num_arrivals = sender.rate / 100 + usize::from(rng.chance(sender.rate % 100));
            let num_accepted = num_arrivals.min(MAX_WAITING.saturating_sub(arena.num_waiting(sender.key)));
            for _ in 0..num_accepted {
                let (prompt_len, max_tokens) =
                    (rng.between(1, sender.prompt_len), rng.between(1, sender.max_tokens));
                arena.add(sender.key, prompt_len, max_tokens);
            }
        }
        arena.step();
    }
    for (key, waits) in &arena.waits {
        assert!(waits.iter().map(|(id, _)| id).is_sorted(), "key {key} is not served in its order");
    }
    arena.waits
}

fn p99(waits: &[(RequestId, usize)]) -> usize {
    let mut steps: Vec<usize> = waits.iter().map(|(_, steps)| *steps).collect();
    steps.sort_unstable();
    steps[steps.len() * 99 / 100]
}

fn assert_protected(limits: &EngineConfig, light: Sender, flood: Sender) {
    // So that a hundredth of the light key's requests is ten.
    const NUM_STEPS: usize = 20_000;
    let alone = &play(limits, &[light], NUM_STEPS)[&LIGHT];
    let waits = play(limits, &[light, flood], NUM_STEPS);
    let beside = &waits[&LIGHT];
    assert!(alone.len() > 900 && beside.len() + 3 >= alone.len(), "{} of {}", beside.len(), alone.len());

    // The second step is for blocks that are taken from others: they are theirs until their step in
    // flight is done.
    assert!(p99(beside) <= 2 * p99(alone), "p99 is {} steps, {} alone", p99(beside), p99(alone));
    assert!(waits[&FLOOD].len() > 30, "the flood gets {} requests", waits[&FLOOD].len());
}

#[test]
fn a_flood_of_streams_keeps_nobody_else_out() {
    // One customer's batch job takes all the rows, and all others wait for the end of its streams.
    for max_steps_in_flight in [1, 2] {
        let limits = EngineConfig { max_steps_in_flight, num_blocks: 128, ..config() };
        let light = Sender { key: LIGHT, prompt_len: 8, max_tokens: 20, rate: 10 };
        assert_protected(&limits, light, Sender { key: FLOOD, rate: 1000, ..light });
    }
}

#[test]
fn a_flood_of_long_prompts_keeps_nobody_else_out() {
    // The token budget goes to prompts that take many steps each, one behind the other.
    for max_steps_in_flight in [1, 2] {
        let limits = EngineConfig {
            max_num_batched_tokens: 16,
            max_model_len: 1024,
            num_blocks: 1024,
            max_steps_in_flight,
            ..config()
        };
        let light = Sender { key: LIGHT, prompt_len: 12, max_tokens: 10, rate: 10 };
        let flood = Sender { key: FLOOD, prompt_len: 1000, max_tokens: 2, rate: 100 };
        assert_protected(&limits, light, flood);
    }
}

#[test]
fn a_flood_that_fills_the_cache_keeps_nobody_else_out() {
    // There are rows enough, but every block is taken.
    let depths = [(1, true), (1, false), (2, true)];
    let cases = [5, 10].into_iter().flat_map(|rate| depths.map(|(depth, caching)| (rate, depth, caching)));
    for (rate, max_steps_in_flight, enable_prefix_caching) in cases {
        let limits = EngineConfig {
            num_blocks: 48,
            max_num_seqs: 32,
            max_steps_in_flight,
            enable_prefix_caching,
            ..config()
        };
        let light = Sender { key: LIGHT, prompt_len: 16, max_tokens: 16, rate };
        assert_protected(&limits, light, Sender { key: FLOOD, rate: 100 * rate, ..light });
    }
}

#[test]
fn keys_that_all_want_more_get_the_same() {
    // A client with shorter requests, or more of them, would get more than the others who pay the
    // same.
    let limits = EngineConfig { num_blocks: 512, ..config() };
    let mut arena = Arena::new(limits);
    for _ in 0..400 {
        arena.add(1, 4, 4);
        arena.add(2, 20, 4);
        arena.add(3, 4, 20);
    }
    (0..200).for_each(|_| arena.step());
    let of_key = |key: u32| arena.waits[&key].len();
    let tokens = [of_key(1) * 7, of_key(2) * 23, of_key(3) * 23];
    let (least, most) = (*tokens.iter().min().unwrap(), *tokens.iter().max().unwrap());
    assert!(least * 10 > most * 8, "tokens by key: {tokens:?}");
}

#[test]
fn precedence_orders_the_requests_of_a_key_and_moves_no_other() {
    // A customer who calls all its requests urgent would be served to the end before the others get
    // anything.
    let mut arena = Arena::new(EngineConfig { max_num_seqs: 1, ..config() });
    arena.add(LIGHT, 4, 4);
    for id in 1..=3 {
        let precedence = -(id as i32);
        let request = Request { key: FLOOD, precedence, ..request(id, 4, 4) };
        arena.engine.add_request(request).unwrap();
        arena.arrivals.push((FLOOD, 0));
    }
    arena.add(LIGHT, 4, 4);
    (0..40).for_each(|_| arena.step());
    let order = |key: u32| arena.waits[&key].iter().map(|(id, _)| id.0).collect::<Vec<_>>();
    assert_eq!((order(LIGHT), order(FLOOD)), (vec![0, 4], vec![3, 2, 1]));
    let wait = |id: u64| arena.waits.values().flatten().find(|(of, _)| of.0 == id).unwrap().1;
    assert!(wait(4) < wait(1), "the last of three comes after the second of the other key");
}

#[test]
fn priority_goes_before_fairness() {
    // An operator's urgent request would queue behind every customer who had less.
    let mut arena = Arena::new(EngineConfig { max_num_seqs: 1, ..config() });
    arena.add(LIGHT, 4, 8);
    (0..4).for_each(|_| arena.step());
    arena.add(FLOOD, 4, 8);
    arena.engine.add_request(Request { key: LIGHT, priority: -1, ..request(2, 4, 8) }).unwrap();
    arena.arrivals.push((LIGHT, 4));
    (0..20).for_each(|_| arena.step());
    let order = |key: u32| arena.waits[&key].iter().map(|(id, wait)| (id.0, *wait)).collect::<Vec<_>>();
    assert_eq!((order(LIGHT), order(FLOOD)), (vec![(0, 1), (2, 5)], vec![(1, 13)]));
}
