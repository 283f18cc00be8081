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
mod outbox;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use streamcore_engine::{
    Engine, EngineConfig, EngineError, Request, RequestId, SamplingParams, Scores, Stats, StepBuffers,
    StepId, StepPlan,
};

use self::core::Core;
pub use self::inbox::Refusal;
use self::inbox::{Inbox, Phase};
pub use self::outbox::{End, EndError, Token, TokenStream};
use crate::metrics::{Metrics, Outcome};

/// A runner that has work and shows no life for this long hangs. A step of a large model on a slow machine takes minutes.
const HUNG_AFTER: Duration = Duration::from_secs(300);

/// How much may wait before requests are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverLimits {
    /// Requests that wait for their first step.
    pub max_waiting_requests: usize,
    /// Tokens of their prompts.
    pub max_waiting_tokens: usize,
}

impl Default for DriverLimits {
    /// Far more than a machine with one device answers in a minute, far less than its memory holds.
    fn default() -> Self {
        Self { max_waiting_requests: 2048, max_waiting_tokens: 4 << 20 }
    }
}

/// What a client asks for, in tokens. The driver gives it its name.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRequest {
    /// The prompt, at least one token.
    pub prompt: Vec<u32>,
    /// Most tokens to generate, at least one.
    pub max_tokens: usize,
    /// No stop token is drawn before this many tokens have been generated.
    pub min_tokens: usize,
    /// Tokens that end the output; at most [`streamcore_engine::MAX_STOP_TOKEN_IDS`].
    pub stop_token_ids: Vec<u32>,
    /// How tokens are drawn.
    pub sampling: SamplingParams,
    /// Tell the log-probability of each generated token, and of this many most likely ones, at most
    /// [`streamcore_engine::MAX_LOGPROBS`].
    pub logprobs: Option<u32>,
    /// The same of each prompt token but the first.
    pub prompt_logprobs: Option<u32>,
    /// Only requests with the same number share blocks of the KV cache.
    pub cache_salt: u64,
    /// Lower numbers run first.
    pub priority: i32,
    /// All tokens are handed over with the end, which spares their reader a wake-up for each.
    pub deliver_at_end: bool,
}

impl NewRequest {
    /// A greedy request without stop tokens that asks for nothing else. Start from it and change what matters: fields may be added.
    #[must_use]
    pub fn new(prompt: Vec<u32>, max_tokens: usize) -> Self {
        Self {
            prompt,
            max_tokens,
            min_tokens: 0,
            stop_token_ids: Vec::new(),
            sampling: SamplingParams::greedy(),
            logprobs: None,
            prompt_logprobs: None,
            cache_salt: 0,
            priority: 0,
            deliver_at_end: false,
        }
    }

    /// The engine's request, under this name.
    fn named(self, id: RequestId) -> Request {
        Request {
            id,
            prompt: self.prompt,
            max_tokens: self.max_tokens,
            min_tokens: self.min_tokens,
            stop_token_ids: self.stop_token_ids,
            sampling: self.sampling,
            logprobs: self.logprobs,
            prompt_logprobs: self.prompt_logprobs,
            cache_salt: self.cache_salt,
            priority: self.priority,
        }
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
    metrics: Metrics,
    config: EngineConfig,
}

impl Driver {
    /// A driver around a new engine.
    ///
    /// # Errors
    /// The engine's, if its limits make no sense.
    pub fn new(config: EngineConfig, limits: DriverLimits) -> Result<Self, EngineError> {
        let engine = Engine::new(config.clone())?;
        let inbox = Mutex::new(Inbox::new(limits, engine.stats(), Instant::now()));
        let core = Mutex::new(Core::new(engine));
        Ok(Self { inbox, work: Condvar::new(), core, metrics: Metrics::default(), config })
    }

    /// The limits of the engine.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// The engine's gauges and counters after its last step.
    #[must_use]
    pub fn stats(&self) -> Stats {
        lock(&self.inbox).stats()
    }

