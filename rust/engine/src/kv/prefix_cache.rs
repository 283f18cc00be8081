//! A table from prefixes to the blocks that hold their keys and values.
//!
//! ```text
//! salt ◄──prefix── block 7 ◄──prefix── block 2 ◄──prefix── block 5
//!                  [t0..t4)            [t4..t8)            [t8..t12)
//!                          ◄──prefix── block 9
//!                                      [u4..u8)            another continuation of block 7
//! ```
//!
//! An entry is found by the hash of its whole prefix, and taken only if its own tokens are equal
//! and the entry before it is the one that the search came through. By induction every token before
//! it is equal too: a collision of hashes costs a comparison, never an answer.

use super::block::BlockId;
use super::prefix_hash::PrefixHash;

/// The prefix before a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// Nothing: the block is the first of a sequence with this salt.
    Salt(u64),
    /// The entry of this number. Numbers are never used twice, so what came after an entry is not
    /// found again once it is gone.
    Entry(u64),
}

/// A table of blocks by prefix. Buckets of entries that are chained through an array: no operation
/// allocates.
#[derive(Debug)]
pub struct PrefixCache {
    block_size: usize,
    /// The first entry of each bucket; a power of two of them.
    buckets: Vec<u32>,
    /// One place per block.
    entries: Vec<Entry>,
    /// The tokens of each block, `[num_blocks, block_size]`.
    tokens: Vec<u32>,
    num_inserted: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: PrefixHash,
    prefix: Prefix,
    number: u64,
    /// The next entry of the bucket.
    next: u32,
}

/// No block.
const NONE: u32 = u32::MAX;
/// The number of no entry.
const ABSENT: u64 = 0;

impl PrefixCache {
    /// Returns an empty cache.
    #[must_use]
    pub fn new(num_blocks: usize, block_size: usize) -> Self {
        let absent = Entry { hash: PrefixHash::root(0), prefix: Prefix::Salt(0), number: ABSENT, next: NONE };
        Self {
            block_size,
            buckets: vec![NONE; num_blocks.next_power_of_two()],
            entries: vec![absent; num_blocks],
            tokens: vec![0; num_blocks * block_size],
            num_inserted: 0,
        }
    }

    /// Returns the block that holds these tokens after this prefix, and the prefix that it
    /// completes. `hash` must be that of both.
    #[must_use]
    pub fn find(&self, hash: PrefixHash, prefix: Prefix, tokens: &[u32]) -> Option<(BlockId, Prefix)> {
        let mut id = self.buckets[self.bucket(hash)];
        while id != NONE {
            let entry = &self.entries[id as usize];
            let is_equal = entry.hash == hash && entry.prefix == prefix;
            if is_equal && self.tokens(BlockId(id)) == tokens {
                return Some((BlockId(id), Prefix::Entry(entry.number)));
            }
            id = entry.next;
        }
        None
    }

    /// Remembers a block that is not in the cache, under a prefix and tokens that are
    /// [found](Self::find) nowhere. Returns the prefix that it completes.
    pub fn insert(&mut self, block: BlockId, hash: PrefixHash, prefix: Prefix, tokens: &[u32]) -> Prefix {
        debug_assert!(!self.contains(block), "{block:?} is cached already");
        let (bucket, index) = (self.bucket(hash), block.0 as usize);
        self.num_inserted += 1;
        let number = self.num_inserted;
        self.entries[index] = Entry { hash, prefix, number, next: self.buckets[bucket] };
        self.buckets[bucket] = block.0;
        self.tokens[index * self.block_size..][..self.block_size].copy_from_slice(tokens);
        Prefix::Entry(number)
    }

    /// Forgets a block, if it is in the cache.
    pub fn remove(&mut self, block: BlockId) {
        if !self.contains(block) {
            return;
        }
        let Entry { hash, next, .. } = self.entries[block.0 as usize];
        self.entries[block.0 as usize].number = ABSENT;
        let bucket = self.bucket(hash);
        if self.buckets[bucket] == block.0 {
            self.buckets[bucket] = next;
            return;
        }
        let mut before = self.buckets[bucket] as usize;
        while self.entries[before].next != block.0 {
            before = self.entries[before].next as usize;
        }
        self.entries[before].next = next;
    }

    /// Returns whether the block is in the cache.
    #[must_use]
    pub fn contains(&self, block: BlockId) -> bool {
        self.entries[block.0 as usize].number != ABSENT
    }

    /// Returns the tokens that a cached block holds.
    #[must_use]
    pub fn tokens(&self, block: BlockId) -> &[u32] {
        &self.tokens[block.0 as usize * self.block_size..][..self.block_size]
    }

    fn bucket(&self, hash: PrefixHash) -> usize {
        hash.low_bits() as usize & (self.buckets.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: PrefixHash = PrefixHash([1, 2]);

    #[test]
    fn a_collision_of_hashes_gives_nobody_anothers_block() {
        // Two prompts with one hash would share blocks, and one would get the other's answer.
        let mut cache = PrefixCache::new(4, 2);
        let salt = Prefix::Salt(0);
        let first = cache.insert(BlockId(0), HASH, salt, &[1, 2]);
        assert_eq!(cache.find(HASH, salt, &[1, 3]), None, "other tokens");
        assert_eq!(cache.find(HASH, Prefix::Salt(1), &[1, 2]), None, "another salt");
        let other = cache.insert(BlockId(1), HASH, salt, &[1, 3]);
        cache.insert(BlockId(2), HASH, first, &[5, 6]);
        assert_eq!(cache.find(HASH, other, &[5, 6]), None, "equal tokens after another block");
        assert_eq!(cache.find(HASH, salt, &[1, 2]), Some((BlockId(0), first)));
        assert_eq!(cache.find(HASH, salt, &[1, 3]), Some((BlockId(1), other)));
    }

    #[test]
    fn a_block_is_forgotten_wherever_it_stands_in_its_bucket() {
        // A block that is handed out again but still found gives a new request the remains of an
        // old one.
        for removed in 0..3 {
            let mut cache = PrefixCache::new(3, 1);
            for id in 0..3 {
                cache.insert(BlockId(id), HASH, Prefix::Salt(0), &[id]);
            }
            cache.remove(BlockId(removed));
            cache.remove(BlockId(removed));
            for id in 0..3 {
                let found = cache.find(HASH, Prefix::Salt(0), &[id]).map(|(block, _)| block);
                assert_eq!(found, (id != removed).then_some(BlockId(id)));
            }
        }
    }
}
