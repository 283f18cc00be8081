//! The fields that chat and text completions share.

use serde_json::Value;
use streamcore_engine::GivenParameters;

use super::fields::Fields;
use super::logprobs::LogprobsFormat;
use super::schema::params::STREAM_OPTIONS;
use super::schema::{Endpoint, body_params, check};
use super::structured;
pub use crate::asked::{Details, Options, Sampling, Stops};
use crate::error::ApiError;
use crate::naming::ReasoningField;

impl Options {
    /// Checks a body against the table and takes the shared fields out of it. The table's other
    /// fields are checked, too.
    ///
    /// # Errors
    /// 400, naming the field.
    pub fn take(fields: &mut Fields, endpoint: Endpoint, vocab_size: usize) -> Result<Self, ApiError> {
        check(fields, body_params(), endpoint, vocab_size)?;
        let details = Details::take(fields, endpoint, vocab_size)?;
        let stream = fields.flag("stream")?;
        if stream && details.prompt_logprobs.is_some() {
            let message = "`prompt_logprobs` is not allowed with `stream`";
            return Err(ApiError::invalid("invalid_value", "prompt_logprobs", message));
        }
        let (max_tokens, max_tokens_field) = take_max_tokens(fields);
        let asked = structured::take(fields)?;
        Ok(Self {
            model: fields.string("model")?.unwrap_or_default(),
            stream,
            n: fields.count("n").unwrap_or(1),
            max_tokens,
            caps_max_tokens: false,
            max_tokens_field,
            sampling: Sampling::take(fields),
            stops: Stops::take(fields)?,
            details,
            echo: fields.flag("echo")?,
            request_id: fields.string("request_id")?,
            cache_salt: fields.string("cache_salt")?,
            priority: fields.integer("priority").and_then(|value| i32::try_from(value).ok()).unwrap_or(0),
            asked,
            thinking_token_budget: fields.count("thinking_token_budget"),
            truncate_prompt_tokens: fields.integer("truncate_prompt_tokens"),
        })
    }
}

/// Takes the maximum of tokens; the newer name wins.
fn take_max_tokens(fields: &mut Fields) -> (Option<usize>, &'static str) {
    const NAMES: [&str; 2] = ["max_completion_tokens", "max_tokens"];
    let [newer, older] = NAMES.map(|name| fields.count(name));
    if newer.is_some() { (newer, NAMES[0]) } else { (older, NAMES[1]) }
}

impl Sampling {
    fn take(fields: &mut Fields) -> Self {
        // vLLM takes both 0 and -1 for "all" in `top_k`: the nearest number that it can be.
        let numbers = GivenParameters::by_name(|name| fields.number(name));
        Self {
            // 0 has the effect of a very small value: only the most likely token.
            numbers: GivenParameters { top_p: numbers.top_p.map(|value| value.max(1e-6)), ..numbers },
            logit_bias: take_logit_bias(fields),
            seed: fields.integer("seed").map(i64::cast_unsigned),
        }
    }
}

/// Takes the biases. Ids may have several spellings, such as `7` and `07`; the last one counts, as
/// for a repeated key elsewhere.
fn take_logit_bias(fields: &mut Fields) -> Vec<(u32, f32)> {
    let Some(Value::Object(entries)) = fields.take("logit_bias") else { return Vec::new() };
    let biases: std::collections::BTreeMap<u32, f32> =
        entries.iter().filter_map(|(id, bias)| Some((id.parse().ok()?, bias.as_f64()? as f32))).collect();
    biases.into_iter().collect()
}

impl Stops {
    fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let texts = match fields.take("stop") {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(list)) => {
                list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        };
        Ok(Self {
            texts,
            token_ids: fields.tokens("stop_token_ids"),
            ignore_eos: fields.flag("ignore_eos")?,
            are_part_of_output: fields.flag("include_stop_str_in_output")?,
            min_tokens: fields.count("min_tokens").unwrap_or(0),
        })
    }
}

impl Details {
    fn take(fields: &mut Fields, endpoint: Endpoint, vocab_size: usize) -> Result<Self, ApiError> {
        let logprobs = match endpoint {
            Endpoint::Chat => take_chat_logprobs(fields)?,
            Endpoint::Completions => fields.count("logprobs").map(small),
            Endpoint::Messages => None,
        };
        let stream = fields.get("stream").is_some_and(|value| value == true);
        let mut usage = take_stream_options(fields, stream, endpoint, vocab_size)?;
        let include_usage = usage.flag("include_usage")?;
        Ok(Self {
            include_usage,
            continuous_usage: usage.flag("continuous_usage_stats")? && include_usage,
            logprobs,
            prompt_logprobs: fields.count("prompt_logprobs").map(small),
            token_ids: fields.flag("return_token_ids")?,
            tokens_as_ids: fields.flag("return_tokens_as_token_ids")?,
            keeps_logprobs: false,
            special_tokens: !fields.flag_or("skip_special_tokens", true)?,
            hides_reasoning: !fields.flag_or("include_reasoning", true)?,
            calls_are_older: false,
            reasoning_field: ReasoningField::default(),
        })
    }

    /// Returns the format of log-probabilities.
    #[must_use]
    pub fn format(&self) -> LogprobsFormat {
        LogprobsFormat { tokens_as_ids: self.tokens_as_ids }
    }
}

fn take_stream_options(
    fields: &mut Fields,
    stream: bool,
    endpoint: Endpoint,
    vocab_size: usize,
) -> Result<Fields, ApiError> {
    const NAME: &str = "stream_options";
    let Some(value) = fields.take(NAME) else { return Ok(Fields::default()) };
    if !stream {
        return Err(ApiError::invalid(
            "invalid_value",
            NAME,
            "`stream_options` is only allowed with `stream`",
        ));
    }
    let mut options = Fields::from_value(NAME.to_owned(), value)?;
    check(&mut options, STREAM_OPTIONS, endpoint, vocab_size)?;
    Ok(options)
}

fn take_chat_logprobs(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let top = fields.count("top_logprobs").map(small);
    match (fields.flag("logprobs")?, top) {
        (true, top) => Ok(Some(top.unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => {
            let message = "`top_logprobs` is only allowed with `logprobs`";
            Err(ApiError::invalid("invalid_value", "top_logprobs", message))
        }
    }
}

/// Converts a count, which the table limits to 20.
fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Returns the error of a field that is known and not honoured; `instead` does the same here.
#[must_use]
pub fn unsupported(path: &str, value: &Value, instead: Option<&str>) -> ApiError {
    let mut message = match value {
        Value::Array(_) | Value::Object(_) => format!("`{path}` is not supported"),
        Value::String(text) if text.len() > 64 => format!("`{path}` is not supported"),
        Value::String(text) => format!("`{path}` is `{text}`, which is not supported"),
        scalar => format!("`{path}` is `{scalar}`, which is not supported"),
    };
    if let Some(instead) = instead {
        message.push_str(&format!(", use `{instead}`"));
    }
    ApiError::invalid("unsupported_parameter", path, message)
}
