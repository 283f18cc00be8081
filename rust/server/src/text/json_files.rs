//! Reading the small JSON files of a model folder.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value};

use super::TextError;

/// Returns the bytes of `path`, or nothing if there is no such file.
pub(super) fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, TextError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TextError::Read { path: path.to_owned(), source }),
    }
}

/// Returns the JSON object in `path`; empty if there is no such file.
pub(super) fn read_object(path: &Path) -> Result<Map<String, Value>, TextError> {
    let Some(bytes) = read_optional(path)? else { return Ok(Map::new()) };
    serde_json::from_slice(&bytes).map_err(|source| TextError::Json { path: path.to_owned(), source })
}

/// Returns the error for a field whose value is not of an expected kind.
pub(super) fn wrong_field(
    path: &Path,
    field: &'static str,
    expected: &'static str,
    value: &Value,
) -> TextError {
    let mut found = value.to_string();
    if found.len() > 60 {
        found = format!("{}...", found.chars().take(60).collect::<String>());
    }
    TextError::Field { path: path.to_owned(), field, expected, found }
}
