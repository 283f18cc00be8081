//! Rewrites a client's JSON Schema into one that llguidance enforces exactly.
//!
//! llguidance approximates, ignores or misreads some keywords. So each keyword is checked, and
//! rewritten with the exact ones; a keyword that cannot be enforced is refused by name and path.

mod arrays;
mod constants;
mod disjoint;
mod finite;
mod formats;
mod keywords;
mod lower;
mod numbers;
mod objects;
mod path;
mod references;
mod strings;

use serde_json::{Map, Value, json};

use crate::error::GrammarError;
use lower::Lowering;

/// The prefix of a `$ref` to a definition of the rewritten schema.
pub(crate) const DEFINITION: &str = "#/$defs/";

/// Rewrites a schema.
///
/// # Errors
/// A keyword cannot be enforced, has a value that it must not have, or the schema is too large.
pub(crate) fn lower(schema: &Value) -> Result<Value, GrammarError> {
    let definitions = Lowering::new(schema)?.run()?;
    finite::check(&definitions)?;
    let named = definitions.into_iter().enumerate().map(|(index, schema)| (format!("d{index}"), schema));
    Ok(json!({"$ref": format!("{DEFINITION}d0"), "$defs": named.collect::<Map<_, _>>()}))
}
