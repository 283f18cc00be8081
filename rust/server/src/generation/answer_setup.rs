//! The setup of the parser of a chat's answer.

use streamcore_parsers::{Setup, Tool};

use super::Manner;

/// Returns the parser's setup, or `None` if the whole answer is text. `declared` are the tools that
/// the answer may call.
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
