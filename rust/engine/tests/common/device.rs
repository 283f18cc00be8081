//! A device that believes nothing: it stores what a plan says where the plan says it, reads every context back through the block
//! tables, and compares each column with the others.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;

use streamcore_engine::{EngineConfig, OwnedStepBuffers, StepId, StepPlan};

use super::model::{Draw, next_token};

/// One sequence's part of a step.
#[derive(Debug)]
struct Part {
    start: usize,
    end: usize,
    blocks: Vec<i32>,
    /// The indices of its tokens in the step.
    tokens: Range<usize>,
}

/// What the keys and values of a token depend on: the token, its position, and all tokens before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    position: usize,
    token: i32,
    prefix: u64,
}

#[derive(Debug)]
struct Step {
    id: StepId,
    parts: Vec<Part>,
    sampled: Vec<i32>,
}

/// A KV memory with what was written to each slot, and the last drawn token per row.
#[derive(Debug)]
pub(crate) struct ShadowDevice {
    config: EngineConfig,
    slots: Vec<Option<Slot>>,
    row_tokens: Vec<i32>,
    in_flight: VecDeque<Step>,
}

impl ShadowDevice {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        Self {
            slots: vec![None; config.num_blocks * config.block_size],
            row_tokens: vec![-1; config.max_num_seqs],
            in_flight: VecDeque::new(),
            config: config.clone(),
        }
    }

    pub(crate) fn num_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Runs a plan. Its tokens stay on the device until [`Self::finish_oldest`].
    pub(crate) fn launch(&mut self, plan: &StepPlan, columns: &OwnedStepBuffers) {
        self.check_sizes(plan, columns);
        let parts: Vec<Part> = (0..plan.num_seqs).map(|index| self.read_part(index, plan, columns)).collect();
        self.check_writes(&parts);
        self.write_tokens(&parts, plan, columns);
        let sampled =
            (0..plan.num_samples).map(|index| self.sample(index, &parts, columns)).collect::<Vec<_>>();
        for (row, token) in columns.sample_rows.iter().zip(&sampled) {
            self.row_tokens[*row as usize] = *token;
        }
        self.in_flight.push_back(Step { id: plan.id, parts, sampled });
    }

    /// Hands the tokens of the oldest step to the host.
    pub(crate) fn finish_oldest(&mut self) -> Option<(StepId, Vec<i32>)> {
        self.in_flight.pop_front().map(|step| (step.id, step.sampled))
    }

    fn check_sizes(&self, plan: &StepPlan, columns: &OwnedStepBuffers) {
        assert!((1..=self.config.max_num_batched_tokens).contains(&plan.num_tokens), "{plan:?}");
        assert!((1..=self.config.max_num_seqs).contains(&plan.num_seqs), "{plan:?}");
        assert_eq!(columns.query_starts[0], 0);
        assert_eq!(columns.query_starts[plan.num_seqs] as usize, plan.num_tokens);
        let lens = columns.query_starts[..=plan.num_seqs].windows(2).map(|pair| pair[1] - pair[0]);
        assert_eq!(lens.clone().max(), Some(plan.max_query_len as i32));
        assert!(lens.min() > Some(0), "a sequence takes part with no token");
        let max_context_len = columns.context_lens[..plan.num_seqs].iter().max();
        assert_eq!(max_context_len, Some(&(plan.max_context_len as i32)));
        assert_eq!(plan.block_table_stride, plan.max_context_len.div_ceil(self.config.block_size));
        let slots: HashSet<i64> = columns.slot_mapping[..plan.num_tokens].iter().copied().collect();
        assert_eq!(slots.len(), plan.num_tokens, "two tokens go to one slot");
        let rows: HashSet<i32> = columns.sample_rows[..plan.num_samples].iter().copied().collect();
        assert_eq!(rows.len(), plan.num_samples, "two samples go to one row");
    }

    fn read_part(&self, index: usize, plan: &StepPlan, columns: &OwnedStepBuffers) -> Part {
        let block_size = self.config.block_size;
        let tokens = columns.query_starts[index] as usize..columns.query_starts[index + 1] as usize;
        let start = columns.positions[tokens.start] as usize;
        let end = columns.context_lens[index] as usize;
        assert_eq!(end, start + tokens.len(), "a context ends with the step's last token");
        let table = &columns.block_tables[index * plan.block_table_stride..][..plan.block_table_stride];
        let (blocks, padding) = table.split_at(end.div_ceil(block_size));
        assert!(padding.iter().all(|block| *block == 0), "rows are padded with 0");
        for (token, position) in tokens.clone().zip(start..end) {
            assert_eq!(columns.positions[token] as usize, position);
            let slot = blocks[position / block_size] as usize * block_size + position % block_size;
            assert_eq!(columns.slot_mapping[token] as usize, slot, "slot of position {position}");
        }
        Part { start, end, blocks: blocks.to_vec(), tokens }
    }

    /// Sequences may share what they read, but nothing is written that a step in flight uses. The steps of one sequence are no exception:
    /// each goes on where the one before it ended.
    fn check_writes(&self, parts: &[Part]) {
        let older = self.in_flight.iter().flat_map(|step| &step.parts);
        let in_use: HashSet<usize> =
            older.flat_map(|part| (0..part.end).map(|position| self.slot(part, position))).collect();
        for part in parts {
            let mut written = (part.start..part.end).map(|position| self.slot(part, position));
            assert!(
                written.all(|slot| !in_use.contains(&slot)),
                "{part:?} writes to what a step in flight uses"
            );
        }
    }

    /// As a model does it layer by layer: what stands before a token may have been written by this very step.
    fn write_tokens(&mut self, parts: &[Part], plan: &StepPlan, columns: &OwnedStepBuffers) {
        let mut token_ids = columns.token_ids[..plan.num_tokens].to_vec();
        for index in 0..plan.num_device_tokens {
            let token = columns.device_token_indices[index] as usize;
            assert_eq!(token_ids[token], 0, "a token that only the device knows");
            token_ids[token] = self.row_tokens[columns.device_token_rows[index] as usize];
        }
        for part in parts {
            for (index, position) in part.tokens.clone().zip(part.start..) {
                let before = position.checked_sub(1).map_or(0, |before| self.read(part, before).prefix);
                let token = token_ids[index];
                let written = Slot { position, token, prefix: prefix_after(before, token) };
                self.slots[columns.slot_mapping[index] as usize] = Some(written);
            }
        }
    }

    fn sample(&self, index: usize, parts: &[Part], columns: &OwnedStepBuffers) -> i32 {
        let last_token = columns.logits_indices[index];
        let sequence = columns.query_starts[1..=parts.len()].iter().position(|end| *end == last_token + 1);
        let part = &parts[sequence.expect("a sample follows the last token of a sequence")];
        let context: Vec<i32> = self.read_context(part);
        let draw = Draw {
            temperature: columns.temperature[index],
            top_p: columns.top_p[index],
            top_k: columns.top_k[index],
            uniform: columns.uniform[index],
        };
        next_token(&context, draw)
    }

    /// The tokens of a context, each of which must have been computed after all those before it.
    fn read_context(&self, part: &Part) -> Vec<i32> {
        let mut prefix = 0;
        let read = |position| {
            let slot = self.read(part, position);
            prefix = prefix_after(prefix, slot.token);
            assert_eq!(slot.prefix, prefix, "position {position} was computed after other tokens");
            slot.token
        };
        (0..part.end).map(read).collect()
    }

    fn read(&self, part: &Part, position: usize) -> Slot {
        let slot = self.slots[self.slot(part, position)].expect("a context is read before it is written");
        assert_eq!(slot.position, position, "the slot holds another position");
        slot
    }

    fn slot(&self, part: &Part, position: usize) -> usize {
        let block_size = self.config.block_size;
        part.blocks[position / block_size] as usize * block_size + position % block_size
    }
}

fn prefix_after(before: u64, token: i32) -> u64 {
    (before ^ token as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ 1
}

/// Fills every column with nonsense, so that a value left over from an older step cannot pass for a written one.
pub(crate) fn poison(columns: &mut OwnedStepBuffers) {
    let borrowed = columns.borrow();
    for column in [borrowed.token_ids, borrowed.positions, borrowed.query_starts, borrowed.context_lens] {
        column.fill(-7);
    }
    for column in [borrowed.block_tables, borrowed.logits_indices, borrowed.sample_rows, borrowed.top_k] {
        column.fill(-7);
    }
    for column in [borrowed.device_token_indices, borrowed.device_token_rows] {
        column.fill(-7);
    }
    for column in [borrowed.temperature, borrowed.top_p, borrowed.uniform] {
        column.fill(f32::NAN);
    }
    borrowed.slot_mapping.fill(-7);
}
