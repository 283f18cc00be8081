//! The engine: requests in, plans out; drawn tokens in, events out.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::EngineConfig;
use crate::error::EngineError;
use crate::event::{Event, EventKind, FinishReason, TokenLogprobs};
use crate::plan;
use crate::planted::{Bug, has};
use crate::request::{Request, RequestId};
use crate::scheduler::Scheduler;
use crate::scores::{ScoreReader, Scores};
use crate::sequence::{Phase, ScheduledTokens, Sequence, SequenceKey};
use crate::stats::Stats;
use crate::step::{NO_TOKEN, NOT_FINITE, StepBuffers, StepId, StepPlan};
use crate::step_times::Work;

/// A plan that was handed out and is not completed.
#[derive(Debug)]
pub(crate) struct StepInFlight {
    pub(crate) plan: StepPlan,
    pub(crate) scheduled: Vec<ScheduledTokens>,
    /// The work to which [`Engine::observe`] attributes the step's duration.
    work: Work,
}

/// Schedules requests over a paged KV cache. See the [crate] for the loop that drives it.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    pub(crate) scheduler: Scheduler,
    pub(crate) steps_in_flight: VecDeque<StepInFlight>,
    /// Lists of completed steps, kept so that a step allocates nothing.
    spare_lists: Vec<Vec<ScheduledTokens>>,
    events: Vec<Event>,
    num_arrivals: u64,
    /// Counters of steps and tokens. [`Engine::stats`] fills in the scheduler's own, and the
    /// gauges.
    counters: Stats,
}

