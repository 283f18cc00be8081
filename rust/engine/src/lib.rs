//! Continuous batching over a paged KV cache, as a pure state machine: no clock, no I/O, no
//! threads, no randomness.
//!
//! Requests go in as tokens. The engine plans steps: which tokens of which sequences to compute,
//! and into which slots of the KV cache. The caller runs the plan on its model and hands the drawn
//! tokens back; events report what happened to each request.
//!
//! ```
//! use streamcore_engine::{Engine, EngineConfig, OwnedStepBuffers, Request, RequestId, Scores};
//!
//! let config = EngineConfig {
//!     block_size: 16, num_blocks: 64, max_num_batched_tokens: 256, max_num_seqs: 8,
//!     max_model_len: 512, max_steps_in_flight: 1, enable_prefix_caching: true,
//!     capture_sizes: vec![], target_itl: None, min_prefill_share: 0, num_mask_words: 0,
//! };
//! let request = Request::new(RequestId(1), vec![3, 1, 4], 5);
//! let request = Request { stop_token_ids: vec![2], ..request };
//!
//! let (mut buffers, mut events) = (OwnedStepBuffers::new(&config), Vec::new());
//! let mut engine = Engine::new(config)?;
//! engine.add_request(request)?;
//! while let Some(plan) = engine.schedule(&mut buffers.borrow()) {
//!     let sampled = vec![7; plan.num_samples]; // Here the model runs on the columns of `buffers`.
//!     engine.complete(plan.id, &sampled, Scores::default())?;
//! }
//! engine.drain_events(&mut events);
//! assert_eq!(events.len(), 7); // Scheduled, five times Token, Finished.
//! # Ok::<(), streamcore_engine::EngineError>(())
//! ```
//!
//! There is one rule. A sequence has known tokens (its prompt, then what was drawn) and computed
//! tokens (those whose keys and values are in the cache); a step computes the difference, as far as
//! the token budget goes, running sequences before waiting ones that are not ahead of them in
//! order. Prefill, chunked prefill, decode, and recovery after a preemption are all this same rule.
//!
//! With two steps in flight the plan of a step is made before the tokens of the step before it are
//! known. The input token of a decode is then named by the row in which the device keeps it. Blocks
//! of sequences that ended or were preempted stay fenced until no step in flight uses them, and a
//! token that was drawn after the end of its sequence is dropped. Requests get the same tokens
//! either way.
//!
//! A request may be constrained: its caller says by a mask which tokens may come next. The mask
//! follows from the token before, so the request sits out the steps until that is known and
//! [`Engine::resume`] is called, and holds up no other.
//!
//! Where to read on: `examples/toy_runner.rs` for a whole runner, [`step`] for the columns of a
//! plan, `scheduler.rs` for the control flow, `policy.rs` for the choices in it.
#![forbid(unsafe_code)]

mod config;
mod deadlines;
mod displacement;
mod engine;
mod error;
mod event;
mod invariants;
pub mod kv;
mod plan;
mod plan_hash;
#[cfg(feature = "planted-bugs")]
pub mod planted;
#[cfg(not(feature = "planted-bugs"))]
mod planted;
mod policy;
mod request;
#[macro_use]
mod sampling;
mod scheduler;
mod scores;
mod sequence;
mod sequences;
mod shares;
mod stats;
pub mod step;
mod step_times;
mod waiting;

pub use config::EngineConfig;
pub use engine::Engine;
pub use error::EngineError;
pub use event::{Event, EventKind, FinishReason, TokenLogprobs};
pub use request::{MAX_LOGPROBS, MAX_STOP_TOKEN_IDS, Request, RequestId};
pub use sampling::{
    GivenParameters, MAX_LOGIT_BIAS, ROW_PARAMETERS, RowNumber, RowParameter, SamplingParams, split_mix_64,
};
pub use scores::Scores;
pub use stats::Stats;
pub use step::{
    COLUMNS, Column, ColumnSlice, ColumnType, ColumnUse, NO_TOKEN, NOT_FINITE, OwnedStepBuffers, StepBuffers,
    StepId, StepPlan, step_columns,
};
