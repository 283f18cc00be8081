//! How the answer to a chat is read.

use streamcore_parsers::{Setup, Tool};

use super::Manner;

/// What the answer's parser is made from; nothing if all of the answer is text. `declared` are the
/// tools that the answer may call.
#[must_use]
pub fn answer_setup(manner: &Manner<'_>, declared: Vec<Tool>) -> Option<Setup> {
    let Manner { tools, reasoning, starts_in_reasoning, .. } = *manner;
    let tools = tools.filter(|_| !declared.is_empty());
    (tools.is_some() || reasoning.is_some()).then_some(Setup {
        tools,
        reasoning,
        starts_in_reasoning,
        declared,
    })
}
