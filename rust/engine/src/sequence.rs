//! A request while the engine works on it.
//!
//! ```text
//! prompt_len = 5, max_len = 9, two output tokens known, a third one drawn by a step in flight
//!
//! tokens        p p p p p o o        known here
//! num_pending                 1      known to the device only
//! num_computed  ------------->       keys and values written, or to be written by steps in flight
//! num_left                    1      what the next step may compute
//! ```

use std::ops::Range;
use std::time::Duration;

use crate::event::FinishReason;
use crate::kv::{BlockPool, BlockTable};
use crate::planted::{Bug, has};
use crate::policy::{self, Rank};
use crate::request::{Request, RequestId};
use crate::sampling::SamplingParams;

/// A request that may go on for a whole context seldom does: beyond this its lists double as they
/// fill.
const MAX_RESERVED_TOKENS: usize = 1024;

/// Names a sequence inside the engine, until it is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SequenceKey(pub(crate) u32);

/// Where a sequence is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In the waiting queue. After a preemption it may still hold blocks, until no step in flight
    /// uses them.
    Waiting,
    /// Takes part in steps.
    Running {
        /// Its place in the runner's per-sequence state.
        row: u32,
    },
    /// Its last event is out; it is kept only until no step in flight uses its blocks.
    Finished,
}

/// The tokens of one sequence that one step computes: positions `start..start + len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScheduledTokens {
    pub(crate) key: SequenceKey,
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// Whether the step draws the token that follows.
    pub(crate) samples: bool,
    /// Prompt tokens whose log-probabilities it finds out: those that follow the last of its tokens
    /// in the prompt.
    pub(crate) num_prompt_scores: usize,
}

impl ScheduledTokens {
    /// Returns the tokens in the KV cache once the step has run.
    pub(crate) fn end(&self) -> usize {
        self.start + self.len
    }

    /// Returns whether it is the next token of a stream, or costs as little.
    pub(crate) fn is_decode(&self) -> bool {
        self.samples && self.len == 1
    }
}

/// The result of a drawn token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Drawn {
    /// The token, unless it is a stop token, or the request asks for none.
    pub(crate) token: Option<u32>,
    /// Whether it was the last.
    pub(crate) finish_reason: Option<FinishReason>,
}

#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) id: RequestId,
    pub(crate) tokens: Vec<u32>,
    pub(crate) prompt_len: usize,
    /// Prompt and most output together, at least one token of it: the step that ends a prompt draws
    /// one, wanted or not.
    pub(crate) max_len: usize,
    /// Only its prompt is computed.
    pub(crate) is_prompt_only: bool,
    pub(crate) stop_token_ids: Vec<u32>,
    pub(crate) min_tokens: usize,
    pub(crate) sampling: SamplingParams,
    pub(crate) logprobs: Option<u32>,
    pub(crate) prompt_logprobs: Option<u32>,
    /// Prompt tokens whose log-probabilities are known, or are found out by the steps in flight. A
    /// preemption leaves it as it is: log-probabilities reported once are not reported again.
    pub(crate) num_prompt_scored: usize,
    /// See [`Request::needs_whole_prompt`].
    pub(crate) needs_whole_prompt: bool,
    pub(crate) rank: Rank,
    pub(crate) deadline: Option<Duration>,
    pub(crate) phase: Phase,
    pub(crate) was_scheduled: bool,
    pub(crate) blocks: BlockTable,
    /// Leading blocks that plans have listed since the sequence took its row.
    pub(crate) num_told_blocks: usize,
    pub(crate) num_computed: usize,
    /// Tokens that its key need not pay for again: they were cached, or computed before a
    /// preemption.
    pub(crate) num_paid: usize,
    pub(crate) num_pending: usize,
    pub(crate) num_steps_in_flight: usize,
    /// The last token was computed before, by a step that drew none.
    pub(crate) draws_again: bool,
    /// See [`Request::is_constrained`].
    pub(crate) is_constrained: bool,
    /// The mask for its next token is not there yet.
    pub(crate) awaits_mask: bool,
}

