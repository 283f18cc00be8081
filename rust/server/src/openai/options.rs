//! The fields that chat and text completions share: sampling, lengths, stops, and the fate of everything else.

use serde_json::Value;

use super::fields::{Fields, token_ids, wrong_type};
use crate::error::ApiError;

/// Most stop strings.
const MAX_STOP_STRINGS: usize = 4;
/// Longest stop string in bytes: what is held back is never longer.
const MAX_STOP_STRING_BYTES: usize = 1024;
/// Most stop tokens.
const MAX_STOP_TOKENS: usize = 128;
/// Far above every context; keeps sums of lengths away from overflow.
const MAX_TOKENS: i64 = 1 << 31;

/// What a client asks for beside the prompt. `None` leaves the choice to the model's defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The model by name.
    pub model: String,
    /// Answer as a stream of events.
    pub stream: bool,
    /// End the stream with a usage chunk.
    pub include_usage: bool,
    /// Most tokens to generate.
    pub max_tokens: Option<usize>,
    /// Between 0 and 2.
    pub temperature: Option<f32>,
    /// Above 0, at most 1.
    pub top_p: Option<f32>,
    /// 0 keeps all.
    pub top_k: Option<u32>,
    /// Decides every draw.
    pub seed: Option<u64>,
    /// Texts that end the output and are not part of it.
    pub stop: Vec<String>,
    /// Tokens that end the output and are not part of it.
    pub stop_token_ids: Vec<u32>,
    /// Do not end at the model's end-of-sequence tokens.
    pub ignore_eos: bool,
}

impl Options {
    /// Takes the shared fields out of a request.
    ///
    /// # Errors
    /// 400, naming the field.
    pub fn take(fields: &mut Fields, vocab_size: usize) -> Result<Self, ApiError> {
        refuse_unsupported(fields)?;
        let stream = fields.flag("stream")?;
        Ok(Self {
            model: fields.string("model")?.ok_or_else(|| fields.missing("model"))?,
            stream,
            include_usage: take_include_usage(fields, stream)?,
            max_tokens: take_max_tokens(fields)?,
            temperature: fields.float("temperature", 0.0..=2.0)?.map(|value| value as f32),
            // 0 means what a very small value means: only the most likely token.
            top_p: fields.float("top_p", 0.0..=1.0)?.map(|value| (value as f32).max(1e-6)),
            top_k: take_top_k(fields)?,
            seed: fields.integer("seed", i64::MIN..=i64::MAX)?.map(i64::cast_unsigned),
            stop: take_stop(fields)?,
            stop_token_ids: take_stop_token_ids(fields, vocab_size)?,
            ignore_eos: fields.flag("ignore_eos")?,
        })
    }
}

fn take_include_usage(fields: &mut Fields, stream: bool) -> Result<bool, ApiError> {
    let Some(value) = fields.take("stream_options") else { return Ok(false) };
    if !stream {
        let message = "`stream_options` is only allowed with `stream`";
        return Err(ApiError::invalid("invalid_value", "stream_options", message));
    }
    let mut fields = Fields::from_value("stream_options".to_owned(), value)?;
    if fields.flag("continuous_usage_stats")? {
        return Err(unsupported("stream_options.continuous_usage_stats", &true.into()));
    }
    fields.flag("include_usage")
}

fn take_max_tokens(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let old = fields.integer("max_tokens", 1..=MAX_TOKENS)?;
    let new = fields.integer("max_completion_tokens", 1..=MAX_TOKENS)?;
    Ok(new.or(old).map(|value| usize::try_from(value).expect("the range is checked")))
}

/// vLLM takes both 0 and -1 for "all".
fn take_top_k(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let top_k = fields.integer("top_k", -1..=i64::from(i32::MAX))?;
    Ok(top_k.map(|value| u32::try_from(value).unwrap_or(0)))
}

fn take_stop(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let list = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(text @ Value::String(_)) => vec![text],
        Some(other) => return Err(wrong_type("stop", &other, "a string or a list of strings")),
    };
    if list.len() > MAX_STOP_STRINGS {
        let message = format!("`stop` has {} strings, limit is {MAX_STOP_STRINGS}", list.len());
        return Err(ApiError::invalid("invalid_value", "stop", message));
    }
    list.into_iter().enumerate().map(|(index, value)| stop_string(index, value)).collect()
}

