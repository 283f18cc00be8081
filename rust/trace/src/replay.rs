//! Makes the calls of a trace again, and compares the plans.

use std::collections::VecDeque;
use std::io::BufRead;

use streamcore_engine::{
    Engine, EngineConfig, EngineError, Event, OwnedStepBuffers, Scores, StepId, StepPlan,
};

use crate::format::{Call, PlanLine};
use crate::reader::{TraceError, TraceReader};

/// Why a replay ended before its trace.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The trace cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The limits in the header are refused.
    #[error("line 1: {0}")]
    Config(EngineError),
    /// The trace names other sizes or columns than this program has: it was written by another
    /// version.
    #[error("line 1: the plans of streamcore {0} have other columns than those of this program, {version}", version = env!("CARGO_PKG_VERSION"))]
    Columns(String),
    /// The engine's result differs from the trace.
    #[error("line {line}: {difference}")]
    Difference {
        /// Counted from 1.
        line: u64,
        /// What differs.
        difference: Difference,
    },
}

/// A difference between the engine and the trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// A size of a plan.
    #[error("step {step} has `{name}` {replayed}, the trace has {recorded}")]
    Size {
        /// The step.
        step: u64,
        /// The size.
        name: &'static str,
        /// As in the trace.
        recorded: usize,
        /// As planned now.
        replayed: usize,
    },
    /// Something in a column of a plan.
    #[error(
        "column `{name}` of step {step} differs: its hash is {replayed:08x}, in the trace it is {recorded:08x}"
    )]
    Column {
        /// The step.
        step: u64,
        /// The column.
        name: &'static str,
        /// As in the trace.
        recorded: u32,
        /// As planned now.
        replayed: u32,
    },
    /// The line has more or fewer numbers than the header names.
    #[error("step {step} has {given} {what}, the header names {expected}")]
    Count {
        /// The step.
        step: u64,
        /// Sizes or hashes.
        what: &'static str,
        /// In the line.
        given: usize,
        /// In the header.
        expected: usize,
    },
    /// Another step was planned, or none.
    #[error("{} is planned, in the trace {} is", name(*.replayed), name(*.recorded))]
    Step {
        /// As in the trace.
        recorded: Option<u64>,
        /// As planned now.
        replayed: Option<u64>,
    },
    /// A request was not there to be aborted.
    #[error("request {0} is aborted, but it has ended or never came")]
    NoSuchRequest(u64),
    /// A request was not waiting for a mask.
    #[error("the mask of request {0} is there, but it waits for none")]
    NoMaskAwaited(u64),
    /// The engine refused a call that it took when the trace was recorded.
    #[error("the engine refused the call: {0}")]
    Refused(#[from] EngineError),
}

fn name(step: Option<u64>) -> String {
    step.map_or_else(|| "nothing".to_owned(), |step| format!("step {step}"))
}

/// The progress of a replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Calls that were made again.
    pub num_calls: u64,
    /// Steps whose plans were equal.
    pub num_steps: u64,
    /// The last line was incomplete, and left out.
    pub is_cut_off: bool,
}

/// A trace, and an engine to which its calls are made again.
#[derive(Debug)]
pub struct Replay<R> {
    reader: TraceReader<R>,
    engine: Engine,
    columns: OwnedStepBuffers,
    /// Log-probabilities for scored tokens. They change no plan, so they are not in the trace.
    scores: Vec<f32>,
    /// Those in flight.
    plans: VecDeque<StepPlan>,
    events: Vec<Event>,
    replayed: Replayed,
}

impl<R: BufRead> Replay<R> {
    /// Reads the header and makes the engine.
    ///
    /// # Errors
    /// [`ReplayError`], if there is no header or it is not of this version.
    pub fn new(lines: R) -> Result<Self, ReplayError> {
        let reader = TraceReader::new(lines)?;
        let header = reader.header();
        if header.sizes != StepPlan::SIZE_NAMES || header.columns != StepPlan::COLUMN_NAMES {
            return Err(ReplayError::Columns(header.streamcore.clone()));
        }
        let engine = Engine::new(header.config.clone()).map_err(ReplayError::Config)?;
        Ok(Self {
            columns: OwnedStepBuffers::new(engine.config()),
            engine,
            reader,
            scores: Vec::new(),
            events: Vec::new(),
            plans: VecDeque::new(),
            replayed: Replayed::default(),
        })
    }

