//! Traces of the engine: what came in, what was planned and what came out, one line of JSON for
//! each call.
//!
//! The engine is a pure state machine, so the calls are all there is: made again in the same order
//! they give the same plans. That is what [`Replay`] checks, hash for hash.
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
