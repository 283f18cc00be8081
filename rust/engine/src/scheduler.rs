//! Decides which sequences compute how many tokens in the next step. Control flow only; the choices
//! are in [`policy`].
//!
//! ```text
//! waiting ──admit──► running ──finish, abort──► finished ──► forgotten
//!    ▲                  │                          (once no step in flight uses the blocks)
//!    └────preempt───────┘
//! ```
//!
//! Other sequences can find a sequence's blocks from the moment their computation is planned, and
//! after it ended until the blocks are reused. See `docs/decisions/0005-prefix-cache.md` for why
//! that is sound.

use std::time::Duration;

use crate::config::EngineConfig;
use crate::deadlines::Deadlines;
use crate::event::{Event, EventKind};
use crate::kv::BlockPool;
use crate::planted::{Bug, has};
use crate::policy::{self, Budget, Rank, Room};
use crate::sequence::{Phase, ScheduledTokens, Sequence, SequenceKey};
use crate::sequences::Sequences;
use crate::shares::Shares;
use crate::step_times::StepTimes;
use crate::waiting::WaitingQueue;

#[derive(Debug)]
pub(crate) struct Scheduler {
    max_num_batched_tokens: usize,
    target_itl: Option<Duration>,
    min_prefill_share: u32,
    pub(crate) step_times: StepTimes,
    pub(crate) sequences: Sequences,
    pub(crate) waiting: WaitingQueue,
    pub(crate) deadlines: Deadlines,
    /// By priority; sorted in order of service wherever that matters.
    pub(crate) running: Vec<SequenceKey>,
    /// Places in `running` that may be displaced, kept so that a step allocates nothing.
    pub(crate) places_to_free: Vec<usize>,
    pub(crate) shares: Shares,
    pub(crate) free_rows: Vec<u32>,
    pub(crate) pool: BlockPool,
    /// Blocks of sequences that no longer run, still used by steps in flight.
    pub(crate) num_fenced_blocks: usize,
    pub(crate) num_preemptions: u64,
    pub(crate) prefix_cache_queries: u64,
    pub(crate) prefix_cache_hits: u64,
}

