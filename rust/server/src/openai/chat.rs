//! `/v1/chat/completions`

pub mod request;
pub mod response;
