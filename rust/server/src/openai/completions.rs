//! `/v1/completions`

pub mod request;
pub mod response;