impl Sequence {
    pub(crate) fn new(request: Request, arrival: u64, block_size: usize) -> Self {
        let prompt_len = request.prompt.len();
        let needs_whole_prompt = request.needs_whole_prompt();
        Self {
            id: request.id,
            tokens: request.prompt,
            prompt_len,
            max_len: prompt_len + request.max_tokens.max(1),
            is_prompt_only: request.max_tokens == 0,
            stop_token_ids: request.stop_token_ids,
            min_tokens: request.min_tokens,
            sampling: request.sampling,
            logprobs: request.logprobs,
            prompt_logprobs: request.prompt_logprobs,
            num_prompt_scored: 0,
            needs_whole_prompt,
            rank: Rank {
                priority: request.priority,
                key: request.key,
                precedence: request.precedence,
                arrival,
            },
            deadline: request.deadline,
            phase: Phase::Waiting,
            was_scheduled: false,
            blocks: BlockTable::new(block_size, request.cache_salt),
            num_told_blocks: 0,
            num_computed: 0,
            num_paid: 0,
            num_pending: 0,
            num_steps_in_flight: 0,
            draws_again: false,
            is_constrained: request.is_constrained,
            awaits_mask: false,
        }
    }

    /// Known tokens, those that only the device knows included.
    pub(crate) fn num_known(&self) -> usize {
        self.tokens.len() + self.num_pending
    }

    /// Returns the number of tokens that a step may compute now. The last token that may ever be
    /// known is never computed: nothing follows it. While its mask is missing, none may be: the
    /// mask follows from the token in the making.
    pub(crate) fn num_left(&self) -> usize {
        let num_known = self.num_known();
        let is_held = self.awaits_mask || self.is_constrained && self.num_pending > 0;
        if is_held && !has(Bug::EarlyMask) || num_known == self.max_len {
            0
        } else {
            num_known - self.num_computed
        }
    }

