//! Displaces running sequences for a waiting one that is ahead of them in order. The rules are in
//! `docs/decisions/0006-fair-shares.md`.

use std::mem;

use crate::policy::{self, Rank, Room};
use crate::scheduler::Scheduler;
use crate::sequence::{Sequence, SequenceKey};

/// Running sequences to be displaced, and the blocks that they would free.
#[derive(Debug, Clone, Copy, Default)]
struct Gone {
    num_sequences: usize,
    num_blocks: usize,
}

impl Scheduler {
    /// Preempts running sequences from `place` on for a waiting one that is ahead of them, the last
    /// in order first: as many as it needs, or none if all together are too few. Returns whether
    /// any was.
    pub(crate) fn displace(&mut self, place: usize, rank: Rank, key: SequenceKey) -> bool {
        // A sequence just preempted enters when its step in flight is done.
        if self.sequences[key].num_steps_in_flight > 0 {
            return false;
        }
        let num_wanted = self.num_wanted(key);
        // Two spare blocks each: until fenced blocks come free, a running sequence may take one
        // more.
        if self.fits_without(Gone::default(), num_wanted, 2) {
            return false;
        }
        let mut places = mem::take(&mut self.places_to_free);
        let mut gone = Gone::default();
        for at in (place..self.running.len()).rev() {
            if self.fits_without(gone, num_wanted, 2) {
                break;
            }
            let sequence = &self.sequences[self.running[at]];
            if self.may_displace(rank, sequence.rank) {
                gone.num_sequences += 1;
                gone.num_blocks += self.num_blocks_of_its_own(sequence);
                // Counted as gone until the total is known to be enough.
                self.shares.stop(sequence.rank.key);
                places.push(at);
            }
        }
        let is_enough = !places.is_empty() && self.fits_without(gone, num_wanted, 1);
        for at in places.drain(..) {
            self.shares.start(self.sequences[self.running[at]].rank.key);
            if is_enough {
                self.preempt(at);
            }
        }
        self.places_to_free = places;
        is_enough
    }

    fn may_displace(&self, waiting: Rank, running: Rank) -> bool {
        let num_running = |rank: Rank| self.shares.get(rank.key).num_running;
        waiting.goes_before(running, &self.shares)
            && policy::may_displace(num_running(waiting), num_running(running))
    }

    /// Returns the number of free blocks that a waiting sequence needs to enter.
    fn num_wanted(&mut self, key: SequenceKey) -> usize {
        let sequence = &mut self.sequences[key];
        sequence.blocks.num_wanted(&sequence.tokens, !sequence.needs_whole_prompt, &mut self.pool)
    }

    /// Returns whether a row and `num_wanted` blocks will be free, with spare ones for each
    /// sequence that runs on, once `gone` have left and the steps in flight are done.
    fn fits_without(&self, gone: Gone, num_wanted: usize, num_spared_for_each: usize) -> bool {
        let num_spared = policy::num_spared_blocks(self.running.len() - gone.num_sequences);
        let num_free = self.pool.num_free() + gone.num_blocks;
        let room =
            policy::room(num_wanted + num_spared_for_each * num_spared, num_free, self.num_fenced_blocks);
        let has_row = gone.num_sequences > 0 || !self.free_rows.is_empty();
        has_row && room != Room::Preempt
    }

    /// Returns the number of blocks that come free when this sequence goes.
    fn num_blocks_of_its_own(&self, sequence: &Sequence) -> usize {
        sequence.blocks.blocks().iter().filter(|block| self.pool.num_holders(**block) == 1).count()
    }
}