    /// The page that Prometheus reads.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        self.metrics.render(&self.stats())
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
            Phase::Draining { .. } | Phase::Stopped => Health::Draining,
            Phase::Serving if inbox.is_hung(Instant::now()) => {
                Health::Failed(format!("the runner has not answered for {} s", HUNG_AFTER.as_secs()))
            }
            Phase::Serving => Health::Serving,
        }
    }

    /// Queues a request. Its place in the queue is reserved at once, so an accepted request is never refused later.
    ///
    /// # Errors
    /// [`Refusal`], if the queue is full or no requests are taken.
    pub fn submit(self: &Arc<Self>, request: NewRequest) -> Result<TokenStream, Refusal> {
        let prompt_len = request.prompt.len() as u64;
        let submitted = lock(&self.inbox).submit(request, Instant::now());
        match submitted {
            Ok((id, outbox)) => {
                self.work.notify_one();
                self.metrics.prompt_tokens.fetch_add(prompt_len, Relaxed);
                Ok(TokenStream::new(Arc::clone(self), id, outbox))
            }
            Err(refusal) => {
                if matches!(refusal, Refusal::QueueFull { .. }) {
                    self.metrics.rejected.fetch_add(1, Relaxed);
                }
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
        let (arrivals, phase) = {
            let mut inbox = lock(&self.inbox);
            (inbox.take(now), inbox.phase.clone())
        };
        core.take_in(arrivals);
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
        let plan = core.engine.schedule(buffers);
        core.deliver(&self.inbox, &self.metrics, now);
        match plan {
            Some(plan) => Some(NextStep::Plan(plan)),
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
        &self,
        step: StepId,
        sampled: &[i32],
        scores: Scores<'_>,
    ) -> Result<(), EngineError> {
        let mut core = lock(&self.core);
        core.engine.complete(step, sampled, scores)?;
        core.deliver(&self.inbox, &self.metrics, Instant::now());
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

    /// The first reason to close is the one that later requests are told.
    fn close(&self, phase: Phase, error: &EndError) {
        let mut core = lock(&self.core);
        let now = Instant::now();
        let arrivals = {
            let mut inbox = lock(&self.inbox);
            if matches!(inbox.phase, Phase::Serving | Phase::Draining { .. }) {
                inbox.phase = phase;
            }
            inbox.take(now)
        };
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::task::{Context, Poll, Waker};
    use std::thread;

    use streamcore_engine::OwnedStepBuffers;

    use super::*;

    fn driver() -> Arc<Driver> {
        let config = EngineConfig {
            block_size: 4,
            num_blocks: 4,
            max_num_batched_tokens: 4,
            max_num_seqs: 1,
            max_model_len: 16,
            max_steps_in_flight: 1,
            enable_prefix_caching: true,
        };
        let limits = DriverLimits { max_waiting_requests: 2, max_waiting_tokens: 16 };
        Arc::new(Driver::new(config, limits).unwrap())
    }

    /// "Drain for as long as it takes" must not panic in the thread that shuts the server down.
    #[test]
    fn the_longest_deadline_is_a_deadline() {
        let driver = driver();
        driver.drain(Duration::MAX);
        assert_eq!(driver.health(), Health::Draining);
        let mut buffers = OwnedStepBuffers::new(driver.config());
        assert_eq!(driver.next_step(&mut buffers.borrow(), Duration::MAX), NextStep::Stopped);
    }

    /// A panic in the engine thread must end as an error at every client, not as a stream that hangs behind a poisoned lock.
    #[test]
    fn a_panic_of_the_engine_thread_still_ends_every_request() {
        let driver = driver();
        let mut stream = driver.submit(NewRequest::new(vec![1], 1)).unwrap();
        let engine_thread = thread::spawn({
            let driver = Arc::clone(&driver);
            move || {
                let _core = lock(&driver.core);
                panic!("this panic is part of a test");
            }
        });
        assert!(engine_thread.join().is_err());

        driver.fail("the engine panicked");

        let end = stream.poll(&mut Context::from_waker(Waker::noop()), &mut Vec::new());
        let error = EndError::Runner("the engine panicked".to_owned());
        assert_eq!(end, Poll::Ready(Some(End::Failed(error))));
        assert_eq!(driver.health(), Health::Failed("the engine panicked".to_owned()));
    }
}
