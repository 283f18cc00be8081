//! The formats of calls and of reasoning in a model's answers: by its template, or by name.

use streamcore_parsers::{ReasoningFormat, ToolFormat, detect};

use super::TextModel;

/// The name that detects the format by the template.
const AUTO: &str = "auto";
/// The name of no format: the answer stays as it is.
const NONE: &str = "none";

/// Returns the names of formats of calls for [`TextModel::choose_formats`].
pub fn tool_formats() -> impl Iterator<Item = &'static str> {
    [AUTO, NONE].into_iter().chain(ToolFormat::ALL.into_iter().map(|(name, _)| name))
}

/// Returns the names of formats of reasoning for [`TextModel::choose_formats`].
pub fn reasoning_formats() -> impl Iterator<Item = &'static str> {
    [AUTO, NONE].into_iter().chain(ReasoningFormat::ALL.into_iter().map(|(name, _)| name))
}

impl TextModel {
    /// Recognises the formats by the chat template; a model without one has none.
    pub fn detect_formats(&mut self) {
        let has_token = |text: &str| self.tokenizer.token_id(text).is_some();
        let template = self.chat_template.as_ref();
        self.formats = template.map(|template| detect(template.source(), has_token)).unwrap_or_default();
    }

    /// Replaces the formats detected by the template.
    ///
    /// # Errors
    /// The unknown name.
    pub fn choose_formats<'a>(&mut self, tools: &'a str, reasoning: &'a str) -> Result<(), &'a str> {
        match tools {
            AUTO => {}
            NONE => self.formats.tools = None,
            name => self.formats.tools = Some(ToolFormat::named(name).ok_or(name)?),
        }
        match reasoning {
            AUTO => {}
            NONE => self.formats.reasoning = None,
            name => self.formats.reasoning = Some(ReasoningFormat::named(name).ok_or(name)?),
        }
        Ok(())
    }

    /// Describes the formats of calls and reasoning for the log, if the model has any.
    #[must_use]
    pub fn formats_in_words(&self) -> Option<String> {
        let tools = self.formats.tools.map_or(NONE, ToolFormat::name);
        let reasoning = self.formats.reasoning.map_or(NONE, ReasoningFormat::name);
        let knows_tools = self.chat_template.as_ref().is_some_and(super::ChatTemplate::knows_tools);
        let is_plain = self.formats == streamcore_parsers::Detected::default() && !knows_tools;
        (!is_plain)
            .then(|| format!("answers are read with tool-call parser {tools}, reasoning parser {reasoning}"))
    }
}
