//! Invariants that hold between any two calls. Debug builds check them after each call.

use rustc_hash::FxHashMap;

use crate::engine::Engine;
use crate::kv::BlockId;
use crate::sequence::{Phase, Sequence, SequenceKey};

/// The part of the steps in flight in one sequence.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    num_steps: usize,
    num_samples: usize,
    /// The end of the positions that they touch.
    end: usize,
}

impl Engine {
    /// Checks the engine's bookkeeping as a whole. Takes time in proportion to everything that the
    /// engine holds.
    ///
    /// # Panics
    /// If an invariant is broken: a bug of the engine.
    pub fn check_invariants(&self) {
        self.check_blocks();
        self.check_rows();
        self.check_queues();
        self.check_shares();
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

    /// Checks the holders of every block, the free list and the number of fenced blocks.
    fn check_blocks(&self) {
        let pool = &self.scheduler.pool;
        let mut num_holders = vec![0; pool.num_blocks()];
        let mut num_fenced = 0;
        for (_, sequence) in self.scheduler.sequences.iter() {
            let blocks = sequence.blocks.blocks();
            blocks.iter().for_each(|block| num_holders[block.0 as usize] += 1);
            num_fenced += if sequence.is_running() { 0 } else { blocks.len() };
            self.check_content(sequence);
        }
        let mut is_free = vec![false; pool.num_blocks()];
        for block in pool.free_blocks() {
            assert!(!std::mem::replace(&mut is_free[block.0 as usize], true), "{block:?} is free twice");
        }
        assert_eq!(
            pool.num_free(),
            is_free.iter().filter(|free| **free).count(),
            "free blocks are miscounted"
        );
        for (block, (num_holders, is_free)) in (0..).map(BlockId).zip(num_holders.into_iter().zip(is_free)) {
            assert_eq!(pool.num_holders(block), num_holders, "holders of {block:?}");
            assert_eq!(is_free, num_holders == 0, "{block:?} is lost, or free and held");
        }
        assert_eq!(self.scheduler.num_fenced_blocks, num_fenced, "fenced blocks are miscounted");
    }

    /// Checks that cached blocks hold the sequence's tokens, and that all others are its own.
    fn check_content(&self, sequence: &Sequence) {
        let pool = &self.scheduler.pool;
        let Some(cache) = pool.cache() else { return };
        let (shared, own) = sequence.blocks.blocks().split_at(sequence.blocks.num_remembered());
        for (block, tokens) in shared.iter().zip(sequence.tokens.chunks(self.config().block_size)) {
            let is_true = !cache.contains(*block) || cache.tokens(*block) == tokens;
            assert!(is_true, "{block:?} of {:?} is cached with other tokens", sequence.id);
        }
        for block in own {
            assert_eq!(
                pool.num_holders(*block),
                1,
                "{block:?}, which {:?} writes to, is shared",
                sequence.id
            );
            assert!(!cache.contains(*block), "{block:?} can be found before it is full");
        }
    }

    /// Checks that every row is free or taken by one running sequence.
    fn check_rows(&self) {
        let mut is_seen = vec![false; self.config().num_rows()];
        let taken = self.scheduler.sequences.iter().filter_map(|(_, sequence)| match sequence.phase {
            Phase::Running { row } => Some(row),
            Phase::Waiting | Phase::Finished => None,
        });
        for row in taken.chain(self.scheduler.free_rows.iter().copied()) {
            assert!(!std::mem::replace(&mut is_seen[row as usize], true), "row {row} is taken twice");
        }
        assert!(is_seen.iter().all(|seen| *seen), "a row is lost");
    }

    /// Checks that a live sequence is in the queue of its phase.
    fn check_queues(&self) {
        let scheduler = &self.scheduler;
        for (rank, key) in scheduler.waiting.iter() {
            let sequence = &scheduler.sequences[key];
            assert_eq!(sequence.rank, rank, "in the waiting queue");
            assert_eq!((sequence.phase, sequence.num_computed), (Phase::Waiting, 0), "in the waiting queue");
        }
        for key in &scheduler.running {
            assert!(scheduler.sequences[*key].is_running(), "in the list of the running ones");
        }
        let num_queued = scheduler.waiting.len() + scheduler.running.len();
        assert_eq!(num_queued, scheduler.sequences.num_live(), "a sequence is in no queue, or in two");
        let num_started = scheduler.sequences.iter().filter(|(_, sequence)| sequence.is_running()).count();
        assert_eq!(scheduler.running.len(), num_started, "a running sequence is missing from the list");
        for (deadline, key) in scheduler.deadlines.iter() {
            let sequence = &scheduler.sequences[key];
            let is_live = sequence.phase != Phase::Finished;
            assert!(is_live && sequence.deadline == Some(deadline), "deadline of {:?}", sequence.id);
        }
        assert!(self.steps_in_flight.len() <= self.config().max_steps_in_flight, "too many steps in flight");
    }

    /// Checks the counts of every key's requests.
    fn check_shares(&self) {
        let mut counts = FxHashMap::<u32, (usize, usize)>::default();
        for (_, sequence) in self.scheduler.sequences.iter() {
            let (num_live, num_running) = counts.entry(sequence.rank.key).or_default();
            *num_live += usize::from(sequence.phase != Phase::Finished);
            *num_running += usize::from(sequence.is_running());
        }
        for (key, counts) in counts {
            let share = self.scheduler.shares.get(key);
            assert_eq!((share.num_live, share.num_running), counts, "requests of key {key}");
        }
    }

    /// Checks a sequence against the steps in flight, and that its blocks cover all computed and
    /// scheduled positions.
    fn check_sequence(&self, key: SequenceKey, sequence: &Sequence, share: Share) {
        let id = sequence.id;
        assert_eq!(sequence.num_steps_in_flight, share.num_steps, "steps in flight of {id:?}");
        assert_eq!(sequence.num_pending, share.num_samples, "pending tokens of {id:?}");
        let num_slots = sequence.blocks.num_slots();
        assert!(share.end.max(sequence.num_computed) <= num_slots, "blocks of {id:?} were given away");
        assert!(sequence.num_computed <= sequence.num_known(), "{id:?} computed tokens that nobody knows");
        let num_told = sequence.num_told_blocks;
        assert!(num_told * self.config().block_size <= num_slots, "blocks of {id:?} were told too early");
        assert!(sequence.is_running() || num_told == 0, "{id:?} has no row, but blocks in it");
        assert!(sequence.num_known() <= sequence.max_len, "{id:?} is longer than it may be");
        let is_alive = sequence.phase != Phase::Finished;
        assert_eq!(self.scheduler.sequences.find(id) == Some(key), is_alive, "name of {id:?}");
        assert!(is_alive || sequence.num_steps_in_flight > 0, "{id:?} was not forgotten");
    }
}
