//! The parts of a step that sequences get, with rows and blocks for all.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{config, request};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use streamcore_engine::{Engine, EngineConfig, OwnedStepBuffers, Request, Scores};

/// A runner whose tokens tell whose they are.
struct Office {
    engine: Engine,
    columns: OwnedStepBuffers,
    /// Tokens of each request that are not computed, and those that it may still draw.
    left: BTreeMap<u64, (usize, usize)>,
}

impl Office {
    fn new(limits: EngineConfig) -> Self {
        let columns = OwnedStepBuffers::new(&limits);
        Self { engine: Engine::new(limits).unwrap(), columns, left: BTreeMap::new() }
    }

    fn add(&mut self, priority: i32, key: u32, prompt_len: usize, max_tokens: usize) -> u64 {
        let id = self.left.len() as u64;
        let request = request(id, prompt_len, max_tokens);
        self.engine.add_request(Request { priority, key, ..request }).unwrap();
        self.left.insert(id, (prompt_len, max_tokens));
        id
    }

    /// Plays a step; returns how many tokens each request had computed.
    fn step(&mut self) -> BTreeMap<u64, usize> {
        let plan = self.engine.schedule(&mut self.columns.borrow()).unwrap();
        let starts = &self.columns.query_starts[..=plan.num_seqs];
        let owner = |start: i32| (self.columns.token_ids[start as usize] as u64 - 1000) / 100;
        let lens: BTreeMap<u64, usize> =
            starts.windows(2).map(|pair| (owner(pair[0]), (pair[1] - pair[0]) as usize)).collect();
        let drawing: Vec<u64> = self.engine.sampled_requests(plan.id).map(|id| id.0).collect();
        let sampled: Vec<i32> = drawing.iter().map(|id| 1099 + 100 * *id as i32).collect();
        self.engine.complete(plan.id, &sampled, Scores::default()).unwrap();
        for (id, len) in &lens {
            let (num_left, num_to_draw) = self.left.get_mut(id).unwrap();
            // Who was preempted computes some of it again.
            *num_left = num_left.saturating_sub(*len);
            if drawing.contains(id) {
                *num_to_draw -= 1;
                *num_left = usize::from(*num_to_draw > 0);
            }
        }
        lens
    }
}

#[derive(Debug, Clone)]
struct Arrival {
    step: usize,
    priority: i32,
    key: u32,
    prompt_len: usize,
    max_tokens: usize,
}

fn arrival() -> impl Strategy<Value = Arrival> {
    (0_usize..12, 0_i32..3, 0_u32..3, 1_usize..50, 1_usize..8).prop_map(
        |(step, priority, key, prompt_len, max_tokens)| Arrival {
            step,
            priority,
            key,
            prompt_len,
            max_tokens,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn whoever_is_first_is_served_first(budget in 16_usize..60, mut arrivals in vec(arrival(), 1..14)) {
        // An urgent request would wait for the end of a long prompt that is not urgent.
        let limits = EngineConfig { max_num_batched_tokens: budget, max_num_seqs: 16, num_blocks: 400, ..config() };
        let mut office = Office::new(limits);
        arrivals.sort_by_key(|arrival| arrival.step);
        for step in 0.. {
            while let Some(arrival) = arrivals.get(office.left.len()).filter(|arrival| arrival.step <= step) {
                office.add(arrival.priority, arrival.key, arrival.prompt_len, arrival.max_tokens);
            }
            let left: Vec<(u64, usize)> = office.left.iter().map(|(id, (num_left, _))| (*id, *num_left)).collect();
            if left.iter().all(|(_, num_left)| *num_left == 0) {
                if left.len() == arrivals.len() {
                    break;
                }
                continue;
            }
            let lens = office.step();
            let len = |id: u64| lens.get(&id).copied().unwrap_or(0);
            let has_all = left.iter().all(|(id, num_left)| len(*id) == *num_left);
            prop_assert!(has_all || lens.values().sum::<usize>() == budget, "tokens are left over: {lens:?} of {left:?}");
            for ((first, num_left), (last, _)) in left.iter().flat_map(|one| left.iter().map(move |other| (one, other))) {
                let [one, other] = [first, last].map(|id| &arrivals[*id as usize]);
                let is_first_in_line = (one.priority, one.key) == (other.priority, other.key) && first < last;
                if one.priority < other.priority || is_first_in_line {
                    // One token is left to each that runs.
                    let is_served_first = len(*first) == *num_left || len(*last) <= 1;
                    prop_assert!(is_served_first, "{last} goes before {first}: {lens:?} of {left:?}");
                }
            }
        }
    }
}

#[test]
fn a_background_job_takes_nothing_from_an_urgent_prompt() {
    // A client that pays for a low latency would share the engine equally with those that do not.
    let mut office = Office::new(EngineConfig { max_num_batched_tokens: 16, ..config() });
    let urgent = office.add(0, 1, 48, 1);
    office.step();
    let background = office.add(10, 2, 48, 1);
    assert_eq!(office.step(), BTreeMap::from([(urgent, 16)]));
    assert_eq!(office.step(), BTreeMap::from([(urgent, 16)]));
    assert_eq!(office.step(), BTreeMap::from([(background, 16)]));
}

#[test]
fn an_urgent_request_does_not_wait_for_a_long_prompt() {
    // A prompt of 64 thousand tokens takes the whole budget of hundreds of steps.
    let mut office = Office::new(EngineConfig { max_num_batched_tokens: 16, ..config() });
    let background = office.add(10, 0, 60, 1);
    office.step();
    let urgent = office.add(0, 0, 12, 1);
    assert_eq!(office.step(), BTreeMap::from([(urgent, 12), (background, 4)]));
}

#[test]
fn a_step_has_a_token_for_everybody_who_runs() {
    // With more streams than tokens in a step, the last ones would stand still for as long as the
    // others go on.
    let mut office = Office::new(EngineConfig { max_num_batched_tokens: 4, ..config() });
    for key in [1, 1, 1, 1, 2, 3] {
        office.add(0, key, 1, 20);
        let num_served = office.step().len();
        assert_eq!(num_served, office.engine.stats().num_running);
    }
}

#[test]
fn nobody_gives_way_to_a_request_that_does_not_fit_all_the_same() {
    // Streams would stop for a prompt that must wait for the end of others anyway.
    let mut office = Office::new(EngineConfig { num_blocks: 20, max_model_len: 80, ..config() });
    for _ in 0..4 {
        office.add(0, 1, 12, 8);
    }
    assert_eq!(office.step().len(), 4);
    // 17 blocks and one to spare: the last stream of a key is never displaced, and it holds four.
    office.add(0, 2, 68, 1);
    assert_eq!(office.step().len(), 4);
    assert_eq!(office.engine.stats().preemptions, 0);
    // A shorter one finds room for half of the others' streams.
    let fits = office.add(0, 3, 20, 1);
    assert!(office.engine.abort(streamcore_engine::RequestId(4)));
    assert_eq!(office.step()[&fits], 20);
    assert!((1..=3).contains(&office.engine.stats().preemptions));
}
