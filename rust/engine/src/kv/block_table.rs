//! The blocks of one sequence, in the order of its tokens.

use super::block::BlockId;
use super::block_pool::BlockPool;
use super::prefix_cache::Prefix;
use super::prefix_hash::PrefixHash;
use crate::planted::{Bug, has};

/// Maps the positions of one sequence to slots of the KV cache.
///
/// ```text
/// block_size = 4, blocks = [7, 2]
///
/// position   0  1  2  3 | 4  5  6  7
/// slot      28 29 30 31 | 8  9 10 11
/// ```
///
/// A table belongs to one sequence for its life: the tokens given to it only grow.
///
/// The first blocks may be shared with sequences of the same prefix. They are full, so no step
/// writes to them.
#[derive(Debug)]
pub struct BlockTable {
    blocks: Vec<BlockId>,
    block_size: usize,
    salt: u64,
    /// Hash of each full block, as far as computed. Depends on the tokens alone, so it outlives the
    /// blocks.
    hashes: Vec<PrefixHash>,
    /// Leading blocks whose content is in the prefix cache.
    num_remembered: usize,
    /// The prefix that these blocks complete.
    prefix: Prefix,
    /// Why the sequence could not enter the last time. Boxed: running sequences have none, and
    /// every step walks over them.
    shortage: Option<Box<Shortage>>,
}

/// A shortage of free blocks that kept a sequence waiting.
#[derive(Debug)]
struct Shortage {
    /// Free blocks that it wanted.
    num_wanted: usize,
    /// Number of leading blocks found, the first free one among them, and the prefix that they
    /// complete.
    num_found: usize,
    first_found_free: Option<BlockId>,
    prefix: Prefix,
}

impl BlockTable {
    /// Returns a table that holds no blocks yet. Only sequences with the same salt share blocks.
    #[must_use]
    pub fn new(block_size: usize, salt: u64) -> Self {
        let salt = if has(Bug::WrongSalt) { 0 } else { salt };
        let prefix = Prefix::Salt(salt);
        Self {
            blocks: Vec::new(),
            block_size,
            salt,
            hashes: Vec::new(),
            num_remembered: 0,
            prefix,
            shortage: None,
        }
    }

