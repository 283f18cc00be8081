//! Between the sockets and the engine: many HTTP threads leave requests and aborts, one engine thread takes them, asks for
//! steps and hands back tokens. The only reader of the clock.
//!
//! ```text
//! submit ─► inbox ─┐                          ┌─► outbox ─► TokenStream::poll
//! drop   ─► aborts ┴► next_step … complete_step ─► outbox ─► …
//! ```
//!
//! The inbox is locked only to move a few words, so neither side ever waits for a step. Lock order: core, then inbox.

mod core;
mod inbox;
mod masks;
mod new_request;
mod outbox;
mod pulse;
mod scripted;
#[cfg(test)]
mod tests;
mod thought;
mod trace;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use streamcore_engine::{
    Engine, EngineConfig, EngineError, RequestId, Scores, Stats, StepBuffers, StepId, StepPlan,
};

use self::core::Core;
pub use self::inbox::Refusal;
use self::inbox::{Inbox, Phase};
pub use self::masks::Constraint;
use self::masks::Masks;
pub use self::new_request::NewRequest;
pub use self::outbox::{End, EndError, Token, TokenStream};
pub use self::pulse::LOOK_INTERVAL;
pub use self::thought::Thought;
use crate::ledger::{Charge, Full, Ledger, Pool};
use crate::metrics::{Account, Metrics, Outcome, State};

/// How much may wait before requests are refused, and how much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverLimits {
    /// Requests that wait for their first step.
    pub max_waiting_requests: usize,
    /// Tokens of their prompts.
    pub max_waiting_tokens: usize,
    /// Responses that are kept for their clients.
    pub max_stored_responses: usize,
}

impl Default for DriverLimits {
    /// Far more than a machine with one device answers in a minute, far less than its memory holds.
    fn default() -> Self {
        Self { max_waiting_requests: 2048, max_waiting_tokens: 4 << 20, max_stored_responses: 1000 }
    }
}

/// What the engine thread shall do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// Run this plan, whose columns are in the buffers.
    Plan(StepPlan),
    /// Nothing to plan now: complete the steps in flight, or ask again.
    Idle,
    /// Never again: leave the loop.
    Stopped,
}

/// Whether requests are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Steps make progress.
    Serving,
    /// Open requests end, new ones are refused.
    Draining,
    /// The runner died or hangs.
    Failed(String),
}

/// The meeting point of HTTP threads and the engine thread.
#[derive(Debug)]
pub struct Driver {
    inbox: Mutex<Inbox>,
    work: Condvar,
    core: Mutex<Core>,
    masks: Masks,
    metrics: Metrics,
    config: EngineConfig,
    limits: DriverLimits,
    ledger: Arc<Ledger>,
}

impl Driver {
    /// A driver around a new engine.
    ///
    /// # Errors
    /// The engine's, if its limits make no sense.
    pub fn new(config: EngineConfig, limits: DriverLimits) -> Result<Self, EngineError> {
        Self::with_ledger(config, limits, Ledger::new(limits))
    }

    /// The same with pools of other sizes.
    ///
    /// # Errors
    /// Those of [`Driver::new`].
    pub fn with_ledger(
        config: EngineConfig,
        limits: DriverLimits,
        ledger: Arc<Ledger>,
    ) -> Result<Self, EngineError> {
        let engine = Engine::new(config.clone())?;
        let inbox = Mutex::new(Inbox::new(Arc::clone(&ledger), engine.stats(), Instant::now()));
        let core = Mutex::new(Core::new(engine.into()));
        let (work, masks, metrics) = (Condvar::new(), Masks::default(), Metrics::default());
        Ok(Self { inbox, work, core, masks, metrics, config, limits, ledger })
    }

    /// The limits of the engine.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// The limits of the queue.
    #[must_use]
    pub fn limits(&self) -> DriverLimits {
        self.limits
    }

    /// What is held for clients.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The engine's gauges and counters after its last step.
    #[must_use]
    pub fn stats(&self) -> Stats {
        lock(&self.inbox).stats()
    }