    /// Returns whether the next step draws a token that follows an earlier one at once: a client
    /// sees how long that takes.
    pub(crate) fn decodes(&self) -> bool {
        self.num_left() == 1 && self.num_known() > self.prompt_len
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    /// Hands the next `len` tokens to a step. The last known token draws the one after it.
    pub(crate) fn schedule(&mut self, key: SequenceKey, len: usize) -> ScheduledTokens {
        let start = self.num_computed;
        self.num_computed += len;
        self.num_steps_in_flight += 1;
        let samples = self.num_computed == self.num_known();
        self.num_pending += usize::from(samples);
        let num_prompt_scores = self.take_prompt_scores();
        ScheduledTokens { key, start, len, samples, num_prompt_scores }
    }

    /// Returns how many more prompt tokens are to be scored.
    fn take_prompt_scores(&mut self) -> usize {
        if self.prompt_logprobs.is_none() {
            return 0;
        }
        let num_scored = self.num_scorable(self.num_computed).max(self.num_prompt_scored);
        num_scored - std::mem::replace(&mut self.num_prompt_scored, num_scored)
    }

    /// Returns the number of prompt tokens that can be scored once `end` tokens are computed: each
    /// by the one before it, so the first never.
    fn num_scorable(&self, end: usize) -> usize {
        end.min(self.prompt_len - 1)
    }

    /// Returns the positions of the tokens whose logits score the prompt tokens that follow them.
    pub(crate) fn scoring_positions(&self, part: &ScheduledTokens) -> Range<usize> {
        let end = self.num_scorable(part.end());
        end - part.num_prompt_scores..end
    }

    /// Returns the tokens that must not be drawn after `end` tokens.
    pub(crate) fn forbidden_tokens(&self, end: usize) -> &[u32] {
        let is_early = end - self.prompt_len < self.min_tokens;
        if is_early && !self.is_constrained { &self.stop_token_ids } else { &[] }
    }

    /// Adds computed blocks to the prefix cache, as far as their tokens are known here. Steps run
    /// in the order of their plans, so a block found later is read after it is written.
    pub(crate) fn remember_computed(&mut self, pool: &mut BlockPool) {
        let num_known_here = self.num_computed.min(self.tokens.len());
        self.blocks.remember(&self.tokens[..num_known_here], pool);
    }

    /// Removes the sequence's blocks from the prefix cache.
    pub(crate) fn disown(&mut self, pool: &mut BlockPool) {
        self.blocks.disown(pool);
        self.num_computed = 0;
    }

    /// Returns the indices of the blocks that a plan must list to reach `num_tokens`, and marks
    /// them listed.
    pub(crate) fn tell_blocks(&mut self, num_tokens: usize) -> Range<usize> {
        let num_needed = self.blocks.num_blocks_for(num_tokens);
        let num_told = std::mem::replace(&mut self.num_told_blocks, num_needed);
        if has(Bug::UntoldBlock) && num_told > 0 { 0..0 } else { num_told..num_needed }
    }

    /// Reserves memory for the next tokens, so that steps allocate none.
    pub(crate) fn reserve(&mut self) {
        let len = self.max_len.min(self.tokens.len() + MAX_RESERVED_TOKENS);
        self.tokens.reserve(len - self.tokens.len());
        self.blocks.reserve(len);
    }

    /// Starts after the cached tokens, for which its key does not pay.
    pub(crate) fn find_cached(&mut self, num_cached_tokens: usize) {
        self.num_computed = num_cached_tokens;
        self.num_paid = self.num_paid.max(num_cached_tokens);
    }

    /// Returns the tokens computed for the first time since the last call.
    pub(crate) fn pay(&mut self) -> usize {
        let num_paid = self.num_paid.max(self.num_computed);
        num_paid - std::mem::replace(&mut self.num_paid, num_paid)
    }

    /// Records that a step in flight with this part is done.
    pub(crate) fn complete_step(&mut self, part: &ScheduledTokens) {
        self.num_steps_in_flight -= 1;
        self.num_pending -= usize::from(part.samples);
        self.draws_again = false;
    }

    /// Schedules the last token again: a completed step drew none.
    pub(crate) fn draw_again(&mut self) {
        if self.is_running() {
            self.num_computed -= 1;
            self.draws_again = true;
        }
    }

    /// Takes in the token that a completed step drew.
    pub(crate) fn accept(&mut self, token: u32) -> Drawn {
        if self.is_prompt_only {
            return Drawn { token: None, finish_reason: Some(FinishReason::Length) };
        }
        let len = self.tokens.len() + 1;
        let finish_reason = policy::finish_reason(token, &self.stop_token_ids, len, self.max_len);
        if matches!(finish_reason, Some(FinishReason::Stop { .. })) {
            return Drawn { token: None, finish_reason };
        }
        self.tokens.push(token);
        self.awaits_mask = self.is_constrained && finish_reason.is_none();
        Drawn { token: Some(token), finish_reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(max_tokens: usize) -> Sequence {
        let request = Request::new(RequestId(1), vec![5; 6], max_tokens);
        Sequence::new(Request { stop_token_ids: vec![2], ..request }, 0, 4)
    }

    #[test]
    fn only_the_last_chunk_of_a_prompt_draws_a_token() {
        // A token drawn in the middle of the prompt would be streamed to the client as the answer.
        let mut sequence = sequence(3);
        let key = SequenceKey(0);
        let first = sequence.schedule(key, 4);
        assert_eq!(first, ScheduledTokens { key, start: 0, len: 4, samples: false, num_prompt_scores: 0 });
        let second = sequence.schedule(key, 2);
        assert_eq!(second, ScheduledTokens { key, start: 4, len: 2, samples: true, num_prompt_scores: 0 });
        assert_eq!((sequence.num_known(), sequence.num_left()), (7, 1));
    }

    #[test]
    fn a_key_pays_once_for_what_was_computed_for_it_and_never_for_what_was_cached() {
        // A client would lose its place for tokens that another has paid for.
        let mut sequence = sequence(3);
        sequence.find_cached(1);
        sequence.schedule(SequenceKey(0), 2);
        assert_eq!((sequence.pay(), sequence.pay()), (2, 0));
        // Preempted, and the cache has more of it by now.
        sequence.find_cached(5);
        sequence.schedule(SequenceKey(0), 1);
        assert_eq!(sequence.pay(), 1);
        sequence.find_cached(0);
        sequence.schedule(SequenceKey(0), 6);
        assert_eq!(sequence.pay(), 0);
    }

    #[test]
    fn nothing_is_planned_past_the_last_token() {
        // One step too many writes into a slot that the sequence has no block for.
        let mut sequence = sequence(1);
        let part = sequence.schedule(SequenceKey(0), 6);
        assert_eq!(sequence.num_left(), 0);
        sequence.complete_step(&part);
        let drawn = sequence.accept(9);
        assert_eq!(drawn, Drawn { token: Some(9), finish_reason: Some(FinishReason::Length) });
    }
}
