//! The inbox: what HTTP threads leave for the engine thread.

use std::mem;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use streamcore_engine::{Request, RequestId, Stats};
use streamcore_grammar::MatchError;

use super::NewRequest;
use super::masks::{Constraint, Made};
use super::outbox::Outbox;
use super::pulse::Pulse;
use crate::ledger::{Charge, Full, Ledger, Pool};
use crate::metrics::{Outcome, RefusalReason};

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The server holds too much, for all clients or for this API key.
    #[error("{full}")]
    Full {
        /// The pool that is full, and its limit.
        full: Full,
        /// Seconds until there should be room.
        retry_after_s: u64,
    },
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The runner died.
    #[error("{0}")]
    Failed(String),
}

impl Refusal {
    /// Returns the reason under which the refusal is counted.
    pub(super) fn reason(&self) -> RefusalReason {
        match self {
            Self::Full { full, .. } => match full.pool {
                Pool::Preparations | Pool::Requests => RefusalReason::QueueRequests,
                Pool::PromptTokens => RefusalReason::QueueTokens,
                Pool::Heads | Pool::LongBodies | Pool::ShortBodies => RefusalReason::BodyBytes,
                Pool::Answers => RefusalReason::AnswerBytes,
                Pool::StoredResponses | Pool::StoredBytes => RefusalReason::Stored,
            },
            Self::ShuttingDown => RefusalReason::Draining,
            Self::Failed(_) => RefusalReason::Failed,
        }
    }
}

/// The phases of a driver's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    Draining { deadline: Instant },
    Failed(String),
    Stopped,
}

/// A request on its way to the engine.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) request: Request,
    pub(super) outbox: Arc<Outbox>,
    pub(super) arrival: Instant,
    pub(super) constraint: Option<Arc<Mutex<Constraint>>>,
    pub(super) place: Place,
}

/// A request's place in the queue, held until its first step or its end.
#[derive(Debug)]
pub(super) struct Place {
    _request: Charge,
    _tokens: Charge,
}

/// Bytes charged for an answer whose length is unknown.
const MIN_ANSWER_BYTES: usize = 1 << 10;

/// All that has arrived since the last step.
#[derive(Debug)]
pub(super) struct Arrivals {
    pub(super) requests: Vec<Submission>,
    pub(super) aborts: Vec<(RequestId, Outcome)>,
    pub(super) masks: Vec<Made>,
}

#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) phase: Phase,
    requests: Vec<Submission>,
    /// A lane of its own: at most one entry per open request, so bounded without refusals.
    aborts: Vec<(RequestId, Outcome)>,
    masks: Vec<Made>,
    /// Masks that the pool makes, until they are taken.
    pub(super) num_masks_in_making: usize,
    /// Whether the step waits for all masks, so that one alone need not wake the engine thread.
    pub(super) is_patient: bool,
    ledger: Arc<Ledger>,
    stats: Stats,
    pub(super) pulse: Pulse,
    started: Instant,
    last_departure: Option<Instant>,
    /// Smoothed time between two departures from a queue that was not empty, for `Retry-After`.
    departure_interval: Duration,
}

impl Inbox {
    pub(super) fn new(ledger: Arc<Ledger>, stats: Stats, now: Instant) -> Self {
        Self {
            phase: Phase::Serving,
            requests: Vec::new(),
            aborts: Vec::new(),
            masks: Vec::new(),
            num_masks_in_making: 0,
            is_patient: false,
            ledger,
            stats,
            pulse: Pulse::new(now),
            started: now,
            last_departure: None,
            departure_interval: Duration::from_secs(1),
        }
    }

    /// Makes the refusal of a client for which there is no room.
    pub(super) fn refuse(&self, full: Full) -> Refusal {
        Refusal::Full { full, retry_after_s: self.retry_after_s() }
    }

    /// Queues all requests or none.
    pub(super) fn submit_all(
        &mut self,
        requests: Vec<NewRequest>,
        arrival: Instant,
    ) -> Result<Vec<(RequestId, Arc<Outbox>)>, Refusal> {
        match &self.phase {
            Phase::Serving if self.is_weak() => return Err(Refusal::Failed(self.silence())),
            Phase::Serving => {}
            Phase::Draining { .. } | Phase::Stopped => return Err(Refusal::ShuttingDown),
            Phase::Failed(message) => return Err(Refusal::Failed(message.clone())),
        }
        let places = requests.iter().map(|new| self.place(new)).collect::<Result<Vec<_>, _>>();
        let places = places.map_err(|full| self.refuse(full))?;
        Ok(requests.into_iter().zip(places).map(|(new, place)| self.queue(new, place, arrival)).collect())
    }

