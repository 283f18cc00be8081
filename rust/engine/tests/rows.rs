//! What plans tell of the rows of sequences: what is new, once. That it is always enough, the
//! shadow device sees in every test.
#![allow(clippy::unwrap_used)]

mod common;

use common::story::Story;
use common::{config, request};
use streamcore_engine::EngineConfig;

/// Returns the beginning of a column of places or rows.
fn told(column: &[i32], len: usize) -> Vec<usize> {
    column[..len].iter().map(|number| *number as usize).collect()
}

#[test]
fn a_decode_tells_nothing_but_the_block_that_it_begins() {
    // Rewriting every table and every parameter in every step would make a step of long contexts
    // cost as much as its blocks.
    for depth in [1, 2] {
        let mut story = Story::new(EngineConfig { max_steps_in_flight: depth, ..config() });
        for id in 0..2 {
            story.add(&request(id, 6, 8));
        }
        let plan = story.launch().unwrap();
        let rows = told(&story.columns.new_rows, plan.num_new_rows);
        assert_eq!(rows, [0, 1], "both enter");
        assert_eq!(told(&story.columns.block_places, plan.num_block_updates), [0, 1, 16, 17]);
        let mut updates = vec![];
        while story.engine.has_work() {
            while let Some(plan) = story.launch() {
                assert_eq!(plan.num_new_rows, 0);
                assert_eq!(told(&story.columns.seq_rows, plan.num_seqs), rows);
                updates.push(told(&story.columns.block_places, plan.num_block_updates));
            }
            story.complete();
        }
        // Tokens at positions 6 to 12, in blocks of four.
        let [boundary, third] = [vec![2, 18], vec![3, 19]];
        assert_eq!(updates, [vec![], vec![], boundary, vec![], vec![], vec![], third], "at depth {depth}");
    }
}

#[test]
fn a_chunk_tells_the_blocks_of_its_own_tokens() {
    // A plan with all blocks of a long prompt at once would make the first of its steps slow
    // for all others.
    let mut story = Story::new(EngineConfig { max_num_batched_tokens: 8, ..config() });
    story.add(&request(0, 20, 1));
    let updates: Vec<_> = std::iter::from_fn(|| {
        let plan = story.launch()?;
        story.complete();
        Some((plan.num_new_rows, told(&story.columns.block_places, plan.num_block_updates)))
    })
    .collect();
    assert_eq!(updates, [(1, vec![0, 1]), (0, vec![2, 3]), (0, vec![4])]);
}

#[test]
fn a_sequence_that_comes_back_is_told_anew() {
    // Its old row has another sequence by then: with that one's blocks or temperature it would go
    // on in a stranger's conversation.
    for depth in [1, 2] {
        let mut story = Story::new(EngineConfig { num_blocks: 5, max_steps_in_flight: depth, ..config() });
        let requests = [request(0, 7, 9), request(1, 7, 9)];
        requests.iter().for_each(|request| story.add(request));
        let mut new_rows = vec![];
        while story.engine.has_work() {
            while let Some(plan) = story.launch() {
                new_rows.extend(told(&story.columns.new_rows, plan.num_new_rows));
            }
            story.complete();
        }
        let num_preemptions = story.engine.stats().preemptions as usize;
        assert!(num_preemptions > 0);
        assert_eq!(new_rows.len(), 2 + num_preemptions, "at depth {depth}");
        requests.iter().for_each(|request| story.assert_served(request));
    }
}

#[test]
fn single_tokens_are_filled_up_to_a_captured_size() {
    // A graph runs for the size that it was captured for: one sequence more or less is another
    // shape.
    let mut story = Story::new(EngineConfig { capture_sizes: vec![2, 4], ..config() });
    let mut sizes = vec![];
    for id in 0..5 {
        story.add(&request(id, 3, 30));
        sizes.push([(); 2].map(|()| {
            let plan = story.launch().unwrap();
            story.complete();
            (plan.num_seqs, plan.num_padding)
        }));
    }
    let expected = [[(1, 0), (1, 1)], [(2, 0), (2, 0)], [(3, 0), (3, 1)], [(4, 0), (4, 0)], [(5, 0), (5, 0)]];
    assert_eq!(sizes, expected, "a prompt, then single tokens");
}