    /// Returns the blocks, in the order of the tokens in them.
    #[must_use]
    pub fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }

    /// Returns the number of blocks that hold this many tokens.
    #[must_use]
    pub fn num_blocks_for(&self, num_tokens: usize) -> usize {
        num_tokens.div_ceil(self.block_size)
    }

    /// Returns the number of tokens that fit into the blocks held now.
    #[must_use]
    pub fn num_slots(&self) -> usize {
        self.blocks.len() * self.block_size
    }

    /// Reserves memory for a table of this many tokens, but no blocks.
    pub fn reserve(&mut self, num_tokens: usize) {
        let num_blocks = self.num_blocks_for(num_tokens);
        self.blocks.reserve(num_blocks.saturating_sub(self.blocks.len()));
        self.hashes.reserve(num_blocks.saturating_sub(self.hashes.len()));
    }

    /// Returns the number of blocks that must be added before the table holds this many tokens.
    #[must_use]
    pub fn num_missing(&self, num_tokens: usize) -> usize {
        if num_tokens <= self.num_slots() {
            return 0;
        }
        self.num_blocks_for(num_tokens) - self.blocks.len()
    }

    /// Takes the blocks missing for this many tokens. Returns `false` and takes none if there are
    /// too few.
    pub fn grow(&mut self, num_tokens: usize, pool: &mut BlockPool) -> bool {
        pool.take(self.num_missing(num_tokens), &mut self.blocks)
    }

    /// Takes all blocks of a sequence that holds none: with `finds_prefix` the cached blocks of its
    /// prefix, and free ones for the rest. Returns `None` and takes none unless `num_spared` free
    /// blocks remain.
    ///
    /// Returns the number of cached tokens, without the last token: computing it draws the next.
    pub fn enter(
        &mut self,
        tokens: &[u32],
        finds_prefix: bool,
        num_spared: usize,
        pool: &mut BlockPool,
    ) -> Option<usize> {
        if self.shortage.as_ref().is_some_and(|shortage| self.lasts(shortage, tokens, num_spared, pool)) {
            return None;
        }
        if finds_prefix && pool.cache().is_some() {
            self.find_prefix(&tokens[..tokens.len() - 1], pool);
        }
        let is_free = |block: &BlockId| pool.num_holders(*block) == 0;
        let first_found_free = self.blocks.iter().copied().find(is_free);
        let num_found_free = self.blocks.iter().filter(|block| is_free(block)).count();
        let num_missing = self.num_missing(tokens.len());
        let num_wanted = num_found_free + num_missing;
        if num_wanted + num_spared > pool.num_free() {
            let (num_found, prefix) = (self.blocks.len(), self.prefix);
            self.shortage = Some(Box::new(Shortage { num_wanted, num_found, first_found_free, prefix }));
            self.blocks.clear();
            self.forget();
            return None;
        }
        self.shortage = None;
        let num_cached = self.num_slots();
        self.blocks.iter().for_each(|block| pool.hold(*block));
        pool.take(num_missing, &mut self.blocks);
        Some(num_cached)
    }

    /// Returns whether a shortage lasts: too few blocks are free, the found prefix has not grown,
    /// and its free blocks have no new holder. Two lookups instead of one per block.
    fn lasts(&self, shortage: &Shortage, tokens: &[u32], num_spared: usize, pool: &BlockPool) -> bool {
        let next = tokens[..tokens.len() - 1].chunks_exact(self.block_size).nth(shortage.num_found);
        let is_found =
            |(tokens, hash): (&[u32], &PrefixHash)| pool.find(*hash, shortage.prefix, tokens).is_some();
        let finds_more = next.zip(self.hashes.get(shortage.num_found)).is_some_and(is_found);
        // A holder of one block of a prefix holds those before it, so the first stands for all.
        let needs_less = shortage.first_found_free.is_some_and(|block| pool.num_holders(block) > 0);
        shortage.num_wanted + num_spared > pool.num_free() && !finds_more && !needs_less
    }

    /// Returns the number of free blocks that a sequence without blocks needs to
    /// [enter](Self::enter).
    pub fn num_wanted(&mut self, tokens: &[u32], finds_prefix: bool, pool: &mut BlockPool) -> usize {
        // Sparing every block keeps it from entering, but finds the prefix.
        self.enter(tokens, finds_prefix, pool.num_blocks(), pool);
        self.shortage.as_ref().map_or(0, |shortage| shortage.num_wanted)
    }

    /// Puts the cached blocks of the prefix of `tokens` into the table, not yet held.
    fn find_prefix(&mut self, tokens: &[u32], pool: &BlockPool) {
        self.hash_all(tokens);
        for (block_tokens, hash) in tokens.chunks_exact(self.block_size).zip(&self.hashes) {
            let Some((block, completed)) = pool.find(*hash, self.prefix, block_tokens) else { return };
            self.blocks.push(block);
            self.prefix = completed;
            self.num_remembered += 1;
        }
    }

    /// Adds the blocks filled by `tokens`, the sequence's first, to the prefix cache. Steps planned
    /// up to this one must write all of them.
    pub fn remember(&mut self, tokens: &[u32], pool: &mut BlockPool) {
        if pool.cache().is_none() {
            return;
        }
        self.hash_all(tokens);
        let full_blocks = tokens.chunks_exact(self.block_size).zip(&self.hashes).zip(&self.blocks);
        for ((block_tokens, hash), block) in full_blocks.skip(self.num_remembered) {
            self.prefix = pool.remember(*block, *hash, self.prefix, block_tokens);
            self.num_remembered += 1;
        }
    }

    /// Removes the sequence's blocks from the prefix cache, whichever sequence computed them. They
    /// stay in the table.
    pub fn disown(&mut self, pool: &mut BlockPool) {
        self.blocks[..self.num_remembered].iter().for_each(|block| pool.disown(*block));
    }

    /// Returns the number of leading blocks whose content is in the prefix cache.
    #[must_use]
    pub fn num_remembered(&self) -> usize {
        self.num_remembered
    }

    /// Hashes the full blocks of these tokens that are not hashed yet.
    fn hash_all(&mut self, tokens: &[u32]) {
        let mut hash = self.hash_of_first(self.hashes.len());
        let blocks = tokens.chunks_exact(self.block_size).skip(self.hashes.len());
        self.hashes.extend(blocks.map(|block| {
            hash = hash.then(block);
            hash
        }));
    }

    /// Returns the hash of the first `num_blocks` blocks, which were hashed earlier.
    fn hash_of_first(&self, num_blocks: usize) -> PrefixHash {
        num_blocks.checked_sub(1).map_or_else(|| PrefixHash::root(self.salt), |last| self.hashes[last])
    }

    /// Releases every block to the pool that it came from.
    pub fn give_back(&mut self, pool: &mut BlockPool) {
        self.blocks
            .truncate(self.blocks.len() - usize::from(has(Bug::LeakedBlock) && !self.blocks.is_empty()));
        pool.give_back(&mut self.blocks);
        self.forget();
    }

    fn forget(&mut self) {
        self.num_remembered = 0;
        self.prefix = Prefix::Salt(self.salt);
    }

    /// Returns the slot of the token at this position.
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
        let table = BlockTable { blocks: vec![BlockId(7), BlockId(2)], ..BlockTable::new(4, 0) };
        let slots: Vec<i64> = (0..8).map(|position| table.slot(position)).collect();
        assert_eq!(slots, [28, 29, 30, 31, 8, 9, 10, 11]);
    }

    #[test]
    fn a_table_grows_only_when_its_last_block_is_full() {
        // A block too many per sequence would halve what fits into the cache of short chats.
        let mut pool = BlockPool::new(4);
        let mut table = BlockTable::new(4, 0);
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

    #[test]
    fn a_sequence_shares_all_full_blocks_but_the_one_of_its_last_token() {
        // With its last token taken from the cache, a request would have no logits to draw its
        // first token from.
        let mut pool = BlockPool::with_prefix_cache(8, 2);
        let [mut first, mut second, mut salted] = [0, 0, 1].map(|salt| BlockTable::new(2, salt));
        let tokens = [1, 2, 3, 4];
        assert_eq!(first.enter(&tokens, true, 0, &mut pool), Some(0));
        first.remember(&tokens, &mut pool);
        assert_eq!(second.enter(&tokens, true, 0, &mut pool), Some(2));
        assert_eq!(second.blocks()[0], first.blocks()[0]);
        assert_ne!(second.blocks()[1], first.blocks()[1]);
        assert_eq!(salted.enter(&tokens, true, 0, &mut pool), Some(0), "another salt shares nothing");
        second.give_back(&mut pool);
        assert_eq!(second.enter(&[1, 2, 3, 4, 5], true, 0, &mut pool), Some(4));
        assert_eq!(pool.num_free(), 8 - 2 - 2 - 1);
    }

    #[test]
    fn a_sequence_that_does_not_fit_takes_nothing() {
        // Blocks that were found but not held could be handed out twice.
        let mut pool = BlockPool::with_prefix_cache(3, 1);
        let mut first = BlockTable::new(1, 0);
        first.enter(&[1, 2], true, 0, &mut pool);
        first.remember(&[1, 2], &mut pool);
        first.give_back(&mut pool);
        let mut large = BlockTable::new(1, 0);
        let entered = large.enter(&[1, 2, 3, 4], true, 0, &mut pool);
        assert_eq!(entered, None, "two found blocks are free ones as well");
        let mut second = BlockTable::new(1, 0);
        assert_eq!(second.enter(&[1, 2, 3], true, 1, &mut pool), None, "none would be left over");
        assert_eq!((second.blocks(), pool.num_free()), (&[][..], 3));
        assert_eq!(second.enter(&[1, 2, 3], true, 0, &mut pool), Some(2));
        assert_eq!(pool.num_free(), 0);
    }

    #[test]
    fn a_sequence_that_did_not_fit_sees_what_others_compute_meanwhile() {
        // It would wait for the blocks of a whole prompt that is in the cache by now.
        let mut pool = BlockPool::with_prefix_cache(5, 1);
        let [mut first, mut second] = [0, 0].map(|salt| BlockTable::new(1, salt));
        let tokens = [1, 2, 3];
        assert_eq!(first.enter(&tokens, true, 0, &mut pool), Some(0));
        first.remember(&tokens[..1], &mut pool);
        assert_eq!(second.enter(&tokens, true, 1, &mut pool), None);
        assert_eq!(second.num_wanted(&tokens, true, &mut pool), 2);
        assert_eq!(second.enter(&tokens, true, 1, &mut pool), None);
        first.remember(&tokens[..2], &mut pool);
        assert_eq!(second.enter(&tokens, true, 1, &mut pool), Some(2));
    }

    #[test]
    fn a_sequence_that_did_not_fit_needs_less_when_others_hold_its_beginning() {
        // It would wait until they are done, although it shares most of its blocks with them.
        let mut pool = BlockPool::with_prefix_cache(6, 1);
        let [mut first, mut other, mut second, mut third] = [(); 4].map(|()| BlockTable::new(1, 0));
        let tokens = [1, 2, 3, 4, 5];
        assert_eq!(first.enter(&tokens[..4], true, 0, &mut pool), Some(0));
        first.remember(&tokens[..3], &mut pool);
        first.give_back(&mut pool);
        assert_eq!(other.enter(&[9, 9], true, 0, &mut pool), Some(0));
        assert_eq!(
            second.enter(&tokens, true, 0, &mut pool),
            None,
            "three found, two more, but four are free"
        );
        assert_eq!(third.enter(&tokens[..4], true, 0, &mut pool), Some(3));
        other.give_back(&mut pool);
        assert_eq!(second.enter(&tokens, true, 0, &mut pool), Some(3));
    }
}
