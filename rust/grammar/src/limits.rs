//! The limits of grammars. A hostile one is refused within a second; a mask beyond its budget is an
//! error.

use llguidance::api::ParserLimits;

use crate::error::GrammarError;

/// Bytes of a grammar, with all its schemas.
pub(crate) const MAX_GRAMMAR_BYTES: usize = 1024 * 1024;
/// Bytes of a schema, a regular expression or a grammar, as text.
pub(crate) const MAX_SOURCE_BYTES: usize = 256 * 1024;
/// Bytes of a grammar in Lark's notation.
pub(crate) const MAX_LARK_BYTES: usize = 64 * 1024;
/// Rules of a grammar in Lark's notation.
pub(crate) const MAX_LARK_RULES: usize = 1_000;
/// Levels of schemas within schemas, of groups within groups, of nodes within nodes.
pub(crate) const MAX_DEPTH: usize = 64;
/// Schemas in a schema, and values in all its `enum`s together.
pub(crate) const MAX_SCHEMA_NODES: usize = 20_000;
/// Schemas in one `anyOf`, and members that one object may name: each is a row of the parser's
/// table while it is undecided.
pub(crate) const MAX_ALTERNATIVES: usize = 500;
pub(crate) const MAX_PROPERTIES: usize = 1_000;
/// Different targets of `$ref`.
pub(crate) const MAX_REFERENCES: usize = 1_000;
/// Nodes of a grammar that is not a schema.
pub(crate) const MAX_GRAMMAR_NODES: usize = 10_000;
/// Schemas in a grammar, and texts that begin something within free text.
pub(crate) const MAX_SCHEMAS: usize = 256;
/// Characters or elements that a schema counts.
pub(crate) const MAX_COUNT: u64 = 1_000_000;
/// Bytes of all patterns of a grammar together.
pub(crate) const MAX_PATTERN_BYTES: usize = 32 * 1024;

/// Stack of the thread that compiles: what is nested to the limits above fits several times.
pub(crate) const COMPILE_STACK_BYTES: usize = 256 * 1024 * 1024;

/// Fuel and sizes for llguidance. One mask stays below about 10 ms, a lexer below about 60 MB.
pub(crate) fn parser_limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 10_000,
        step_lexer_fuel: 100_000,
        step_max_items: 50_000,
        max_lexer_states: 50_000,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// Refuses what is beyond a limit.
pub(crate) fn check(what: &'static str, value: usize, limit: usize) -> Result<(), GrammarError> {
    if value <= limit {
        return Ok(());
    }
    Err(GrammarError::TooLarge { what, value: value as u64, limit: limit as u64 })
}
