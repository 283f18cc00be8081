//! A device that believes nothing: it stores what a plan says where the plan says it, reads every
//! context back through the blocks that it was told, and compares each column with the others.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;

use streamcore_engine::{
    EngineConfig, OwnedStepBuffers, ROW_PARAMETERS, Scores, StepId, StepPlan, TokenLogprobs,
};

use super::model::{Draw, Parameters, logprobs, next_token, poison_parameters, told_parameters};

/// One sequence's part of a step.
#[derive(Debug)]
struct Part {
    start: usize,
    end: usize,
    blocks: Vec<i32>,
    /// The indices of its tokens in the step.
    tokens: Range<usize>,
}

/// The inputs of a token's keys and values: the token, its position, and all tokens before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    position: usize,
    token: i32,
    prefix: u64,
}

#[derive(Debug)]
struct Step {
    result: StepResult,
    parts: Vec<Part>,
}

/// The results of a step.
#[derive(Debug)]
pub(crate) struct StepResult {
    pub(crate) id: StepId,
    pub(crate) sampled: Vec<i32>,
    logprobs: Vec<f32>,
    top_ids: Vec<i32>,
    top_logprobs: Vec<f32>,
}

impl StepResult {
    pub(crate) fn scores(&self) -> Scores<'_> {
        Scores::new(&self.logprobs, &self.top_ids, &self.top_logprobs).expect("rows of one length")
    }

    fn score(&mut self, told: TokenLogprobs) {
        self.logprobs.push(told.logprob);
        for (id, logprob) in told.top {
            self.top_ids.push(id as i32);
            self.top_logprobs.push(logprob);
        }
    }
}

/// The device's state of a row's sequence.
#[derive(Debug, Clone)]
struct Row {
    /// Its blocks, as far as plans have told them.
    blocks: Vec<Option<i32>>,
    /// The columns with one value per row, as [`Draw`] has them.
    parameters: Parameters,
    last_token: i32,
    counts: Vec<(i32, bool)>,
}

/// A KV memory with what was written to each slot, and what plans have told of each row.
#[derive(Debug)]
pub(crate) struct ShadowDevice {
    config: EngineConfig,
    slots: Vec<Option<Slot>>,
    rows: Vec<Row>,
    in_flight: VecDeque<Step>,
}

impl ShadowDevice {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        let blocks = vec![None; config.max_blocks_per_seq()];
        let row =
            Row { blocks, parameters: [f32::NAN; ROW_PARAMETERS.len()], last_token: -1, counts: vec![] };
        Self {
            slots: vec![None; config.num_blocks * config.block_size],
            rows: vec![row; config.max_num_seqs],
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
        self.check_padding(plan, columns);
        self.update_rows(plan, columns);
        let parts: Vec<Part> = (0..plan.num_seqs).map(|index| self.read_part(index, columns)).collect();
        self.check_writes(&parts);
        let token_ids = self.write_tokens(&parts, plan, columns);
        self.count_tokens(plan, columns, &token_ids);
        let sampled: Vec<i32> =
            (0..plan.num_samples).map(|index| self.sample(index, plan, &parts, columns)).collect();
        for (row, token) in columns.sample_rows.iter().zip(&sampled) {
            self.rows[*row as usize].last_token = *token;
        }
        let result = self.score(plan, &parts, columns, sampled);
        self.in_flight.push_back(Step { result, parts });
    }

    /// Hands the tokens of the oldest step to the host.
    pub(crate) fn finish_oldest(&mut self) -> Option<StepResult> {
        self.in_flight.pop_front().map(|step| step.result)
    }

    fn check_sizes(&self, plan: &StepPlan, columns: &OwnedStepBuffers) {
        assert!((1..=self.config.max_num_batched_tokens).contains(&plan.num_tokens), "{plan:?}");
        assert!((1..=self.config.max_num_seqs).contains(&plan.num_seqs), "{plan:?}");
        assert_eq!(columns.query_starts[0], 0);
        assert_eq!(columns.query_starts[plan.num_seqs] as usize, plan.num_tokens);
        let lens = columns.query_starts[..=plan.num_seqs].windows(2).map(|pair| pair[1] - pair[0]);
        assert!(lens.min() > Some(0), "a sequence takes part with no token");
        let slots: HashSet<i64> = columns.slot_mapping[..plan.num_tokens].iter().copied().collect();
        assert_eq!(slots.len(), plan.num_tokens, "two tokens go to one slot");
        let rows: HashSet<i32> = columns.seq_rows[..plan.num_seqs].iter().copied().collect();
        assert_eq!(rows.len(), plan.num_seqs, "two sequences have one row");
        let sampled: HashSet<i32> = columns.sample_rows[..plan.num_samples].iter().copied().collect();
        assert_eq!(sampled.len(), plan.num_samples, "two samples go to one row");
        assert!(sampled.is_subset(&rows), "a sample goes to the row of nobody in the step");
    }

