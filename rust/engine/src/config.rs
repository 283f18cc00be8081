//! Limits that the engine is built with.

use std::time::Duration;

use crate::error::EngineError;

/// Bounds on what is allocated at the start: a billion tokens in blocks of 16, more tokens in a
/// step than any device computes, and a gigabyte of block tables.
const MAX_NUM_BLOCKS: usize = 1 << 26;
const MAX_STEP_TOKENS: usize = 1 << 22;
const MAX_TABLE_ENTRIES: usize = 1 << 28;

/// The limits of an engine, fixed for its life.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct EngineConfig {
    /// Token positions in one block.
    pub block_size: usize,
    /// Blocks in the pool.
    pub num_blocks: usize,
    /// Maximum tokens computed in one step, all sequences together.
    pub max_num_batched_tokens: usize,
    /// Maximum sequences in one step. Each needs a token, so no more than `max_num_batched_tokens`
    /// ever run.
    pub max_num_seqs: usize,
    /// Maximum tokens of one sequence, prompt and output together.
    pub max_model_len: usize,
    /// Maximum plans handed out and not completed: 1 or 2.
    pub max_steps_in_flight: usize,
    /// Whether requests share the blocks of a common prefix.
    pub enable_prefix_caching: bool,
    /// Numbers of sequences for which the runner captured graphs, increasing. A step of one token
    /// per sequence is padded to the next of them; without any, no step is.
    pub capture_sizes: Vec<usize>,
    /// Target duration of a step with decodes. Prefills beside decodes are cut to reach it, by the
    /// durations given to [`Engine::observe`](crate::Engine::observe). `None`: only
    /// `max_num_batched_tokens` cuts them.
    pub target_itl: Option<Duration>,
    /// What prefills may add to a step with decodes whatever `target_itl` is, in multiples of what
    /// decodes take alone. 0: an eighth of it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub min_prefill_share: u32,
    /// 32-bit words of a mask over the vocabulary, a bit for each token, for which the columns have
    /// room. 0 if the masks of [constrained](crate::Request::is_constrained) requests are kept
    /// elsewhere.
    #[cfg_attr(feature = "serde", serde(default))]
    pub num_mask_words: usize,
}

impl EngineConfig {
    /// Returns the maximum running sequences: each needs one token of every step.
    #[must_use]
    pub fn num_rows(&self) -> usize {
        self.max_num_seqs.min(self.max_num_batched_tokens)
    }

    /// Returns the maximum blocks of one sequence.
    #[must_use]
    pub fn max_blocks_per_seq(&self) -> usize {
        self.max_seq_len().div_ceil(self.block_size)
    }

    /// Returns the maximum tokens of one sequence: the context, or the whole pool if that is less.
    #[must_use]
    pub fn max_seq_len(&self) -> usize {
        self.max_model_len.min(self.num_blocks * self.block_size)
    }

    /// Checks that the limits are valid and consistent.
    ///
    /// # Errors
    /// [`EngineError::Config`] names the limit and its value.
    pub fn validate(&self) -> Result<(), EngineError> {
        let positive = [
            ("block_size", self.block_size),
            ("num_blocks", self.num_blocks),
            ("max_num_batched_tokens", self.max_num_batched_tokens),
            ("max_num_seqs", self.max_num_seqs),
            ("max_model_len", self.max_model_len),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(EngineError::Config(format!("`{name}` is 0, it must be at least 1")));
        }
        // Positions, block ids and rows are written to columns of 32 signed bits.
        if let Some((name, value)) = positive.iter().find(|(_, value)| i32::try_from(*value).is_err()) {
            return Err(EngineError::Config(format!("`{name}` is {value}, limit is {}", i32::MAX)));
        }
        let allocated = [
            ("num_blocks", self.num_blocks, MAX_NUM_BLOCKS),
            ("max_num_batched_tokens", self.max_num_batched_tokens, MAX_STEP_TOKENS),
            ("max_num_seqs", self.max_num_seqs, MAX_STEP_TOKENS),
        ];
        if let Some((name, value, limit)) = allocated.iter().find(|(_, value, limit)| value > limit) {
            return Err(EngineError::Config(format!("`{name}` is {value}, limit is {limit}")));
        }
        if self.max_num_seqs * self.max_blocks_per_seq() > MAX_TABLE_ENTRIES {
            let blocks = self.max_blocks_per_seq();
            return Err(EngineError::Config(format!(
                "block tables of `max_num_seqs` {} rows of {blocks} blocks are too large, limit is {MAX_TABLE_ENTRIES} entries",
                self.max_num_seqs,
            )));
        }
        self.validate_capture_sizes()?;
        if !(1..=2).contains(&self.max_steps_in_flight) {
            let depth = self.max_steps_in_flight;
            return Err(EngineError::Config(format!("`max_steps_in_flight` is {depth}, it must be 1 or 2")));
        }
        let is_largest =
            |words: usize| self.max_num_seqs.checked_mul(words).is_none_or(|all| i32::try_from(all).is_err());
        if is_largest(self.num_mask_words) {
            let (words, limit) = (self.num_mask_words, i32::MAX);
            return Err(EngineError::Config(format!(
                "`max_num_seqs` {} masks of `num_mask_words` {words} are too large, limit is {limit} words",
                self.max_num_seqs
            )));
        }
        if self.target_itl == Some(Duration::ZERO) {
            return Err(EngineError::Config("`target_itl` is 0, it must be longer".to_owned()));
        }
        Ok(())
    }

