//! All blocks of the KV cache, and which of them are free.

use super::block::BlockId;

/// The free blocks. A block that is not here is held by exactly one [`BlockTable`](super::BlockTable).
#[derive(Debug)]
pub struct BlockPool {
    /// A stack: the block that was given back last is still warm in the caches.
    free: Vec<BlockId>,
    num_blocks: usize,
}

impl BlockPool {
    /// A pool in which every block is free.
    ///
    /// # Panics
    /// If there are more blocks than 32 bits can number; [`EngineConfig::validate`](crate::EngineConfig::validate) refuses that.
    #[must_use]
    pub fn new(num_blocks: usize) -> Self {
        let end = u32::try_from(num_blocks).expect("`num_blocks` was validated to fit into 31 bits");
        Self { free: (0..end).rev().map(BlockId).collect(), num_blocks }
    }

    /// Blocks in the pool, free or not.
    #[must_use]
    pub fn num_blocks(&self) -> usize {
        self.num_blocks
    }

    /// Blocks that can be taken now.
    #[must_use]
    pub fn num_free(&self) -> usize {
        self.free.len()
    }

    /// The blocks that can be taken now, in no particular order.
    #[must_use]
    pub fn free_blocks(&self) -> &[BlockId] {
        &self.free
    }

    /// Takes blocks and appends them to `blocks`: all of them, or none and the answer `false`.
    pub fn take(&mut self, num_blocks: usize, blocks: &mut Vec<BlockId>) -> bool {
        let Some(rest) = self.free.len().checked_sub(num_blocks) else { return false };
        blocks.extend(self.free.drain(rest..).rev());
        true
    }

    /// Takes blocks back, emptying `blocks`. The caller must have taken them from this pool, and no step in flight may use them.
    pub fn give_back(&mut self, blocks: &mut Vec<BlockId>) {
        self.free.extend(blocks.drain(..).rev());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pool_gives_every_block_once_and_then_none() {
        // Two sequences in one block would read each other's conversation.
        let mut pool = BlockPool::new(3);
        let mut blocks = Vec::new();
        assert!(pool.take(3, &mut blocks));
        assert_eq!(blocks, [BlockId(0), BlockId(1), BlockId(2)]);
        assert!(!pool.take(1, &mut blocks));
        assert_eq!((pool.num_free(), blocks.len()), (0, 3));
    }

    #[test]
    fn a_refused_take_leaves_the_pool_as_it_was() {
        // Half a prompt's blocks, taken and forgotten, would be lost for ever.
        let mut pool = BlockPool::new(2);
        let mut blocks = Vec::new();
        assert!(!pool.take(3, &mut blocks));
        assert_eq!((pool.num_free(), blocks.len()), (2, 0));
    }

    #[test]
    fn blocks_come_back_and_are_used_again_first() {
        // A block that is not reused while it is warm costs a cache miss at each step of the next request.
        let mut pool = BlockPool::new(4);
        let mut blocks = Vec::new();
        assert!(pool.take(2, &mut blocks));
        let taken = blocks.clone();
        pool.give_back(&mut blocks);
        assert_eq!((pool.num_free(), pool.num_blocks()), (4, 4));
        assert!(pool.take(2, &mut blocks));
        assert_eq!(blocks, taken);
    }
}
