//! A world around an engine: clients that send, abort and compare, and a device with a memory.

mod masks;

use std::collections::BTreeMap;
use std::time::Duration;

use streamcore_engine::{
    Engine, Event, EventKind, FinishReason, NO_TOKEN, NOT_FINITE, OwnedStepBuffers, Request, RequestId,
    Stats, StepPlan, TokenLogprobs,
};

use super::device::{ShadowDevice, poison};
use super::load::{Load, TURN, random_config};
use super::model::{Rng, expected_logprobs, expected_output};

/// A request as its client sees it.
#[derive(Debug)]
struct Client {
    request: Request,
    was_aborted: bool,
    /// Known once the request was scheduled.
    num_cached: Option<usize>,
    tokens: Vec<u32>,
    logprobs: Vec<TokenLogprobs>,
    prompt_logprobs: Vec<TokenLogprobs>,
    finish_reason: Option<FinishReason>,
    /// The mask for its next token is in the making.
    awaits_mask: bool,
    /// Forced tokens that are not delivered yet.
    num_forced: usize,
}

impl Client {
    fn new(request: Request) -> Self {
        Self {
            request,
            was_aborted: false,
            num_cached: None,
            tokens: vec![],
            logprobs: vec![],
            prompt_logprobs: vec![],
            finish_reason: None,
            awaits_mask: false,
            num_forced: 0,
        }
    }

    /// Checks the requested log-probabilities of drawn tokens and of the prompt.
    fn check_logprobs(&self) {
        let (of_prompt, of_output) = expected_logprobs(&self.request, &self.tokens, self.finish_reason);
        let id = self.request.id;
        assert_eq!(self.logprobs, of_output, "log-probabilities of {id:?}");
        let is_complete = self.tokens.is_empty() || of_prompt.len() == self.prompt_logprobs.len();
        let is_told = of_prompt.starts_with(&self.prompt_logprobs) && is_complete;
        assert!(is_told, "log-probabilities of the prompt of {id:?}");
    }

    /// Returns the prompt and the answer so far.
    fn text(&self) -> Vec<u32> {
        [&self.request.prompt[..], &self.tokens].concat()
    }
}

/// Counts of rare events, by name.
pub(crate) type Coverage = BTreeMap<&'static str, u64>;

struct World {
    rng: Rng,
    /// Dice for masks: the worlds of known seeds stay as they are.
    dice: Rng,
    engine: Engine,
    device: ShadowDevice,
    columns: OwnedStepBuffers,
    load: Load,
    /// In the order of arrival.
    clients: BTreeMap<RequestId, Client>,
    abort_percent: usize,
    num_drawn: usize,
    now: Duration,
    /// When deadlines were last checked.
    expired: Duration,
    /// The requests whose tokens the last step draws.
    drawing: Vec<RequestId>,
    coverage: Coverage,
}

impl World {
    fn new(seed: u64, depth: usize) -> Self {
        let mut rng = Rng::new(seed);
        let config = random_config(&mut rng, depth);
        let load = Load::new(&mut rng, &config);
        Self {
            device: ShadowDevice::new(&config),
            columns: OwnedStepBuffers::new(&config),
            engine: Engine::new(config).unwrap(),
            load,
            clients: BTreeMap::new(),
            abort_percent: [0, 0, 1, 4][rng.between(0, 3)],
            num_drawn: 0,
            now: Duration::ZERO,
            expired: Duration::ZERO,
            drawing: vec![],
            coverage: Coverage::new(),
            dice: Rng::new(seed ^ 0x6d61_736b),
            rng,
        }
    }

