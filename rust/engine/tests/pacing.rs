//! Chunks of prompts beside streams, on devices that are fast, slow, noisy or odd. Each test is a
//! load of eight streams, and prompts that never end.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::VecDeque;
use std::time::Duration;

use common::model::Rng;
use common::{config, request};
use streamcore_engine::{Engine, EngineConfig, OwnedStepBuffers, RequestId, Scores, StepPlan};

const TARGET_S: f64 = 0.1;
const NUM_STREAMS: u64 = 8;
const PROMPT_LEN: usize = 700;
/// Steps that the engine has to learn from before it is judged.
const NUM_TO_LEARN: usize = 60;

/// Steps in flight: what the first of two takes is known only when the one behind it has been
/// planned.
const DEPTHS: [usize; 2] = [1, 2];

/// Returns the seconds of a step with this many prefill tokens.
type Cost = fn(usize) -> f64;

struct Arena {
    engine: Engine,
    columns: OwnedStepBuffers,
    /// The plans that the device has, each with its prefill tokens.
    in_flight: VecDeque<(StepPlan, usize)>,
    rng: Rng,
    next_id: u64,
    /// Relative deviation of times from their mean.
    noise: f64,
    /// Steps in a hundred that take ten times as long.
    outlier_percent: usize,
}

/// A step with decodes: its prefill tokens, and its time without noise and with it.
#[derive(Debug, Clone, Copy)]
struct Step {
    num_prefill_tokens: usize,
    took_s: f64,
}

fn limits(target_s: Option<f64>, depth: usize) -> EngineConfig {
    EngineConfig {
        block_size: 32,
        num_blocks: 512,
        max_num_batched_tokens: 2048,
        max_num_seqs: 32,
        max_model_len: 8192,
        max_steps_in_flight: depth,
        enable_prefix_caching: false,
        target_itl: target_s.map(Duration::from_secs_f64),
        ..config()
    }
}

impl Arena {
    fn with(limits: EngineConfig) -> Self {
        let columns = OwnedStepBuffers::new(&limits);
        let mut engine = Engine::new(limits).unwrap();
        for id in 0..NUM_STREAMS {
            engine.add_request(request(id, 4, 2000)).unwrap();
        }
        let (in_flight, rng) = (VecDeque::new(), Rng::new(7));
        Self { engine, columns, in_flight, rng, next_id: NUM_STREAMS, noise: 0.0, outlier_percent: 0 }
    }

    fn paced(depth: usize) -> Self {
        Self::with(limits(Some(TARGET_S), depth))
    }

    fn time(&mut self, mean_s: f64) -> f64 {
        // The sum of three throws is close to a normal distribution.
        let throws: f64 = (0..3).map(|_| self.rng.between(0, 2000) as f64 / 1000.0 - 1.0).sum();
        let outlier = if self.rng.chance(self.outlier_percent) { 10.0 } else { 1.0 };
        mean_s * (1.0 + self.noise * throws).max(0.1) * outlier
    }

    /// One step of the device, with this many prompts in the queue as `num_waiting` says whenever a
    /// step is planned.
    fn step(&mut self, cost: Cost, num_waiting: usize) -> Step {
        while self.in_flight.len() < self.engine.config().max_steps_in_flight {
            while self.engine.stats().num_waiting < num_waiting {
                self.add(PROMPT_LEN);
            }
            let plan = self.engine.schedule(&mut self.columns.borrow()).unwrap();
            self.in_flight.push_back((plan, self.num_prefill_tokens(&plan)));
        }
        let (plan, num_prefill_tokens) = self.in_flight.pop_front().unwrap();
        let took_s = self.time(cost(num_prefill_tokens));
        self.engine.observe(plan.id, Duration::from_secs_f64(took_s)).unwrap();
        self.engine.complete(plan.id, &vec![7; plan.num_samples], Scores::default()).unwrap();
        Step { num_prefill_tokens, took_s }
    }

