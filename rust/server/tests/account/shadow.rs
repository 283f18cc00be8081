//! What a request holds where it stands, counted without a look at the server's own account.

use streamcore_server::ledger::Pool;

/// The pools of which these games know.
pub const POOLS: [Pool; 6] = [
    Pool::ShortBodies,
    Pool::LongBodies,
    Pool::Preparations,
    Pool::Requests,
    Pool::PromptTokens,
    Pool::Answers,
];

/// What is held at least and at most, pool by pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    pub least: [usize; POOLS.len()],
    pub most: [usize; POOLS.len()],
}

impl Held {
    pub fn add(&mut self, pool: Pool, amount: usize) {
        self.add_between(pool, amount, amount);
    }

    pub fn add_between(&mut self, pool: Pool, least: usize, most: usize) {
        let place = POOLS.iter().position(|other| *other == pool).unwrap();
        self.least[place] += least;
        self.most[place] += most;
    }

    pub fn add_all(&mut self, other: &Self) {
        for place in 0..POOLS.len() {
            self.least[place] += other.least[place];
            self.most[place] += other.most[place];
        }
    }

    /// The same for what may have been given back already.
    pub fn perhaps(self) -> Self {
        Self { least: Self::default().least, most: self.most }
    }
}

const SHORT_BYTES: usize = 64 << 10;
const MAX_BODY_BYTES: usize = 16 << 20;

/// The buffer of a body.
#[derive(Debug, Default)]
pub struct Buffer {
    pub num_bytes: usize,
    pub room: usize,
}

impl Buffer {
    /// It has room for twice what has come, but no more than was announced, and for four kilobytes
    /// at least.
    pub fn grow(&mut self, num_bytes: usize, announced: Option<usize>) {
        self.num_bytes += num_bytes;
        if self.num_bytes > self.room {
            let most = announced.unwrap_or(MAX_BODY_BYTES).max(self.num_bytes);
            self.room = (2 * self.num_bytes).max(4096).min(most);
        }
    }

    pub fn hold(&self, held: &mut Held) {
        let pool = if self.room <= SHORT_BYTES { Pool::ShortBodies } else { Pool::LongBodies };
        held.add(pool, self.room);
    }
}

/// One choice of an answer.
#[derive(Debug, Clone, Default)]
pub struct Sequence {
    pub prompt_len: usize,
    /// It has had no step yet.
    pub is_queued: bool,
    /// Log-probabilities that may be kept for it.
    pub kept_bytes: usize,
    /// What its reader has not taken, in tokens and log-probabilities.
    pub weight: usize,
    /// Its reader has taken a part of that.
    pub is_partly_read: bool,
    /// Its reader may have taken the event that says why it has failed.
    pub may_have_failed: bool,
}

impl Sequence {
    /// Whatever waits is charged in pieces of 64 KiB, beyond what is kept in any case.
    pub fn hold(&self, may_have_ended: bool, held: &mut Held) {
        if self.is_queued {
            held.add(Pool::Requests, 1);
            held.add(Pool::PromptTokens, self.prompt_len);
        }
        let basis = 1024 + self.kept_bytes;
        let most = basis.max((self.weight * 16) & !0xffff);
        // One that has failed gives all back with the event that says so.
        let least = match (self.is_partly_read, may_have_ended) {
            _ if self.may_have_failed => 0,
            (true, true) => 0,
            (true, false) | (false, true) => basis,
            (false, false) => most,
        };
        held.add_between(Pool::Answers, least, most);
    }
}

/// Pieces of answers up to this are every connection's own.
pub const FREE_BYTES: usize = 8 << 10;
