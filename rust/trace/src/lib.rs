//! Traces of the engine: its input, its plans and their results, one line of JSON for each call.
//!
//! The engine is a pure state machine: the same calls in the same order give the same plans.
//! [`Replay`] checks that, hash for hash.
//!
//! ```text
//! RecordedEngine ──► FILE ──► TraceReader ──► Replay        the same plans?
//!                                   └───────► Recording ──► Simulation   how fast elsewhere?
//!                             generated load ─────────────┘
//! ```
#![forbid(unsafe_code)]

mod format;
mod reader;
mod recorded_engine;
mod recorder;
mod recording;
mod replay;
pub mod simulation;

pub use format::ModelShape;
pub use reader::{TraceError, read_model};
pub use recorded_engine::RecordedEngine;
pub use recorder::Recorder;
pub use recording::Recording;
pub use replay::{Difference, Replay, ReplayError, Replayed};
