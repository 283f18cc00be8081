//! What the server holds for its clients: one account, and the only place that counts.
//!
//! ```text
//! head ─► body ─► preparation ─► queue ─► rows ─► answer ─► written
//! Heads   Bodies  Preparations   Requests  engine  Answers ─► StoredResponses
//!                                PromptTokens               StoredBytes
//! ```
//!
//! Each pool has a limit for all. Where there are several API keys, half of each pool is shared out
//! among them: what one key has not taken of its part the others cannot take, so that it is there
//! when its requests come, whatever the others do. The other half belongs to those who come first.
//! What is taken is a [`Charge`], which gives back what it has when it is dropped, so nothing stays
//! behind however a request ends.

mod pool;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::pool::Held;
pub use self::pool::{Full, Pool};
use crate::driver::DriverLimits;

/// All pools of one server.
#[derive(Debug)]
pub struct Ledger {
    pools: [Mutex<Held>; Pool::ALL.len()],
}

impl Ledger {
    /// Pools that are empty, for a server without API keys.
    #[must_use]
    pub fn new(limits: DriverLimits) -> Arc<Self> {
        Self::with_limits(|pool| pool.limit(limits))
    }

    /// The same with a limit for each pool.
    #[must_use]
    pub fn with_limits(limit: impl Fn(Pool) -> usize) -> Arc<Self> {
        Arc::new(Self { pools: Pool::ALL.map(|pool| Mutex::new(Held::new(pool, limit(pool)))) })
    }

    /// Shares the pools out among the API keys 1 to `num_keys`. To be called before anything is
    /// charged.
    pub fn share_among(&self, num_keys: usize) {
        Pool::ALL.iter().for_each(|pool| self.of(*pool).share_among(num_keys));
    }

    /// Takes this much of a pool for a key; 0 is no key.
    ///
    /// # Errors
    /// There is not so much left for this key; nothing is taken then.
    pub fn charge(self: &Arc<Self>, pool: Pool, key: u32, amount: usize) -> Result<Charge, Full> {
        self.of(pool).take(key, amount)?;
        Ok(Charge { ledger: Arc::clone(self), pool, key, amount })
    }

    /// The same for what is there already: it counts beyond the limit, too, and keeps others out
    /// until it is given back.
    pub fn record(self: &Arc<Self>, pool: Pool, key: u32, amount: usize) -> Charge {
        self.of(pool).put(key, amount);
        Charge { ledger: Arc::clone(self), pool, key, amount }
    }

    /// What is taken of a pool.
    #[must_use]
    pub fn held(&self, pool: Pool) -> usize {
        self.of(pool).total()
    }

    /// What a key has taken of a pool.
    #[must_use]
    pub fn held_by(&self, pool: Pool, key: u32) -> usize {
        self.of(pool).of(key)
    }

    /// Whether a key has taken more of a pool than is kept for it.
    #[must_use]
    pub fn has_more_than_part(&self, pool: Pool, key: u32) -> bool {
        self.of(pool).has_more_than_part(key)
    }

    /// The most that one key can ever have of a pool.
    #[must_use]
    pub fn most_of_one_key(&self, pool: Pool) -> usize {
        self.of(pool).most_of_one_key()
    }

    /// Bytes that were held at the height since the last call, and are not any more.
    pub fn take_bytes_given_back(&self) -> usize {
        Pool::ALL.iter().filter(|pool| pool.is_of_bytes()).map(|pool| self.of(*pool).take_fall()).sum()
    }

    /// Each pool's name, what is taken of it, and its limit.
    #[must_use]
    pub fn gauges(&self) -> Vec<(&'static str, usize, usize)> {
        let gauge = |pool: &Pool| {
            let held = self.of(*pool);
            (pool.name(), held.total(), held.limit())
        };
        Pool::ALL.iter().map(gauge).collect()
    }

    fn of(&self, pool: Pool) -> MutexGuard<'_, Held> {
        self.pools[pool as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of a pool, given back when it is dropped.
#[derive(Debug)]
pub struct Charge {
    ledger: Arc<Ledger>,
    pool: Pool,
    key: u32,
    amount: usize,
}

impl Charge {
    /// How much it is.
    #[must_use]
    pub fn amount(&self) -> usize {
        self.amount
    }

    /// Makes it as much as this.
    ///
    /// # Errors
    /// It would become more, and there is not so much left; it stays as it is then.
    pub fn resize(&mut self, amount: usize) -> Result<(), Full> {
        if amount > self.amount {
            self.ledger.of(self.pool).take(self.key, amount - self.amount)?;
        } else {
            self.ledger.of(self.pool).give_back(self.key, self.amount - amount);
        }
        self.amount = amount;
        Ok(())
    }

    /// Makes it as much as this, also beyond the limit: for what is there already.
    pub fn record(&mut self, amount: usize) {
        let mut held = self.ledger.of(self.pool);
        held.put(self.key, amount.saturating_sub(self.amount));
        held.give_back(self.key, self.amount.saturating_sub(amount));
        drop(held);
        self.amount = amount;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.ledger.of(self.pool).give_back(self.key, self.amount);
    }
}
