//! Text in, text out: tokenizer, detokenizer, stop strings, chat template, and the folder they come
//! from.
#![allow(clippy::unwrap_used)]

mod calls;
mod chat_template;
mod fixtures;
mod folders;
mod hostile_templates;
mod literals;
mod model;
mod pieces;
mod snippets;
mod stop_strings;
mod tokenizer;