    /// Plays one random event.
    fn turn(&mut self) {
        self.now += TURN;
        if self.rng.chance(self.abort_percent) {
            self.abort_somebody();
        }
        if self.dice.chance(40) {
            self.make_mask();
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
        self.check_deadlines();
    }

    fn arrive(&mut self) {
        if self.load.is_over() {
            return;
        }
        let texts: Vec<_> = self.clients.values().map(Client::text).collect();
        for request in self.load.next(&mut self.rng, self.engine.config(), &texts, self.now) {
            self.engine.add_request(request.clone()).unwrap();
            self.clients.insert(request.id, Client::new(request));
        }
    }

    fn abort_somebody(&mut self) {
        let id = RequestId(self.rng.between(0, 15) as u64);
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
            (client.was_aborted, client.awaits_mask) = (true, false);
            let in_flight = usize::from(self.device.num_in_flight() > 0);
            self.count("aborts while waiting", left_waiting);
            self.count("aborts while running", left_running);
            self.count("aborts in flight", left_running * in_flight);
        }
    }

    fn schedule(&mut self) {
        self.expire();
        let before = self.engine.stats();
        poison(&mut self.columns);
        let Some(plan) = self.engine.schedule(&mut self.columns.borrow()) else {
            let is_awaited = self.awaiting_masks().next().is_some();
            let may_be_idle = self.device.num_in_flight() > 0 || is_awaited || !self.engine.has_work();
            assert!(may_be_idle, "the engine has work but no plan: {:?}", self.engine.stats());
            // A request may have been preempted.
            self.drawing.clear();
            return;
        };
        self.check_masks(&plan);
        self.count("device tokens", plan.num_device_tokens);
        self.count("chunks", plan.num_seqs - plan.num_samples);
        self.count("penalised samples", plan.num_penalised_samples);
        let first_positions = self.columns.counted_indices[..plan.num_counted_tokens].iter();
        let counts_from_start =
            first_positions.filter(|token| self.columns.positions[**token as usize] == 0).count();
        self.count("counts from the start", counts_from_start);
        self.count("padding", plan.num_padding);
        self.count("blocks told later", plan.num_block_updates * usize::from(plan.num_new_rows == 0));
        let forbidden =
            self.columns.bias_values[..plan.num_biases].iter().filter(|value| value.is_infinite());
        self.count("forbidden stops", forbidden.count());
        self.check_chunks(&plan, &before);
        self.device.launch(&plan, &self.columns);
    }

    fn expire(&mut self) {
        let before = self.engine.stats();
        let num_finished = self.engine.expire(self.now);
        let after = self.engine.stats();
        let left_waiting = before.num_waiting - after.num_waiting;
        let left_running = before.num_running - after.num_running;
        assert_eq!(left_waiting + left_running, num_finished, "whose deadline has passed is out at once");
        self.count("deadlines while waiting", left_waiting);
        self.count("deadlines while running", left_running);
        let in_flight = usize::from(self.device.num_in_flight() > 0);
        self.count("deadlines in flight", left_running * in_flight);
        self.expired = self.now;
    }

    /// Checks that no request is served beyond its deadline.
    fn check_deadlines(&self) {
        let live = self.clients.values().filter(|client| client.finish_reason.is_none());
        for deadline in live.filter_map(|client| client.request.deadline) {
            assert!(deadline > self.expired, "a deadline has passed and nothing has happened");
        }
    }

    /// Checks that prefills beside a continuing stream get no more tokens than the target allows.
    fn check_chunks(&mut self, plan: &StepPlan, before: &Stats) {
        let starts = &self.columns.query_starts[..=plan.num_seqs];
        let last_tokens = &self.columns.logits_indices[..plan.num_samples];
        let is_single = |token: &i32| starts.contains(token);
        let num_singles = last_tokens.iter().filter(|token| is_single(token)).count();
        let drawing: Vec<_> = self.engine.sampled_requests(plan.id).collect();
        let goes_on = |(id, token): (&RequestId, &i32)| {
            let is_output =
                self.columns.positions[*token as usize] as usize >= self.clients[id].request.prompt.len();
            is_output && is_single(token) && self.drawing.contains(id)
        };
        // A request that is preempted and comes back at once does not continue.
        let is_sure = self.engine.stats().preemptions == before.preemptions;
        let has_decodes = is_sure && drawing.iter().zip(last_tokens).any(goes_on);
        let num_prefill_tokens = plan.num_tokens - num_singles;
        let limit = if has_decodes { before.max_prefill_tokens } else { usize::MAX };
        assert!(num_prefill_tokens <= limit, "{num_prefill_tokens} prefill tokens, limit is {limit}");
        let is_cut = limit < self.engine.config().max_num_batched_tokens && num_prefill_tokens == limit;
        self.drawing = drawing;
        self.count("chunks cut beside decodes", usize::from(is_cut));
    }

