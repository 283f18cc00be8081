//! Conversations to prompt text, by the model's own template.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::jinja::{self, Template};
use super::json_files::{read_optional, wrong_field};
use super::{TemplateError, TextError};

/// Tells a template what time it is, in local time.
pub type Clock = fn() -> jiff::Zoned;

/// A compiled chat template, with the model's special tokens, which it knows by name.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    template: Arc<Template>,
    source: Arc<str>,
    special_tokens: Map<String, Value>,
    clock: Clock,
}

/// What a conversation is rendered with.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions {
    /// Ends the text where the assistant's answer begins.
    pub add_generation_prompt: bool,
    /// The tools of the request, as they came.
    pub tools: Option<Value>,
    /// More variables, such as `enable_thinking`; they win over special tokens of the same name.
    pub extra: Map<String, Value>,
}

impl ChatTemplate {
    /// Compiles a template; `special_tokens` maps names such as `bos_token` to text.
    ///
    /// # Errors
    /// Says where the template is not valid.
    pub fn new(
        source: &str,
        special_tokens: &Map<String, Value>,
        clock: Clock,
    ) -> Result<Self, TemplateError> {
        let template = Template::compile(source).map_err(failed)?.into();
        Ok(Self { template, source: source.into(), special_tokens: special_tokens.clone(), clock })
    }

    /// The template of a model folder, if it has one: `chat_template.jinja`, or else `chat_template` in
    /// `tokenizer_config.json`, a text or a list of named texts of which `default` is taken.
    pub(super) fn load(
        folder: &Path,
        tokenizer_config: &Map<String, Value>,
        clock: Clock,
    ) -> Result<Option<Self>, TextError> {
        let mut path = folder.join("chat_template.jinja");
        let source = if let Some(bytes) = read_optional(&path)? {
            String::from_utf8(bytes)
                .map_err(|error| TextError::ChatTemplate { path: path.clone(), message: error.to_string() })?
        } else {
            path = folder.join("tokenizer_config.json");
            match default_template(tokenizer_config, &path)? {
                Some(source) => source.to_owned(),
                None => return Ok(None),
            }
        };
        match Self::new(&source, &special_tokens(tokenizer_config), clock) {
            Ok(template) => Ok(Some(template)),
            Err(error) => Err(TextError::ChatTemplate { path, message: error.to_string() }),
        }
    }

    /// Whether the template has this word anywhere. One that does not cannot treat a field or a
    /// role of this name in its own way.
    pub(super) fn names(&self, word: &str) -> bool {
        self.source.contains(word)
    }

    /// The prompt text of `messages`. It has the model's special tokens in it, so it is tokenised without
    /// adding them again.
    ///
    /// # Errors
    /// [`TemplateError::Raised`] if the template refuses the conversation, [`TemplateError::Failed`] if it
    /// cannot make anything of it.
    pub fn render(&self, messages: &[Value], options: &RenderOptions) -> Result<String, TemplateError> {
        let (messages, tools) = (Value::from(messages), options.tools.clone().unwrap_or_default());
        let add_generation_prompt = Value::Bool(options.add_generation_prompt);
        let own = [
            ("messages", &messages),
            ("tools", &tools),
            ("documents", &Value::Null),
            ("add_generation_prompt", &add_generation_prompt),
        ];
        let special_tokens = self.special_tokens.iter().map(|(name, value)| (name.as_str(), value));
        let extra = options.extra.iter().map(|(name, value)| (name.as_str(), value));
        self.template.render(special_tokens.chain(own).chain(extra), self.clock).map_err(failed)
    }
}

/// The text of a special token as `tokenizer_config.json` spells it: a string, or an object with `content`.
pub(super) fn special_token_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// Every special token that has a name: `bos_token`, `eos_token`, `image_token` and so on.
fn special_tokens(tokenizer_config: &Map<String, Value>) -> Map<String, Value> {
    let extra = tokenizer_config.get("extra_special_tokens").and_then(Value::as_object);
    let entries = extra.into_iter().flatten().chain(tokenizer_config);
    entries
        .filter(|(name, _)| name.ends_with("_token"))
        .filter_map(|(name, value)| Some((name.clone(), special_token_text(value)?.into())))
        .collect()
}

/// `chat_template` of `tokenizer_config.json`.
fn default_template<'a>(config: &'a Map<String, Value>, path: &Path) -> Result<Option<&'a str>, TextError> {
    const FIELD: &str = "chat_template";
    let refuse =
        |value| wrong_field(path, FIELD, "a template or a list with a template named `default`", value);
    match config.get(FIELD) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(source)) => Ok(Some(source)),
        Some(value) => {
            let templates = value.as_array().map_or(&[][..], Vec::as_slice);
            let default = templates.iter().find(|template| template["name"] == "default");
            let source = default.and_then(|template| template["template"].as_str());
            source.map(Some).ok_or_else(|| refuse(value))
        }
    }
}

/// Tells a refusal from a failure.
fn failed(error: jinja::Error) -> TemplateError {
    if error.is_raised {
        TemplateError::Raised(error.message)
    } else {
        TemplateError::Failed(error.to_string())
    }
}
