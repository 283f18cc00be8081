//! `/v1/chat/completions`

mod calls;
pub mod request;
pub mod response;
pub mod tools;