    fn complete(&mut self) {
        let Some(mut result) = self.device.finish_oldest() else { return };
        if self.engine.config().max_steps_in_flight == 1 && self.rng.chance(10) {
            let held_back = self.rng.between(0, result.sampled.len());
            result.sampled[..held_back].fill(NO_TOKEN);
            self.count("tokens held back", held_back);
        }
        if !result.sampled.is_empty() && self.rng.chance(1) {
            let spoilt = self.rng.between(0, result.sampled.len() - 1);
            if result.sampled[spoilt] != NO_TOKEN {
                result.sampled[spoilt] = NOT_FINITE;
            }
        }
        let elapsed = Duration::from_micros(1 << self.rng.between(8, 18));
        self.engine.observe(result.id, elapsed).unwrap();
        self.num_drawn += result.sampled.iter().filter(|token| **token >= 0).count();
        self.engine.complete(result.id, &result.sampled, result.scores()).unwrap();
    }

    fn take(&mut self, event: &Event) {
        if let EventKind::Scheduled { num_cached_tokens } = event.kind {
            self.check_order(event.request_id);
            self.check_cached(event.request_id, num_cached_tokens);
        }
        let client = self.clients.get_mut(&event.request_id).unwrap();
        assert_eq!(client.finish_reason, None, "{event:?} after the last event");
        match &event.kind {
            EventKind::Scheduled { num_cached_tokens } => {
                assert!(client.num_cached.is_none() && client.tokens.is_empty(), "{event:?} twice or late");
                client.num_cached = Some(*num_cached_tokens);
            }
            EventKind::PromptLogprobs(logprobs) => {
                assert!(client.num_cached.is_some() && client.tokens.is_empty(), "{event:?} early or late");
                let is_piece = !client.prompt_logprobs.is_empty();
                client.prompt_logprobs.extend_from_slice(logprobs);
                self.count("prompts told in pieces", usize::from(is_piece));
            }
            EventKind::Token { token, logprobs } => {
                assert!(client.num_cached.is_some(), "{event:?} before it was scheduled");
                client.tokens.push(*token);
                client.awaits_mask = client.request.is_constrained && client.num_forced == 0;
                client.num_forced = client.num_forced.saturating_sub(1);
                client.logprobs.extend(logprobs.as_deref().cloned());
            }
            EventKind::Finished { reason, logprobs } => {
                let is_early = client.request.deadline.is_none_or(|deadline| deadline > self.now);
                assert!(*reason != FinishReason::Deadline || !is_early, "{event:?} before its deadline");
                client.finish_reason = Some(*reason);
                client.awaits_mask = false;
                client.logprobs.extend(logprobs.as_deref().cloned());
            }
        }
    }

    /// Checks that no request overtakes one of higher priority, or of more precedence for its key.
    fn check_order(&self, id: RequestId) {
        let Request { key, priority, precedence, .. } = self.clients[&id].request;
        let rank = (priority, precedence, id);
        let waiting = self.clients.values().filter(|client| client.num_cached.is_none());
        let waiting =
            waiting.filter(|client| client.request.key == key || client.request.priority != priority);
        let mut ranks = waiting
            .filter(|client| client.finish_reason.is_none())
            .map(|client| (client.request.priority, client.request.precedence, client.request.id));
        assert!(ranks.all(|other| rank <= other), "{id:?} overtook somebody");
    }

