//! Writes a plan into the runner's columns. Their meaning is in [`crate::step`].

use crate::config::EngineConfig;
use crate::planted::{Bug, has};
use crate::sequence::{Phase, ScheduledTokens, Sequence};
use crate::sequences::Sequences;
use crate::step::{StepBuffers, StepId, StepPlan, write_parameters};

/// Writes the columns for the scheduled tokens, in their order.
///
/// # Panics
/// If a column is shorter than [`crate::step_columns`] says, or a scheduled sequence does not run.
pub(crate) fn write(
    id: StepId,
    scheduled: &[ScheduledTokens],
    sequences: &mut Sequences,
    config: &EngineConfig,
    buffers: &mut StepBuffers<'_>,
) -> StepPlan {
    let mut writer = PlanWriter { plan: StepPlan { id, ..StepPlan::default() }, config, buffers };
    writer.buffers.query_starts[0] = 0;
    for part in scheduled {
        writer.add(&mut sequences[part.key], *part);
    }
    writer.add_padding();
    writer.plan
}

struct PlanWriter<'a, 'b> {
    plan: StepPlan,
    config: &'a EngineConfig,
    buffers: &'a mut StepBuffers<'b>,
}

impl PlanWriter<'_, '_> {
    fn add(&mut self, sequence: &mut Sequence, part: ScheduledTokens) {
        let Phase::Running { row } = sequence.phase else {
            unreachable!("only running sequences are scheduled")
        };
        if sequence.num_told_blocks == 0 {
            self.add_row(sequence, row);
        }
        self.add_blocks(sequence, part, row);
        let first = self.plan.num_tokens;
        self.add_tokens(sequence, part, row);
        self.add_context(part, row);
        if sequence.sampling.is_penalised() {
            self.add_counts(sequence, part, row, first);
        }
        if part.num_prompt_scores > 0 {
            self.add_prompt_scores(sequence, part, first);
        }
        if part.samples {
            self.add_sample(sequence, part, row);
        }
    }

    /// Adds the parameters that a sequence keeps while it has this row.
    fn add_row(&mut self, sequence: &Sequence, row: u32) {
        let index = self.plan.num_new_rows;
        self.buffers.new_rows[index] = row.cast_signed();
        write_parameters(self.buffers, index, &sequence.sampling);
        self.plan.num_new_rows += 1;
    }

    /// Adds the blocks that the step needs and no earlier plan has listed.
    fn add_blocks(&mut self, sequence: &mut Sequence, part: ScheduledTokens, row: u32) {
        let first_place = row as usize * self.config.max_blocks_per_seq();
        for number in sequence.tell_blocks(part.end()) {
            let index = self.plan.num_block_updates;
            self.buffers.block_places[index] = (first_place + number) as i32;
            self.buffers.block_ids[index] = sequence.blocks.blocks()[number].0.cast_signed();
            self.plan.num_block_updates += 1;
        }
    }

    fn add_tokens(&mut self, sequence: &Sequence, part: ScheduledTokens, row: u32) {
        let first = self.plan.num_tokens;
        let range = first..first + part.len;
        let num_known_here = sequence.tokens.len().min(part.end()) - part.start;
        let token_ids = &mut self.buffers.token_ids[range.clone()];
        let known = &sequence.tokens[part.start..part.start + num_known_here];
        for (token_id, token) in token_ids.iter_mut().zip(known) {
            *token_id = token.cast_signed();
        }
        // At most the last token is in the making on the device: a step draws one token per
        // sequence.
        if num_known_here < part.len {
            token_ids[num_known_here] = 0;
            let index = self.plan.num_device_tokens;
            self.buffers.device_token_indices[index] = (first + num_known_here) as i32;
            self.buffers.device_token_rows[index] = row.cast_signed();
            self.plan.num_device_tokens += 1;
        }
        let positions = self.buffers.positions[range.clone()].iter_mut();
        let slots = self.buffers.slot_mapping[range].iter_mut();
        for (position, (position_out, slot)) in (part.start..).zip(positions.zip(slots)) {
            *position_out = position as i32;
            *slot = sequence.blocks.slot(position) + i64::from(has(Bug::OffByOneSlot));
        }
        self.plan.num_tokens += part.len;
    }

