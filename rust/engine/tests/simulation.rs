//! A seeded simulation: random limits, arrivals, aborts and interleavings, on a device that remembers every slot.
//!
//! `SEEDS=10000 cargo test -p streamcore-engine --test simulation` runs more; `SEED=42` replays one.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, HashMap};

use common::device::{ShadowDevice, poison};
use common::model::{Rng, expected_output};
use streamcore_engine::{
    Engine, EngineConfig, Event, EventKind, FinishReason, OwnedStepBuffers, Request, RequestId,
    SamplingParams, Scores,
};

/// A request as its client sees it.
#[derive(Debug)]
struct Client {
    request: Request,
    was_aborted: bool,
    was_scheduled: bool,
    tokens: Vec<u32>,
    finish_reason: Option<FinishReason>,
}

/// How often the rare things happened, by name.
type Coverage = BTreeMap<&'static str, u64>;

/// Things that a simulation worth its name reaches.
const RARE: [&str; 7] = [
    "preemptions",
    "chunks",
    "stops",
    "tokens thrown away",
    "aborts while waiting",
    "aborts while running",
    "aborts in flight",
];

struct World {
    rng: Rng,
    engine: Engine,
    device: ShadowDevice,
    columns: OwnedStepBuffers,
    arrivals: Vec<Request>,
    clients: HashMap<RequestId, Client>,
    last_scheduled: Option<RequestId>,
    abort_percent: usize,
    num_drawn: usize,
    coverage: Coverage,
}

fn random_config(rng: &mut Rng, depth: usize) -> EngineConfig {
    let block_size = [1, 2, 3, 4, 8][rng.between(0, 4)];
    let max_model_len = rng.between(2, 48);
    // From half of the longest sequence to twice that: blocks are short more often than not.
    let max_blocks: usize = max_model_len.div_ceil(block_size);
    EngineConfig {
        block_size,
        num_blocks: rng.between(max_blocks.div_ceil(2), max_blocks * 2),
        max_num_batched_tokens: [1, 2, 3, 7, 16, 64][rng.between(0, 5)],
        max_num_seqs: rng.between(1, 8),
        max_model_len,
        max_steps_in_flight: depth,
    }
}

fn random_request(rng: &mut Rng, id: u64, config: &EngineConfig) -> Request {
    let prompt_len = rng.between(1, (config.max_seq_len() / 2).max(1));
    let max_tokens = rng.between(1, config.max_seq_len() - prompt_len);
    let sampling = SamplingParams {
        temperature: rng.between(0, 3) as f32 / 2.0,
        top_p: rng.between(1, 4) as f32 / 4.0,
        top_k: rng.between(0, 3) as u32,
        seed: rng.next(),
        ..SamplingParams::greedy()
    };
    let prompt = (0..prompt_len).map(|_| rng.between(100, 9999) as u32).collect();
    let stop_token_ids = (0..rng.between(0, 3)).map(|_| rng.between(0, 49) as u32).collect();
    Request { stop_token_ids, sampling, ..Request::new(RequestId(id), prompt, max_tokens) }
}

impl World {
    fn new(seed: u64, depth: usize) -> Self {
        let mut rng = Rng::new(seed);
        let config = random_config(&mut rng, depth);
        let num_requests = if config.max_seq_len() < 2 { 0 } else { rng.between(1, 12) as u64 };
        let mut arrivals: Vec<_> =
            (0..num_requests).map(|id| random_request(&mut rng, id, &config)).collect();
        arrivals.reverse();
        Self {
            device: ShadowDevice::new(&config),
            columns: OwnedStepBuffers::new(&config),
            engine: Engine::new(config).unwrap(),
            arrivals,
            clients: HashMap::new(),
            last_scheduled: None,
            abort_percent: [0, 0, 1, 4][rng.between(0, 3)],
            num_drawn: 0,
            coverage: Coverage::new(),
            rng,
        }
    }

    /// One random thing happens.
    fn turn(&mut self) {
        if self.rng.chance(self.abort_percent) {
            self.abort_somebody();
        }
        match self.rng.between(0, 4) {
            0 => self.arrive(),
            1 | 2 => self.schedule(),
            _ => self.complete(),
        }
        self.engine.check_invariants();
        let mut events = Vec::new();
        self.engine.drain_events(&mut events);
        for event in events {
            self.take(&event);
        }
    }

    fn arrive(&mut self) {
        let Some(request) = self.arrivals.pop() else { return };
        self.engine.add_request(request.clone()).unwrap();
        let client =
            Client { was_aborted: false, was_scheduled: false, tokens: vec![], finish_reason: None, request };
        self.clients.insert(client.request.id, client);
    }

    fn abort_somebody(&mut self) {
        let id = RequestId(self.rng.between(0, 11) as u64);
        let before = self.engine.stats();
        let is_live = self.clients.get(&id).is_some_and(|client| client.finish_reason.is_none());
        assert_eq!(self.engine.abort(id), is_live, "abort of {id:?}");
        let after = self.engine.stats();
        let (left_waiting, left_running) =
            (before.num_waiting - after.num_waiting, before.num_running - after.num_running);
        assert_eq!(
            left_waiting + left_running,
            usize::from(is_live),
            "an abort takes its request out at once"
        );
        if let Some(client) = self.clients.get_mut(&id).filter(|_| is_live) {
            client.was_aborted = true;
            let in_flight = usize::from(self.device.num_in_flight() > 0);
            self.count("aborts while waiting", left_waiting);
            self.count("aborts while running", left_running);
            self.count("aborts in flight", left_running * in_flight);
        }
    }

