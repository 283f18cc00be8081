//! OpenAI-compatible HTTP and SSE server over [`streamcore_engine`].
#![forbid(unsafe_code)]

pub mod text;
