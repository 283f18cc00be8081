//! Each key's share of the engine, so that the flood of one does not starve another.
//!
//! The virtual time of a key is the number of tokens computed for it: those of prompts that were
//! not cached, and those generated. The key that had least is served first. A key without requests
//! does not save up for later: when it comes back it starts where the least served of the others is
//! (Sheng et al., *Fairness in Serving Large Language Models*, 2024).

use std::mem;

use rustc_hash::FxHashMap;

/// The part of one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// Its virtual time.
    pub(crate) num_tokens: u64,
    /// Tokens that the step being planned adds to it.
    num_owed: u64,
    /// Its requests that have not finished.
    pub(crate) num_live: usize,
    /// Those of them that hold a row.
    pub(crate) num_running: usize,
}

/// The parts of all keys that have requests, or had more than their part a moment ago.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    by_key: FxHashMap<u32, Share>,
}

impl Shares {
    /// Returns the part of a key.
    pub(crate) fn get(&self, key: u32) -> Share {
        self.by_key.get(&key).copied().unwrap_or_default()
    }

    /// Counts a new request of the key.
    pub(crate) fn join(&mut self, key: u32) {
        if self.get(key).num_live == 0 {
            self.return_from_idleness(key);
        }
        self.of(key).num_live += 1;
    }

    fn return_from_idleness(&mut self, key: u32) {
        let live = self.by_key.values().filter(|share| share.num_live > 0);
        let least = live.map(|share| share.num_tokens).min().unwrap_or(0);
        // Those without requests that had less would be lifted in their turn, so nothing is lost
        // with them.
        self.by_key.retain(|_, share| share.num_live > 0 || share.num_tokens > least);
        let share = self.of(key);
        share.num_tokens = share.num_tokens.max(least);
    }

    /// Counts the end of a request of the key. Without requests left, all shares are forgotten.
    pub(crate) fn leave(&mut self, key: u32) {
        self.of(key).num_live -= 1;
        if self.by_key.values().all(|share| share.num_live == 0) {
            self.by_key.clear();
        }
    }

    /// Counts a request of the key that got a row.
    pub(crate) fn start(&mut self, key: u32) {
        self.of(key).num_running += 1;
    }

    /// Counts a request of the key that left its row.
    pub(crate) fn stop(&mut self, key: u32) {
        self.of(key).num_running -= 1;
    }

    /// Charges tokens to the key.
    pub(crate) fn charge(&mut self, key: u32, num_tokens: usize) {
        self.of(key).num_tokens += num_tokens as u64;
    }

    /// Notes tokens to charge to the key once the step is planned.
    pub(crate) fn owe(&mut self, key: u32, num_tokens: usize) {
        self.of(key).num_owed += num_tokens as u64;
    }

    /// Charges all that is owed.
    pub(crate) fn settle(&mut self) {
        for share in self.by_key.values_mut() {
            share.num_tokens += mem::take(&mut share.num_owed);
        }
    }

    /// Returns whether more than one key has requests, or had a moment ago.
    pub(crate) fn are_several(&self) -> bool {
        self.by_key.len() > 1
    }

    fn of(&mut self, key: u32) -> &mut Share {
        self.by_key.entry(key).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_idle_has_saved_nothing_up() {
        // A client that comes once a day would block all others for a day's worth of tokens.
        let mut shares = Shares::default();
        shares.join(1);
        shares.charge(1, 1000);
        shares.join(2);
        assert_eq!(shares.get(2).num_tokens, 1000);
    }

    #[test]
    fn a_key_does_not_shed_its_debt_by_a_pause() {
        // A client that waits for each answer before it sends the next flood would always be first.
        let mut shares = Shares::default();
        shares.join(1);
        shares.join(2);
        shares.charge(1, 1000);
        shares.charge(2, 10);
        shares.leave(1);
        shares.join(1);
        assert_eq!((shares.get(1).num_tokens, shares.get(2).num_tokens), (1000, 10));
    }

    #[test]
    fn keys_that_are_gone_take_no_memory() {
        // A server that runs for a year sees many keys.
        let mut shares = Shares::default();
        shares.join(0);
        for key in 1..1000 {
            shares.join(key);
            shares.leave(key);
        }
        assert_eq!(shares.by_key.len(), 2);
        shares.leave(0);
        assert!(shares.by_key.is_empty());
    }
}