    fn add_context(&mut self, part: ScheduledTokens, row: u32) {
        let index = self.plan.num_seqs;
        self.buffers.context_lens[index] = part.end() as i32;
        self.buffers.query_starts[index + 1] = self.plan.num_tokens as i32;
        self.buffers.seq_rows[index] = row.cast_signed();
        self.plan.num_seqs += 1;
    }

    /// Fills a step of one token for each sequence up to the next captured size.
    fn add_padding(&mut self) {
        let num_seqs = self.plan.num_seqs;
        let mut sizes = self.config.capture_sizes.iter();
        let Some(size) = sizes.find(|size| **size >= num_seqs).filter(|_| self.plan.num_tokens == num_seqs)
        else {
            return;
        };
        let padding = num_seqs..*size;
        self.buffers.token_ids[padding.clone()].fill(0);
        self.buffers.positions[padding.clone()].fill(0);
        self.buffers.slot_mapping[padding.clone()].fill(-1);
        self.buffers.context_lens[padding.clone()].fill(1);
        self.buffers.seq_rows[padding.clone()].fill(self.config.max_num_seqs as i32);
        for index in padding.clone() {
            self.buffers.query_starts[index + 1] = index as i32 + 1;
        }
        self.plan.num_padding = padding.len();
    }

    fn add_sample(&mut self, sequence: &Sequence, part: ScheduledTokens, row: u32) {
        let index = self.plan.num_samples;
        let sampling = &sequence.sampling;
        self.buffers.logits_indices[index] = self.plan.num_tokens as i32 - 1;
        self.buffers.sample_rows[index] = row.cast_signed();
        self.buffers.sample_context_lens[index] = part.end() as i32;
        self.buffers.uniform[index] = sampling.uniform(part.end() - sequence.prompt_len);
        if sampling.is_penalised() {
            self.buffers.penalised_samples[self.plan.num_penalised_samples] = index as i32;
            self.plan.num_penalised_samples += 1;
        }
        if sequence.is_constrained {
            self.buffers.masked_samples[self.plan.num_masked_samples] = index as i32;
            self.plan.num_masked_samples += 1;
        }
        self.add_biases(sequence, part);
        if let Some(num_top) = sequence.logprobs {
            self.buffers.scored_samples[self.plan.num_scored_samples] = index as i32;
            self.plan.num_scored_samples += 1;
            self.tell_top(num_top);
        }
        self.plan.num_samples += 1;
    }

    /// Adds the tokens to count: each token of the sequence once, and again after a preemption.
    fn add_counts(&mut self, sequence: &Sequence, part: ScheduledTokens, row: u32, first: usize) {
        if sequence.draws_again {
            return;
        }
        for (token, position) in (first..).zip(part.start..part.end()) {
            let index = self.plan.num_counted_tokens;
            self.buffers.counted_indices[index] = token as i32;
            self.buffers.counted_rows[index] = row.cast_signed();
            self.buffers.counted_as_output[index] = i32::from(position >= sequence.prompt_len);
            self.plan.num_counted_tokens += 1;
        }
    }

    fn add_biases(&mut self, sequence: &Sequence, part: ScheduledTokens) {
        let forbidden = sequence.forbidden_tokens(part.end()).iter();
        let biases = sequence.sampling.logit_bias.iter().copied();
        for (token, value) in biases.chain(forbidden.map(|token| (*token, f32::NEG_INFINITY))) {
            let index = self.plan.num_biases;
            self.buffers.bias_samples[index] = self.plan.num_samples as i32;
            self.buffers.bias_tokens[index] = token.cast_signed();
            self.buffers.bias_values[index] = value;
            self.plan.num_biases += 1;
        }
    }

    fn add_prompt_scores(&mut self, sequence: &Sequence, part: ScheduledTokens, first: usize) {
        for position in sequence.scoring_positions(&part) {
            let index = self.plan.num_scored_tokens;
            self.buffers.scored_indices[index] = (first + position - part.start) as i32;
            self.buffers.scored_targets[index] = sequence.tokens[position + 1].cast_signed();
            self.plan.num_scored_tokens += 1;
        }
        self.tell_top(sequence.prompt_logprobs.unwrap_or(0));
    }

    fn tell_top(&mut self, num_top: u32) {
        self.plan.max_top_logprobs = self.plan.max_top_logprobs.max(num_top as usize);
    }
}
