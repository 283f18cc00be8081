//! An engine whose calls are recorded.

use std::ops::Deref;
use std::time::Duration;

use streamcore_engine::{
    Engine, EngineError, Event, Request, RequestId, Scores, StepBuffers, StepId, StepPlan,
};

use crate::format::{Call, PlanLine};
use crate::recorder::Recorder;

/// An [`Engine`] with the same methods, each call of which becomes a line of a trace while there is
/// a [`Recorder`]. Without one it costs a comparison.
#[derive(Debug)]
pub struct RecordedEngine {
    engine: Engine,
    recorder: Option<Recorder>,
}

impl Deref for RecordedEngine {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl From<Engine> for RecordedEngine {
    fn from(engine: Engine) -> Self {
        Self { engine, recorder: None }
    }
}

impl RecordedEngine {
    /// Records every call from now on. The engine must be new: earlier calls cannot be replayed.
    pub fn record(&mut self, recorder: Recorder) {
        debug_assert!(!self.engine.has_work() && self.engine.stats().steps == 0, "a trace has no beginning");
        self.recorder = Some(recorder);
    }

    /// See [`Engine::add_request`].
    ///
    /// # Errors
    /// The engine's; a request that was refused is not in the trace.
    pub fn add_request(&mut self, request: Request) -> Result<(), EngineError> {
        let Some(recorder) = &mut self.recorder else { return self.engine.add_request(request) };
        let copy = request.clone();
        self.engine.add_request(request)?;
        recorder.add(&Call::Add { at_us: recorder.at_us(), request: copy });
        Ok(())
    }

    /// See [`Engine::abort`].
    pub fn abort(&mut self, id: RequestId) -> bool {
        let was_live = self.engine.abort(id);
        if let Some(recorder) = self.recorder.as_mut().filter(|_| was_live) {
            recorder.add(&Call::Abort { at_us: recorder.at_us(), id });
        }
        was_live
    }

    /// See [`Engine::resume`].
    pub fn resume(&mut self, id: RequestId, forced: &[u32]) -> bool {
        let was_waiting = self.engine.resume(id, forced);
        if let Some(recorder) = self.recorder.as_mut().filter(|_| was_waiting) {
            recorder.add(&Call::Resume { at_us: recorder.at_us(), id, forced: forced.to_vec() });
        }
        was_waiting
    }

    /// See [`Engine::expire`].
    pub fn expire(&mut self, now: Duration) -> usize {
        let num_finished = self.engine.expire(now);
        if let Some(recorder) = self.recorder.as_mut().filter(|_| num_finished > 0) {
            recorder.add(&Call::Expire { at_us: recorder.at_us(), now });
        }
        num_finished
    }

    /// See [`Engine::observe`].
    ///
    /// # Errors
    /// The engine's; nothing is written down then.
    pub fn observe(&mut self, StepId(step): StepId, elapsed: Duration) -> Result<(), EngineError> {
        self.engine.observe(StepId(step), elapsed)?;
        let is_of_use = self.engine.config().target_itl.is_some();
        if let Some(recorder) = self.recorder.as_mut().filter(|_| is_of_use) {
            recorder.add(&Call::Observe { at_us: recorder.at_us(), step, elapsed });
        }
        Ok(())
    }

    /// See [`Engine::schedule`].
    pub fn schedule(&mut self, buffers: &mut StepBuffers<'_>) -> Option<StepPlan> {
        let is_full = self.engine.num_steps_in_flight() == self.engine.config().max_steps_in_flight;
        let may_change = self.engine.has_work() && !is_full;
        let plan = self.engine.schedule(buffers);
        if let Some(recorder) = self.recorder.as_mut().filter(|_| may_change) {
            let at_us = recorder.at_us();
            match &plan {
                Some(plan) => recorder.add(&Call::Plan(PlanLine::new(at_us, plan, buffers))),
                None => recorder.add(&Call::Idle { at_us }),
            }
            recorder.flush();
        }
        plan
    }

    /// See [`Engine::complete`].
    ///
    /// # Errors
    /// The engine's; nothing is written down then.
    pub fn complete(
        &mut self,
        StepId(step): StepId,
        sampled: &[i32],
        scores: Scores<'_>,
    ) -> Result<(), EngineError> {
        self.engine.complete(StepId(step), sampled, scores)?;
        if let Some(recorder) = &mut self.recorder {
            recorder.add(&Call::Complete { at_us: recorder.at_us(), step, sampled: sampled.to_vec() });
            recorder.flush();
        }
        Ok(())
    }

    /// See [`Engine::drain_events`].
    pub fn drain_events(&mut self, events: &mut Vec<Event>) {
        self.engine.drain_events(events);
    }
}
