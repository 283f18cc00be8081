//! The unit in which the KV cache is handed out.

/// Names one block of the KV cache: `block_size` slots in a row, one per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

impl BlockId {
    /// Returns the slot at this offset in the block, counted over the whole cache.
    #[must_use]
    pub fn slot(self, offset: usize, block_size: usize) -> i64 {
        i64::from(self.0) * block_size as i64 + offset as i64
    }
}
