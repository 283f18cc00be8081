//! What a client asks for, field by field: that it is done, or refused in words that help.
#![allow(clippy::unwrap_used)]

mod calls;
#[path = "../common/mod.rs"]
mod common;
mod echo;
mod fields;
mod lengths;
mod models;
mod tools;
mod usage;
