//! The choices of the scheduler, as pure functions: what a reader who asks "why this one?" must know.

use crate::event::FinishReason;
use crate::sequence::SequenceKey;

/// What to do about a running sequence that needs more blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// The blocks are free.
    Take,
    /// The blocks are given up already, but a step in flight still uses them: sit this step out.
    Wait,
    /// Another sequence must give up its blocks.
    Preempt,
}

/// How a running sequence gets the blocks that it needs.
pub(crate) fn room(num_missing: usize, num_free: usize, num_fenced: usize) -> Room {
    if num_missing <= num_free {
        Room::Take
    } else if num_missing <= num_free + num_fenced {
        Room::Wait
    } else {
        Room::Preempt
    }
}

/// The order in which sequences are served: those of lower rank first, and preempted last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) priority: i32,
    /// Requests are numbered as they come, so no two ranks are equal.
    pub(crate) arrival: u64,
}

/// Who loses its blocks when they run out: the least deserving, which among equals has waited least and lost least.
pub(crate) fn victim(running: &[SequenceKey]) -> Option<SequenceKey> {
    running.last().copied()
}

/// Tokens that a sequence gets in this step: a prefill is cut where the budget ends.
pub(crate) fn chunk_len(num_left: usize, budget: usize) -> usize {
    num_left.min(budget)
}

/// Free blocks that a sequence leaves when it enters, with blocks for all its known tokens: one for each that runs already. Without them,
/// it or another would be preempted as soon as one of them reaches the end of its last block.
pub(crate) fn num_spared_blocks(num_running: usize) -> usize {
    num_running
}

/// Whether a sequence ends with this token, which makes it `len` tokens long. A stop token is named even where the length ends too.
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
        // Preempting once more for blocks that are on their way back would throw computed tokens away for nothing.
        assert_eq!(room(1, 1, 0), Room::Take);
        assert_eq!(room(0, 0, 0), Room::Take);
        assert_eq!(room(1, 0, 1), Room::Wait);
        assert_eq!(room(2, 1, 0), Room::Preempt);
    }

    #[test]
    fn the_stop_token_wins_over_the_length() {
        // A client that sees `length` asks for the rest of an answer that is complete.
        assert_eq!(finish_reason(2, &[2], 10, 10), Some(FinishReason::Stop { token_id: 2 }));
        assert_eq!(finish_reason(3, &[2], 10, 10), Some(FinishReason::Length));
        assert_eq!(finish_reason(3, &[2], 9, 10), None);
    }
}
