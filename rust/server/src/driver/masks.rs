//! The masks of constrained answers. A pool of threads makes each as soon as the token before it is
//! known, while the runner computes other sequences.
//!
//! ```text
//! complete_step: token ─► pool: accept, forced tokens, mask ─► inbox
//! inbox ─► next_step: resume, schedule, write the masks of the plan
//! ```

use std::collections::VecDeque;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use rayon::{ThreadPool, ThreadPoolBuilder};
use streamcore_engine::{Request, RequestId};
use streamcore_grammar::{MatchError, Matcher};

use super::thought::Thought;
use super::{Driver, lock};

/// Maximum tokens forced at a time: the length of a short prompt.
const MAX_FORCED: usize = 64;

/// Maximum delay of a step for masks in the making, if no other step is in flight.
const MASK_PATIENCE: Duration = Duration::from_millis(2);

/// The constraint on an answer, and its state after the tokens so far.
#[derive(Debug)]
pub struct Constraint {
    /// The grammar's state, if the answer has a grammar.
    matcher: Option<Matcher>,
    /// The state of the answer's thought, if thoughts are limited.
    thought: Option<Thought>,
    /// Tokens still due to close the thought.
    ending: VecDeque<u32>,
    /// A bit for each token: whether it may come next.
    mask: Vec<u32>,
    /// Tokens of the answer.
    num_tokens: usize,
    min_tokens: usize,
    stop_token_ids: Vec<u32>,
    /// False if log-probabilities are wanted: tokens that are not drawn have none.
    may_force: bool,
}

impl Constraint {
    /// Creates a request's constraint, with the mask of the first token.
    ///
    /// # Errors
    /// No token is allowed, or the mask costs too much.
    pub fn new(
        matcher: Option<Matcher>,
        thought: Option<Thought>,
        num_mask_words: usize,
        request: &Request,
    ) -> Result<Self, MatchError> {
        let mut constraint = Self {
            matcher,
            thought,
            ending: VecDeque::new(),
            mask: vec![0; num_mask_words],
            num_tokens: 0,
            min_tokens: request.min_tokens,
            stop_token_ids: request.stop_token_ids.clone(),
            may_force: request.logprobs.is_none(),
        };
        constraint.end_thought();
        constraint.advance(0)?;
        Ok(constraint)
    }

    /// Advances by the drawn token and makes the next mask. Returns the tokens that come first
    /// because no other is allowed.
    fn accept(&mut self, token: u32) -> Result<Vec<u32>, MatchError> {
        self.ending.pop_front();
        self.take(token)?;
        self.end_thought();
        let mut forced = Vec::new();
        if self.may_force {
            for token in mem::take(&mut self.ending) {
                self.take(token)?;
                forced.push(token);
            }
        }
        forced.extend(self.advance(if self.may_force { MAX_FORCED } else { 0 })?);
        Ok(forced)
    }

    fn take(&mut self, token: u32) -> Result<(), MatchError> {
        if let Some(matcher) = &mut self.matcher {
            matcher.accept(token)?;
        }
        self.follow(token);
        Ok(())
    }

    fn follow(&mut self, token: u32) {
        self.num_tokens += 1;
        if let Some(thought) = &mut self.thought {
            thought.push(token);
        }
    }

    /// Starts to close a thought that has used its budget.
    fn end_thought(&mut self) {
        if self.ending.is_empty()
            && let Some(ending) = self.thought.as_mut().and_then(Thought::ending)
        {
            self.ending.extend(ending);
        }
    }

    /// Makes the next mask and returns the tokens forced before it.
    fn advance(&mut self, max_forced: usize) -> Result<Vec<u32>, MatchError> {
        if let Some(token) = self.ending.front() {
            self.mask.fill(0);
            if let Some(word) = self.mask.get_mut(*token as usize / 32) {
                *word = 1 << (token % 32);
            }
            return Ok(Vec::new());
        }
        let forced = match &mut self.matcher {
            Some(matcher) => matcher.fast_forward(max_forced, &mut self.mask)?,
            None => {
                self.mask.fill(u32::MAX);
                Vec::new()
            }
        };
        forced.iter().for_each(|token| self.follow(*token));
        if self.num_tokens < self.min_tokens {
            self.forbid_stops();
        }
        Ok(forced)
    }

    /// Bans stop tokens below `min_tokens`, unless the answer can only end.
    fn forbid_stops(&mut self) {
        let mut longer = self.mask.clone();
        for &token in &self.stop_token_ids {
            if let Some(word) = longer.get_mut(token as usize / 32) {
                *word &= !(1 << (token % 32));
            }
        }
        if longer.iter().any(|word| *word != 0) {
            self.mask = longer;
        }
    }

    /// Writes the mask of the next token.
    pub(super) fn write(&self, out: &mut [i32]) {
        for (out, word) in out.iter_mut().zip(&self.mask) {
            *out = word.cast_signed();
        }
    }
}

/// A token drawn for a constrained request.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) id: RequestId,
    pub(super) token: u32,
    pub(super) constraint: Arc<Mutex<Constraint>>,
}

/// A finished mask with the tokens forced before it, or why there is none.
pub(super) type Made = (RequestId, Result<Vec<u32>, MatchError>);

/// The pool that makes masks. Its threads start with the first mask.
#[derive(Debug, Default)]
pub(super) struct Masks {
    pool: OnceLock<ThreadPool>,
}

impl Masks {
    /// Makes the masks after these tokens and leaves each in the inbox.
    pub(super) fn make(&self, driver: &Arc<Driver>, drawn: impl Iterator<Item = Drawn>) {
        for Drawn { id, token, constraint } in drawn {
            let driver = Arc::clone(driver);
            self.pool().spawn(move || {
                let accept = || lock(&constraint).accept(token);
                let made = catch_unwind(AssertUnwindSafe(accept))
                    .unwrap_or_else(|_| Err(MatchError::Failed("its matcher failed".to_owned())));
                if lock(&driver.inbox).take_in_mask(id, made) {
                    driver.work.notify_one();
                }
            });
        }
    }

    fn pool(&self) -> &ThreadPool {
        self.pool.get_or_init(|| {
            let num_threads = available_parallelism().map_or(1, std::num::NonZero::get).min(8);
            let pool = ThreadPoolBuilder::new().num_threads(num_threads);
            pool.thread_name(|_| "streamcore-masks".to_owned()).build().expect("the system has threads")
        })
    }
}

impl Driver {
    /// Waits for masks in the making if the runner is idle: otherwise a constrained request would
    /// miss every other step. Delays unconstrained answers by at most [`MASK_PATIENCE`].
    pub(super) fn wait_for_masks(&self) {
        if lock(&self.core).engine.num_steps_in_flight() > 0 {
            return;
        }
        let mut inbox = lock(&self.inbox);
        inbox.is_patient = true;
        let waited = self.work.wait_timeout_while(inbox, MASK_PATIENCE, |inbox| inbox.are_masks_in_making());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_patient = false;
    }
}
