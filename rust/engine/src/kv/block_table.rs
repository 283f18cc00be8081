//! The blocks of one sequence, in the order of its tokens.

use super::block::BlockId;
use super::block_pool::BlockPool;

/// Maps the positions of one sequence to slots of the KV cache.
///
/// ```text
/// block_size = 4, blocks = [7, 2]
///
/// position   0  1  2  3 | 4  5  6  7
/// slot      28 29 30 31 | 8  9 10 11
/// ```
#[derive(Debug)]
pub struct BlockTable {
    blocks: Vec<BlockId>,
    block_size: usize,
}

impl BlockTable {
    /// A table that holds no blocks yet.
    #[must_use]
    pub fn new(block_size: usize) -> Self {
        Self { blocks: Vec::new(), block_size }
    }

    /// The blocks, in the order of the tokens in them.
    #[must_use]
    pub fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }

    /// Blocks that hold this many tokens.
    #[must_use]
    pub fn num_blocks_for(&self, num_tokens: usize) -> usize {
        num_tokens.div_ceil(self.block_size)
    }

    /// Tokens that fit into the blocks held now.
    #[must_use]
    pub fn num_slots(&self) -> usize {
        self.blocks.len() * self.block_size
    }

    /// Blocks that must be added before the table holds this many tokens.
    #[must_use]
    pub fn num_missing(&self, num_tokens: usize) -> usize {
        if num_tokens <= self.num_slots() {
            return 0;
        }
        self.num_blocks_for(num_tokens) - self.blocks.len()
    }

    /// Takes the blocks that are missing for this many tokens: all of them, or none and the answer `false`.
    pub fn grow(&mut self, num_tokens: usize, pool: &mut BlockPool) -> bool {
        pool.take(self.num_missing(num_tokens), &mut self.blocks)
    }

    /// Gives every block back to the pool that it came from.
    pub fn give_back(&mut self, pool: &mut BlockPool) {
        pool.give_back(&mut self.blocks);
    }

    /// The slot of the token at this position.
    ///
    /// # Panics
    /// If the table holds no block for it.
    #[must_use]
    pub fn slot(&self, position: usize) -> i64 {
        self.blocks[position / self.block_size].slot(position % self.block_size, self.block_size)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_position_maps_into_its_own_block() {
        // A slot that is off by one overwrites another token's key, and the answer turns to noise.
        let table = BlockTable { blocks: vec![BlockId(7), BlockId(2)], block_size: 4 };
        let slots: Vec<i64> = (0..8).map(|position| table.slot(position)).collect();
        assert_eq!(slots, [28, 29, 30, 31, 8, 9, 10, 11]);
    }

    #[test]
    fn a_table_grows_only_when_its_last_block_is_full() {
        // A block too many per sequence would halve what fits into the cache of short chats.
        let mut pool = BlockPool::new(4);
        let mut table = BlockTable::new(4);
        let held: Vec<usize> = [1, 4, 5, 8, 3, 9]
            .map(|num_tokens| {
                assert!(table.grow(num_tokens, &mut pool));
                table.blocks().len()
            })
            .to_vec();
        assert_eq!(held, [1, 1, 2, 2, 2, 3]);
        assert!(!table.grow(17, &mut pool));
        table.give_back(&mut pool);
        assert_eq!((table.blocks().len(), pool.num_free()), (0, 4));
    }
}