impl Engine {
    /// Creates an engine without requests.
    ///
    /// # Errors
    /// [`EngineError::Config`] if [`EngineConfig::validate`] refuses the limits.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        config.validate()?;
        Ok(Self {
            scheduler: Scheduler::new(&config),
            steps_in_flight: VecDeque::with_capacity(config.max_steps_in_flight),
            spare_lists: Vec::new(),
            events: Vec::new(),
            num_arrivals: 0,
            counters: Stats { num_blocks: config.num_blocks, ..Stats::default() },
            config,
        })
    }

    /// Returns the engine's limits.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Queues a request behind the others of its priority and key.
    ///
    /// # Errors
    /// Those of [`EngineConfig::check_lengths`] and [`Request::check_limits`], and
    /// [`EngineError::DuplicateRequest`] if a request of this id has not finished.
    pub fn add_request(&mut self, request: Request) -> Result<(), EngineError> {
        self.config.check_lengths(request.prompt.len(), request.max_tokens)?;
        request.check_limits()?;
        if self.scheduler.sequences.find(request.id).is_some() {
            return Err(EngineError::DuplicateRequest(request.id));
        }
        self.scheduler.add(Sequence::new(request, self.num_arrivals, self.config.block_size));
        self.num_arrivals += 1;
        self.check_in_debug_builds();
        Ok(())
    }

    /// Ends a request. It takes part in no later plan; its blocks are free at once, or as soon as
    /// the steps in flight that use them are completed. Returns whether the request was open; only
    /// then an event follows.
    pub fn abort(&mut self, id: RequestId) -> bool {
        let Some(key) = self.scheduler.sequences.find(id) else { return false };
        if has(Bug::LostAbort) && !self.steps_in_flight.is_empty() {
            return true;
        }
        self.finish(key, FinishReason::Abort, None);
        self.scheduler.drop_finished();
        self.check_in_debug_builds();
        true
    }

    /// Ends every request whose [deadline](Request::deadline) is `now` or earlier, as
    /// [`Self::abort`] would, and returns their number. Call it before [`Self::schedule`] with the
    /// time on the caller's clock, which may start at any time.
    pub fn expire(&mut self, now: Duration) -> usize {
        let mut num_finished = 0;
        while let Some(key) = self.scheduler.deadlines.first_until(now) {
            if has(Bug::LateDeadline) && !self.scheduler.sequences[key].is_running() {
                break;
            }
            self.finish(key, FinishReason::Deadline, None);
            num_finished += 1;
        }
        if num_finished > 0 {
            self.scheduler.drop_finished();
            self.check_in_debug_builds();
        }
        num_finished
    }

    /// Records the duration of the oldest step in flight, which limits prefills beside decodes if
    /// there is an [`EngineConfig::target_itl`]. Call it before [`Self::complete`], with the time
    /// since the step was handed out, or since the one before it was completed if that was later.
    ///
    /// # Errors
    /// [`EngineError::WrongStep`] if it is another step.
    pub fn observe(&mut self, step: StepId, elapsed: Duration) -> Result<(), EngineError> {
        let work = self.oldest_step(step)?.work;
        self.scheduler.step_times.observe(work, elapsed);
        Ok(())
    }

    /// Plans the next step and writes it into `buffers`, which must stay as they are until the step
    /// is completed (or, on a device, copied). Every plan must be carried out, in the order of the
    /// calls: later ones build on it. Returns `None` if there is nothing to compute now, or if
    /// [`EngineConfig::max_steps_in_flight`] plans are out: then complete the oldest one first.
    /// While there is [work](Self::has_work) and no step in flight, there is a plan, unless masks
    /// are awaited: see [`Self::resume`].
    ///
    /// # Panics
    /// If a column is shorter than [`step_columns`](crate::step_columns) says.
    pub fn schedule(&mut self, buffers: &mut StepBuffers<'_>) -> Option<StepPlan> {
        if self.steps_in_flight.len() == self.config.max_steps_in_flight {
            return None;
        }
        let mut scheduled = self.spare_lists.pop().unwrap_or_default();
        self.scheduler.schedule(&mut scheduled, &mut self.events);
        if scheduled.is_empty() {
            self.spare_lists.push(scheduled);
            self.check_in_debug_builds();
            return None;
        }
        let id = StepId(self.counters.steps);
        let plan = plan::write(id, &scheduled, &mut self.scheduler.sequences, &self.config, buffers);
        self.counters.steps += 1;
        let work = Work::of(&scheduled);
        self.scheduler.step_times.plan(work);
        self.steps_in_flight.push_back(StepInFlight { plan, scheduled, work });
        self.check_in_debug_builds();
        Some(plan)
    }

    /// Returns the requests that a step in flight draws tokens for, in the order of its samples;
    /// none if there is no such step. Some may have ended since.
    pub fn sampled_requests(&self, step: StepId) -> impl Iterator<Item = RequestId> {
        self.sampled_sequences(step).map(|sequence| sequence.id)
    }

    /// Returns the [constrained](Request::is_constrained) requests of the step, in the order of
    /// [`StepBuffers::masked_samples`].
    pub fn masked_requests(&self, step: StepId) -> impl Iterator<Item = RequestId> {
        self.sampled_sequences(step).filter(|sequence| sequence.is_constrained).map(|sequence| sequence.id)
    }

    fn sampled_sequences(&self, step: StepId) -> impl Iterator<Item = &Sequence> {
        let step = self.steps_in_flight.iter().find(|in_flight| in_flight.plan.id == step);
        let parts = step.into_iter().flat_map(|step| &step.scheduled).filter(|part| part.samples);
        parts.map(|part| &self.scheduler.sequences[part.key])
    }

    /// Resumes a [constrained](Request::is_constrained) request whose next mask is there. Before
    /// the next token come the `forced` ones, which the masks leave no choice about: they count as
    /// drawn. Returns whether the request was waiting for its mask; otherwise nothing changes.
    pub fn resume(&mut self, id: RequestId, forced: &[u32]) -> bool {
        let Some(key) = self.scheduler.sequences.find(id) else { return false };
        if !std::mem::take(&mut self.scheduler.sequences[key].awaits_mask) {
            return false;
        }
        for &token in forced {
            if self.take_token(key, token, None) {
                self.scheduler.drop_finished();
                break;
            }
            self.scheduler.sequences[key].awaits_mask = false;
        }
        self.check_in_debug_builds();
        true
    }

    /// Takes in the tokens drawn by the oldest step in flight, in the order of its samples, and the
    /// log-probabilities that its plan requests. Tokens of requests that have ended are dropped;
    /// [`NO_TOKEN`] lets a sequence wait for its token, [`NOT_FINITE`] ends it.
    ///
    /// # Errors
    /// [`EngineError::WrongStep`], [`EngineError::WrongSampleCount`],
    /// [`EngineError::WrongScoreCount`], [`EngineError::NoToken`] or
    /// [`EngineError::NegativeToken`]; nothing has changed then.
    pub fn complete(&mut self, step: StepId, sampled: &[i32], scores: Scores<'_>) -> Result<(), EngineError> {
        let StepInFlight { plan, mut scheduled, .. } =
            self.take_oldest_step(step, sampled, scores.num_rows())?;
        let mut sampled = sampled.iter();
        let mut scores = ScoreReader::new(scores, plan.num_scored_samples);
        let mut any_finished = false;
        for part in &scheduled {
            self.scheduler.sequences[part.key].complete_step(part);
            if part.num_prompt_scores > 0 {
                self.tell_prompt_logprobs(part, &mut scores);
            }
            // A part without a sample draws nothing.
            let token = if part.samples { sampled.next() } else { None };
            if token.is_some_and(|token| self.accept(part.key, token.cast_unsigned(), &mut scores)) {
                any_finished = true;
            } else {
                self.scheduler.lift_fence(part.key);
            }
        }
        if any_finished {
            self.scheduler.drop_finished();
        }
        scheduled.clear();
        self.spare_lists.push(scheduled);
        self.check_in_debug_builds();
        Ok(())
    }

    /// Moves the events since the last call to the end of `events`, in the order in which things
    /// happened.
    pub fn drain_events(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.events);
    }

    /// Returns whether a request has not finished or a step is in flight.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.scheduler.sequences.num_live() > 0 || !self.steps_in_flight.is_empty()
    }

    /// Returns the number of plans that were handed out and are not completed.
    #[must_use]
    pub fn num_steps_in_flight(&self) -> usize {
        self.steps_in_flight.len()
    }

    /// Returns a copy of the gauges and counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            num_waiting: self.scheduler.waiting.len(),
            num_running: self.scheduler.running.len(),
            num_free_blocks: self.scheduler.pool.num_free(),
            max_prefill_tokens: self.scheduler.max_prefill_tokens(),
            preemptions: self.scheduler.num_preemptions,
            prefix_cache_queries: self.scheduler.prefix_cache_queries,
            prefix_cache_hits: self.scheduler.prefix_cache_hits,
            ..self.counters
        }
    }

    fn oldest_step(&self, given: StepId) -> Result<&StepInFlight, EngineError> {
        let oldest = self.steps_in_flight.front();
        let expected = oldest.map(|step| step.plan.id);
        oldest.filter(|step| step.plan.id == given).ok_or(EngineError::WrongStep { given, expected })
    }

    fn take_oldest_step(
        &mut self,
        given: StepId,
        sampled: &[i32],
        num_scores: usize,
    ) -> Result<StepInFlight, EngineError> {
        let plan = self.oldest_step(given)?.plan;
        if plan.num_samples != sampled.len() {
            let expected = plan.num_samples;
            return Err(EngineError::WrongSampleCount { step: given, expected, given: sampled.len() });
        }
        if self.config.max_steps_in_flight > 1 && sampled.contains(&NO_TOKEN) {
            return Err(EngineError::NoToken(given));
        }
        if let Some(&token) =
            sampled.iter().find(|token| **token < 0 && ![NO_TOKEN, NOT_FINITE].contains(token))
        {
            return Err(EngineError::NegativeToken { step: given, token });
        }
        let expected = plan.num_scored_samples + plan.num_scored_tokens;
        if num_scores != expected {
            return Err(EngineError::WrongScoreCount { step: given, expected, given: num_scores });
        }
        self.counters.computed_tokens += plan.num_tokens as u64;
        Ok(self.steps_in_flight.pop_front().expect("the oldest step was looked at just now"))
    }

    fn tell_prompt_logprobs(&mut self, part: &ScheduledTokens, scores: &mut ScoreReader<'_>) {
        let sequence = &self.scheduler.sequences[part.key];
        let logprobs = scores.prompt_tokens(part.num_prompt_scores, sequence.prompt_logprobs.unwrap_or(0));
        if sequence.phase != Phase::Finished {
            let (request_id, kind) = (sequence.id, EventKind::PromptLogprobs(logprobs));
            self.events.push(Event { request_id, kind });
        }
    }

    /// Returns whether the sequence ended with this token.
    fn accept(&mut self, key: SequenceKey, token: u32, scores: &mut ScoreReader<'_>) -> bool {
        let sequence = &mut self.scheduler.sequences[key];
        let logprobs = sequence.logprobs.map(|num_top| Box::new(scores.sample(num_top)));
        let logprobs = logprobs.filter(|_| !sequence.is_prompt_only);
        if sequence.phase == Phase::Finished {
            return false;
        }
        if token == NO_TOKEN.cast_unsigned() {
            sequence.draw_again();
            return false;
        }
        if token == NOT_FINITE.cast_unsigned() {
            sequence.disown(&mut self.scheduler.pool);
            self.finish(key, FinishReason::NotFinite, None);
            return true;
        }
        self.take_token(key, token, logprobs)
    }

    /// Returns whether the sequence ended with this token.
    fn take_token(&mut self, key: SequenceKey, token: u32, mut logprobs: Option<Box<TokenLogprobs>>) -> bool {
        let sequence = &mut self.scheduler.sequences[key];
        let request_id = sequence.id;
        let drawn = sequence.accept(token);
        self.counters.generated_tokens += u64::from(!sequence.is_prompt_only);
        if let Some(token) = drawn.token {
            let kind = EventKind::Token { token, logprobs: logprobs.take() };
            self.events.push(Event { request_id, kind });
        }
        if let Some(reason) = drawn.finish_reason {
            self.finish(key, reason, logprobs);
        }
        drawn.finish_reason.is_some()
    }

    fn finish(&mut self, key: SequenceKey, reason: FinishReason, logprobs: Option<Box<TokenLogprobs>>) {
        let request_id = self.scheduler.sequences[key].id;
        self.events.push(Event { request_id, kind: EventKind::Finished { reason, logprobs } });
        self.scheduler.finish(key);
    }

    fn check_in_debug_builds(&self) {
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }
}
