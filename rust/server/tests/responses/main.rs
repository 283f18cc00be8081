//! Responses: the grammar of their events, what is made of what comes in, and what is kept.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod conversations;
mod counted;
#[path = "../golden/family.rs"]
#[allow(dead_code, reason = "the cases of chat use all of it")]
mod family;
mod grammar;
mod hostile;
mod kept;
mod resumed;
mod store;
