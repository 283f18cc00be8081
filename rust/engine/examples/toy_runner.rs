//! A toy model behind the engine: what a runner does with the columns of a step.
//!
//! The "model" adds up everything that it finds of a sequence in the KV cache, so a wrong slot or
//! block would give another answer.
//!
//! Run it with: cargo run -p streamcore-engine --example toy_runner

#![allow(clippy::print_stdout)]

use std::error::Error;

use streamcore_engine::{
    Engine, EngineConfig, EventKind, OwnedStepBuffers, Request, RequestId, Scores, StepPlan,
};

const BLOCK_SIZE: usize = 4;
const NUM_BLOCKS: usize = 32;
const VOCAB: i32 = 97;

/// A runner's memory on its device.
struct ToyModel {
    /// One number in each slot, where a model has keys and values.
    kv_cache: Vec<i32>,
    /// `[max_num_seqs, max_blocks_per_seq]`
    block_tables: Vec<i32>,
    max_blocks_per_seq: usize,
}

impl ToyModel {
    fn new(config: &EngineConfig) -> Self {
        let max_blocks_per_seq = config.max_blocks_per_seq();
        Self {
            kv_cache: vec![0; NUM_BLOCKS * BLOCK_SIZE],
            block_tables: vec![0; config.max_num_seqs * max_blocks_per_seq],
            max_blocks_per_seq,
        }
    }

    /// Carries out a step and returns the drawn token of each sample.
    fn forward(&mut self, plan: &StepPlan, columns: &OwnedStepBuffers) -> Vec<i32> {
        let updates = columns.block_places.iter().zip(&columns.block_ids).take(plan.num_block_updates);
        for (place, block) in updates {
            self.block_tables[*place as usize] = *block;
        }
        for (slot, token) in columns.slot_mapping.iter().zip(&columns.token_ids).take(plan.num_tokens) {
            self.kv_cache[*slot as usize] = *token;
        }
        let draw = |sample: usize| {
            let token = columns.logits_indices[sample] as usize;
            let row = columns.sample_rows[sample] as usize;
            (0..=columns.positions[token] as usize)
                .map(|position| (position as i32 + 1) * self.kv_cache[self.slot(row, position)])
                .sum::<i32>()
                % VOCAB
        };
        (0..plan.num_samples).map(draw).collect()
    }

    /// Returns where the number of a position lies.
    fn slot(&self, row: usize, position: usize) -> usize {
        let block = self.block_tables[row * self.max_blocks_per_seq + position / BLOCK_SIZE];
        block as usize * BLOCK_SIZE + position % BLOCK_SIZE
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let config = EngineConfig {
        block_size: BLOCK_SIZE,
        num_blocks: NUM_BLOCKS,
        max_num_batched_tokens: 16,
        max_num_seqs: 4,
        max_model_len: 64,
        max_steps_in_flight: 1,
        enable_prefix_caching: true,
        capture_sizes: Vec::new(),
        target_itl: None,
        min_prefill_share: 0,
        num_mask_words: 0,
    };
    let (mut model, mut columns) = (ToyModel::new(&config), OwnedStepBuffers::new(&config));
    let (mut engine, mut events) = (Engine::new(config)?, Vec::new());
    for (id, prompt) in (0..).zip([vec![1, 2, 3], (10..30).collect(), vec![1, 2, 3, 4]]) {
        engine.add_request(Request { stop_token_ids: vec![0], ..Request::new(RequestId(id), prompt, 8) })?;
    }
    while let Some(plan) = engine.schedule(&mut columns.borrow()) {
        let drawn = model.forward(&plan, &columns);
        engine.complete(plan.id, &drawn, Scores::default())?;
        engine.drain_events(&mut events);
        for event in events.drain(..) {
            match event.kind {
                EventKind::Token { token, .. } => println!("request {}: {token}", event.request_id.0),
                EventKind::Finished { reason, .. } => println!("request {}: {reason:?}", event.request_id.0),
                _ => {}
            }
        }
    }
    Ok(())
}