    fn validate_capture_sizes(&self) -> Result<(), EngineError> {
        let limit = self.num_rows();
        if let Some(size) = self.capture_sizes.iter().find(|size| !(1..=limit).contains(*size)) {
            return Err(EngineError::Config(format!(
                "`capture_sizes` has {size}, it must be from 1 to {limit}, the most sequences and tokens of a step"
            )));
        }
        if let Some(pair) = self.capture_sizes.windows(2).find(|pair| pair[0] >= pair[1]) {
            let [before, size] = [pair[0], pair[1]];
            return Err(EngineError::Config(format!(
                "`capture_sizes` has {size} after {before}, they must increase"
            )));
        }
        Ok(())
    }

    /// Checks that this engine can finish a request of these lengths. Pure: callers on other
    /// threads use it before they accept a request, and
    /// [`Engine::add_request`](crate::Engine::add_request) applies the same rule.
    ///
    /// # Errors
    /// [`EngineError::EmptyPrompt`], [`EngineError::ContextTooLong`] or
    /// [`EngineError::PoolTooSmall`].
    pub fn check_lengths(&self, prompt_len: usize, max_tokens: usize) -> Result<(), EngineError> {
        if prompt_len == 0 {
            return Err(EngineError::EmptyPrompt);
        }
        let len = prompt_len.saturating_add(max_tokens);
        if len > self.max_model_len {
            return Err(EngineError::ContextTooLong { prompt_len, max_tokens, limit: self.max_model_len });
        }
        if len > self.max_seq_len() {
            return Err(EngineError::PoolTooSmall { prompt_len, max_tokens, capacity: self.max_seq_len() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> EngineConfig {
        EngineConfig {
            block_size: 4,
            num_blocks: 4,
            max_num_batched_tokens: 8,
            max_num_seqs: 2,
            max_model_len: 20,
            max_steps_in_flight: 1,
            enable_prefix_caching: true,
            capture_sizes: vec![],
            target_itl: None,
            min_prefill_share: 0,
            num_mask_words: 0,
        }
    }

    #[test]
    fn a_request_that_can_never_finish_is_refused_with_the_reason() {
        // Accepted, it would wait at the head of the queue for ever, and block the rest.
        let config = config();
        assert_eq!(config.check_lengths(15, 1), Ok(()));
        assert_eq!(config.check_lengths(0, 1), Err(EngineError::EmptyPrompt));
        assert_eq!(config.check_lengths(16, 0), Ok(()), "nothing is to be generated");
        let pool = EngineError::PoolTooSmall { prompt_len: 15, max_tokens: 2, capacity: 16 };
        assert_eq!(config.check_lengths(15, 2), Err(pool));
        let context = EngineError::ContextTooLong { prompt_len: 20, max_tokens: 1, limit: 20 };
        assert_eq!(config.check_lengths(20, 1), Err(context));
        assert!(config.check_lengths(1, usize::MAX).is_err());
    }

    #[test]
    fn limits_that_make_no_sense_are_named() {
        // A zero or a number beyond the columns' 32 bits would show up as a panic under load.
        let zero = EngineConfig { num_blocks: 0, ..config() };
        let expected = "`num_blocks` is 0, it must be at least 1".to_owned();
        assert_eq!(zero.validate(), Err(EngineError::Config(expected)));
        let depth = EngineConfig { max_steps_in_flight: 3, ..config() };
        assert!(depth.validate().is_err());
        let huge = EngineConfig { max_model_len: 1 << 31, ..config() };
        assert!(huge.validate().is_err());
        let wide =
            EngineConfig { max_num_seqs: 1 << 20, num_blocks: 1 << 16, max_model_len: 1 << 16, ..config() };
        assert!(wide.validate().is_err());
        let hasty = EngineConfig { target_itl: Some(Duration::ZERO), ..config() };
        assert!(hasty.validate().is_err());
        assert_eq!(config().validate(), Ok(()));
    }

    #[test]
    fn capture_sizes_that_no_step_can_have_are_named() {
        // A step padded to more sequences than the columns hold would panic at the first lonely
        // request.
        let with = |capture_sizes: &[usize]| EngineConfig {
            max_num_seqs: 8,
            max_num_batched_tokens: 4,
            capture_sizes: capture_sizes.to_vec(),
            ..config()
        };
        assert_eq!(with(&[1, 2, 4]).validate(), Ok(()));
        let refused = |sizes: &[usize]| with(sizes).validate().map_err(|error| error.to_string());
        let limits = "it must be from 1 to 4, the most sequences and tokens of a step";
        assert_eq!(refused(&[0, 2]), Err(format!("`capture_sizes` has 0, {limits}")));
        assert_eq!(refused(&[2, 8]), Err(format!("`capture_sizes` has 8, {limits}")));
        assert_eq!(refused(&[2, 2]), Err("`capture_sizes` has 2 after 2, they must increase".to_owned()));
    }
}