    /// Checks that cached tokens are whole blocks computed under the same salt.
    fn check_cached(&mut self, id: RequestId, num_cached: usize) {
        let request = &self.clients[&id].request;
        let others = self
            .clients
            .values()
            .filter(|other| other.num_cached.is_some() && other.request.cache_salt == request.cache_salt);
        let num_alike = |text: &[u32]| request.prompt.iter().zip(text).take_while(|(a, b)| a == b).count();
        let most = |count: &dyn Fn(&Client) -> usize| others.clone().map(count).max().unwrap_or(0);
        let most_alike = most(&|other| num_alike(&other.text()));
        let most_alike_prompt = most(&|other| num_alike(&other.request.prompt));
        assert!(num_cached.is_multiple_of(self.engine.config().block_size), "half a block was found");
        assert!(num_cached < request.prompt.len(), "nothing is left to draw the first token from");
        assert!(num_cached <= most_alike, "{num_cached} tokens of {id:?} are cached, {most_alike} can be");
        assert!(num_cached == 0 || self.engine.config().enable_prefix_caching, "the cache is off");
        assert!(num_cached == 0 || !request.needs_whole_prompt(), "{id:?} was to see its whole prompt");
        self.count("cached tokens", num_cached);
        self.count("cached answers", usize::from(num_cached > most_alike_prompt));
    }

    /// Checks that every request was served and the engine is empty.
    fn check_end(&mut self) {
        let stats = self.engine.stats();
        assert_eq!((stats.num_waiting, stats.num_running), (0, 0));
        assert_eq!(stats.num_free_blocks, stats.num_blocks, "blocks are lost");
        let (mut num_generated, mut num_stops, mut num_first_counts, mut num_spoilt) = (0, 0, 0, 0);
        for client in self.clients.values() {
            client.check_logprobs();
            let was_scheduled = client.num_cached.is_some();
            num_first_counts += usize::from(was_scheduled && client.request.sampling.is_penalised());
            let (tokens, reason) = expected_output(&client.request);
            if client.finish_reason == Some(FinishReason::Deadline) {
                assert!(tokens.starts_with(&client.tokens), "tokens of expired {:?}", client.request.id);
            } else if client.finish_reason == Some(FinishReason::NotFinite) {
                assert!(tokens.starts_with(&client.tokens), "tokens of spoilt {:?}", client.request.id);
                num_spoilt += 1;
            } else if client.was_aborted {
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
        let started = || self.clients.values().filter_map(|client| Some((client, client.num_cached?)));
        let num_cached: usize = started().map(|(_, num_cached)| num_cached).sum();
        let asked = started().filter(|(client, _)| !client.request.needs_whole_prompt());
        let num_asked: usize = asked.map(|(client, _)| client.request.prompt.len()).sum();
        assert_eq!(stats.prefix_cache_hits, num_cached as u64);
        assert_eq!(stats.prefix_cache_queries, num_asked as u64);
        self.count("stops", num_stops);
        self.count("logits that were not finite", num_spoilt);
        let num_counts = self.coverage.get("counts from the start").copied().unwrap_or(0) as usize;
        self.count("counts after a preemption", num_counts - num_first_counts);
        self.count("preemptions", stats.preemptions as usize);
        self.count("tokens thrown away", self.num_drawn - num_generated);
    }

    fn count(&mut self, what: &'static str, times: usize) {
        *self.coverage.entry(what).or_default() += times as u64;
    }
}

/// Prints the seed of a failure, below the message of the assertion.
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

/// Plays the world of this seed to its end.
pub(crate) fn simulate(seed: u64, depth: usize) -> Coverage {
    let _replay = Replay { seed, depth };
    let mut world = World::new(seed, depth);
    let mut num_turns = 0;
    while !world.load.is_over() || world.engine.has_work() {
        world.turn();
        num_turns += 1;
        assert!(num_turns < 50_000, "somebody starves: {:?}", world.engine.stats());
    }
    world.check_end();
    world.coverage
}
