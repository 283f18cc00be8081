//! The lines of a trace. The first is a [`Header`], each of the others a [`Call`].
//!
//! A line is one JSON object and ends with a line feed. Times are microseconds since the trace
//! began. Token ids are those of the tokenizer: a trace can be turned back into the text of its
//! requests.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use streamcore_engine::{EngineConfig, Request, RequestId, StepBuffers, StepId, StepPlan};

/// Version of the format; a trace of another version is refused.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// The model of a trace, which determines the duration of its steps on another device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelShape {
    /// The name under which it was served.
    pub name: String,
    /// Numbers in all weights.
    pub num_weights: u64,
    /// Numbers in the keys and values of one token, in all layers.
    pub kv_numbers_per_token: u64,
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The [`FORMAT_VERSION`] of the trace.
    pub(crate) trace_version: u32,
    /// The version of the program that wrote it.
    pub(crate) streamcore: String,
    /// The limits of the engine.
    pub(crate) config: EngineConfig,
    /// The model that the engine planned for. Scripts and older traces have none, and older
    /// programs ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<ModelShape>,
    /// The names of [`PlanLine::sizes`].
    pub(crate) sizes: Vec<String>,
    /// The names of [`PlanLine::hashes`].
    pub(crate) columns: Vec<String>,
}

impl Header {
    /// Returns the header of a trace that this program writes.
    #[must_use]
    pub(crate) fn new(config: EngineConfig, model: Option<ModelShape>) -> Self {
        Self {
            trace_version: FORMAT_VERSION,
            streamcore: env!("CARGO_PKG_VERSION").to_owned(),
            config,
            model,
            sizes: StepPlan::SIZE_NAMES.map(str::to_owned).to_vec(),
            columns: StepPlan::COLUMN_NAMES.map(str::to_owned).to_vec(),
        }
    }
}

/// One call to the engine, with the results that a replay must reproduce.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Call {
    /// A request was queued.
    Add {
        /// When.
        at_us: u64,
        /// All of it.
        request: Request,
    },
    /// A request was ended.
    Abort {
        /// When.
        at_us: u64,
        /// Which.
        id: RequestId,
    },
    /// A request's next mask was ready.
    Resume {
        /// When.
        at_us: u64,
        /// Which.
        id: RequestId,
        /// Tokens that the masks forced before that token.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        forced: Vec<u32>,
    },
    /// Requests were ended because their deadlines had passed.
    Expire {
        /// When.
        at_us: u64,
        /// On the clock of the deadlines.
        now: Duration,
    },
    /// The engine, which has a `target_itl`, got the duration of a step.
    Observe {
        /// When.
        at_us: u64,
        /// Which.
        step: u64,
        /// How long.
        elapsed: Duration,
    },
    /// A step was planned.
    Plan(PlanLine),
    /// There was work but nothing to plan. The engine may still have changed: blocks are taken from
    /// one sequence for another that has to wait for them.
    Idle {
        /// When.
        at_us: u64,
    },
    /// A step was completed with these tokens. Log-probabilities are not in a trace: no plan
    /// depends on them.
    Complete {
        /// When.
        at_us: u64,
        /// Which.
        step: u64,
        /// One token for each sample of the plan.
        sampled: Vec<i32>,
    },
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanLine {
    /// When it was planned.
    pub(crate) at_us: u64,
    /// Its name.
    pub(crate) step: u64,
    /// Its sizes, in the order of [`StepPlan::SIZE_NAMES`].
    pub(crate) sizes: Vec<usize>,
    /// A hash of the used part of each column, in the order of [`StepPlan::COLUMN_NAMES`].
    pub(crate) hashes: Vec<u32>,
}

impl PlanLine {
    /// Returns the line of a plan whose columns are in `buffers`.
    #[must_use]
    pub(crate) fn new(at_us: u64, plan: &StepPlan, buffers: &StepBuffers<'_>) -> Self {
        let StepId(step) = plan.id;
        Self { at_us, step, sizes: plan.sizes().to_vec(), hashes: plan.column_hashes(buffers).to_vec() }
    }
}
