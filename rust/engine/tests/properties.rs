//! Properties of the engine for all inputs. The seed is fixed: a failure here is a failure
//! everywhere.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashSet;

use common::device::{ShadowDevice, poison};
use common::{config, request};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use streamcore_engine::kv::{BlockId, BlockPool, BlockTable};
use streamcore_engine::{Engine, EngineConfig, OwnedStepBuffers, step_columns};

fn fixed(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(fixed(200))]

    #[test]
    fn a_pool_neither_loses_nor_doubles_a_block(
        num_blocks in 1_usize..40,
        takes in vec((0_usize..4, 0_usize..12), 1..60),
    ) {
        // A lost block shrinks the cache until the server is restarted; a doubled one mixes two
        // conversations.
        let mut pool = BlockPool::new(num_blocks);
        let mut held = [const { Vec::<BlockId>::new() }; 4];
        for (holder, num_wanted) in takes {
            let num_free = pool.num_free();
            if num_wanted == 0 {
                pool.give_back(&mut held[holder]);
            } else {
                prop_assert_eq!(pool.take(num_wanted, &mut held[holder]), num_wanted <= num_free);
            }
            let all = || held.iter().flatten().copied().chain(pool.free_blocks());
            prop_assert_eq!(all().count(), num_blocks);
            prop_assert_eq!(all().collect::<HashSet<_>>().len(), num_blocks);
        }
    }

    #[test]
    fn a_table_maps_its_positions_to_slots_of_its_own(
        block_size in 1_usize..20,
        growths in vec((0_usize..3, 1_usize..30), 1..30),
    ) {
        // Two positions in one slot overwrite each other's keys.
        let mut pool = BlockPool::new(40);
        let mut tables = [0; 3].map(|_| BlockTable::new(block_size, 0));
        let mut lens = [0; 3];
        for (index, num_more) in growths {
            if tables[index].grow(lens[index] + num_more, &mut pool) {
                lens[index] += num_more;
            }
            prop_assert_eq!(tables[index].blocks().len(), lens[index].div_ceil(block_size));
        }
        let slots = || tables.iter().zip(lens).flat_map(|(table, len)| (0..len).map(|position| table.slot(position)));
        prop_assert!(slots().all(|slot| (0..40 * block_size as i64).contains(&slot)));
        prop_assert_eq!(slots().collect::<HashSet<_>>().len(), lens.iter().sum::<usize>());
    }

    #[test]
    fn every_plan_fits_its_columns_and_agrees_with_itself(
        (block_size, budget, max_num_seqs, depth) in (1_usize..9, 1_usize..40, 1_usize..9, 1_usize..3),
        capture_size in 1_usize..9,
        lens in vec((1_usize..24, 0_usize..24), 1..10),
    ) {
        // A column written past its end, or one that contradicts another, is a fault in a kernel
        // far away from here.
        let limits = EngineConfig {
            block_size,
            num_blocks: 48_usize.div_ceil(block_size),
            max_num_batched_tokens: budget,
            max_num_seqs,
            max_steps_in_flight: depth,
            capture_sizes: vec![capture_size.min(budget).min(max_num_seqs)],
            ..config()
        };
        let mut columns = OwnedStepBuffers::new(&limits);
        let mut device = ShadowDevice::new(&limits);
        let mut engine = Engine::new(limits).unwrap();
        for (id, (prompt_len, max_tokens)) in (0..).zip(&lens) {
            engine.add_request(request(id, *prompt_len, *max_tokens)).unwrap();
        }
        while engine.has_work() {
            poison(&mut columns);
            while let Some(plan) = engine.schedule(&mut columns.borrow()) {
                device.launch(&plan, &columns); // Compares every column with every other.
            }
            let result = device.finish_oldest().unwrap();
            engine.complete(result.id, &result.sampled, result.scores()).unwrap();
        }
        let num_generated: usize = lens.iter().map(|(_, max_tokens)| max_tokens).sum();
        prop_assert_eq!(engine.stats().generated_tokens, num_generated as u64);
    }
}

#[test]
fn a_runner_can_allocate_the_columns_from_their_list() {
    // A runner that allocates by this list and a list that forgets a column would meet in a crash
    // at the first step.
    let limits = config();
    let columns = OwnedStepBuffers::new(&limits);
    let lens: Vec<(&str, usize)> =
        step_columns(&limits).iter().map(|column| (column.name, column.len)).collect();
    assert_eq!(lens.len(), 35);
    assert_eq!(lens[0], ("token_ids", columns.token_ids.len()));
    assert_eq!(lens[6], ("block_places", columns.block_places.len()));
    assert_eq!((columns.block_places.len(), columns.block_ids.len()), (8 * 16, 8 * 16));
    assert_eq!(lens[3], ("query_starts", 9));
}