    /// Reserves a request's place and the memory for its answer.
    fn place(&self, new: &NewRequest) -> Result<(Place, Charge), Full> {
        let NewRequest { request, kept_bytes, .. } = new;
        let _request = self.ledger.charge(Pool::Requests, request.key, 1)?;
        let _tokens = self.ledger.charge(Pool::PromptTokens, request.key, request.prompt.len())?;
        let kept = self.ledger.charge(Pool::Answers, request.key, MIN_ANSWER_BYTES + kept_bytes)?;
        Ok((Place { _request, _tokens }, kept))
    }

    fn queue(
        &mut self,
        new: NewRequest,
        (place, kept): (Place, Charge),
        arrival: Instant,
    ) -> (RequestId, Arc<Outbox>) {
        let NewRequest { mut request, delivery, patience, kept_bytes: _, constraint } = new;
        let id = request.id;
        request.deadline = patience.map(|patience| self.engine_time(arrival).saturating_add(patience));
        let outbox = Arc::new(Outbox::new(delivery, kept));
        request.is_constrained = constraint.is_some();
        self.requests.push(Submission { request, outbox: Arc::clone(&outbox), arrival, constraint, place });
        (id, outbox)
    }

    /// Converts a point in time to the engine's clock.
    pub(super) fn engine_time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    pub(super) fn abort(&mut self, id: RequestId, counts_as: Outcome) {
        self.aborts.push((id, counts_as));
    }

    /// Leaves a mask; returns whether the engine thread has to wake up.
    pub(super) fn take_in_mask(&mut self, id: RequestId, made: Result<Vec<u32>, MatchError>) -> bool {
        self.masks.push((id, made));
        !(self.is_patient && self.are_masks_in_making())
    }

    /// Returns whether masks are in the making.
    pub(super) fn are_masks_in_making(&self) -> bool {
        self.num_masks_in_making > self.masks.len()
    }

    /// Empties all lanes. `num_tokens_in_flight` counts the largest step in flight.
    pub(super) fn take(&mut self, now: Instant, num_tokens_in_flight: usize) -> Arrivals {
        self.pulse.beat(now, num_tokens_in_flight);
        // They wait in the engine until the step reports: the gauges must count every request
        // somewhere.
        self.stats.num_waiting += self.requests.len();
        self.num_masks_in_making -= self.masks.len();
        Arrivals {
            requests: mem::take(&mut self.requests),
            aborts: mem::take(&mut self.aborts),
            masks: mem::take(&mut self.masks),
        }
    }

    /// Returns whether the engine thread has no reason to wake up.
    pub(super) fn is_quiet(&self) -> bool {
        !self.has_arrivals() && self.phase == Phase::Serving
    }

    /// Returns whether a request has arrived or been aborted.
    pub(super) fn has_arrivals(&self) -> bool {
        !(self.requests.is_empty() && self.aborts.is_empty() && self.masks.is_empty())
    }

    /// Records a step's results: the gauges, and how many requests left the queue.
    pub(super) fn settle(
        &mut self,
        stats: Stats,
        num_departures: usize,
        num_tokens_in_flight: usize,
        now: Instant,
    ) {
        self.stats = stats;
        self.pulse.beat(now, num_tokens_in_flight);
        let Ok(num_departures @ 1..) = u32::try_from(num_departures) else { return };
        if let Some(last) = self.last_departure {
            let interval = now.saturating_duration_since(last) / num_departures;
            self.departure_interval = (self.departure_interval * 7 + interval) / 8;
        }
        self.last_departure = (self.num_waiting() > 0).then_some(now);
    }

    /// Returns the gauges; requests that have not reached the engine count as waiting.
    pub(super) fn stats(&self) -> Stats {
        Stats { num_waiting: self.num_waiting() + self.num_preparing(), ..self.stats }
    }