    fn add(&mut self, prompt_len: usize) {
        self.engine.add_request(request(self.next_id, prompt_len, 1)).unwrap();
        self.next_id += 1;
    }

    fn num_prefill_tokens(&self, plan: &StepPlan) -> usize {
        let parts = self.columns.query_starts[..=plan.num_seqs].windows(2);
        let samples = |end: i32| self.columns.logits_indices[..plan.num_samples].contains(&(end - 1));
        let prefills = parts.filter(|part| part[1] - part[0] > 1 || !samples(part[1]));
        prefills.map(|part| (part[1] - part[0]) as usize).sum()
    }

    fn run(&mut self, cost: Cost, num_steps: usize) -> Vec<Step> {
        (0..num_steps).map(|_| self.step(cost, 4)).collect()
    }
}

/// Returns the most prefill tokens that this device computes within the target.
fn best(cost: Cost) -> usize {
    (1..=2048).rev().find(|num_tokens| cost(*num_tokens) <= TARGET_S).unwrap()
}

fn share(steps: &[Step], is_meant: impl Fn(&Step) -> bool) -> f64 {
    steps.iter().filter(|step| is_meant(step)).count() as f64 / steps.len() as f64
}

fn mean_tokens(steps: &[Step]) -> f64 {
    steps.iter().map(|step| step.num_prefill_tokens as f64).sum::<f64>() / steps.len() as f64
}

/// Streams keep their pace, and prompts get most of what is left.
fn assert_paced(name: &str, cost: Cost, steps: &[Step]) {
    let on_time = share(steps, |step| step.took_s <= TARGET_S * 1.1);
    let used = mean_tokens(steps) / best(cost).min(2048 - NUM_STREAMS as usize) as f64;
    assert!(on_time >= 0.95, "{name}: {on_time} of the steps are on time");
    assert!(used >= 0.75, "{name}: chunks are {used} of the best");
}

const LINEAR: Cost = |num_tokens| 0.02 + 0.0004 * num_tokens as f64;
const DEVICES: [(&str, Cost); 6] = [
    ("linear", LINEAR),
    ("slow", |num_tokens| 0.05 + 0.002 * num_tokens as f64),
    ("fast", |num_tokens| 0.002 + 0.00005 * num_tokens as f64),
    ("free up to the ridge", |num_tokens| (0.03_f64).max(0.0003 * num_tokens as f64)),
    ("in tiles", |num_tokens| 0.01 + 0.012 * num_tokens.div_ceil(64) as f64),
    ("worse than linear", |num_tokens| {
        0.02 + 0.0002 * num_tokens as f64 + 4e-7 * (num_tokens as f64).powi(2)
    }),
];

#[test]
fn streams_keep_their_pace_beside_long_prompts() {
    // A prompt of one client makes the streams of all others stutter.
    for (name, cost) in DEVICES {
        for (depth, noise) in [(1, 0.0), (1, 0.05), (2, 0.0), (2, 0.05)] {
            let mut arena = Arena { noise, ..Arena::paced(depth) };
            arena.run(cost, NUM_TO_LEARN);
            assert_paced(&format!("{name}, noise {noise}, depth {depth}"), cost, &arena.run(cost, 400));
        }
    }
}

#[test]
fn prompts_miss_one_step_in_seventeen() {
    // Each step more in which decodes are alone keeps new requests waiting for nothing.
    for depth in DEPTHS {
        let mut arena = Arena::paced(depth);
        arena.run(LINEAR, NUM_TO_LEARN);
        let alone = share(&arena.run(LINEAR, 340), |step| step.num_prefill_tokens == 0);
        assert_eq!(alone, 1.0 / 17.0, "depth {depth}");
    }
}

