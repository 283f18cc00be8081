//! One pool: its limit, and the amounts that each key has taken.

use std::collections::HashMap;

use crate::driver::DriverLimits;

/// The pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Bytes of unfinished heads.
    Heads,
    /// Bytes of bodies that are long, from the first on until their prompts are made.
    LongBodies,
    /// The same of bodies that are short, which no long one keeps out.
    ShortBodies,
    /// Requests whose prompts are being made.
    Preparations,
    /// Requests that wait for their first step.
    Requests,
    /// Tokens of their prompts.
    PromptTokens,
    /// Bytes of answers, with their tokens' details, until they are written.
    Answers,
    /// Responses that are kept for later requests.
    StoredResponses,
    /// Bytes of them.
    StoredBytes,
}

impl Pool {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::Heads,
        Self::LongBodies,
        Self::ShortBodies,
        Self::Preparations,
        Self::Requests,
        Self::PromptTokens,
        Self::Answers,
        Self::StoredResponses,
        Self::StoredBytes,
    ];

    /// Returns the name of its gauge.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Heads => "head_bytes",
            Self::LongBodies => "long_body_bytes",
            Self::ShortBodies => "short_body_bytes",
            Self::Preparations => "preparations",
            Self::Requests => "waiting_requests",
            Self::PromptTokens => "waiting_tokens",
            Self::Answers => "answer_bytes",
            Self::StoredResponses => "stored_responses",
            Self::StoredBytes => "stored_bytes",
        }
    }

    /// Returns its limit. That of bodies is four of the longest, or a thousand short ones.
    pub(super) fn limit(self, limits: DriverLimits) -> usize {
        match self {
            Self::Heads => 32 << 20,
            Self::LongBodies | Self::ShortBodies => 64 << 20,
            Self::Preparations | Self::Requests => limits.max_waiting_requests,
            Self::PromptTokens => limits.max_waiting_tokens,
            Self::Answers => 768 << 20,
            Self::StoredResponses => limits.max_stored_responses,
            Self::StoredBytes => 256 << 20,
        }
    }

    /// Whether its amounts are bytes.
    pub(super) fn is_of_bytes(self) -> bool {
        match self {
            Self::Heads | Self::LongBodies | Self::ShortBodies | Self::Answers | Self::StoredBytes => true,
            Self::Preparations | Self::Requests | Self::PromptTokens | Self::StoredResponses => false,
        }
    }

    /// Whether an empty pool takes any amount: what is longer than the limit would otherwise be
    /// told to try again for ever.
    fn takes_any_when_empty(self) -> bool {
        self == Self::PromptTokens
    }
}

/// A full pool. This is load: a retry may succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    /// The pool with too little left.
    pub pool: Pool,
    held: usize,
    amount: usize,
    limit: usize,
    /// The key's amount, and the maximum that it could have now, if there are several keys.
    part: Option<(usize, usize)>,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { held, amount, limit, .. } = self;
        match self.pool {
            Pool::Heads => write!(f, "{held} bytes of heads have come, limit is {limit}")?,
            Pool::LongBodies | Pool::ShortBodies => write!(
                f,
                "{held} bytes of bodies are read or made into prompts and {amount} more were sent, limit is {limit}"
            )?,
            Pool::Preparations | Pool::Requests => {
                write!(f, "{held} requests are waiting, limit is {limit}")?;
            }
            Pool::PromptTokens => {
                write!(f, "{held} prompt tokens are waiting and {amount} more were sent, limit is {limit}")?;
            }
            Pool::Answers => write!(
                f,
                "{held} bytes of answers are made or not read yet and up to {amount} more were asked for, limit is {limit}"
            )?,
            Pool::StoredResponses => write!(
                f,
                "{held} responses are stored, limit is {limit}, and none that could make room has ended"
            )?,
            Pool::StoredBytes => write!(
                f,
                "{held} bytes of responses are stored and {amount} more were sent, limit is {limit}, and none that could make room has ended"
            )?,
        }
        match self.part {
            Some((own, most)) => write!(f, " (this API key has {own}, its limit is now {most})"),
            None => Ok(()),
        }
    }
}

/// The amounts taken of one pool.
#[derive(Debug)]
pub(super) struct Held {
    pool: Pool,
    limit: usize,
    total: usize,
    /// The most that it was since [`Held::take_fall`].
    highest: usize,
    by_key: HashMap<u32, usize>,
    num_keys: usize,
    /// The part reserved for each key.
    part: usize,
    /// The amounts that keys have taken of their parts.
    pub(super) total_of_parts: usize,
}

impl Held {
    pub(super) fn new(pool: Pool, limit: usize) -> Self {
        Self {
            pool,
            limit,
            total: 0,
            highest: 0,
            by_key: HashMap::new(),
            num_keys: 0,
            part: 0,
            total_of_parts: 0,
        }
    }

    pub(super) fn share_among(&mut self, num_keys: usize) {
        self.num_keys = num_keys;
        self.part = match num_keys {
            // Heads come before keys.
            0 | 1 => 0,
            _ if self.pool == Pool::Heads => 0,
            // At least one for each, if the limit suffices.
            _ => (self.limit / (2 * num_keys)).max(usize::from(self.limit >= num_keys)),
        };
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn most_of_one_key(&self) -> usize {
        self.limit - self.num_keys.saturating_sub(1) * self.part
    }

    pub(super) fn of(&self, key: u32) -> usize {
        self.by_key.get(&key).copied().unwrap_or(0)
    }

    pub(super) fn has_more_than_part(&self, key: u32) -> bool {
        self.of(key) > self.part_of(key)
    }

    /// What is kept for this key, if it is one.
    fn part_of(&self, key: u32) -> usize {
        if (1..=self.num_keys).contains(&(key as usize)) { self.part } else { 0 }
    }

    /// Returns how much of `own` is from the key's part.
    pub(super) fn of_part(&self, key: u32, own: usize) -> usize {
        own.min(self.part_of(key))
    }

    pub(super) fn take(&mut self, key: u32, amount: usize) -> Result<(), Full> {
        let own = self.of(key);
        let own_rest = self.part_of(key) - self.of_part(key, own);
        let kept_for_others = self.num_keys * self.part - self.total_of_parts - own_rest;
        let left = self.limit.saturating_sub(self.total).saturating_sub(kept_for_others);
        let is_taken_anyway = self.total == 0 && self.limit > 0 && self.pool.takes_any_when_empty();
        if amount > left && !is_taken_anyway {
            let part = (self.part > 0).then_some((own, own + left));
            return Err(Full { pool: self.pool, held: self.total, amount, limit: self.limit, part });
        }
        self.put(key, amount);
        Ok(())
    }

    /// By how much it is below its highest since the last call.
    pub(super) fn take_fall(&mut self) -> usize {
        std::mem::replace(&mut self.highest, self.total) - self.total
    }

    /// Takes without asking.
    pub(super) fn put(&mut self, key: u32, amount: usize) {
        let own = self.of(key);
        self.set(key, own, own + amount);
    }

    pub(super) fn give_back(&mut self, key: u32, amount: usize) {
        let own = self.of(key);
        debug_assert!(own >= amount, "{:?}: {amount} are given back of {own}", self.pool);
        self.set(key, own, own.saturating_sub(amount));
    }

    fn set(&mut self, key: u32, before: usize, after: usize) {
        self.total = self.total - before + after;
        self.highest = self.highest.max(self.total);
        self.total_of_parts = self.total_of_parts - self.of_part(key, before) + self.of_part(key, after);
        if after == 0 {
            self.by_key.remove(&key);
        } else {
            self.by_key.insert(key, after);
        }
    }
}
