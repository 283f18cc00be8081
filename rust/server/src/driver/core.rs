//! The engine thread's side: the engine and the requests that it holds.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Instant;

use streamcore_engine::{EngineError, Event, EventKind, FinishReason, RequestId, StepId, StepPlan};
use streamcore_grammar::MatchError;
use streamcore_trace::RecordedEngine;

use super::inbox::{Arrivals, Inbox, Place, Submission};
use super::lock;
use super::masks::{Constraint, Drawn};
use super::outbox::{End, EndError, Full, Outbox, Token};
use crate::metrics::{AbortPhase, Metrics, Outcome};

/// A request that the engine holds.
#[derive(Debug)]
struct OpenRequest {
    outbox: Arc<Outbox>,
    prompt_len: usize,
    arrival: Instant,
    /// Held until the first step.
    place: Option<Place>,
    /// When its first step was planned.
    scheduled: Instant,
    first_token: Option<Instant>,
    num_tokens: usize,
    last_token: Option<Instant>,
    /// The outcome under which an abort is counted.
    aborted_as: Outcome,
    constraint: Option<Arc<Mutex<Constraint>>>,
    /// Forced tokens that are not delivered yet.
    num_forced: usize,
}

impl OpenRequest {
    /// Pairs a drawn token with the constraint that makes the next mask from it.
    fn tell_mask(&mut self, id: RequestId, token: u32) -> Option<Drawn> {
        let constraint = self.constraint.as_ref()?;
        match self.num_forced.checked_sub(1) {
            Some(num_forced) => {
                self.num_forced = num_forced;
                None
            }
            None => Some(Drawn { id, token, constraint: Arc::clone(constraint) }),
        }
    }

    fn count_token(&mut self, metrics: &Metrics, now: Instant) {
        self.num_tokens += 1;
        match self.last_token.replace(now) {
            Some(last) => metrics.inter_token_latency.observe(now - last),
            None => {
                self.first_token = Some(now);
                metrics.time_to_first_token.observe(now - self.arrival);
                metrics.prefill_time.observe(now - self.scheduled);
            }
        }
        if self.outbox.is_abandoned() {
            metrics.wasted_tokens.fetch_add(1, Relaxed);
        }
    }

    fn count_end(&self, outcome: Outcome, metrics: &Metrics, now: Instant) {
        metrics.count_end(outcome);
        metrics.request_latency.observe(now - self.arrival);
        if outcome == Outcome::Abort {
            metrics.count_abort(match self.first_token {
                _ if self.place.is_some() => AbortPhase::Queued,
                None => AbortPhase::Prefill,
                Some(_) => AbortPhase::Decode,
            });
        }
        if let Some(first) = self.first_token {
            metrics.decode_time.observe(now - first);
        }
        // A prompt that is only scored has no token and finishes by `length`.
        if self.first_token.is_some() || outcome == Outcome::Length {
            metrics.inference_time.observe(now - self.scheduled);
            metrics.request_prompt_tokens.observe_count(self.prompt_len);
            metrics.request_generation_tokens.observe_count(self.num_tokens);
        }
    }
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) engine: RecordedEngine,
    /// Tokens of each step in flight and when it was planned, oldest first.
    pub(super) steps_in_flight: VecDeque<(usize, Instant)>,
    last_completion: Option<Instant>,
    open: HashMap<RequestId, OpenRequest>,
    /// Scratch space of [`Core::deliver`], kept for its capacity.
    events: Vec<Event>,
    wakers: Vec<Waker>,
    /// Drawn tokens that need a next mask.
    pub(super) drawn: Vec<Drawn>,
    /// Requests that have left the queue since the last [`Core::deliver`].
    num_departures: usize,
}

impl Core {
    pub(super) fn new(engine: RecordedEngine) -> Self {
        Self {
            engine,
            steps_in_flight: VecDeque::new(),
            last_completion: None,
            open: HashMap::new(),
            events: Vec::new(),
            wakers: Vec::new(),
            drawn: Vec::new(),
            num_departures: 0,
        }
    }

    /// Returns the tokens of the largest step in flight.
    pub(super) fn num_tokens_in_flight(&self) -> usize {
        self.steps_in_flight.iter().map(|(num_tokens, _)| *num_tokens).max().unwrap_or(0)
    }

    /// Reports the duration of the oldest step in flight to the engine. The device starts it when
    /// it has finished the one before.
    pub(super) fn observe(&mut self, step: StepId, now: Instant) -> Result<(), EngineError> {
        let planned = self.steps_in_flight.front().map(|(_, planned)| *planned);
        let began = planned.max(self.last_completion).unwrap_or(now);
        self.engine.observe(step, now - began)?;
        self.last_completion = Some(now);
        Ok(())
    }

    /// Moves arrivals into the engine: requests first, since an abort may name one of them.
    pub(super) fn take_in(&mut self, arrivals: Arrivals, metrics: &Metrics, now: Instant) {
        for submission in arrivals.requests {
            self.add(submission);
        }
        for (id, made) in arrivals.masks {
            self.take_mask(id, made, metrics, now);
        }
        for (id, counts_as) in arrivals.aborts {
            if let Some(open) = self.open.get_mut(&id) {
                open.aborted_as = counts_as;
                self.engine.abort(id);
            }
        }
    }

    fn take_mask(
        &mut self,
        id: RequestId,
        made: Result<Vec<u32>, MatchError>,
        metrics: &Metrics,
        now: Instant,
    ) {
        let Some(open) = self.open.get_mut(&id) else { return };
        match made {
            Ok(forced) => {
                open.num_forced = forced.len();
                self.engine.resume(id, &forced);
            }
            Err(error) => {
                tracing::warn!("an answer ended early: {error}");
                let end = End::Failed(EndError::Grammar(error.to_string()));
                self.close(id, Some(end), Outcome::Error, metrics, now);
                self.engine.abort(id);
            }
        }
    }

