//! The log-probabilities of a step, for the requests that need them.

use crate::error::EngineError;
use crate::event::TokenLogprobs;

/// The log-probabilities that a step hands back, in columns: one row for each scored sample of the
/// plan, then one for each scored prompt token. The default is that of a plan that scores nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scores<'a> {
    logprobs: &'a [f32],
    top_ids: &'a [i32],
    top_logprobs: &'a [f32],
}

impl<'a> Scores<'a> {
    /// Puts the columns together: `logprobs` of the drawn or given tokens, `[num_rows]`; `top_ids`,
    /// the most likely tokens, best first, and `top_logprobs`, both `[num_rows, num_top]`.
    ///
    /// # Errors
    /// [`EngineError::ScoreShape`] if the lengths do not fit together.
    pub fn new(
        logprobs: &'a [f32],
        top_ids: &'a [i32],
        top_logprobs: &'a [f32],
    ) -> Result<Self, EngineError> {
        let is_even = top_ids.len().checked_rem(logprobs.len()).unwrap_or(top_ids.len()) == 0;
        if is_even && top_ids.len() == top_logprobs.len() {
            return Ok(Self { logprobs, top_ids, top_logprobs });
        }
        Err(EngineError::ScoreShape {
            num_logprobs: logprobs.len(),
            num_top_ids: top_ids.len(),
            num_top_logprobs: top_logprobs.len(),
        })
    }

    pub(crate) fn num_rows(&self) -> usize {
        self.logprobs.len()
    }

    /// Returns one row's log-probabilities for a request of `num_top` likely tokens.
    fn row(&self, row: usize, num_top: u32) -> TokenLogprobs {
        let stride = self.top_ids.len() / self.logprobs.len();
        let columns = row * stride..row * stride + stride.min(num_top as usize);
        let ids = self.top_ids[columns.clone()].iter().map(|id| id.cast_unsigned());
        let top = ids.zip(self.top_logprobs[columns].iter().copied()).collect();
        TokenLogprobs { logprob: self.logprobs[row], top }
    }
}

/// Hands out the rows of a step's scores in the order of its plan.
#[derive(Debug)]
pub(crate) struct ScoreReader<'a> {
    scores: Scores<'a>,
    next_sample: usize,
    next_token: usize,
}

impl<'a> ScoreReader<'a> {
    /// The rows of samples come first.
    pub(crate) fn new(scores: Scores<'a>, num_scored_samples: usize) -> Self {
        Self { scores, next_sample: 0, next_token: num_scored_samples }
    }

    pub(crate) fn sample(&mut self, num_top: u32) -> TokenLogprobs {
        self.next_sample += 1;
        self.scores.row(self.next_sample - 1, num_top)
    }

    pub(crate) fn prompt_tokens(&mut self, count: usize, num_top: u32) -> Vec<TokenLogprobs> {
        let first = self.next_token;
        self.next_token += count;
        (first..self.next_token).map(|row| self.scores.row(row, num_top)).collect()
    }
}
