//! Calls for a runner that plays a script: whose tokens a step draws, a pause, and a request's end.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use streamcore_engine::{RequestId, StepId};

use super::inbox::Phase;
use super::outbox::{End, EndError};
use super::{Driver, lock};
use crate::metrics::Outcome;
use crate::script::ScriptedAnswer;

impl Driver {
    /// Shows each sample's request, scripted answer and arrival time for a step in flight. A
    /// request that ended since has no answer. Called by the engine thread only.
    pub fn for_each_sample(
        &self,
        step: StepId,
        mut show: impl FnMut(RequestId, Option<(&Arc<ScriptedAnswer>, Instant)>),
    ) {
        let core = lock(&self.core);
        core.engine.sampled_requests(step).for_each(|id| show(id, core.answer_of(id)));
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
