//! Connects the sockets to the engine: many HTTP threads leave requests and aborts, one engine
//! thread takes them, requests steps and hands back tokens. The only reader of the clock.
//!
//! ```text
//! submit ─► inbox ─┐                          ┌─► outbox ─► TokenStream::poll
//! drop   ─► aborts ┴► next_step … complete_step ─► outbox ─► …
//! ```
//!
//! The inbox is locked only to move a few words, so neither side waits for a step. Lock order:
//! core, then inbox.

mod core;
mod inbox;
mod masks;
mod new_request;
mod outbox;
mod pulse;
mod samples;
mod submit;
#[cfg(test)]
mod tests;
mod thought;
mod trace;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use streamcore_engine::{Engine, EngineConfig, EngineError, Scores, Stats, StepBuffers, StepId, StepPlan};

use self::core::Core;
pub use self::inbox::Refusal;
use self::inbox::{Inbox, Phase};
pub use self::masks::Constraint;
use self::masks::Masks;
pub use self::new_request::NewRequest;
pub use self::outbox::{Delivery, End, EndError, Token, TokenStream};
pub use self::pulse::LOOK_INTERVAL;
pub use self::thought::Thought;
use crate::ledger::Ledger;
use crate::metrics::{Metrics, State};

/// Limits on what waits and what is kept, beyond which requests are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverLimits {
    /// Maximum requests that wait for their first step.
    pub max_waiting_requests: usize,
    /// Maximum prompt tokens of waiting requests.
    pub max_waiting_tokens: usize,
    /// Maximum responses stored for clients.
    pub max_stored_responses: usize,
}

impl Default for DriverLimits {
    /// Far more than one device serves in a minute, far less than its machine's memory holds.
    fn default() -> Self {
        Self { max_waiting_requests: 2048, max_waiting_tokens: 4 << 20, max_stored_responses: 1000 }
    }
}

/// The engine thread's next action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// Run this plan, whose columns are in the buffers.
    Plan(StepPlan),
    /// Nothing to plan now: complete the steps in flight, or call again.
    Idle,
    /// No step will follow: leave the loop.
    Stopped,
}

/// Whether the server takes and serves requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Steps make progress.
    Serving,
    /// Open requests end, new ones are refused.
    Draining,
    /// The runner died or hangs, for this reason.
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
    next_id: AtomicU64,
}

impl Driver {
    /// Creates a driver with a new engine.
    ///
    /// # Errors
    /// Returns the engine's error if its limits are inconsistent.
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
        Ok(Self { inbox, work, core, masks, metrics, config, limits, ledger, next_id: AtomicU64::new(0) })
    }

    /// Returns the engine's limits.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Returns the queue's limits.
    #[must_use]
    pub fn limits(&self) -> DriverLimits {
        self.limits
    }

    /// Returns the ledger of memory held for clients.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Returns the engine's gauges and counters after its last step.
    #[must_use]
    pub fn stats(&self) -> Stats {
        lock(&self.inbox).stats()
    }

    /// Renders the page that Prometheus scrapes.
    #[must_use]
    pub fn render_metrics(&self, model_name: &str) -> String {
        let (stats, num_preparing) = {
            let inbox = lock(&self.inbox);
            (inbox.stats(), inbox.num_preparing())
        };
        let held = self.ledger.gauges();
        self.metrics.render(&State { stats, num_preparing, held, config: &self.config }, model_name)
    }

    /// Returns the server's metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns the seconds since 1970.
    #[must_use]
    pub fn unix_time_s(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
    }

    /// Returns the current time, to measure from.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Returns whether requests are served.
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

    /// Returns why the runner was given up, if it was.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        match &lock(&self.inbox).phase {
            Phase::Failed(message) => Some(message.clone()),
            Phase::Serving | Phase::Draining { .. } | Phase::Stopped => None,
        }
    }

    /// Checks that the step loop makes progress; call it every [`LOOK_INTERVAL`]. Returns the
    /// message for [`Driver::fail`] if the loop is to be given up. Never waits for the loop.
    #[must_use]
    pub fn look(&self) -> Option<String> {
        lock(&self.inbox).look()
    }

    /// Sets the expected duration of a step of `num_tokens`, if known before the first step.
    pub fn expect_step(&self, num_tokens: usize, duration: Duration) {
        lock(&self.inbox).pulse.learn(num_tokens, duration);
    }

    /// Takes in arrivals and plans the next step. Without work or a step in flight, waits for up to
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

    /// Tries once to find the next action; `None` if there is nothing to do but wait.
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

    /// Hands a step's sampled tokens, and the log-probabilities that its plan requests, to the
    /// engine and the readers. Called by the engine thread only, in the order of the plans.
    ///
    /// # Errors
    /// Returns the engine's error if this is not the oldest step in flight, or the number of tokens
    /// or log-probabilities is wrong.
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

    /// Ends every open request with this message and refuses later ones with it: the runner died.
    pub fn fail(&self, message: &str) {
        self.close(Phase::Failed(message.to_owned()), &EndError::Runner(message.to_owned()));
    }

    /// Refuses new requests and lets open ones finish until the deadline; `next_step` then returns
    /// [`NextStep::Stopped`]. A second call can only bring the deadline forward.
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

    /// Returns whether [`Driver::next_step`] will never return a plan again.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(lock(&self.inbox).phase, Phase::Failed(_) | Phase::Stopped)
    }

    /// Ends all requests now.
    pub fn stop(&self) {
        self.close(Phase::Stopped, &EndError::ShuttingDown);
    }

    /// Closes the inbox; later requests get the first reason given, even if the step loop hangs
    /// while it holds the core's lock.
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

/// Returns the time after `duration`, or one far enough away: their sum may overflow the clock.
fn after(duration: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    Instant::now() + duration.min(CENTURY)
}

/// Locks, also after a panic elsewhere: the guarded data is whole between any two statements that
/// could panic, and [`Driver::fail`] must end every request after the engine thread panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