#[test]
fn prompts_take_the_whole_budget_where_they_cost_nothing() {
    // On a device that is not busy, a limit would only make prompts wait.
    for depth in DEPTHS {
        let mut arena = Arena { noise: 0.05, ..Arena::paced(depth) };
        arena.run(|_| 0.03, NUM_TO_LEARN);
        assert!(
            arena
                .run(|_| 0.03, 100)
                .iter()
                .all(|step| step.num_prefill_tokens == 2048 - NUM_STREAMS as usize)
        );
    }
}

#[test]
fn one_hiccup_changes_little_and_is_forgotten() {
    // A page fault must not cost prompts their throughput for the next minute.
    for depth in DEPTHS {
        let mut arena = Arena::paced(depth);
        let before = mean_tokens(&arena.run(LINEAR, NUM_TO_LEARN)[NUM_TO_LEARN / 2..]);
        arena.run(|_| 5.0, 1);
        let after = arena.run(LINEAR, 20);
        assert!(mean_tokens(&after[..4]) > before * 0.5, "{:?} after {before}", &after[..4]);
        assert!(mean_tokens(&after[15..]) > before * 0.9, "{:?} after {before}", &after[15..]);
        let mut arena = Arena { noise: 0.05, outlier_percent: 1, ..Arena::paced(depth) };
        arena.run(LINEAR, NUM_TO_LEARN);
        let used = mean_tokens(&arena.run(LINEAR, 400)) / best(LINEAR) as f64;
        assert!(used >= 0.75, "chunks are {used} of the best");
    }
}

#[test]
fn chunks_follow_a_device_that_becomes_slower_or_faster() {
    // Other work on the machine begins or ends: streams must keep their pace, and prompts get the
    // rest.
    const SLOW: Cost = |num_tokens| 0.04 + 0.0016 * num_tokens as f64;
    for depth in DEPTHS {
        let mut arena = Arena { noise: 0.03, ..Arena::paced(depth) };
        arena.run(LINEAR, NUM_TO_LEARN);
        for (name, cost) in [("slower", SLOW), ("faster", LINEAR), ("slower again", SLOW)] {
            arena.run(cost, 20);
            assert_paced(name, cost, &arena.run(cost, 200));
        }
    }
}

#[test]
fn prompts_go_on_where_decodes_alone_take_longer_than_the_target() {
    // A target that cannot be met would keep every new request out for as long as any other client
    // runs.
    const HOPELESS: Cost = |num_tokens| 0.3 + 0.0004 * num_tokens as f64;
    for depth in DEPTHS {
        let mut arena = Arena { noise: 0.05, ..Arena::paced(depth) };
        arena.run(LINEAR, NUM_TO_LEARN);
        arena.run(HOPELESS, NUM_TO_LEARN);
        let steps = arena.run(HOPELESS, 200);
        let is_moving = |pair: &[Step]| pair[0].num_prefill_tokens + pair[1].num_prefill_tokens >= 1;
        assert!(steps.windows(2).all(is_moving), "prompts stand still at depth {depth}");
        let mean_s = steps.iter().map(|step| step.took_s).sum::<f64>() / 200.0;
        assert!(mean_tokens(&steps) > 30.0, "{} tokens a step", mean_tokens(&steps));
        assert!(mean_s < 0.3 * 1.25, "a step takes {mean_s} s");
    }
}

#[test]
fn prompts_get_their_share_where_decodes_take_most_of_the_target() {
    // A large model would let requests in so slowly that few ever run at once.
    const LARGE: Cost = |num_tokens| 0.08 + 0.002 * num_tokens as f64;
    for depth in DEPTHS {
        let limits = EngineConfig { min_prefill_share: 3, ..limits(Some(TARGET_S), depth) };
        let mut arena = Arena { noise: 0.05, ..Arena::with(limits) };
        arena.run(LARGE, NUM_TO_LEARN);
        let steps = arena.run(LARGE, 200);
        let mean_s = mean_tokens(&steps) * 0.002;
        assert!((0.2..=0.24).contains(&mean_s), "prefills add {mean_s} s at depth {depth}");
        // Where there is time enough within the target, it is the target that counts.
        arena.run(LINEAR, NUM_TO_LEARN);
        assert_paced("small", LINEAR, &arena.run(LINEAR, 200));
    }
}

