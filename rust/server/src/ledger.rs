//! The account of all memory held for clients, kept in this one place.
//!
//! ```text
//! head ─► body ─► preparation ─► queue ─► rows ─► answer ─► written
//! Heads   Bodies  Preparations   Requests  engine  Answers ─► StoredResponses
//!                                PromptTokens               StoredBytes
//! ```
//!
//! Each pool has a limit for all. With several API keys, half of each pool is divided among them: a
//! key's part stays free for its requests, whatever the others do. The other half goes to the first
//! that come. A [`Charge`] returns what it holds when it is dropped, so nothing leaks however a
//! request ends.

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
    /// Creates empty pools, for a server without API keys.
    #[must_use]
    pub fn new(limits: DriverLimits) -> Arc<Self> {
        Self::with_limits(|pool| pool.limit(limits))
    }

    /// The same with a limit for each pool.
    #[must_use]
    pub fn with_limits(limit: impl Fn(Pool) -> usize) -> Arc<Self> {
        Arc::new(Self { pools: Pool::ALL.map(|pool| Mutex::new(Held::new(pool, limit(pool)))) })
    }

    /// Shares the pools out among the API keys 1 to `num_keys`. Call it before anything is
    /// charged.
    pub fn share_among(&self, num_keys: usize) {
        Pool::ALL.iter().for_each(|pool| self.of(*pool).share_among(num_keys));
    }

    /// Takes `amount` from a pool for a key; 0 is no key.
    ///
    /// # Errors
    /// Too little is left for this key; nothing is taken.
    pub fn charge(self: &Arc<Self>, pool: Pool, key: u32, amount: usize) -> Result<Charge, Full> {
        self.of(pool).take(key, amount)?;
        Ok(Charge { ledger: Arc::clone(self), pool, key, amount })
    }

    /// Charges memory that is in use already: even beyond the limit, which keeps others out until
    /// it is returned.
    pub fn record(self: &Arc<Self>, pool: Pool, key: u32, amount: usize) -> Charge {
        self.of(pool).put(key, amount);
        Charge { ledger: Arc::clone(self), pool, key, amount }
    }

    /// Returns the amount taken of a pool.
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
    /// Returns the charged amount.
    #[must_use]
    pub fn amount(&self) -> usize {
        self.amount
    }

    /// Changes the charge to `amount`.
    ///
    /// # Errors
    /// Too little is left to increase it; it stays as it is.
    pub fn resize(&mut self, amount: usize) -> Result<(), Full> {
        if amount > self.amount {
            self.ledger.of(self.pool).take(self.key, amount - self.amount)?;
        } else {
            self.ledger.of(self.pool).give_back(self.key, self.amount - amount);
        }
        self.amount = amount;
        Ok(())
    }

    /// Changes the charge to `amount`, even beyond the limit: for memory that is in use already.
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
