//! Who computes how many tokens in the next step. Control flow only; the choices are in [`policy`].
//!
//! ```text
//! waiting ──admit──► running ──finish, abort──► finished ──► forgotten
//!    ▲                  │                          (once no step in flight uses the blocks)
//!    └────preempt───────┘
//! ```

use std::collections::VecDeque;

use crate::config::EngineConfig;
use crate::event::{Event, EventKind};
use crate::kv::BlockPool;
use crate::policy::{self, Room};
use crate::sequence::{Phase, ScheduledTokens, Sequence, SequenceKey};
use crate::sequences::Sequences;

#[derive(Debug)]
pub(crate) struct Scheduler {
    max_num_batched_tokens: usize,
    pub(crate) sequences: Sequences,
    /// In the order of arrival, after those that were preempted.
    pub(crate) waiting: VecDeque<SequenceKey>,
    /// In the order of admission.
    pub(crate) running: Vec<SequenceKey>,
    pub(crate) free_rows: Vec<u32>,
    pub(crate) pool: BlockPool,
    /// Blocks of sequences that do not run any more but are used by steps in flight.
    pub(crate) num_fenced_blocks: usize,
    pub(crate) num_preemptions: u64,
}

impl Scheduler {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        let end =
            u32::try_from(config.max_num_seqs).expect("`max_num_seqs` was validated to fit into 31 bits");
        Self {
            max_num_batched_tokens: config.max_num_batched_tokens,
            sequences: Sequences::default(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            free_rows: (0..end).rev().collect(),
            pool: BlockPool::new(config.num_blocks),
            num_fenced_blocks: 0,
            num_preemptions: 0,
        }
    }

    /// Queues a sequence behind all others.
    pub(crate) fn add(&mut self, sequence: Sequence) {
        let key = self.sequences.insert(sequence);
        self.waiting.push_back(key);
    }

    /// The one rule: computed tokens catch up with known tokens, under the token budget, running sequences first.
    pub(crate) fn schedule(&mut self, scheduled: &mut Vec<ScheduledTokens>, events: &mut Vec<Event>) {
        let mut budget = self.max_num_batched_tokens;
        self.schedule_running(&mut budget, scheduled);
        self.admit_waiting(&mut budget, scheduled, events);
    }

    fn schedule_running(&mut self, budget: &mut usize, scheduled: &mut Vec<ScheduledTokens>) {
        let mut index = 0;
        // The list may lose its tail on the way, to preemption.
        while *budget > 0 && index < self.running.len() {
            let key = self.running[index];
            index += 1;
            let len = policy::chunk_len(self.sequences[key].num_left(), *budget);
            // None are left where the last token that may be drawn is in flight.
            if len > 0 && self.make_room(key, len) {
                scheduled.push(self.sequences[key].schedule(key, len));
                *budget -= len;
            }
        }
    }

    /// Gets the blocks for the next `len` tokens of a running sequence, from others if need be. Answers `false` if it must sit this
    /// step out, or was preempted itself.
    fn make_room(&mut self, key: SequenceKey, len: usize) -> bool {
        let sequence = &mut self.sequences[key];
        let end = sequence.num_computed + len;
        let num_missing = sequence.blocks.num_missing(end);
        if num_missing == 0 {
            return true;
        }
        loop {
            match policy::room(num_missing, self.pool.num_free(), self.num_fenced_blocks) {
                Room::Take => return self.sequences[key].blocks.grow(end, &mut self.pool),
                Room::Wait => return false,
                Room::Preempt => {
                    let victim = policy::victim(&self.running).expect("the sequence that asks is running");
                    self.preempt(victim);
                    if victim == key {
                        return false;
                    }
                }
            }
        }
    }

    /// Takes everything from a running sequence but its known tokens, and lets it in again before all others.
    fn preempt(&mut self, key: SequenceKey) {
        self.num_preemptions += 1;
        self.running.retain(|running| *running != key);
        self.waiting.push_front(key);
        self.sequences[key].num_computed = 0;
        self.leave_row(key, Phase::Waiting);
    }

    /// Admits in the order of the queue; the first that does not fit keeps those behind it out, so that nobody waits for ever.
    fn admit_waiting(
        &mut self,
        budget: &mut usize,
        scheduled: &mut Vec<ScheduledTokens>,
        events: &mut Vec<Event>,
    ) {
        while *budget > 0 && !self.free_rows.is_empty() {
            let Some(&key) = self.waiting.front() else { return };
            let sequence = &mut self.sequences[key];
            let num_known = sequence.tokens.len();
            let fits = policy::can_admit(sequence.blocks.num_missing(num_known), self.pool.num_free());
            // Preempted a moment ago: its blocks, and perhaps its last token, are still with a step in flight.
            if !fits || sequence.num_steps_in_flight > 0 {
                return;
            }
            sequence.blocks.grow(num_known, &mut self.pool);
            let row = self.free_rows.pop().expect("a row is free, or the loop had ended");
            sequence.phase = Phase::Running { row };
            if !sequence.was_scheduled {
                sequence.was_scheduled = true;
                events.push(Event { request_id: sequence.id, kind: EventKind::Scheduled });
            }
            let len = policy::chunk_len(num_known, *budget);
            scheduled.push(sequence.schedule(key, len));
            *budget -= len;
            self.waiting.pop_front();
            self.running.push(key);
        }
    }

    /// Ends a sequence. It stays in the list of the running ones until [`Self::drop_finished`], so that many can end in one pass.
    pub(crate) fn finish(&mut self, key: SequenceKey) {
        self.sequences.forget_request(key);
        if self.sequences[key].is_running() {
            self.leave_row(key, Phase::Finished);
        } else {
            self.waiting.retain(|waiting| *waiting != key);
            self.sequences[key].phase = Phase::Finished;
            self.lift_fence(key);
        }
    }

    /// Takes the sequences that have ended out of the list of the running ones.
    pub(crate) fn drop_finished(&mut self) {
        let sequences = &self.sequences;
        self.running.retain(|key| sequences.get(*key).is_some_and(Sequence::is_running));
    }

    /// Takes a running sequence off its row. The row is free at once, since the device works in the order of the plans; the blocks
    /// are fenced as long as a step in flight uses them.
    fn leave_row(&mut self, key: SequenceKey, phase: Phase) {
        let sequence = &mut self.sequences[key];
        if let Phase::Running { row } = sequence.phase {
            self.free_rows.push(row);
        }
        sequence.phase = phase;
        self.num_fenced_blocks += sequence.blocks.blocks().len();
        self.lift_fence(key);
    }

    /// Gives back the blocks of a sequence that does not run, once no step in flight uses them, and forgets it if it has finished.
    pub(crate) fn lift_fence(&mut self, key: SequenceKey) {
        let sequence = &mut self.sequences[key];
        if sequence.num_steps_in_flight > 0 || sequence.is_running() {
            return;
        }
        self.num_fenced_blocks -= sequence.blocks.blocks().len();
        sequence.blocks.give_back(&mut self.pool);
        if sequence.phase == Phase::Finished {
            self.sequences.remove(key);
        }
    }
}
