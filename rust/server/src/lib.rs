//! OpenAI-compatible HTTP and SSE server over [`streamcore_engine`].
#![forbid(unsafe_code)]

pub mod app;
pub mod driver;
pub mod error;
pub mod generation;
pub mod listener;
pub mod metrics;
pub mod middleware;
pub mod openai;
pub mod routes;
pub mod server;
pub mod sse;
pub mod stream;
pub mod text;

pub use app::{App, Naming};
pub use driver::{Driver, DriverLimits, NextStep};
pub use listener::{Listener, bind};
pub use server::{Server, ServerConfig};
