//! `/v1/chat/completions`

pub mod request;
pub mod response;
mod tool_calls;
