//! Anthropic's dialect: the wire of `/v1/messages`.
//!
//! ```text
//! request   body → the same request that a chat makes
//! content   messages and their blocks → messages as templates know them
//! tools     tools, and whether the answer may call them
//! events    a stream, event by event
//! response  a whole answer
//! ```

mod content;
pub mod error;
pub mod events;
pub mod models;
pub mod openapi;
pub mod reference;
pub mod request;
pub mod response;
pub mod schema;
mod tools;