    /// The page that Prometheus reads.
    #[must_use]
    pub fn render_metrics(&self, model_name: &str) -> String {
        let (stats, num_preparing) = {
            let inbox = lock(&self.inbox);
            (inbox.stats(), inbox.num_preparing())
        };
        let held = self.ledger.gauges();
        self.metrics.render(&State { stats, num_preparing, held, config: &self.config }, model_name)
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn unix_time_s(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
    }

    /// A point in time to measure from.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Whether requests are served.
    #[must_use]
    pub fn health(&self) -> Health {
        let inbox = lock(&self.inbox);
        match &inbox.phase {
            Phase::Failed(message) => Health::Failed(message.clone()),
            Phase::Serving | Phase::Draining { .. } if inbox.is_weak() => Health::Failed(inbox.silence()),
            Phase::Draining { .. } | Phase::Stopped => Health::Draining,
            Phase::Serving => Health::Serving,
        }
    }

    /// Why the runner has been given up, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        match &lock(&self.inbox).phase {
            Phase::Failed(message) => Some(message.clone()),
            Phase::Serving | Phase::Draining { .. } | Phase::Stopped => None,
        }
    }

    /// Looks for signs of life of the step loop; to be called once each [`LOOK_INTERVAL`]. Answers what to call
    /// [`Driver::fail`] with, if it is to be given up. Never waits for it.
    #[must_use]
    pub fn look(&self) -> Option<String> {
        lock(&self.inbox).look()
    }

    /// What a step of so many tokens takes, if that is known before the first one.
    pub fn expect_step(&self, num_tokens: usize, duration: Duration) {
        lock(&self.inbox).pulse.learn(num_tokens, duration);
    }

    /// Takes this much of a pool for the key of the request that this task answers.
    ///
    /// # Errors
    /// [`Refusal::Full`]
    pub fn charge(&self, pool: Pool, amount: usize) -> Result<Charge, Refusal> {
        let charged = self.ledger.charge(pool, Account::current().key(), amount);
        charged.map_err(|full| self.refuse(full))
    }

    /// Counts a refusal for want of room, and says when there should be some.
    pub fn refuse(&self, full: Full) -> Refusal {
        let refusal = lock(&self.inbox).refuse(full);
        self.metrics.count_refusal(refusal.reason());
        refusal
    }

    /// Queues a request. Its place in the queue is reserved at once, so an accepted request is never refused later.
    ///
    /// # Errors
    /// [`Refusal`], if the queue is full or no requests are taken.
    pub fn submit(self: &Arc<Self>, request: NewRequest) -> Result<TokenStream, Refusal> {
        let mut streams = self.submit_all(vec![request])?;
        Ok(streams.pop().expect("one request has one stream"))
    }

    /// Queues several requests at once, or none of them; the streams are in their order.
    ///
    /// # Errors
    /// [`Refusal`], if there is not room for all, or no requests are taken.
    pub fn submit_all(self: &Arc<Self>, requests: Vec<NewRequest>) -> Result<Vec<TokenStream>, Refusal> {
        let num_tokens = requests.iter().map(|new| new.request.prompt.len()).sum();
        let submitted = lock(&self.inbox).submit_all(requests, Instant::now());
        match submitted {
            Ok(queued) => {
                self.work.notify_one();
                self.metrics.prompt_tokens.fetch_add(num_tokens as u64, Relaxed);
                let account = Account::current();
                account.add_prompt(num_tokens);
                let stream =
                    |(id, outbox)| TokenStream::new(Arc::clone(self), id, outbox, Arc::clone(&account));
                Ok(queued.into_iter().map(stream).collect())
            }
            Err(refusal) => {
                self.metrics.count_refusal(refusal.reason());
                Err(refusal)
            }
        }
    }

    fn abort(&self, id: RequestId, counts_as: Outcome) {
        lock(&self.inbox).abort(id, counts_as);
        self.work.notify_one();
    }

    /// Takes in what has arrived and plans the next step. With nothing to do and no step in flight it waits, at most for
    /// `timeout`. Called by the engine thread only.
    pub fn next_step(&self, buffers: &mut StepBuffers<'_>, timeout: Duration) -> NextStep {
        let give_up = after(timeout);
        self.wait_for_masks();
        loop {
            if let Some(step) = self.try_next_step(buffers) {
                return step;
            }
            let inbox = lock(&self.inbox);
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return NextStep::Idle;
            }
            let parked = self.work.wait_timeout_while(inbox, left, |inbox| inbox.is_quiet());
            drop(parked.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// One attempt; `None` if there is nothing to do but wait.
    fn try_next_step(&self, buffers: &mut StepBuffers<'_>) -> Option<NextStep> {
        let mut core = lock(&self.core);
        let now = Instant::now();
        let (arrivals, phase, engine_time) = {
            let mut inbox = lock(&self.inbox);
            (inbox.take(now, core.num_tokens_in_flight()), inbox.phase.clone(), inbox.engine_time(now))
        };
        core.take_in(arrivals, &self.metrics, now);
        let drain_deadline = match phase {
            Phase::Serving => None,
            Phase::Draining { deadline } => Some(deadline),
            Phase::Failed(_) | Phase::Stopped => return Some(NextStep::Stopped),
        };
        if drain_deadline.is_some_and(|deadline| deadline <= now) {
            drop(core);
            self.stop();
            return Some(NextStep::Stopped);
        }
        core.engine.expire(engine_time);
        let plan = core.engine.schedule(buffers);
        core.steps_in_flight.extend(plan.map(|plan| (plan.num_tokens, now)));
        core.deliver(&self.inbox, &self.metrics, now);
        match plan {
            Some(plan) => {
                core.write_masks(&plan, self.config.num_mask_words, buffers.mask_words);
                Some(NextStep::Plan(plan))
            }
            None if core.engine.num_steps_in_flight() > 0 => Some(NextStep::Idle),
            None if drain_deadline.is_some() && !core.engine.has_work() => {
                lock(&self.inbox).phase = Phase::Stopped;
                Some(NextStep::Stopped)
            }
            None => None,
        }
    }

    /// Hands the sampled tokens of a step, and the log-probabilities that its plan asks for, to the engine and the readers. Called by
    /// the engine thread only, in the order of the plans.
    ///
    /// # Errors
    /// The engine's, if this is not the oldest step in flight or the number of tokens or log-probabilities is wrong.
    pub fn complete_step(
        self: &Arc<Self>,
        step: StepId,
        sampled: &[i32],
        scores: Scores<'_>,
    ) -> Result<(), EngineError> {
        let mut core = lock(&self.core);
        let now = Instant::now();
        core.observe(step, now)?;
        core.engine.complete(step, sampled, scores)?;
        if let Some((num_tokens, _)) = core.steps_in_flight.pop_front() {
            self.metrics.step_tokens.observe_count(num_tokens);
        }
        core.deliver(&self.inbox, &self.metrics, now);
        self.masks.make(self, core.drawn.drain(..));
        Ok(())
    }

    /// The runner died: every open request ends with this message and later ones are refused with it.
    pub fn fail(&self, message: &str) {
        self.close(Phase::Failed(message.to_owned()), &EndError::Runner(message.to_owned()));
    }

    /// Refuses new requests and lets open ones end, until the deadline. `next_step` then says [`NextStep::Stopped`]. Called again,
    /// it can only bring the deadline forward.
    pub fn drain(&self, deadline: Duration) {
        let asked = after(deadline);
        let mut inbox = lock(&self.inbox);
        match inbox.phase {
            Phase::Serving => inbox.phase = Phase::Draining { deadline: asked },
            Phase::Draining { deadline } => inbox.phase = Phase::Draining { deadline: deadline.min(asked) },
            Phase::Failed(_) | Phase::Stopped => {}
        }
        drop(inbox);
        self.work.notify_one();
    }

    /// Whether [`Driver::next_step`] will never hand out a plan again.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(lock(&self.inbox).phase, Phase::Failed(_) | Phase::Stopped)
    }

    /// Ends everything now.
    pub fn stop(&self) {
        self.close(Phase::Stopped, &EndError::ShuttingDown);
    }

    /// The first reason to close is the one that later requests are told. They are told it even if the step loop hangs with the core
    /// in its hands.
    fn close(&self, phase: Phase, error: &EndError) {
        lock(&self.inbox).close(phase);
        let mut core = lock(&self.core);
        let now = Instant::now();
        let arrivals = lock(&self.inbox).take(now, core.num_tokens_in_flight());
        core.end_all(arrivals, error, &self.metrics, now);
        core.deliver(&self.inbox, &self.metrics, now);
        self.work.notify_one();
    }
}

/// The point in time after `duration`, or one that nobody lives to see: the sum of the two may be beyond the clock.
fn after(duration: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    Instant::now() + duration.min(CENTURY)
}

/// Locks, also after a panic elsewhere: what these locks guard is whole between any two statements that could panic, and
/// [`Driver::fail`] must still end every request when the engine thread has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