#[test]
fn prompts_behind_short_ones_are_not_cut_without_need() {
    // A burst of requests behind a few short ones would come in by pieces, though all of it is
    // within the target.
    const SMALL: Cost = |num_tokens| 0.001 + 0.00003 * num_tokens as f64;
    for depth in DEPTHS {
        let mut arena = Arena::paced(depth);
        arena.run(SMALL, NUM_TO_LEARN);
        // Those that wait are computed first.
        while arena.engine.stats().num_waiting > 0 {
            arena.step(SMALL, 0);
        }
        for _ in 0..10 {
            arena.add(100);
            arena.step(SMALL, 0);
        }
        arena.run(SMALL, depth);
        let steps = arena.run(SMALL, 1);
        assert_eq!(steps[0].num_prefill_tokens, 2048 - NUM_STREAMS as usize, "depth {depth}");
    }
}

#[test]
fn decodes_are_measured_before_they_are_blamed() {
    // A large model's first streams would keep prompts out until all of them have been cut to one
    // token.
    const LARGE: Cost = |num_tokens| 0.3 + 0.002 * num_tokens as f64;
    for depth in DEPTHS {
        let mut arena = Arena::with(EngineConfig { min_prefill_share: 3, ..limits(Some(TARGET_S), depth) });
        let steps = arena.run(LARGE, 20);
        assert!(mean_tokens(&steps[10..]) > 300.0, "{steps:?} at depth {depth}");
    }
}

#[test]
fn short_prompts_do_not_teach_that_long_ones_cost_nothing() {
    // The first long prompt after an hour of short ones would stop every stream for as long as it
    // takes.
    for depth in DEPTHS {
        let mut arena = Arena { noise: 0.05, ..Arena::paced(depth) };
        for nth in 0..200 {
            arena.add(4);
            arena.step(LINEAR, usize::from(nth == 0));
        }
        let steps = arena.run(LINEAR, 100);
        let longest_s = steps.iter().map(|step| step.took_s).fold(0.0, f64::max);
        assert!(longest_s < TARGET_S * 1.3, "a step took {longest_s} s");
        assert!(mean_tokens(&steps[50..]) > 0.75 * best(LINEAR) as f64);
    }
}

#[test]
fn without_streams_a_prompt_takes_the_whole_budget() {
    // No request would gain by its waiting.
    for depth in DEPTHS {
        let mut arena = Arena::paced(depth);
        arena.run(|num_tokens| 0.002 * num_tokens as f64, NUM_TO_LEARN);
        for id in 0..arena.next_id {
            arena.engine.abort(RequestId(id));
        }
        // What is in flight has their tokens still.
        let steps = arena.run(LINEAR, depth);
        assert_eq!(steps[depth - 1].num_prefill_tokens, 2048);
    }
}

#[test]
fn without_a_target_or_without_times_nothing_is_cut() {
    // An embedder that measures nothing must not lose throughput to a limit that it never asked
    // for.
    let mut arena = Arena::with(limits(None, 1));
    assert!(arena.run(LINEAR, 20)[1..].iter().all(|step| step.num_prefill_tokens > 2000));
    let mut arena = Arena::paced(1);
    for _ in 0..20 {
        arena.add(PROMPT_LEN);
        let plan = arena.engine.schedule(&mut arena.columns.borrow()).unwrap();
        assert_eq!(
            arena.num_prefill_tokens(&plan),
            PROMPT_LEN + if plan.id.0 == 0 { 4 * NUM_STREAMS as usize } else { 0 }
        );
        arena.engine.complete(plan.id, &vec![7; plan.num_samples], Scores::default()).unwrap();
    }
}
