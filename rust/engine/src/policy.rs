//! The scheduler's choices, as pure functions.

use crate::event::FinishReason;
use crate::sequence::ScheduledTokens;
use crate::shares::Shares;

/// The ways to give a running sequence more blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// The blocks are free.
    Take,
    /// The blocks are given up already, but a step in flight still uses them: sit this step out.
    Wait,
    /// Another sequence must give up its blocks.
    Preempt,
}

/// Returns how a running sequence gets the blocks that it needs.
pub(crate) fn room(num_missing: usize, num_free: usize, num_fenced: usize) -> Room {
    if num_missing <= num_free {
        Room::Take
    } else if num_missing <= num_free + num_fenced {
        Room::Wait
    } else {
        Room::Preempt
    }
}

/// A sequence's rank: its priority, then its place in the line of its key, by precedence and
/// arrival. [`Shares`](crate::shares::Shares) decide which line is served next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) priority: i32,
    pub(crate) key: u32,
    pub(crate) precedence: i32,
    /// Requests are numbered as they come, so no two ranks are equal.
    pub(crate) arrival: u64,
}

impl Rank {
    /// Sort key: the lowest is served first and preempted last.
    pub(crate) fn desert(self, shares: &Shares) -> (i32, u64, i32, u64) {
        (self.priority, shares.get(self.key).num_tokens, self.precedence, self.arrival)
    }

    /// Returns whether a waiting sequence gets its part of a step before a running one: it is more
    /// urgent, or as urgent and its key was not served more. Within a key, those that run go on
    /// unless it has precedence.
    pub(crate) fn goes_before(self, running: Self, shares: &Shares) -> bool {
        let served = |rank: Self| shares.get(rank.key).num_tokens;
        let is_entitled = || match self.key == running.key {
            true => self.precedence < running.precedence,
            false => served(self) <= served(running),
        };
        self.priority < running.priority || self.priority == running.priority && is_entitled()
    }

    /// Returns whether it goes before another regardless of shares: by priority, and within a key
    /// by precedence.
    pub(crate) fn is_above(self, other: Self) -> bool {
        let is_of_key = self.key == other.key;
        self.priority < other.priority
            || self.priority == other.priority && is_of_key && self.precedence < other.precedence
    }
}

/// Returns whether a key may take a row from another. Each time the rows are shared out more evenly
/// than before, so it comes to an end.
pub(crate) fn may_displace(num_running: usize, num_running_of_other: usize) -> bool {
    num_running + 1 < num_running_of_other
}

/// The budget left of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Tokens that the step may still compute.
    pub(crate) num_tokens: usize,
    /// The part of them that prefills may use.
    pub(crate) num_prefill_tokens: usize,
}

impl Budget {
    /// Returns whether nothing is left for a sequence that enters.
    pub(crate) fn is_spent(self) -> bool {
        self.num_tokens == 0 || self.num_prefill_tokens == 0
    }

    /// Returns the tokens that a sequence gets in this step: a prefill is cut where the budget
    /// ends, of which it leaves `num_kept` tokens to others.
    pub(crate) fn chunk_len(self, num_left: usize, num_kept: usize) -> usize {
        let most = self.num_tokens.saturating_sub(num_kept).max(1);
        // A single token is a decode, or as cheap.
        if num_left <= 1 { num_left } else { num_left.min(most).min(self.num_prefill_tokens) }
    }

    pub(crate) fn spend(&mut self, part: &ScheduledTokens) {
        self.num_tokens -= part.len;
        if !part.is_decode() {
            self.num_prefill_tokens = self.num_prefill_tokens.saturating_sub(part.len);
        }
    }
}

/// Returns the number of free blocks that a sequence leaves when it enters, with blocks for all its
/// known tokens: one for each that runs already. Without them, it or another would be preempted as
/// soon as one of them reaches the end of its last block.
pub(crate) fn num_spared_blocks(num_running: usize) -> usize {
    num_running
}

/// Returns whether a sequence ends with this token, which makes it `len` tokens long. A stop token
/// is named even where the length ends too.
pub(crate) fn finish_reason(
    token_id: u32,
    stop_token_ids: &[u32],
    len: usize,
    max_len: usize,
) -> Option<FinishReason> {
    if stop_token_ids.contains(&token_id) {
        Some(FinishReason::Stop { token_id })
    } else if len >= max_len {
        Some(FinishReason::Length)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_are_about_to_come_free_cost_nobody_its_place() {
        // Preempting once more for blocks that are on their way back would throw computed tokens
        // away for nothing.
        assert_eq!(room(1, 1, 0), Room::Take);
        assert_eq!(room(0, 0, 0), Room::Take);
        assert_eq!(room(1, 0, 1), Room::Wait);
        assert_eq!(room(2, 1, 0), Room::Preempt);
    }

    #[test]
    fn rows_do_not_change_hands_for_ever() {
        // Two keys that take the same row from each other at every step compute everything again
        // and again.
        assert!(may_displace(0, 2) && may_displace(3, 8));
        assert!(!may_displace(0, 1) && !may_displace(3, 4));
    }

    #[test]
    fn a_prefill_leaves_their_tokens_to_others_but_never_stands_still() {
        // A stream behind a long prompt would stop for as long as that takes.
        let budget = |num_tokens| Budget { num_tokens, num_prefill_tokens: 6 };
        let lens = |budget: Budget| [budget.chunk_len(9, 0), budget.chunk_len(9, 3), budget.chunk_len(1, 7)];
        assert_eq!(lens(budget(8)), [6, 5, 1]);
        assert_eq!(lens(budget(2)), [2, 1, 1]);
        // Those that go on with an answer are not held back by the prefills' limit.
        let spent = Budget { num_prefill_tokens: 0, ..budget(8) };
        assert_eq!(lens(spent), [0, 0, 1]);
    }

    #[test]
    fn the_stop_token_wins_over_the_length() {
        // A client that sees `length` asks for the rest of an answer that is complete.
        assert_eq!(finish_reason(2, &[2], 10, 10), Some(FinishReason::Stop { token_id: 2 }));
        assert_eq!(finish_reason(3, &[2], 10, 10), Some(FinishReason::Length));
        assert_eq!(finish_reason(3, &[2], 9, 10), None);
    }
}
