//! The model's own sampling defaults and end tokens.

use std::path::Path;

use serde_json::{Map, Value};
use streamcore_engine::GivenParameters;

use super::json_files::{read_object, wrong_field};
use super::{TextError, Tokenizer};

/// The content of `generation_config.json`, with the end tokens completed from other files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationConfig {
    /// Tokens that end an answer: those of `generation_config.json`, or else of `config.json`, and
    /// the tokenizer's own `eos_token`. No id twice; empty if the folder names none.
    pub eos_token_ids: Vec<u32>,
    /// Default sampling parameters; `top_k` is also absent if the file has 0 or -1, which mean all.
    pub sampling: GivenParameters,
}

impl GenerationConfig {
    /// Reads `generation_config.json` and `config.json` of `folder`; both may be missing.
    ///
    /// # Errors
    /// A file that is there but cannot be read, is no JSON object, or has a field of the wrong
    /// kind.
    pub(super) fn load(
        folder: &Path,
        special_tokens: &Map<String, Value>,
        tokenizer: &Tokenizer,
    ) -> Result<Self, TextError> {
        let path = folder.join("generation_config.json");
        let generation = read_object(&path)?;
        let mut eos_token_ids = token_ids(&generation, &path)?;
        if eos_token_ids.is_empty() {
            let path = folder.join("config.json");
            let config = read_object(&path)?;
            eos_token_ids = token_ids(&config, &path)?;
            // A multimodal model has it in its text part.
            let text_config = config.get("text_config").and_then(Value::as_object);
            if let Some(config) = text_config.filter(|_| eos_token_ids.is_empty()) {
                eos_token_ids = token_ids(config, &path)?;
            }
        }
        let own = special_tokens.get("eos_token").and_then(Value::as_str);
        // Fine-tuned chat models often leave the base model's end token in the other files.
        if let Some(id) = own.and_then(|token| tokenizer.token_id(token))
            && !eos_token_ids.contains(&id)
        {
            eos_token_ids.push(id);
        }
        Ok(Self {
            eos_token_ids,
            sampling: GivenParameters {
                temperature: number(&generation, &path, "temperature", NOT_NEGATIVE)?,
                top_p: number(&generation, &path, "top_p", FRACTION)?,
                min_p: number(&generation, &path, "min_p", FRACTION)?,
                repetition_penalty: number(&generation, &path, "repetition_penalty", POSITIVE)?,
                top_k: top_k(&generation, &path)?,
                ..GivenParameters::default()
            },
        })
    }
}

/// `eos_token_id` as an id, a list of ids, or nothing.
fn token_ids(config: &Map<String, Value>, path: &Path) -> Result<Vec<u32>, TextError> {
    const FIELD: &str = "eos_token_id";
    let value = config.get(FIELD).unwrap_or(&Value::Null);
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = match value {
        Value::Null => Some(Vec::new()),
        Value::Array(values) => values.iter().map(id).collect(),
        single => id(single).map(|id| vec![id]),
    };
    let mut ids = ids.ok_or_else(|| wrong_field(path, FIELD, "a token id or a list of token ids", value))?;
    let mut seen = Vec::with_capacity(ids.len());
    ids.retain(|id| {
        !seen.contains(id) && {
            seen.push(*id);
            true
        }
    });
    Ok(ids)
}

/// The bounds of a number, as numbers and in words. The engine refuses requests beyond them.
type Bounds = (f32, f32, &'static str);
const NOT_NEGATIVE: Bounds = (0.0, f32::MAX, "a number that is not negative");
const POSITIVE: Bounds = (f32::MIN_POSITIVE, f32::MAX, "a number above 0");
const FRACTION: Bounds = (0.0, 1.0, "a number from 0 to 1");

/// Returns a number, or nothing.
fn number(
    config: &Map<String, Value>,
    path: &Path,
    field: &'static str,
    (least, most, expected): Bounds,
) -> Result<Option<f32>, TextError> {
    match config.get(field).unwrap_or(&Value::Null) {
        Value::Null => Ok(None),
        value => match value.as_f64().map(|number| number as f32) {
            Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(wrong_field(path, field, expected, value)),
        },
    }
}

/// `top_k`: an integer, or nothing.
fn top_k(config: &Map<String, Value>, path: &Path) -> Result<Option<u32>, TextError> {
    match config.get("top_k").unwrap_or(&Value::Null) {
        Value::Null => Ok(None),
        value => match value.as_i64() {
            Some(number) => Ok(u32::try_from(number).ok().filter(|top_k| *top_k > 0)),
            None => Err(wrong_field(path, "top_k", "an integer", value)),
        },
    }
}
