//! Writes a plan into the runner's columns. Their meaning is in [`crate::step`].

use crate::planted::{Bug, has};
use crate::sequence::{Phase, ScheduledTokens, Sequence};
use crate::sequences::Sequences;
use crate::step::{StepBuffers, StepId, StepPlan};

/// Writes the columns for the scheduled tokens, in their order.
///
/// # Panics
/// If a column is shorter than [`crate::step_columns`] says, or a scheduled sequence does not run.
pub(crate) fn write(
    id: StepId,
    scheduled: &[ScheduledTokens],
    sequences: &Sequences,
    buffers: &mut StepBuffers<'_>,
) -> StepPlan {
    let max_context_len = scheduled.iter().map(ScheduledTokens::end).max().unwrap_or(0);
    let stride =
        scheduled.first().map_or(0, |first| sequences[first.key].blocks.num_blocks_for(max_context_len));
    let plan = StepPlan { id, block_table_stride: stride, max_context_len, ..StepPlan::default() };
    let mut writer = PlanWriter { plan, buffers };
    writer.buffers.query_starts[0] = 0;
    for part in scheduled {
        writer.add(&sequences[part.key], *part);
    }
    writer.plan
}

struct PlanWriter<'a, 'b> {
    plan: StepPlan,
    buffers: &'a mut StepBuffers<'b>,
}

impl PlanWriter<'_, '_> {
    fn add(&mut self, sequence: &Sequence, part: ScheduledTokens) {
        let Phase::Running { row } = sequence.phase else {
            unreachable!("only running sequences are scheduled")
        };
        let first = self.plan.num_tokens;
        self.add_tokens(sequence, part, row);
        self.add_context(sequence, part);
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

    fn add_tokens(&mut self, sequence: &Sequence, part: ScheduledTokens, row: u32) {
        let first = self.plan.num_tokens;
        let range = first..first + part.len;
        let num_known_here = sequence.tokens.len().min(part.end()) - part.start;
        let token_ids = &mut self.buffers.token_ids[range.clone()];
        let known = &sequence.tokens[part.start..part.start + num_known_here];
        for (token_id, token) in token_ids.iter_mut().zip(known) {
            *token_id = token.cast_signed();
        }
        // At most the last token is in the making on the device: a step draws one token per sequence.
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
        self.plan.max_query_len = self.plan.max_query_len.max(part.len);
    }

    fn add_context(&mut self, sequence: &Sequence, part: ScheduledTokens) {
        let index = self.plan.num_seqs;
        self.buffers.context_lens[index] = part.end() as i32;
        self.buffers.query_starts[index + 1] = self.plan.num_tokens as i32;
        let stride = self.plan.block_table_stride;
        let blocks = &sequence.blocks.blocks()[..sequence.blocks.num_blocks_for(part.end())];
        let (used, padding) =
            self.buffers.block_tables[index * stride..(index + 1) * stride].split_at_mut(blocks.len());
        for (column, block) in used.iter_mut().zip(blocks) {
            *column = block.0.cast_signed();
        }
        padding.fill(0);
        self.plan.num_seqs += 1;
    }

    fn add_sample(&mut self, sequence: &Sequence, part: ScheduledTokens, row: u32) {
        let index = self.plan.num_samples;
        let sampling = &sequence.sampling;
        self.buffers.logits_indices[index] = self.plan.num_tokens as i32 - 1;
        self.buffers.sample_rows[index] = row.cast_signed();
        self.buffers.temperature[index] = sampling.temperature;
        self.buffers.top_p[index] = sampling.top_p;
        self.buffers.top_k[index] = i32::try_from(sampling.top_k).unwrap_or(i32::MAX);
        self.buffers.min_p[index] = sampling.min_p;
        self.buffers.repetition_penalty[index] = sampling.repetition_penalty;
        self.buffers.frequency_penalty[index] = sampling.frequency_penalty;
        self.buffers.presence_penalty[index] = sampling.presence_penalty;
        self.buffers.uniform[index] = sampling.uniform(part.end() - sequence.prompt_len);
        if sampling.is_penalised() {
            self.buffers.penalised_samples[self.plan.num_penalised_samples] = index as i32;
            self.plan.num_penalised_samples += 1;
        }
        self.add_biases(sequence, part);
        if let Some(num_top) = sequence.logprobs {
            self.buffers.scored_samples[self.plan.num_scored_samples] = index as i32;
            self.plan.num_scored_samples += 1;
            self.tell_top(num_top);
        }
        self.plan.num_samples += 1;
    }

    /// Every token of the sequence passes here once on its way from the beginning, and once more after a preemption.
    fn add_counts(&mut self, sequence: &Sequence, part: ScheduledTokens, row: u32, first: usize) {
        if part.start == 0 {
            self.buffers.reset_rows[self.plan.num_reset_rows] = row.cast_signed();
            self.plan.num_reset_rows += 1;
        } else if sequence.draws_again {
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
