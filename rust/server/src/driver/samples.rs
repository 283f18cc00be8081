//! Calls for a runner that chooses tokens by request: whose tokens a step draws, a rest, and the
//! end of a request.

use std::sync::PoisonError;
use std::time::Instant;

use streamcore_engine::{RequestId, StepId};

use super::inbox::Phase;
use super::outbox::{End, EndError};
use super::{Driver, lock};
use crate::metrics::Outcome;

impl Driver {
    /// Shows the request of each sample of a step in flight. Called by the engine thread only.
    pub fn for_each_sample(&self, step: StepId, show: impl FnMut(RequestId)) {
        lock(&self.core).engine.sampled_requests(step).for_each(show);
    }

    /// Ends one request with an error. Called by the engine thread only.
    pub fn end(&self, id: RequestId, error: EndError) {
        let mut core = lock(&self.core);
        let now = Instant::now();
        core.close(id, Some(End::Failed(error)), Outcome::Error, &self.metrics, now);
        core.engine.abort(id);
        core.deliver(&self.inbox, &self.metrics, now);
    }

    /// Waits until `due`, or until a request arrives or is aborted. Called by the engine thread
    /// only.
    pub fn wait_until(&self, due: Instant) {
        let inbox = lock(&self.inbox);
        let phase = inbox.phase.clone();
        let until = match phase {
            Phase::Serving => due,
            Phase::Draining { deadline } => due.min(deadline),
            Phase::Failed(_) | Phase::Stopped => return,
        };
        let left = until.saturating_duration_since(Instant::now());
        let rested =
            self.work.wait_timeout_while(inbox, left, |inbox| !inbox.has_arrivals() && inbox.phase == phase);
        drop(rested.unwrap_or_else(PoisonError::into_inner));
    }
}
