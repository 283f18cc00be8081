//! What a game is played with, and what came about in it.

use std::collections::HashMap;

use streamcore_server::ledger::Pool;

use crate::shadow::POOLS;

/// What goes wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A request whose client has left is not dropped.
    ForgottenRequest,
    /// The same of an answer.
    ForgottenAnswer,
    /// The same of a piece that is written.
    ForgottenPiece,
    /// The model takes this pool for empty, as if the server charged more than is held.
    Uncounted(Pool),
}

/// What came about.
#[derive(Debug, Default)]
pub struct Game {
    pub most: [usize; POOLS.len()],
    pub statuses: HashMap<u16, usize>,
    pub refused_for: HashMap<&'static str, usize>,
    pub num_left: usize,
}

impl Game {
    pub fn add(&mut self, other: &Self) {
        for place in 0..POOLS.len() {
            self.most[place] = self.most[place].max(other.most[place]);
        }
        other.statuses.iter().for_each(|(status, count)| *self.statuses.entry(*status).or_default() += count);
        other.refused_for.iter().for_each(|(why, count)| *self.refused_for.entry(why).or_default() += count);
        self.num_left += other.num_left;
    }

    /// Whether each pool was in use and full, and each way to end was taken.
    pub fn is_of_everything(&self) -> bool {
        self.most.iter().all(|most| *most > 0)
            && [200, 400, 408, 429, 503].iter().all(|status| self.statuses.contains_key(status))
            && REASONS.iter().all(|(_, reason)| self.refused_for.contains_key(reason))
            && self.num_left > 0
    }
}

/// What refusals for want of room say, and of which pools.
pub const REASONS: [(&str, &str); 4] = [
    ("bytes of bodies", "bodies"),
    ("requests are waiting", "requests"),
    ("prompt tokens are waiting", "tokens"),
    ("bytes of answers", "answers"),
];
