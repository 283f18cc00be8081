//! What HTTP threads leave for the engine thread.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use streamcore_engine::{Admission, Request, RequestId, Stats};

use super::outbox::Outbox;
use super::{DriverLimits, HUNG_AFTER, NewRequest};
use crate::metrics::Outcome;

/// Why a request was not queued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too much is waiting.
    #[error("{reason}")]
    QueueFull {
        /// What, and how much may.
        reason: streamcore_engine::Refusal,
        /// When a place should be free, in seconds.
        retry_after_s: u64,
    },
    /// The server is going away.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The runner died.
    #[error("{0}")]
    Failed(String),
}

/// Where a driver is in its life.
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
}

/// All that has come since the last step.
#[derive(Debug)]
pub(super) struct Arrivals {
    pub(super) requests: Vec<Submission>,
    pub(super) aborts: Vec<(RequestId, Outcome)>,
}

#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) phase: Phase,
    requests: Vec<Submission>,
    /// A lane of its own: it takes at most one entry per open request, so it is bounded and never refuses.
    aborts: Vec<(RequestId, Outcome)>,
    admission: Admission,
    next_id: u64,
    stats: Stats,
    last_sign_of_life: Instant,
    last_departure: Option<Instant>,
    /// Time between two departures from a queue that was not empty, smoothed: what `Retry-After` is made of.
    departure_interval: Duration,
}

impl Inbox {
    pub(super) fn new(limits: DriverLimits, stats: Stats, now: Instant) -> Self {
        Self {
            phase: Phase::Serving,
            requests: Vec::new(),
            aborts: Vec::new(),
            admission: Admission::new(limits.max_waiting_requests, limits.max_waiting_tokens),
            next_id: 0,
            stats,
            last_sign_of_life: now,
            last_departure: None,
            departure_interval: Duration::from_secs(1),
        }
    }

    pub(super) fn submit(
        &mut self,
        request: NewRequest,
        arrival: Instant,
    ) -> Result<(RequestId, Arc<Outbox>), Refusal> {
        match &self.phase {
            Phase::Serving => {}
            Phase::Draining { .. } | Phase::Stopped => return Err(Refusal::ShuttingDown),
            Phase::Failed(message) => return Err(Refusal::Failed(message.clone())),
        }
        let retry_after_s = self.retry_after_s();
        self.admission
            .reserve(request.prompt.len())
            .map_err(|reason| Refusal::QueueFull { reason, retry_after_s })?;
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let outbox = Arc::new(Outbox::new(request.deliver_at_end));
        self.requests.push(Submission { request: request.named(id), outbox: Arc::clone(&outbox), arrival });
        Ok((id, outbox))
    }

    pub(super) fn abort(&mut self, id: RequestId, counts_as: Outcome) {
        self.aborts.push((id, counts_as));
    }

    /// Empties both lanes.
    pub(super) fn take(&mut self, now: Instant) -> Arrivals {
        self.last_sign_of_life = now;
        Arrivals { requests: mem::take(&mut self.requests), aborts: mem::take(&mut self.aborts) }
    }

    /// Whether the engine thread has nothing to wake up for.
    pub(super) fn is_quiet(&self) -> bool {
        self.requests.is_empty() && self.aborts.is_empty() && self.phase == Phase::Serving
    }

    /// What a step has left behind: the gauges, and the places of the requests that left the queue.
    pub(super) fn settle(&mut self, stats: Stats, departures: &[usize], now: Instant) {
        self.stats = stats;
        self.last_sign_of_life = now;
        for prompt_len in departures {
            self.admission.release(*prompt_len);
        }
        let Ok(num_departures @ 1..) = u32::try_from(departures.len()) else { return };
        if let Some(last) = self.last_departure {
            let interval = now.saturating_duration_since(last) / num_departures;
            self.departure_interval = (self.departure_interval * 7 + interval) / 8;
        }
        self.last_departure = (self.num_waiting() > 0).then_some(now);
    }

    /// The gauges, with what has not reached the engine yet counted as waiting.
    pub(super) fn stats(&self) -> Stats {
        Stats { num_waiting: self.num_waiting(), ..self.stats }
    }

    pub(super) fn is_hung(&self, now: Instant) -> bool {
        let has_work = self.num_waiting() + self.stats.num_running > 0;
        has_work && now.saturating_duration_since(self.last_sign_of_life) >= HUNG_AFTER
    }

    fn num_waiting(&self) -> usize {
        self.stats.num_waiting + self.requests.len()
    }

    /// Half the queue has to leave before a client that comes back finds a place that others have not taken.
    fn retry_after_s(&self) -> u64 {
        let num_departures = u32::try_from(self.num_waiting() / 2 + 1).unwrap_or(u32::MAX);
        self.departure_interval.saturating_mul(num_departures).as_secs().clamp(1, 60)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A hung runner behind a healthy `/health` is never restarted; an idle one that counts as hung is, for nothing.
    #[test]
    fn only_work_without_a_sign_of_life_is_a_hang() {
        let start = Instant::now();
        let limits = DriverLimits { max_waiting_requests: 1, max_waiting_tokens: 1 };
        let mut inbox = Inbox::new(limits, Stats::default(), start);
        assert!(!inbox.is_hung(start + HUNG_AFTER), "idle");
        inbox.settle(Stats { num_running: 1, ..Stats::default() }, &[], start);
        assert!(!inbox.is_hung(start + HUNG_AFTER - Duration::from_millis(1)));
        assert!(inbox.is_hung(start + HUNG_AFTER));
        inbox.take(start + HUNG_AFTER);
        assert!(!inbox.is_hung(start + HUNG_AFTER), "it has asked for a step again");
    }

    /// A `Retry-After` that ignores how fast the queue moves sends every client back too early.
    #[test]
    fn retry_after_follows_the_measured_departures() {
        let start = Instant::now();
        let limits = DriverLimits { max_waiting_requests: 64, max_waiting_tokens: 64 };
        let mut inbox = Inbox::new(limits, Stats::default(), start);
        let busy = Stats { num_waiting: 9, ..Stats::default() };
        for nth in 0..200 {
            inbox.admission.reserve(1).unwrap();
            inbox.settle(busy, &[1], start + Duration::from_secs(4 * nth));
        }
        assert!((19..=20).contains(&inbox.retry_after_s()), "five departures, four seconds apart");
    }
}
