//! The playing of one answer: which token comes when.

use std::sync::Arc;
use std::time::Instant;

use streamcore_engine::RequestId;

use super::answer::{Ending, ScriptedAnswer};
use crate::driver::EndError;

/// A sequence's move in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Move {
    /// The sequence gets this token.
    Token(u32),
    /// The sequence waits until then.
    Wait(Instant),
    /// The sequence waits for ever.
    Hang,
    /// The sequence ends with this error.
    Fail(EndError),
}

/// The progress of an answer.
#[derive(Debug)]
pub(super) struct Playing {
    /// The request that it answers.
    pub(super) id: RequestId,
    answer: Arc<ScriptedAnswer>,
    num_played: usize,
    due: Instant,
}

impl Playing {
    pub(super) fn new(id: RequestId, answer: Arc<ScriptedAnswer>, arrival: Instant) -> Self {
        let due = arrival + answer.first_token_delay;
        Self { id, answer, num_played: 0, due }
    }

    /// Makes the next move, if it is due; each token comes once.
    pub(super) fn next(&mut self, now: Instant) -> Move {
        if self.due > now {
            return Move::Wait(self.due);
        }
        let token = match self.answer.tokens.get(self.num_played) {
            Some(token) => *token,
            None => match &self.answer.ending {
                Ending::Stop { token } => *token,
                // The engine ends it at `max_tokens`; any further call returns the last token
                // again.
                Ending::Length => self.answer.tokens[self.answer.tokens.len() - 1],
                Ending::Hang => return Move::Hang,
                Ending::Fail(error) => return Move::Fail(error.clone()),
            },
        };
        self.num_played += 1;
        self.due = now + self.answer.token_delay;
        Move::Token(token)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn playing(ending: Ending, start: Instant) -> Playing {
        let answer = ScriptedAnswer {
            tokens: vec![7, 8],
            call_ids: Vec::new(),
            first_token_delay: 10 * MS,
            token_delay: 3 * MS,
            ending,
        };
        Playing::new(RequestId(1), Arc::new(answer), start)
    }

    /// A client's timeouts are tested against these delays: too early is a wrong test, too late a
    /// slow one.
    #[test]
    fn each_token_comes_when_it_is_due() {
        let start = Instant::now();
        let mut playing = playing(Ending::Stop { token: 2 }, start);
        assert_eq!(playing.next(start + 9 * MS), Move::Wait(start + 10 * MS));
        assert_eq!(playing.next(start + 10 * MS), Move::Token(7));
        assert_eq!(playing.next(start + 12 * MS), Move::Wait(start + 13 * MS));
        assert_eq!(playing.next(start + 20 * MS), Move::Token(8), "late, and never catches up");
        assert_eq!(playing.next(start + 22 * MS), Move::Wait(start + 23 * MS));
        assert_eq!(playing.next(start + 23 * MS), Move::Token(2));
        assert_eq!(playing.next(start + 26 * MS), Move::Token(2), "a client may ignore the end");
    }

    /// A fault that strikes before the tokens it was written behind tests another client than the
    /// one that was meant.
    #[test]
    fn a_fault_comes_after_its_tokens() {
        let start = Instant::now();
        for (ending, strikes) in
            [(Ending::Hang, Move::Hang), (Ending::Fail(EndError::Cut), Move::Fail(EndError::Cut))]
        {
            let mut playing = playing(ending, start);
            assert_eq!(playing.next(start + 10 * MS), Move::Token(7));
            assert_eq!(playing.next(start + 20 * MS), Move::Token(8));
            assert_eq!(playing.next(start + 20 * MS), Move::Wait(start + 23 * MS));
            assert_eq!(playing.next(start + 23 * MS), strikes);
        }
    }
}
