//! OpenAI's wire: the shapes of bodies, and their fields.

pub mod chat;
pub mod completions;
pub mod error;
pub mod fields;
pub mod json;
pub mod logprobs;
pub mod models;
pub mod openapi;
pub mod options;
pub mod origins;
pub mod reference;
pub mod responses;
pub mod schema;
pub mod structured;
pub mod tokenize;

pub use crate::stream::{finish, usage};