    /// What comes behind the sequences fills a step of single tokens up to a captured size, and
    /// touches no sequence's memory.
    fn check_padding(&self, plan: &StepPlan, columns: &OwnedStepBuffers) {
        let (num_seqs, sizes) = (plan.num_seqs, &self.config.capture_sizes);
        let size = sizes.iter().copied().filter(|size| *size >= num_seqs).min().unwrap_or(num_seqs);
        let num_padding = if plan.num_tokens == num_seqs { size - num_seqs } else { 0 };
        assert_eq!(plan.num_padding, num_padding, "{plan:?} with {sizes:?}");
        for index in num_seqs..num_seqs + num_padding {
            assert_eq!(columns.query_starts[index + 1] as usize, index + 1);
            assert_eq!((columns.token_ids[index], columns.positions[index]), (0, 0));
            assert_eq!((columns.slot_mapping[index], columns.context_lens[index]), (-1, 1));
            assert_eq!(columns.seq_rows[index] as usize, self.config.max_num_seqs, "the row of no sequence");
        }
    }

    /// A new row knows nothing of its last sequence, so that what the plans forget to tell is
    /// missed; what they tell, they tell once.
    fn update_rows(&mut self, plan: &StepPlan, columns: &OwnedStepBuffers) {
        for index in 0..plan.num_new_rows {
            let row = &mut self.rows[columns.new_rows[index] as usize];
            row.blocks.fill(None);
            row.counts.clear();
            row.parameters = told_parameters(columns, index);
        }
        let stride = self.config.max_blocks_per_seq();
        for index in 0..plan.num_block_updates {
            let place = columns.block_places[index] as usize;
            let told = self.rows[place / stride].blocks[place % stride].replace(columns.block_ids[index]);
            assert_eq!(told, None, "a block of row {} is told twice", place / stride);
        }
    }

    fn read_part(&self, index: usize, columns: &OwnedStepBuffers) -> Part {
        let block_size = self.config.block_size;
        let tokens = columns.query_starts[index] as usize..columns.query_starts[index + 1] as usize;
        let start = columns.positions[tokens.start] as usize;
        let end = columns.context_lens[index] as usize;
        assert_eq!(end, start + tokens.len(), "a context ends with the step's last token");
        let row = &self.rows[columns.seq_rows[index] as usize];
        let blocks: Option<Vec<i32>> = row.blocks[..end.div_ceil(block_size)].iter().copied().collect();
        let blocks = blocks.expect("plans have told every block of the context");
        for (token, position) in tokens.clone().zip(start..end) {
            assert_eq!(columns.positions[token] as usize, position);
            let slot = blocks[position / block_size] as usize * block_size + position % block_size;
            assert_eq!(columns.slot_mapping[token] as usize, slot, "slot of position {position}");
        }
        Part { start, end, blocks, tokens }
    }

    /// Sequences may share what they read, but nothing is written that a step in flight uses. The
    /// steps of one sequence are no exception: each goes on where the one before it ended.
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

    /// As a model does it layer by layer: what stands before a token may have been written by this
    /// very step.
    fn write_tokens(&mut self, parts: &[Part], plan: &StepPlan, columns: &OwnedStepBuffers) -> Vec<i32> {
        let mut token_ids = columns.token_ids[..plan.num_tokens].to_vec();
        for index in 0..plan.num_device_tokens {
            let token = columns.device_token_indices[index] as usize;
            assert_eq!(token_ids[token], 0, "a token that only the device knows");
            token_ids[token] = self.rows[columns.device_token_rows[index] as usize].last_token;
        }
        for part in parts {
            for (index, position) in part.tokens.clone().zip(part.start..) {
                let before = position.checked_sub(1).map_or(0, |before| self.read(part, before).prefix);
                let token = token_ids[index];
                let written = Slot { position, token, prefix: prefix_after(before, token) };
                self.slots[columns.slot_mapping[index] as usize] = Some(written);
            }
        }
        token_ids
    }

