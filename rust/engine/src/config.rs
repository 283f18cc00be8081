//! Limits that the engine is built with.

use crate::error::EngineError;

/// The limits of an engine, fixed for its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Token positions in one block.
    pub block_size: usize,
    /// Blocks in the pool.
    pub num_blocks: usize,
    /// Most tokens computed in one step, all sequences together.
    pub max_num_batched_tokens: usize,
    /// Most sequences in one step.
    pub max_num_seqs: usize,
    /// Most tokens of one sequence, prompt and output together.
    pub max_model_len: usize,
    /// How many plans may be handed out before the first of them is completed: 1 or 2.
    pub max_steps_in_flight: usize,
}

impl EngineConfig {
    /// Most blocks that one sequence can hold.
    #[must_use]
    pub fn max_blocks_per_seq(&self) -> usize {
        self.max_model_len.div_ceil(self.block_size)
    }

    /// Most tokens that one sequence can ever have: the context, or the whole pool if that is less.
    #[must_use]
    pub fn max_seq_len(&self) -> usize {
        self.max_model_len.min(self.num_blocks * self.block_size)
    }

    /// Checks that every limit makes sense by itself and with the others.
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
        if !(1..=2).contains(&self.max_steps_in_flight) {
            let depth = self.max_steps_in_flight;
            return Err(EngineError::Config(format!("`max_steps_in_flight` is {depth}, it must be 1 or 2")));
        }
        Ok(())
    }
}
