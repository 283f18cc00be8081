//! What must hold between any two calls. Debug builds check it after each; release builds trust it.

use crate::engine::Engine;
use crate::kv::BlockId;
use crate::sequence::{Phase, Sequence, SequenceKey};

/// What the steps in flight do with one sequence.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    num_steps: usize,
    num_samples: usize,
    /// The end of the positions that they touch.
    end: usize,
}

impl Engine {
    /// Checks the engine's bookkeeping as a whole. Takes time in proportion to everything that the engine holds.
    ///
    /// # Panics
    /// If an invariant is broken: a bug of the engine.
    pub fn check_invariants(&self) {
        self.check_blocks();
        self.check_rows();
        self.check_queues();
        let mut shares = vec![Share::default(); self.scheduler.sequences.num_keys()];
        for part in self.steps_in_flight.iter().flat_map(|step| &step.scheduled) {
            let share = &mut shares[part.key.0 as usize];
            share.num_steps += 1;
            share.num_samples += usize::from(part.samples);
            share.end = share.end.max(part.end());
        }
        for (key, sequence) in self.scheduler.sequences.iter() {
            self.check_sequence(key, sequence, shares[key.0 as usize]);
        }
    }

    /// Every block is free or held by one sequence; the fenced ones are counted.
    fn check_blocks(&self) {
        let mut is_seen = vec![false; self.scheduler.pool.num_blocks()];
        let mut see = |block: &BlockId| {
            let is_new = !std::mem::replace(&mut is_seen[block.0 as usize], true);
            assert!(is_new, "{block:?} is held twice, or free and held");
        };
        self.scheduler.pool.free_blocks().iter().for_each(&mut see);
        let mut num_fenced = 0;
        for (_, sequence) in self.scheduler.sequences.iter() {
            sequence.blocks.blocks().iter().for_each(&mut see);
            num_fenced += if sequence.is_running() { 0 } else { sequence.blocks.blocks().len() };
        }
        assert!(is_seen.iter().all(|seen| *seen), "a block is lost");
        assert_eq!(self.scheduler.num_fenced_blocks, num_fenced, "fenced blocks are miscounted");
    }

    /// Every row is free or taken by one running sequence.
    fn check_rows(&self) {
        let mut is_seen = vec![false; self.config().max_num_seqs];
        let taken = self.scheduler.sequences.iter().filter_map(|(_, sequence)| match sequence.phase {
            Phase::Running { row } => Some(row),
            Phase::Waiting | Phase::Finished => None,
        });
        for row in taken.chain(self.scheduler.free_rows.iter().copied()) {
            assert!(!std::mem::replace(&mut is_seen[row as usize], true), "row {row} is taken twice");
        }
        assert!(is_seen.iter().all(|seen| *seen), "a row is lost");
    }

    /// A live sequence is in the one queue that its phase says.
    fn check_queues(&self) {
        let scheduler = &self.scheduler;
        for key in &scheduler.waiting {
            let sequence = &scheduler.sequences[*key];
            assert_eq!((sequence.phase, sequence.num_computed), (Phase::Waiting, 0), "in the waiting queue");
        }
        for key in &scheduler.running {
            assert!(scheduler.sequences[*key].is_running(), "in the list of the running ones");
        }
        let num_queued = scheduler.waiting.len() + scheduler.running.len();
        assert_eq!(num_queued, scheduler.sequences.num_live(), "a sequence is in no queue, or in two");
        let num_started = scheduler.sequences.iter().filter(|(_, sequence)| sequence.is_running()).count();
        assert_eq!(scheduler.running.len(), num_started, "a running sequence is missing from the list");
        assert!(self.steps_in_flight.len() <= self.config().max_steps_in_flight, "too many steps in flight");
    }

    /// A sequence agrees with the steps in flight, and its blocks hold what it has computed and what those steps still touch.
    fn check_sequence(&self, key: SequenceKey, sequence: &Sequence, share: Share) {
        let id = sequence.id;
        assert_eq!(sequence.num_steps_in_flight, share.num_steps, "steps in flight of {id:?}");
        assert_eq!(sequence.num_pending, share.num_samples, "pending tokens of {id:?}");
        let num_slots = sequence.blocks.num_slots();
        assert!(share.end.max(sequence.num_computed) <= num_slots, "blocks of {id:?} were given away");
        assert!(sequence.num_computed <= sequence.num_known(), "{id:?} computed tokens that nobody knows");
        assert!(sequence.num_known() <= sequence.max_len, "{id:?} is longer than it may be");
        let is_alive = sequence.phase != Phase::Finished;
        assert_eq!(self.scheduler.sequences.find(id) == Some(key), is_alive, "name of {id:?}");
        assert!(is_alive || sequence.num_steps_in_flight > 0, "{id:?} was not forgotten");
    }
}
