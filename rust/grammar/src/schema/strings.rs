//! Keywords about strings.

use serde_json::{Map, Value};

use super::formats::{self, Format};
use super::keywords::{Types, count, string};
use super::lower::{Lowered, Lowering};
use super::path::Path;
use crate::error::GrammarError;
use crate::pattern;

impl Lowering<'_> {
    pub(super) fn string_keyword(
        &mut self,
        schema: &Map<String, Value>,
        keyword: &str,
        value: &Value,
        at: &Path<'_>,
        out: &mut Lowered,
    ) -> Result<bool, GrammarError> {
        let here = at.key(keyword);
        match keyword {
            "minLength" | "maxLength" => out.set(keyword, count(value, &here)?),
            "pattern" => {
                let lowered = self.pattern(string(value, &here)?, at)?;
                out.set("pattern", lowered);
            }
            "format" if Types::of(schema).allow("string") => match formats::lookup(string(value, &here)?) {
                Format::Unknown => {}
                Format::NotEnforced => {
                    return Err(at.unsupported(
                        "format",
                        format!("the format `{}` has no grammar", string(value, &here)?),
                    ));
                }
                Format::Pattern(format, max_len) => {
                    let mut all = Lowered::default();
                    // It says nothing about values of other types.
                    all.set(
                        "pattern",
                        pattern::in_json_string(&format)
                            .map_err(|reason| at.unsupported("format", reason))?,
                    );
                    if let Some(max_len) = max_len {
                        all.set("maxLength", max_len);
                    }
                    out.all_of.push(all.into_value());
                }
            },
            "format" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }
}