fn stop_string(index: usize, value: Value) -> Result<String, ApiError> {
    let path = format!("stop[{index}]");
    match value {
        Value::String(text) if (1..=MAX_STOP_STRING_BYTES).contains(&text.len()) => Ok(text),
        Value::String(text) => {
            let len = text.len();
            let message =
                format!("`{path}` has {len} bytes, it must have between 1 and {MAX_STOP_STRING_BYTES}");
            Err(ApiError::invalid("invalid_value", path, message))
        }
        other => Err(wrong_type(&path, &other, "a string")),
    }
}

fn take_stop_token_ids(fields: &mut Fields, vocab_size: usize) -> Result<Vec<u32>, ApiError> {
    match fields.take("stop_token_ids") {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= MAX_STOP_TOKENS => {
            token_ids("stop_token_ids", &list, vocab_size)
        }
        Some(Value::Array(list)) => {
            let message = format!("`stop_token_ids` has {} tokens, limit is {MAX_STOP_TOKENS}", list.len());
            Err(ApiError::invalid("invalid_value", "stop_token_ids", message))
        }
        Some(other) => Err(wrong_type("stop_token_ids", &other, "a list of token ids")),
    }
}

/// The error of a field that is known and not honoured.
#[must_use]
pub fn unsupported(path: &str, value: &Value) -> ApiError {
    let message = match value {
        Value::Array(_) | Value::Object(_) => format!("`{path}` is not supported"),
        Value::String(text) => format!("`{path}` is `{text}`, which is not supported"),
        scalar => format!("`{path}` is `{scalar}`, which is not supported"),
    };
    ApiError::invalid("unsupported_parameter", path, message)
}

type ChangesNothing = fn(&Value) -> bool;

/// Fields that would change the answer and are not honoured, each with the values that change nothing. Fields that are in no
/// list, such as `user`, `metadata`, `store` and `service_tier`, are ignored.
const UNSUPPORTED: &[(&str, ChangesNothing)] = &[
    ("allowed_token_ids", is_empty),
    ("audio", never),
    ("bad_words", is_empty),
    ("best_of", is_one),
    ("chat_template", never),
    ("chat_template_kwargs", is_empty),
    ("continue_final_message", is_false),
    ("frequency_penalty", is_zero),
    ("function_call", |value| value == "none" || value == "auto"),
    ("functions", is_empty),
    ("guided_choice", is_empty),
    ("guided_grammar", is_empty),
    ("guided_json", is_empty),
    ("guided_regex", is_empty),
    ("include_stop_str_in_output", is_false),
    ("length_penalty", is_one),
    ("logit_bias", is_empty),
    ("logprobs", is_false),
    ("min_p", is_zero),
    ("min_tokens", is_zero),
    ("modalities", |value| value.as_array().is_some_and(|list| list.iter().all(|entry| entry == "text"))),
    ("n", is_one),
    ("presence_penalty", is_zero),
    ("prompt_logprobs", never),
    ("reasoning_effort", |value| value == "none"),
    ("repetition_penalty", is_one),
    ("response_format", |value| value.get("type").is_some_and(|kind| kind == "text")),
    ("return_token_ids", is_false),
    ("return_tokens_as_token_ids", is_false),
    ("skip_special_tokens", |value| value == true),
    ("structured_outputs", is_empty),
    ("suffix", is_empty),
    ("tool_choice", |value| value == "none" || value == "auto"),
    ("tools", is_empty),
    ("top_logprobs", is_zero),
    ("truncate_prompt_tokens", never),
    ("use_beam_search", is_false),
    ("verbosity", |value| value == "medium"),
    ("web_search_options", never),
];

fn refuse_unsupported(fields: &mut Fields) -> Result<(), ApiError> {
    for (name, changes_nothing) in UNSUPPORTED {
        if let Some(value) = fields.take(name).filter(|value| !changes_nothing(value)) {
            return Err(unsupported(name, &value));
        }
    }
    Ok(())
}

fn never(_: &Value) -> bool {
    false
}

fn is_false(value: &Value) -> bool {
    value == false
}

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

fn is_one(value: &Value) -> bool {
    value.as_f64() == Some(1.0)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}