    /// Writes the masks of a plan, `num_words` each.
    pub(super) fn write_masks(&self, plan: &StepPlan, num_words: usize, out: &mut [i32]) {
        if plan.num_masked_samples == 0 || num_words == 0 {
            return;
        }
        for (id, mask) in self.engine.masked_requests(plan.id).zip(out.chunks_mut(num_words)) {
            if let Some(constraint) = self.open.get(&id).and_then(|open| open.constraint.as_ref()) {
                lock(constraint).write(mask);
            }
        }
    }

    fn add(&mut self, submission: Submission) {
        let Submission { request, outbox, arrival, constraint, place } = submission;
        let (id, prompt_len) = (request.id, request.prompt.len());
        if let Err(error) = self.engine.add_request(request) {
            // Lengths are checked before submission, so this is a bug; its client must still not
            // hang.
            self.num_departures += 1;
            self.wakers.extend(outbox.end(End::Failed(EndError::Runner(error.to_string()))));
            return;
        }
        let open = OpenRequest {
            outbox,
            prompt_len,
            arrival,
            place: Some(place),
            scheduled: arrival,
            first_token: None,
            num_tokens: 0,
            last_token: None,
            aborted_as: Outcome::Abort,
            constraint,
            num_forced: 0,
        };
        self.open.insert(id, open);
    }

    /// Brings the engine's events to the outboxes and wakes each reader once.
    pub(super) fn deliver(&mut self, inbox: &Mutex<Inbox>, metrics: &Metrics, now: Instant) {
        let mut events = mem::take(&mut self.events);
        self.engine.drain_events(&mut events);
        for event in events.drain(..) {
            self.apply(event, metrics, now);
        }
        self.events = events;
        let mut inbox = lock(inbox);
        inbox.num_masks_in_making += self.drawn.len();
        inbox.settle(
            self.engine.stats(),
            mem::take(&mut self.num_departures),
            self.num_tokens_in_flight(),
            now,
        );
        drop(inbox);
        self.wakers.drain(..).for_each(Waker::wake);
    }

    fn apply(&mut self, event: Event, metrics: &Metrics, now: Instant) {
        let Some(open) = self.open.get_mut(&event.request_id) else { return };
        match event.kind {
            EventKind::Scheduled { num_cached_tokens } => {
                open.outbox.set_num_cached_tokens(num_cached_tokens);
                (open.place, open.scheduled) = (None, now);
                self.num_departures += 1;
                metrics.queue_time.observe(now - open.arrival);
            }
            EventKind::PromptLogprobs(logprobs) => open.outbox.push_prompt_logprobs(logprobs),
            EventKind::Token { token, logprobs } => {
                open.count_token(metrics, now);
                self.drawn.extend(open.tell_mask(event.request_id, token));
                match open.outbox.push(Token { id: token, logprobs }) {
                    Ok(reader) => self.wakers.extend(reader),
                    Err(Full) => {
                        let end = End::Failed(EndError::SlowReader);
                        self.close(event.request_id, Some(end), Outcome::Error, metrics, now);
                        self.engine.abort(event.request_id);
                    }
                }
            }
            EventKind::Finished { reason, logprobs } => {
                let (end, outcome) = match reason {
                    FinishReason::Stop { token_id } => {
                        // The stop token was generated like any other, so usage counts it.
                        open.count_token(metrics, now);
                        (Some(End::Stop(Token { id: token_id, logprobs })), Outcome::Stop)
                    }
                    FinishReason::Length => (Some(End::Length), Outcome::Length),
                    FinishReason::NotFinite => {
                        if metrics.logits_not_finite.fetch_add(1, Relaxed) == 0 {
                            tracing::error!(
                                "the model computed logits that are NaN or infinite; requests that it happens to end with an error"
                            );
                        }
                        (Some(End::Failed(EndError::NotFinite)), Outcome::Error)
                    }
                    // The client has left, or has all that it wants.
                    FinishReason::Abort => (None, open.aborted_as),
                    FinishReason::Deadline => {
                        let waited_s = (now - open.arrival).as_secs_f64().ceil() as u64;
                        (Some(End::Failed(EndError::Deadline { waited_s })), Outcome::Deadline)
                    }
                };
                self.close(event.request_id, end, outcome, metrics, now);
            }
        }
    }

    pub(super) fn close(
        &mut self,
        id: RequestId,
        end: Option<End>,
        outcome: Outcome,
        metrics: &Metrics,
        now: Instant,
    ) {
        let Some(open) = self.open.remove(&id) else { return };
        self.num_departures += usize::from(open.place.is_some());
        open.count_end(outcome, metrics, now);
        self.wakers.extend(end.and_then(|end| open.outbox.end(end)));
    }

    /// Ends every request with an error, including new arrivals. Readers come first: the engine may
    /// be what has failed.
    pub(super) fn end_all(&mut self, arrivals: Arrivals, error: &EndError, metrics: &Metrics, now: Instant) {
        for submission in arrivals.requests {
            self.num_departures += 1;
            metrics.count_end(Outcome::Error);
            self.wakers.extend(submission.outbox.end(End::Failed(error.clone())));
        }
        let ids: Vec<_> = self.open.keys().copied().collect();
        for id in &ids {
            self.close(*id, Some(End::Failed(error.clone())), Outcome::Error, metrics, now);
        }
        self.wakers.drain(..).for_each(Waker::wake);
        for id in ids {
            self.engine.abort(id);
        }
    }
}
