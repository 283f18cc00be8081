//! Continuous batching over a paged KV cache, as a pure state machine: no clock, no I/O, no threads, no randomness.
#![forbid(unsafe_code)]

pub mod config;
pub mod error;
pub mod event;
pub mod request;
pub mod stats;
pub mod step;

pub use config::EngineConfig;
pub use error::EngineError;
pub use event::{Event, EventKind, FinishReason};
pub use request::{Request, RequestId, SamplingParams};
pub use stats::Stats;
pub use step::{Column, ColumnType, OwnedStepBuffers, StepBuffers, StepId, StepPlan, step_columns};