    fn count_tokens(&mut self, plan: &StepPlan, columns: &OwnedStepBuffers, token_ids: &[i32]) {
        for index in 0..plan.num_counted_tokens {
            let token = token_ids[columns.counted_indices[index] as usize];
            let is_output = columns.counted_as_output[index] == 1;
            self.rows[columns.counted_rows[index] as usize].counts.push((token, is_output));
        }
    }

    fn sample(&self, index: usize, plan: &StepPlan, parts: &[Part], columns: &OwnedStepBuffers) -> i32 {
        let token = columns.logits_indices[index];
        let seq = columns.query_starts[1..=parts.len()].iter().position(|end| *end == token + 1);
        let seq = seq.expect("a sample follows a last token");
        assert_eq!(columns.sample_rows[index], columns.seq_rows[seq]);
        assert_eq!(columns.sample_context_lens[index], columns.context_lens[seq]);
        let is_penalised = columns.penalised_samples[..plan.num_penalised_samples].contains(&(index as i32));
        let row = &self.rows[columns.sample_rows[index] as usize];
        let biases = (0..plan.num_biases).filter(|bias| columns.bias_samples[*bias] == index as i32);
        let draw = Draw {
            parameters: row.parameters,
            uniform: columns.uniform[index],
            counted: if is_penalised { row.counts.clone() } else { vec![] },
            biases: biases.map(|bias| (columns.bias_tokens[bias], columns.bias_values[bias])).collect(),
        };
        next_token(&self.context(token, parts, columns), &draw)
    }

    fn score(
        &self,
        plan: &StepPlan,
        parts: &[Part],
        columns: &OwnedStepBuffers,
        sampled: Vec<i32>,
    ) -> StepResult {
        let (logprobs_out, top_ids, top_logprobs) = (vec![], vec![], vec![]);
        let mut result = StepResult { id: plan.id, sampled, logprobs: logprobs_out, top_ids, top_logprobs };
        for sample in &columns.scored_samples[..plan.num_scored_samples] {
            let sample = *sample as usize;
            let context = self.context(columns.logits_indices[sample], parts, columns);
            result.score(logprobs(&context, result.sampled[sample], plan.max_top_logprobs));
        }
        for index in 0..plan.num_scored_tokens {
            let context = self.context(columns.scored_indices[index], parts, columns);
            result.score(logprobs(&context, columns.scored_targets[index], plan.max_top_logprobs));
        }
        result
    }

    /// Everything up to one of the step's tokens, that token included.
    fn context(&self, token: i32, parts: &[Part], columns: &OwnedStepBuffers) -> Vec<i32> {
        let sequence = columns.query_starts[1..=parts.len()].iter().position(|end| token < *end);
        let part = &parts[sequence.expect("the token belongs to a sequence")];
        self.read_context(part, columns.positions[token as usize] as usize + 1)
    }

    /// Returns the first `len` tokens of a sequence, each of which must have been computed after
    /// all those before it.
    fn read_context(&self, part: &Part, len: usize) -> Vec<i32> {
        let mut prefix = 0;
        let read = |position| {
            let slot = self.read(part, position);
            prefix = prefix_after(prefix, slot.token);
            assert_eq!(slot.prefix, prefix, "position {position} was computed after other tokens");
            slot.token
        };
        (0..len).map(read).collect()
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

/// Fills every column with nonsense, so that a value left over from an older step cannot pass for a
/// written one.
pub(crate) fn poison(columns: &mut OwnedStepBuffers) {
    poison_parameters(columns);
    let borrowed = columns.borrow();
    for column in [borrowed.token_ids, borrowed.positions, borrowed.query_starts, borrowed.context_lens] {
        column.fill(-7);
    }
    for column in [borrowed.seq_rows, borrowed.block_places, borrowed.block_ids, borrowed.new_rows] {
        column.fill(-7);
    }
    for column in [borrowed.logits_indices, borrowed.sample_rows, borrowed.sample_context_lens] {
        column.fill(-7);
    }
    for column in [borrowed.device_token_indices, borrowed.device_token_rows] {
        column.fill(-7);
    }
    for column in [borrowed.counted_indices, borrowed.counted_rows, borrowed.counted_as_output] {
        column.fill(-7);
    }
    for column in [borrowed.penalised_samples, borrowed.bias_samples, borrowed.bias_tokens] {
        column.fill(-7);
    }
    borrowed.masked_samples.fill(-7);
    for column in [borrowed.scored_samples, borrowed.scored_indices, borrowed.scored_targets] {
        column.fill(-7);
    }
    for column in [borrowed.uniform, borrowed.bias_values] {
        column.fill(f32::NAN);
    }
    borrowed.slot_mapping.fill(-7);
}
