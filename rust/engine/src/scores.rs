//! What a step found out about the likelihood of tokens, for the requests that asked.

use crate::error::EngineError;

/// The log-probabilities that a step hands back, in columns: one row for each scored sample of the plan, then one for each scored
/// prompt token. The default is that of a plan that scores nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scores<'a> {
    logprobs: &'a [f32],
    top_ids: &'a [i32],
    top_logprobs: &'a [f32],
}

impl<'a> Scores<'a> {
    /// Puts the columns together: `logprobs` of the drawn or given tokens, `[num_rows]`; `top_ids`, the most likely tokens, best
    /// first, and `top_logprobs`, both `[num_rows, num_top]`.
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
}