impl Scheduler {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        let end = u32::try_from(config.num_rows()).expect("`max_num_seqs` was validated to fit into 31 bits");
        let pool = if config.enable_prefix_caching {
            BlockPool::with_prefix_cache(config.num_blocks, config.block_size)
        } else {
            BlockPool::new(config.num_blocks)
        };
        Self {
            max_num_batched_tokens: config.max_num_batched_tokens,
            target_itl: config.target_itl,
            min_prefill_share: config.min_prefill_share,
            step_times: StepTimes::default(),
            sequences: Sequences::default(),
            waiting: WaitingQueue::default(),
            deadlines: Deadlines::default(),
            running: Vec::new(),
            places_to_free: Vec::new(),
            shares: Shares::default(),
            free_rows: (0..end).rev().collect(),
            pool,
            num_fenced_blocks: 0,
            num_preemptions: 0,
            prefix_cache_queries: 0,
            prefix_cache_hits: 0,
        }
    }

    /// Queues a sequence where its rank belongs.
    pub(crate) fn add(&mut self, sequence: Sequence) {
        let (rank, deadline) = (sequence.rank, sequence.deadline);
        self.shares.join(rank.key);
        let key = self.sequences.insert(sequence);
        self.waiting.insert(rank, key);
        if let Some(deadline) = deadline {
            self.deadlines.insert(deadline, key);
        }
    }

    /// Applies the one rule: computed tokens catch up with known tokens, under the token budget,
    /// running sequences before waiting ones that are not ahead of them.
    pub(crate) fn schedule(&mut self, scheduled: &mut Vec<ScheduledTokens>, events: &mut Vec<Event>) {
        self.sort_running();
        let mut budget = self.budget();
        self.hand_out_all(&mut budget, scheduled, events);
        if scheduled.is_empty() && budget.num_prefill_tokens < budget.num_tokens {
            // The decodes that were to be alone have lost their blocks: prefills delay no stream.
            budget.num_prefill_tokens = budget.num_tokens;
            self.hand_out_all(&mut budget, scheduled, events);
        }
    }

    fn hand_out_all(
        &mut self,
        budget: &mut Budget,
        scheduled: &mut Vec<ScheduledTokens>,
        events: &mut Vec<Event>,
    ) {
        self.schedule_running(budget, scheduled, events);
        self.admit_waiting(budget, scheduled, events);
    }

    fn budget(&self) -> Budget {
        let num_tokens = self.max_num_batched_tokens + usize::from(has(Bug::BudgetOverrun));
        let has_decodes = || self.running.iter().any(|key| self.sequences[*key].decodes());
        let is_limited = self.target_itl.is_some() && has_decodes() && !has(Bug::LongChunk);
        let num_prefill_tokens = if is_limited { self.max_prefill_tokens() } else { num_tokens };
        Budget { num_tokens, num_prefill_tokens }
    }

    /// Returns the maximum prefill tokens in a step with decodes.
    pub(crate) fn max_prefill_tokens(&self) -> usize {
        let most = self.max_num_batched_tokens;
        let limit = |target| self.step_times.max_prefill_tokens(target, self.min_prefill_share, most);
        self.target_itl.map_or(most, limit)
    }

    /// Sorts by order of service, unless one key has enough for all: each takes at most one more
    /// block in a step.
    fn sort_running(&mut self) {
        if self.shares.are_several() || self.pool.num_free() < self.running.len() {
            let Self { running, sequences, shares, .. } = self;
            running.sort_unstable_by_key(|key| sequences[*key].rank.desert(shares));
        }
    }

    /// Plans running sequences in order of service, each after the waiting ones ahead of it.
    fn schedule_running(
        &mut self,
        budget: &mut Budget,
        scheduled: &mut Vec<ScheduledTokens>,
        events: &mut Vec<Event>,
    ) {
        let mut head = self.next_waiting();
        let mut place = 0;
        // The list may lose its tail on the way, to preemption.
        while budget.num_tokens > 0 && place < self.running.len() {
            let key = self.running[place];
            let rank = self.sequences[key].rank;
            if let Some(waiting) = head.take_if(|(waiting, _)| waiting.goes_before(rank, &self.shares)) {
                if self.admit_before(place, waiting, budget, scheduled, events) {
                    head = self.next_waiting();
                    place += 1;
                }
                continue;
            }
            place += 1;
            let num_kept = self.running.len() - place;
            let len = budget.chunk_len(self.sequences[key].num_left(), num_kept);
            // 0 if the last token that may be drawn is in flight, or other prefills used their
            // budget.
            if len > 0 && self.make_room(key, len) {
                scheduled.push(self.hand_out(key, len, budget));
                self.shares.owe(rank.key, self.sequences[key].pay());
            }
        }
        // Settled last, so that keys are compared by their shares at the step's start.
        self.shares.settle();
    }

    /// Admits a waiting sequence before the running one at this place, displacing some from there
    /// on if need be.
    fn admit_before(
        &mut self,
        place: usize,
        (rank, key): (Rank, SequenceKey),
        budget: &mut Budget,
        scheduled: &mut Vec<ScheduledTokens>,
        events: &mut Vec<Event>,
    ) -> bool {
        let num_kept = self.running.len() - place;
        let is_in = self.admit(key, num_kept, budget, scheduled, events)
            || !budget.is_spent()
                && self.displace(place, rank, key)
                && self.admit(key, self.running.len() - place, budget, scheduled, events);
        if is_in {
            self.running.insert(place, key);
        }
        is_in
    }

    /// Gets the blocks for the next `len` tokens of a running sequence, preempting others if need
    /// be. Returns `false` if it must sit this step out, or was preempted itself.
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
                    // Earlier ones have their part of the step already. This one is in the list, so
                    // it has a last.
                    if self.preempt(self.running.len() - 1) == key {
                        return false;
                    }
                }
            }
        }
    }

    fn hand_out(&mut self, key: SequenceKey, len: usize, budget: &mut Budget) -> ScheduledTokens {
        let sequence = &mut self.sequences[key];
        let part = sequence.schedule(key, len);
        budget.spend(&part);
        sequence.remember_computed(&mut self.pool);
        part
    }

    /// Takes everything from the running sequence at this place but its known tokens, and queues it
    /// again where its rank belongs.
    pub(crate) fn preempt(&mut self, place: usize) -> SequenceKey {
        let key = self.running.remove(place);
        self.num_preemptions += 1;
        self.waiting.insert(self.sequences[key].rank, key);
        self.leave_row(key, Phase::Waiting);
        key
    }

    /// Admits in the order of the queue; the first that does not fit keeps those behind it out, so
    /// that no sequence waits for ever.
    fn admit_waiting(
        &mut self,
        budget: &mut Budget,
        scheduled: &mut Vec<ScheduledTokens>,
        events: &mut Vec<Event>,
    ) {
        while let Some((_, key)) = self.next_waiting() {
            if !self.admit(key, 0, budget, scheduled, events) {
                return;
            }
            let rank = self.sequences[key].rank;
            let behind = self.running.iter().position(|other| rank.is_above(self.sequences[*other].rank));
            self.running.insert(behind.unwrap_or(self.running.len()), key);
        }
    }

    /// Lets a waiting sequence enter with its first chunk, if there is a place for it. It leaves
    /// `num_kept` tokens of the budget to others.
    fn admit(
        &mut self,
        key: SequenceKey,
        num_kept: usize,
        budget: &mut Budget,
        scheduled: &mut Vec<ScheduledTokens>,
        events: &mut Vec<Event>,
    ) -> bool {
        if budget.is_spent() || self.free_rows.is_empty() || !self.enter(key, events) {
            return false;
        }
        self.waiting.remove(self.sequences[key].rank);
        let len = budget.chunk_len(self.sequences[key].num_left(), num_kept);
        scheduled.push(self.hand_out(key, len, budget));
        let sequence = &mut self.sequences[key];
        self.shares.charge(sequence.rank.key, sequence.pay());
        true
    }

    fn next_waiting(&self) -> Option<(Rank, SequenceKey)> {
        if has(Bug::Starvation) { self.waiting.last() } else { self.waiting.next(&self.shares) }
    }

    /// Gives a waiting sequence its blocks and a row. Returns `false` if it must wait on.
    fn enter(&mut self, key: SequenceKey, events: &mut Vec<Event>) -> bool {
        let sequence = &mut self.sequences[key];
        // Preempted a moment ago: its blocks, and perhaps its last token, are still with a step in
        // flight, or its mask is in the making.
        if sequence.num_steps_in_flight > 0 || sequence.awaits_mask {
            return false;
        }
        let num_spared = policy::num_spared_blocks(self.running.len());
        let finds_prefix = !sequence.needs_whole_prompt;
        let entered = sequence.blocks.enter(&sequence.tokens, finds_prefix, num_spared, &mut self.pool);
        let Some(num_cached_tokens) = entered else { return false };
        sequence.find_cached(num_cached_tokens);
        let row = self.free_rows.pop().expect("the caller saw a free row");
        sequence.phase = Phase::Running { row };
        sequence.reserve();
        self.shares.start(sequence.rank.key);
        if !sequence.was_scheduled {
            sequence.was_scheduled = true;
            self.prefix_cache_hits += num_cached_tokens as u64;
            self.prefix_cache_queries += if finds_prefix { sequence.prompt_len as u64 } else { 0 };
            events.push(Event { request_id: sequence.id, kind: EventKind::Scheduled { num_cached_tokens } });
        }
        true
    }

    /// Ends a sequence. It stays in the list of the running ones until [`Self::drop_finished`], so
    /// that many can end in one pass.
    pub(crate) fn finish(&mut self, key: SequenceKey) {
        self.sequences.forget_request(key);
        if let Some(deadline) = self.sequences[key].deadline {
            self.deadlines.remove(deadline, key);
        }
        let share_key = self.sequences[key].rank.key;
        if self.sequences[key].is_running() {
            self.leave_row(key, Phase::Finished);
        } else {
            self.waiting.remove(self.sequences[key].rank);
            self.sequences[key].phase = Phase::Finished;
            self.lift_fence(key);
        }
        self.shares.leave(share_key);
    }

    /// Takes the sequences that have ended out of the list of the running ones.
    pub(crate) fn drop_finished(&mut self) {
        let sequences = &self.sequences;
        self.running.retain(|key| sequences.get(*key).is_some_and(Sequence::is_running));
    }

    /// Takes a running sequence off its row. The row is free at once, since the device works in the
    /// order of the plans; the blocks are fenced as long as a step in flight uses them.
    fn leave_row(&mut self, key: SequenceKey, phase: Phase) {
        let sequence = &mut self.sequences[key];
        if let Phase::Running { row } = sequence.phase {
            self.free_rows.push(row);
            self.shares.stop(sequence.rank.key);
        }
        sequence.phase = phase;
        sequence.remember_computed(&mut self.pool);
        sequence.num_computed = 0;
        sequence.num_told_blocks = 0;
        sequence.draws_again = false;
        self.num_fenced_blocks += sequence.blocks.blocks().len();
        self.lift_fence(key);
    }

    /// Gives back the blocks of a sequence that does not run, once no step in flight uses them, and
    /// forgets it if it has finished.
    pub(crate) fn lift_fence(&mut self, key: SequenceKey) {
        let sequence = &mut self.sequences[key];
        let is_fenced = sequence.num_steps_in_flight > 0 && !has(Bug::UnfencedFree);
        if is_fenced || sequence.is_running() {
            return;
        }
        self.num_fenced_blocks -= sequence.blocks.blocks().len();
        sequence.blocks.give_back(&mut self.pool);
        if sequence.phase == Phase::Finished {
            self.sequences.remove(key);
        }
    }
}