    /// Returns the bodies whose prompts are being prepared.
    pub(super) fn num_preparing(&self) -> usize {
        self.ledger.held(Pool::Preparations)
    }

    /// Returns whether the step loop has been silent for longer than its step explains.
    pub(super) fn is_weak(&self) -> bool {
        self.pulse.weak_for().is_some()
    }

    /// Makes the message for requests that arrive during a silence.
    pub(super) fn silence(&self) -> String {
        let silence = self.pulse.weak_for().unwrap_or_default();
        format!("the step loop has not answered for {:.1} s", silence.as_secs_f32())
    }

    /// Checks the step loop once; returns why it is to be given up, if it is.
    pub(super) fn look(&mut self) -> Option<String> {
        self.pulse.look(self.num_waiting() + self.stats.num_running > 0);
        let is_open = matches!(self.phase, Phase::Serving | Phase::Draining { .. });
        (is_open && self.pulse.is_gone()).then(|| self.silence())
    }

    /// Takes nothing more, for this reason, unless one was given before.
    pub(super) fn close(&mut self, phase: Phase) {
        if matches!(self.phase, Phase::Serving | Phase::Draining { .. }) {
            self.phase = phase;
        }
    }

    fn num_waiting(&self) -> usize {
        self.stats.num_waiting + self.requests.len()
    }

    /// Half the queue has to leave before a client that comes back finds a free place.
    fn retry_after_s(&self) -> u64 {
        let num_departures = u32::try_from(self.num_waiting() / 2 + 1).unwrap_or(u32::MAX);
        self.departure_interval.saturating_mul(num_departures).as_secs().clamp(1, 60)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::driver::DriverLimits;

    /// Choices queued before the refusal of the last one would be prefilled in vain.
    #[test]
    fn requests_are_queued_together_or_not_at_all() {
        let limits =
            DriverLimits { max_waiting_requests: 3, max_waiting_tokens: 8, ..DriverLimits::default() };
        let ledger = Ledger::new(limits);
        let mut inbox = Inbox::new(Arc::clone(&ledger), Stats::default(), Instant::now());
        let mut submit = |lens: &[usize]| {
            let requests = lens.iter().map(|len| NewRequest::new(vec![1; *len], 1)).collect();
            let is_queued = inbox.submit_all(requests, Instant::now()).is_ok();
            (is_queued, inbox.num_waiting(), ledger.held(Pool::PromptTokens))
        };
        assert_eq!(submit(&[1, 1, 1, 1]), (false, 0, 0), "a request too many");
        assert_eq!(submit(&[4, 5]), (false, 0, 0), "a token too many");
        assert_eq!(submit(&[4, 4]), (true, 2, 8));
    }

    /// A request that no gauge counts makes a busy server look idle, and it is taken out of service
    /// or down to zero replicas.
    #[test]
    fn a_request_on_its_way_to_the_engine_is_counted_as_waiting() {
        let limits =
            DriverLimits { max_waiting_requests: 2, max_waiting_tokens: 8, ..DriverLimits::default() };
        let mut inbox = Inbox::new(Ledger::new(limits), Stats::default(), Instant::now());
        inbox.submit_all(vec![NewRequest::new(vec![1], 1)], Instant::now()).unwrap();
        let arrivals = inbox.take(Instant::now(), 0);
        assert_eq!((arrivals.requests.len(), inbox.stats().num_waiting), (1, 1));
        inbox.settle(Stats { num_running: 1, ..Stats::default() }, 1, 1, Instant::now());
        assert_eq!((inbox.stats().num_running, inbox.stats().num_waiting), (1, 0));
    }

    /// A `Retry-After` that ignores how fast the queue moves sends every client back too early.
    #[test]
    fn retry_after_follows_the_measured_departures() {
        let start = Instant::now();
        let limits =
            DriverLimits { max_waiting_requests: 64, max_waiting_tokens: 64, ..DriverLimits::default() };
        let mut inbox = Inbox::new(Ledger::new(limits), Stats::default(), start);
        let busy = Stats { num_waiting: 9, ..Stats::default() };
        for nth in 0..200 {
            inbox.settle(busy, 1, 0, start + Duration::from_secs(4 * nth));
        }
        assert!((19..=20).contains(&inbox.retry_after_s()), "five departures, four seconds apart");
    }
}
