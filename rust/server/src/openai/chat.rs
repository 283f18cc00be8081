//! `/v1/chat/completions`

mod calls;
pub mod request;
pub mod response;
mod tool_calls;
pub mod tools;
