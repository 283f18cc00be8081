//! Conversations to prompt text, by the model's own template.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value as Jinja};
use serde_json::{Map, Value};

use super::json_files::{read_optional, wrong_field};
use super::{TemplateError, TextError, python_compat, python_json};

/// Tells a template what time it is, in local time.
pub type Clock = fn() -> jiff::Zoned;

const NAME: &str = "chat_template";

/// A compiled chat template.
///
/// Templates are written for jinja2 as `transformers` sets it up, so the environment here does what that one
/// does: blocks trimmed, loop controls, Python's string and dictionary methods, `tojson` without escapes for
/// HTML, `raise_exception`, `strftime_now`, and the model's special tokens by name.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
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
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(failed)?;
        environment.set_syntax(syntax);
        environment.set_debug(false);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.add_filter("tojson", python_json::tojson);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", move |format: &str| strftime(&clock(), format));
        python_compat::install(&mut environment);
        for (name, value) in special_tokens {
            environment.add_global(name.clone(), Jinja::from(Serde(value)));
        }
        let source = without_generation_tags(&source.replace("\r\n", "\n").replace('\r', "\n"));
        environment.add_template_owned(NAME, source).map_err(failed)?;
        Ok(Self { environment })
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
        self.environment.get_template(NAME).is_ok_and(|template| template.source().contains(word))
    }

    /// The prompt text of `messages`. It has the model's special tokens in it, so it is tokenised without
    /// adding them again.
    ///
    /// # Errors
    /// [`TemplateError::Raised`] if the template refuses the conversation, [`TemplateError::Failed`] if it
    /// cannot make anything of it.
    pub fn render(&self, messages: &[Value], options: &RenderOptions) -> Result<String, TemplateError> {
        let mut context: Vec<(&str, Jinja)> = vec![
            ("messages", Jinja::from(Serde(messages))),
            ("tools", Jinja::from(Serde(&options.tools))),
            ("documents", Jinja::from(())),
            ("add_generation_prompt", Jinja::from(options.add_generation_prompt)),
        ];
        context.extend(options.extra.iter().map(|(name, value)| (name.as_str(), Jinja::from(Serde(value)))));
        let template = self.environment.get_template(NAME).map_err(failed)?;
        template.render(Jinja::from_pairs(context)).map_err(failed)
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

/// Turns `{% generation %}` blocks into plain scopes: they mark an answer for training and print their body.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let len = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(len);
        let word = tag.trim_matches(['{', '%', '}', '-', '+', ' ', '\t', '\n', '\r']);
        match word {
            "generation" => out.push_str(&tag.replace(word, "with")),
            "endgeneration" => out.push_str(&tag.replace(word, "endwith")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Carries the words of `raise_exception` through the engine's own error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: &Jinja) -> Result<Jinja, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raised").with_source(Raised(message.to_string())))
}

fn strftime(now: &jiff::Zoned, format: &str) -> Result<String, Error> {
    jiff::fmt::strtime::format(format, now)
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {error}")))
}

/// Tells a refusal from a failure; an error inside a macro has the refusal somewhere down its chain.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` takes")]
fn failed(error: Error) -> TemplateError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = source {
        if let Some(Raised(message)) = current.downcast_ref() {
            return TemplateError::Raised(message.clone());
        }
        source = current.source();
    }
    TemplateError::Failed(error.to_string())
}