    fn schedule(&mut self) {
        poison(&mut self.columns);
        let Some(plan) = self.engine.schedule(&mut self.columns.borrow()) else {
            let may_be_idle = self.device.num_in_flight() > 0 || !self.engine.has_work();
            assert!(may_be_idle, "the engine has work but no plan: {:?}", self.engine.stats());
            return;
        };
        self.count("device tokens", plan.num_device_tokens);
        self.count("chunks", plan.num_seqs - plan.num_samples);
        self.device.launch(&plan, &self.columns);
    }

    fn complete(&mut self) {
        let Some((step, sampled)) = self.device.finish_oldest() else { return };
        self.num_drawn += sampled.len();
        self.engine.complete(step, &sampled, Scores::default()).unwrap();
    }

    fn take(&mut self, event: &Event) {
        let client = self.clients.get_mut(&event.request_id).unwrap();
        assert_eq!(client.finish_reason, None, "{event:?} after the last event");
        match &event.kind {
            EventKind::Scheduled => {
                assert!(!client.was_scheduled && client.tokens.is_empty(), "{event:?} twice or late");
                assert!(self.last_scheduled < Some(event.request_id), "{event:?} overtook an older request");
                client.was_scheduled = true;
                self.last_scheduled = Some(event.request_id);
            }
            EventKind::PromptLogprobs(_) => unreachable!("nobody asked"),
            EventKind::Token { token, .. } => {
                assert!(client.was_scheduled, "{event:?} before it was scheduled");
                client.tokens.push(*token);
            }
            EventKind::Finished(reason) => client.finish_reason = Some(*reason),
        }
    }

    /// Everybody was served, nothing is left behind.
    fn check_end(&mut self) {
        let stats = self.engine.stats();
        assert_eq!((stats.num_waiting, stats.num_running), (0, 0));
        assert_eq!(stats.num_free_blocks, stats.num_blocks, "blocks are lost");
        let (mut num_generated, mut num_stops) = (0, 0);
        for client in self.clients.values() {
            let (tokens, reason) = expected_output(&client.request);
            if client.was_aborted {
                assert_eq!(client.finish_reason, Some(FinishReason::Abort));
                assert!(tokens.starts_with(&client.tokens), "tokens of aborted {:?}", client.request.id);
            } else {
                assert_eq!(client.tokens, tokens, "tokens of {:?}", client.request.id);
                assert_eq!(client.finish_reason, Some(reason), "end of {:?}", client.request.id);
            }
            let was_stopped = matches!(client.finish_reason, Some(FinishReason::Stop { .. }));
            num_stops += usize::from(was_stopped);
            num_generated += client.tokens.len() + usize::from(was_stopped);
        }
        assert_eq!(stats.generated_tokens, num_generated as u64);
        self.count("stops", num_stops);
        self.count("preemptions", stats.preemptions as usize);
        self.count("tokens thrown away", self.num_drawn - num_generated);
    }

    fn count(&mut self, what: &'static str, times: usize) {
        *self.coverage.entry(what).or_default() += times as u64;
    }
}

/// Says which seed failed, below the message of the assertion.
struct Replay {
    seed: u64,
    depth: usize,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with SEED={} (max_steps_in_flight = {})", self.seed, self.depth);
        }
    }
}

fn simulate(seed: u64, depth: usize) -> Coverage {
    let _replay = Replay { seed, depth };
    let mut world = World::new(seed, depth);
    let mut num_turns = 0;
    while !world.arrivals.is_empty() || world.engine.has_work() {
        world.turn();
        num_turns += 1;
        assert!(num_turns < 50_000, "somebody starves: {:?}", world.engine.stats());
    }
    world.check_end();
    world.coverage
}

fn run_all(depth: usize) {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    if let Some(seed) = number("SEED") {
        simulate(seed, depth);
        return;
    }
    let mut total = Coverage::new();
    let num_seeds = number("SEEDS").unwrap_or(500);
    for (what, times) in (0..num_seeds).flat_map(|seed| simulate(seed, depth)) {
        *total.entry(what).or_default() += times;
    }
    if num_seeds >= 100 {
        let is_reached = |what: &str| total.get(what).is_some_and(|times| *times >= 20);
        assert!(RARE.into_iter().all(is_reached), "the simulation hardly reaches some code: {total:?}");
        assert_eq!(is_reached("device tokens"), depth == 2, "{total:?}");
    }
}

#[test]
fn with_one_step_in_flight_every_request_gets_its_own_tokens() {
    // A wrong slot, an early free or a lost abort mixes two conversations, or leaves a client waiting for ever.
    run_all(1);
}

#[test]
fn with_two_steps_in_flight_every_request_gets_the_same_tokens() {
    // The fast path on a GPU would answer differently from the CPU, and differently under load.
    run_all(2);
}
