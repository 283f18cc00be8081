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
    let plan = StepPlan {
        id,
        num_tokens: 0,
        num_seqs: 0,
        num_samples: 0,
        num_device_tokens: 0,
        block_table_stride: stride,
        max_query_len: 0,
        max_context_len,
    };
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
        self.add_tokens(sequence, part, row);
        self.add_context(sequence, part);
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
        self.buffers.uniform[index] = sampling.uniform(part.end() - sequence.prompt_len);
        self.plan.num_samples += 1;
    }
}
