//! Conversations to prompt text, by the model's own template.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::TemplateError;
use super::jinja::{self, Template};
use super::template_files::TemplateSources;

/// The clock of templates, in local time.
pub type Clock = fn() -> jiff::Zoned;

const NO_DEFAULT: &str = "no chat template is named `default`";

/// A compiled chat template, with the model's special tokens by name.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    template: Option<Arc<Template>>,
    /// The template for requests with tools, if the model has one.
    tool_use: Option<Arc<Template>>,
    /// The source of both.
    source: Arc<str>,
    special_tokens: Map<String, Value>,
    clock: Clock,
}

/// The options of rendering a conversation.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions {
    /// Whether to end the text where the assistant's answer begins.
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
    /// The place of the template's fault.
    pub fn new(
        source: &str,
        special_tokens: &Map<String, Value>,
        clock: Clock,
    ) -> Result<Self, TemplateError> {
        let template = Template::compile(source).map_err(failed)?;
        Ok(Self {
            template: Some(template.into()),
            tool_use: None,
            source: source.into(),
            special_tokens: special_tokens.clone(),
            clock,
        })
    }

    /// Compiles the template named `default` and, if there is one, that named `tool_use`.
    ///
    /// # Errors
    /// The file of the fault, and the place in it.
    pub(super) fn compile(
        sources: &TemplateSources,
        special_tokens: &Map<String, Value>,
        clock: Clock,
        notices: &mut Vec<String>,
    ) -> Result<Self, String> {
        let mut compile = |(file, source): &(String, String)| {
            let template = Template::compile(source)
                .map_err(|error| format!("`{file}`: the chat template does not compile: {error}"))?;
            notices.extend(template.warnings().iter().map(|warning| {
                format!("`{file}`: {warning}: conversations that come to this place of the chat template are refused")
            }));
            Ok::<_, String>(Arc::new(template))
        };
        let template = sources.get("default").map(&mut compile).transpose()?;
        let tool_use = sources.get("tool_use").map(compile).transpose()?;
        if template.is_none() {
            let names: Vec<_> = sources.keys().map(|name| format!("`{name}`")).collect();
            let fault = format!("{NO_DEFAULT}, only {}", names.join(", "));
            if tool_use.is_none() {
                return Err(fault);
            }
            notices.push(format!("{fault}: conversations without tools are refused"));
        }
        let used = ["default", "tool_use"].into_iter().filter_map(|name| sources.get(name));
        let source = used.map(|(_, source)| source.as_str()).collect::<Vec<_>>().join("\n").into();
        Ok(Self { template, tool_use, source, special_tokens: special_tokens.clone(), clock })
    }

    /// Returns whether the template contains this word. If not, it cannot treat a field or a role
    /// of this name specially.
    pub(super) fn names(&self, word: &str) -> bool {
        self.source.contains(word)
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Returns whether the template reads tools.
    #[must_use]
    pub fn knows_tools(&self) -> bool {
        self.names("tools")
    }

    /// Returns the prompt text of `messages`. It contains the model's special tokens, so they are
    /// not added again.
    ///
    /// # Errors
    /// [`TemplateError::Raised`] if the template refuses the conversation,
    /// [`TemplateError::Failed`] if it fails.
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
        let has_tools =
            [Some(&tools), options.extra.get("tools")].into_iter().flatten().any(|tools| !tools.is_null());
        let template = self.tool_use.as_ref().filter(|_| has_tools).or(self.template.as_ref());
        let template = template.ok_or_else(|| TemplateError::Failed(NO_DEFAULT.to_owned()))?;
        template.render(special_tokens.chain(own).chain(extra), self.clock).map_err(failed)
    }
}

/// Distinguishes a refusal from a failure.
fn failed(error: jinja::Error) -> TemplateError {
    if error.is_raised {
        TemplateError::Raised(error.message)
    } else {
        TemplateError::Failed(error.to_string())
    }
}
