//! The tools of a request, and whether its answer may call them.

use serde_json::Value;
use streamcore_parsers::Tool;

use crate::error::ApiError;

/// The tools of a request.
#[derive(Debug, Default, PartialEq)]
pub struct Tools {
    /// For the template: each with `type` and `function`, and what else the client has given.
    pub list: Vec<Value>,
    /// Whether and which of them the answer calls.
    pub choice: Choice,
    /// The names of those that may be called, if not all may.
    pub(crate) allowed: Option<Vec<String>>,
    /// Whether the answer may have several calls.
    pub is_parallel: bool,
    /// The field that the tools are in, and the part of an entry that describes it.
    pub(crate) place: [&'static str; 2],
}

/// Whether and which tools an answer calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    /// The answer calls no tool.
    None,
    /// The model decides.
    #[default]
    Auto,
    /// The answer is a call.
    Required,
    /// The answer is a call of this tool.
    Named(String),
}

impl Tools {
    /// Creates the tools read by a dialect; `choice_field` names the field of the choice.
    ///
    /// # Errors
    /// 400 if a forced call is impossible.
    pub fn new(
        list: Vec<Value>,
        choice: Choice,
        is_parallel: bool,
        choice_field: &str,
    ) -> Result<Self, ApiError> {
        let tools = Self { list, choice, allowed: None, is_parallel, place: ["tools", ""] };
        tools.check_names(choice_field)?;
        Ok(tools)
    }

    /// Returns whether the client knows OpenAI's older calls alone.
    #[must_use]
    pub fn are_functions(&self) -> bool {
        self.place[0] == "functions" && !self.list.is_empty()
    }

    /// Checks that forced and allowed tools exist.
    pub(crate) fn check_names(&self, field: &str) -> Result<(), ApiError> {
        let is_forced = matches!(self.choice, Choice::Required | Choice::Named(_));
        if is_forced && self.list.is_empty() {
            let message = format!("`{field}` wants a call, and there are no `tools`");
            return Err(ApiError::invalid("invalid_value", field, message));
        }
        let named = match &self.choice {
            Choice::Named(name) => Some(name),
            _ => None,
        };
        let is_unknown = |name: &&String| self.list.iter().all(|tool| name_of(tool) != name.as_str());
        match named.into_iter().chain(self.allowed.iter().flatten()).find(is_unknown) {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(64).collect();
                let message = format!("`{field}` names `{name}`, which is not among `{}`", self.place[0]);
                Err(ApiError::invalid("invalid_value", field, message))
            }
        }
    }

    /// Returns whether the answer may call tools.
    #[must_use]
    pub fn may_be_called(&self) -> bool {
        self.choice != Choice::None && self.callable().next().is_some()
    }

    /// Returns whether the answer is a call.
    #[must_use]
    pub fn must_be_called(&self) -> bool {
        matches!(self.choice, Choice::Required | Choice::Named(_))
    }

    /// Returns the tools that the answer may call.
    pub fn callable(&self) -> impl Iterator<Item = &Value> {
        self.list.iter().filter(|tool| match (&self.choice, &self.allowed) {
            (Choice::None, _) => false,
            (Choice::Named(name), _) => name_of(tool) == name,
            (_, Some(allowed)) => allowed.iter().any(|name| name_of(tool) == name),
            (_, None) => true,
        })
    }

    /// Returns whether an unconstrained answer might violate the request.
    #[must_use]
    pub fn need_grammar(&self) -> bool {
        let is_strict = |tool: &Value| tool["function"]["strict"] == true;
        self.must_be_called() || self.allowed.is_some() || !self.is_parallel || self.callable().any(is_strict)
    }

    /// Returns the field that the tools are in.
    #[must_use]
    pub fn field(&self) -> String {
        self.place[0].to_owned()
    }
}

fn name_of(tool: &Value) -> &str {
    tool["function"]["name"].as_str().unwrap_or_default()
}

/// Converts tools for the parser of answers.
#[must_use]
pub fn declared<'a>(tools: impl Iterator<Item = &'a Value>) -> Vec<Tool> {
    let declared = |tool: &Value| {
        let function = &tool["function"];
        let name = function["name"].as_str()?.to_owned();
        Some(Tool { name, parameters: function.get("parameters").cloned() })
    };
    tools.filter_map(declared).collect()
}