    /// Makes up to `max_calls` calls again. Returns `None` while there are more.
    ///
    /// # Errors
    /// [`ReplayError`] at the first line that cannot be read or whose results differ.
    pub fn advance(&mut self, max_calls: u64) -> Result<Option<Replayed>, ReplayError> {
        for _ in 0..max_calls {
            if self.make_next(|_| ())?.is_none() {
                return Ok(Some(Replayed { is_cut_off: self.reader.is_cut_off(), ..self.replayed }));
            }
        }
        Ok(None)
    }

    /// Makes one call again after passing it to `look`, and returns its events; `None` at the end.
    pub(crate) fn make_next(&mut self, look: impl FnOnce(&Call)) -> Result<Option<&[Event]>, ReplayError> {
        let Some(call) = self.reader.next_call()? else { return Ok(None) };
        look(&call);
        let line = self.reader.line();
        self.make(call).map_err(|difference| ReplayError::Difference { line, difference })?;
        self.replayed.num_calls += 1;
        self.events.clear();
        self.engine.drain_events(&mut self.events);
        Ok(Some(&self.events))
    }

    /// Returns the limits in the header.
    pub(crate) fn config(&self) -> &EngineConfig {
        self.engine.config()
    }

    /// Replays the whole trace.
    ///
    /// # Errors
    /// Those of [`Self::advance`].
    pub fn run(mut self) -> Result<Replayed, ReplayError> {
        loop {
            if let Some(replayed) = self.advance(u64::MAX)? {
                return Ok(replayed);
            }
        }
    }

    fn make(&mut self, call: Call) -> Result<(), Difference> {
        match call {
            Call::Add { request, .. } => self.engine.add_request(request)?,
            Call::Abort { id, .. } => {
                if !self.engine.abort(id) {
                    return Err(Difference::NoSuchRequest(id.0));
                }
            }
            Call::Resume { id, forced, .. } => {
                if !self.engine.resume(id, &forced) {
                    return Err(Difference::NoMaskAwaited(id.0));
                }
            }
            Call::Expire { now, .. } => {
                self.engine.expire(now);
            }
            Call::Observe { step, elapsed, .. } => self.engine.observe(StepId(step), elapsed)?,
            Call::Plan(recorded) => self.plan(&recorded)?,
            Call::Idle { .. } => {
                if let Some(plan) = self.engine.schedule(&mut self.columns.borrow()) {
                    return Err(Difference::Step { recorded: None, replayed: Some(plan.id.0) });
                }
            }
            Call::Complete { step, sampled, .. } => self.complete(step, &sampled)?,
        }
        Ok(())
    }

    fn plan(&mut self, recorded: &PlanLine) -> Result<(), Difference> {
        let mut columns = self.columns.borrow();
        let plan = self.engine.schedule(&mut columns);
        let replayed = plan.map(|plan| plan.id.0);
        let Some(plan) = plan.filter(|plan| plan.id == StepId(recorded.step)) else {
            return Err(Difference::Step { recorded: Some(recorded.step), replayed });
        };
        let step = recorded.step;
        let counts = [
            ("sizes", recorded.sizes.len(), StepPlan::SIZE_NAMES.len()),
            ("hashes", recorded.hashes.len(), StepPlan::COLUMN_NAMES.len()),
        ];
        if let Some((what, given, expected)) =
            counts.into_iter().find(|(_, given, expected)| given != expected)
        {
            return Err(Difference::Count { step, what, given, expected });
        }
        let mut sizes = recorded.sizes.iter().copied().zip(plan.sizes()).zip(StepPlan::SIZE_NAMES);
        if let Some(((recorded, replayed), name)) =
            sizes.find(|((recorded, replayed), _)| recorded != replayed)
        {
            return Err(Difference::Size { step, name, recorded, replayed });
        }
        let hashes = recorded.hashes.iter().copied().zip(plan.column_hashes(&columns));
        let mut hashes = hashes.zip(StepPlan::COLUMN_NAMES);
        if let Some(((recorded, replayed), name)) =
            hashes.find(|((recorded, replayed), _)| recorded != replayed)
        {
            return Err(Difference::Column { step, name, recorded, replayed });
        }
        self.plans.push_back(plan);
        self.replayed.num_steps += 1;
        Ok(())
    }

    fn complete(&mut self, step: u64, sampled: &[i32]) -> Result<(), Difference> {
        let plan = self.plans.pop_front().unwrap_or_default();
        self.scores.resize(plan.num_scored_samples + plan.num_scored_tokens, 0.0);
        let scores = Scores::new(&self.scores, &[], &[])?;
        Ok(self.engine.complete(StepId(step), sampled, scores)?)
    }
}
