//! Properties of the prefix cache under random use. The seed is fixed: a failure here is a failure
//! everywhere.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use streamcore_engine::kv::{BlockId, BlockPool, BlockTable, Prefix, PrefixCache, PrefixHash};

fn fixed(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(2),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Returns the texts over few tokens, so that many begin alike.
fn text() -> impl Strategy<Value = Vec<u32>> {
    vec(0_u32..2, 1..24)
}

/// The content of a block: a salt, and all tokens up to the block's end.
type Content = (u64, Vec<u32>);

/// Sequences over one pool, and what a device would have in its blocks.
struct Holders {
    block_size: usize,
    pool: BlockPool,
    tables: Vec<(u64, BlockTable, Vec<u32>)>,
    contents: HashMap<BlockId, Content>,
}

impl Holders {
    fn new(num_blocks: usize, block_size: usize) -> Self {
        let table = |salt| (salt, BlockTable::new(block_size, salt), vec![]);
        Self {
            block_size,
            pool: BlockPool::with_prefix_cache(num_blocks, block_size),
            tables: [0, 0, 1, 1].map(table).into(),
            contents: HashMap::new(),
        }
    }

    /// A table takes blocks for this text and computes it. Returns the number of cached tokens.
    fn enter(&mut self, holder: usize, text: &[u32]) -> Option<usize> {
        let (salt, table, tokens) = &mut self.tables[holder];
        let num_cached = table.enter(text, true, 0, &mut self.pool)?;
        for (index, block) in table.blocks().iter().enumerate() {
            let content = (*salt, text[..text.len().min((index + 1) * self.block_size)].to_vec());
            if index < num_cached / self.block_size {
                assert_eq!(self.contents[block], content, "a block of another content was found");
            }
            self.contents.insert(*block, content);
        }
        *tokens = text.to_vec();
        table.remember(text, &mut self.pool);
        Some(num_cached)
    }

    /// A table goes on with these tokens, if there is room.
    fn go_on(&mut self, holder: usize, more: &[u32]) {
        let (salt, table, tokens) = &mut self.tables[holder];
        if tokens.is_empty() || !table.grow(tokens.len() + more.len(), &mut self.pool) {
            return;
        }
        let first_written = tokens.len() / self.block_size;
        tokens.extend_from_slice(more);
        for (index, block) in table.blocks().iter().enumerate().skip(first_written) {
            assert_eq!(self.pool.num_holders(*block), 1, "a shared block is written to");
            let content = (*salt, tokens[..tokens.len().min((index + 1) * self.block_size)].to_vec());
            self.contents.insert(*block, content);
        }
        table.remember(tokens, &mut self.pool);
    }

    /// A table gives up its blocks; the next text is another sequence's.
    fn leave(&mut self, holder: usize) {
        let (salt, table, tokens) = &mut self.tables[holder];
        table.give_back(&mut self.pool);
        *table = BlockTable::new(self.block_size, *salt);
        tokens.clear();
    }

    fn check_counts(&self) {
        let mut num_holders = vec![0; self.pool.num_blocks()];
        let held = self.tables.iter().flat_map(|(_, table, _)| table.blocks());
        held.for_each(|block| num_holders[block.0 as usize] += 1);
        for block in self.pool.free_blocks() {
            assert_eq!(num_holders[block.0 as usize], 0, "{block:?} is free and held");
        }
        let num_free = num_holders.iter().filter(|holders| **holders == 0).count();
        assert_eq!((self.pool.free_blocks().count(), self.pool.num_free()), (num_free, num_free));
        let counted = (0..).map(BlockId).take(num_holders.len()).map(|block| self.pool.num_holders(block));
        assert_eq!(counted.collect::<Vec<_>>(), num_holders);
    }
}

proptest! {
    #![proptest_config(fixed(300))]

    #[test]
    fn the_table_finds_what_a_plain_search_finds(
        operations in vec((0_u32..12, 0_u64..3, 0_usize..6, 0_u32..3), 1..120),
    ) {
        // With hashes that collide all the time: a wrong find mixes conversations, a missed one
        // computes them again.
        let mut cache = PrefixCache::new(12, 1);
        let mut plain: Vec<(BlockId, PrefixHash, Prefix, u32, Prefix)> = vec![];
        for (id, hash, before, token) in operations {
            let (block, hash) = (BlockId(id), PrefixHash::root(hash));
            let prefix = plain.get(before).map_or(Prefix::Salt(before as u64), |entry| entry.4);
            let expected = plain.iter().find(|entry| (entry.1, entry.2, entry.3) == (hash, prefix, token));
            let found = cache.find(hash, prefix, &[token]);
            prop_assert_eq!(found, expected.map(|entry| (entry.0, entry.4)));
            prop_assert_eq!(cache.contains(block), plain.iter().any(|entry| entry.0 == block));
            if cache.contains(block) {
                cache.remove(block);
                plain.retain(|entry| entry.0 != block);
            } else if found.is_none() {
                let completed = cache.insert(block, hash, prefix, &[token]);
                plain.push((block, hash, prefix, token, completed));
            }
        }
    }

    #[test]
    fn a_pool_with_room_finds_the_longest_common_beginning(
        block_size in 1_usize..5,
        texts in vec((0_usize..4, text()), 1..16),
    ) {
        // Every block that is there and not found is computed again, and its client waits for it.
        let mut holders = Holders::new(16 * 24, block_size);
        let mut seen: Vec<Content> = vec![];
        for (holder, text) in texts {
            let salt = holders.tables[holder].0;
            let num_alike = |other: &[u32]| text.iter().zip(other).take_while(|(a, b)| a == b).count();
            let of_salt = seen.iter().filter(|(other, _)| *other == salt);
            let longest = of_salt.map(|(_, other)| num_alike(other)).max().unwrap_or(0).min(text.len() - 1);
            holders.leave(holder);
            prop_assert_eq!(holders.enter(holder, &text), Some(longest / block_size * block_size));
            seen.push((salt, text));
        }
    }

    #[test]
    fn what_is_found_is_what_was_asked_for(
        (num_blocks, block_size) in (1_usize..16, 1_usize..5),
        operations in vec((0_usize..4, 0_u8..4, text()), 1..60),
    ) {
        // In a pool that is always short of blocks: found, held, evicted and written again in any
        // order.
        let mut holders = Holders::new(num_blocks, block_size);
        for (holder, operation, text) in operations {
            match operation {
                0 => holders.leave(holder),
                1 => holders.go_on(holder, &text[..text.len().min(5)]),
                _ => {
                    holders.leave(holder);
                    holders.enter(holder, &text);
                }
            }
            holders.check_counts();
        }
    }
}
