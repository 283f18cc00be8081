//! How the answer to a chat is read.

use streamcore_parsers::{Detected, Setup, Tool};

use crate::app::App;

/// What the answer's parser is made from; nothing if all of the answer is text. `declared` are the
/// tools that the answer may call, and `prompt` is the text that it follows.
#[must_use]
pub fn answer_setup(app: &App, declared: Vec<Tool>, prompt: &str) -> Option<Setup> {
    let Detected { tools, reasoning } = app.text.formats;
    let tools = tools.filter(|_| !declared.is_empty());
    let starts_in_reasoning = reasoning.is_some_and(|format| format.is_open_behind(prompt));
    (tools.is_some() || reasoning.is_some()).then_some(Setup {
        tools,
        reasoning,
        starts_in_reasoning,
        declared,
    })
}
