//! OpenAI-compatible HTTP and SSE server over [`streamcore_engine`].
//!
//! The path of a request, file by file:
//!
//! ```text
//! listener    a socket is accepted, hyper reads the head
//! middleware  the request gets its name, its key is checked
//! routes      path → handler, the body is read within its limits
//! openai      JSON → fields → a checked request; `anthropic` is the same for its dialect
//! generation  template, tokens, lengths, sampling: what the engine is asked for
//! driver      a place in the queue, the inbox, then steps; tokens come back in an outbox
//! stream      tokens → text → stop strings → chunks (stream/choice, stream/chunk_stream)
//! sse         chunk → event
//! stored      responses that are kept, and their events
//! ```
//!
//! Where another program reads the requests, `door` stands in the place of `listener`.
//!
//! Each charges what it holds to one `ledger`.
//!
//! Refusals come before the status line. Dropping the handler or the body aborts the request.
#![forbid(unsafe_code)]

pub mod anthropic;
pub mod app;
pub mod asked;
pub mod cut;
pub mod door;
pub mod driver;
pub mod error;
pub mod generation;
pub mod ledger;
pub mod listener;
pub mod metrics;
pub mod middleware;
pub mod naming;
pub mod openai;
pub mod patience;
pub mod routes;
pub mod script;
pub mod server;
pub mod sse;
pub mod stored;
pub mod stream;
pub mod text;
mod turns;

pub use app::{Access, App, Naming};
pub use driver::{Driver, DriverLimits, NextStep};
pub use listener::{Listener, bind, bind_unix};
pub use script::Script;
pub use server::{Server, ServerConfig};
