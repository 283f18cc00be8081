//! All blocks of the KV cache: how many hold each, which are free, and which free ones still hold a
//! prefix worth finding.

use super::block::BlockId;
use super::free_list::FreeList;
use super::prefix_cache::{Prefix, PrefixCache};
use super::prefix_hash::PrefixHash;
use crate::planted::{Bug, has};

/// Hands out blocks and counts their holders. A block without a holder is free; if it is cached it
/// can still be found, until it is handed out again.
#[derive(Debug)]
pub struct BlockPool {
    num_holders: Vec<u32>,
    /// Blocks without content first, then by the time of release.
    free: FreeList,
    cache: Option<PrefixCache>,
}

impl BlockPool {
    /// Returns a pool in which every block is free, and that forgets a block with its release.
    ///
    /// # Panics
    /// If there are more blocks than 32 bits can number;
    /// [`EngineConfig::validate`](crate::EngineConfig::validate) refuses that.
    #[must_use]
    pub fn new(num_blocks: usize) -> Self {
        Self { num_holders: vec![0; num_blocks], free: FreeList::full(num_blocks), cache: None }
    }

    /// Returns a pool that remembers what its blocks hold.
    ///
    /// # Panics
    /// Like [`Self::new`].
    #[must_use]
    pub fn with_prefix_cache(num_blocks: usize, block_size: usize) -> Self {
        Self { cache: Some(PrefixCache::new(num_blocks, block_size)), ..Self::new(num_blocks) }
    }

    /// Returns the number of blocks in the pool, free or not.
    #[must_use]
    pub fn num_blocks(&self) -> usize {
        self.num_holders.len()
    }

    /// Returns the number of blocks that can be taken now.
    #[must_use]
    pub fn num_free(&self) -> usize {
        self.free.len()
    }

    /// Returns the blocks that can be taken now, in the order in which they will be.
    pub fn free_blocks(&self) -> impl Iterator<Item = BlockId> {
        self.free.iter()
    }

    /// Returns the number of holders of a block.
    #[must_use]
    pub fn num_holders(&self, block: BlockId) -> usize {
        self.num_holders[block.0 as usize] as usize
    }

    /// Returns the cache, unless the pool has none.
    #[must_use]
    pub fn cache(&self) -> Option<&PrefixCache> {
        self.cache.as_ref()
    }

    /// Takes free blocks, forgetting their content, and appends them to `blocks`. Returns `false`
    /// and takes none if there are too few.
    pub fn take(&mut self, num_blocks: usize, blocks: &mut Vec<BlockId>) -> bool {
        if num_blocks > self.num_free() {
            return false;
        }
        for _ in 0..num_blocks {
            let block = self.free.pop_front().expect("the free blocks were counted");
            if let Some(cache) = self.cache.as_mut().filter(|_| !has(Bug::StaleHit)) {
                cache.remove(block);
            }
            self.num_holders[block.0 as usize] = 1;
            blocks.push(block);
        }
        true
    }

    /// Adds a holder to a block, free or not, whose content is to be used.
    pub fn hold(&mut self, block: BlockId) {
        let num_holders = &mut self.num_holders[block.0 as usize];
        if *num_holders == 0 && !has(Bug::EarlyEviction) {
            self.free.remove(block);
        }
        *num_holders += 1;
    }

    /// Ends the hold on each of a sequence's blocks, emptying `blocks`. The last ones go first, and
    /// so they are handed out before the beginning of the sequence, which others may share. No step
    /// in flight may use them on the holder's behalf.
    pub fn give_back(&mut self, blocks: &mut Vec<BlockId>) {
        for block in blocks.drain(..).rev() {
            let num_holders = &mut self.num_holders[block.0 as usize];
            *num_holders -= 1;
            *num_holders -= u32::from(has(Bug::DoubleFree) && *num_holders > 0);
            if *num_holders > 0 {
                continue;
            }
            if self.cache.as_ref().is_some_and(|cache| cache.contains(block)) {
                self.free.push_back(block);
            } else {
                self.free.push_front(block);
            }
        }
    }

    /// Returns the block that holds these tokens after this prefix, and the prefix that it
    /// completes.
    #[must_use]
    pub fn find(&self, hash: PrefixHash, prefix: Prefix, tokens: &[u32]) -> Option<(BlockId, Prefix)> {
        self.cache.as_ref()?.find(hash, prefix, tokens)
    }

    /// Takes a block out of the prefix cache.
    pub fn disown(&mut self, block: BlockId) {
        if let Some(cache) = &mut self.cache {
            cache.remove(block);
        }
    }

    /// Adds a full block to the prefix cache and returns the prefix that it completes. If another
    /// block holds the same tokens, that one remains the one found.
    pub fn remember(&mut self, block: BlockId, hash: PrefixHash, prefix: Prefix, tokens: &[u32]) -> Prefix {
        let Some(cache) = &mut self.cache else { return prefix };
        match cache.find(hash, prefix, tokens) {
            Some((_, completed)) => completed,
            None => cache.insert(block, hash, prefix, tokens),
        }
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
    fn blocks_without_content_come_back_and_are_used_again_first() {
        // A block that is not reused while it is warm costs a cache miss at each step of the next
        // request.
        let mut pool = BlockPool::new(4);
        let mut blocks = Vec::new();
        assert!(pool.take(2, &mut blocks));
        let taken = blocks.clone();
        pool.give_back(&mut blocks);
        assert_eq!((pool.num_free(), pool.num_blocks()), (4, 4));
        assert!(pool.take(2, &mut blocks));
        assert_eq!(blocks, taken);
    }

    #[test]
    fn the_beginning_of_a_sequence_outlives_its_end() {
        // A system prompt that all requests share would be evicted before answers of no further
        // use.
        let mut pool = BlockPool::with_prefix_cache(3, 1);
        let mut blocks = Vec::new();
        assert!(pool.take(3, &mut blocks));
        let (mut hash, mut prefix) = (PrefixHash::root(0), Prefix::Salt(0));
        for (block, token) in blocks.iter().zip([[10], [11], [12]]) {
            hash = hash.then(&token);
            prefix = pool.remember(*block, hash, prefix, &token);
        }
        pool.give_back(&mut blocks);
        assert!(pool.take(2, &mut blocks));
        assert_eq!(blocks, [BlockId(2), BlockId(1)]);
        let first = PrefixHash::root(0).then(&[10]);
        let (found, completed) = pool.find(first, Prefix::Salt(0), &[10]).unwrap();
        assert_eq!(found, BlockId(0));
        assert_eq!(pool.find(first.then(&[11]), completed, &[11]), None, "handed out, so forgotten");
    }

    #[test]
    fn a_block_is_free_when_its_last_holder_lets_go() {
        // Freed with its first holder, it would be overwritten under the others.
        let mut pool = BlockPool::with_prefix_cache(2, 1);
        let mut blocks = Vec::new();
        assert!(pool.take(1, &mut blocks));
        let mut shared = blocks.clone();
        pool.hold(shared[0]);
        pool.give_back(&mut blocks);
        assert_eq!((pool.num_free(), pool.num_holders(shared[0])), (1, 1));
        pool.give_back(&mut shared);
        assert_eq!(pool.num_free(), 2);
    }
}
