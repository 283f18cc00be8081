//! Calls on the wire, and their ids.

use std::borrow::Cow;

use serde::Serialize;

use crate::stream::{CallHead, Identity};

/// One entry of `delta.tool_calls`: the beginning of a call, or more of its arguments.
#[derive(Debug, Serialize)]
pub(super) struct ToolCallDelta<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: FunctionDelta<'a>,
}

/// The function of a call; the whole call in OpenAI's older form.
#[derive(Debug, Serialize)]
pub(super) struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl<'a> FunctionDelta<'a> {
    /// A call begins.
    pub(super) fn begin(head: &'a CallHead) -> Self {
        Self { name: Some(&head.name), arguments: "" }
    }

    /// A piece of its arguments.
    pub(super) fn arguments(arguments: &'a str) -> Self {
        Self { name: None, arguments }
    }
}

impl<'a> ToolCallDelta<'a> {
    /// A call begins.
    pub(super) fn begin(identity: &Identity, choice: usize, head: &'a CallHead) -> Self {
        Self {
            index: head.index,
            id: Some(head.id_in(&identity.id, choice)),
            kind: Some("function"),
            function: FunctionDelta::begin(head),
        }
    }

    /// A piece of the arguments of a call.
    pub(super) fn arguments(call: usize, arguments: &'a str) -> Self {
        Self { index: call, id: None, kind: None, function: FunctionDelta::arguments(arguments) }
    }
}

/// One entry of `message.tool_calls`.
#[derive(Debug, Serialize)]
pub(super) struct ToolCall<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

/// The function of a call; the whole call in OpenAI's older form.
#[derive(Debug, Serialize)]
pub(super) struct Function<'a> {
    name: &'a str,
    arguments: String,
}

impl<'a> ToolCall<'a> {
    /// Returns a call that has no arguments so far.
    pub(super) fn new(identity: &Identity, choice: usize, head: &'a CallHead) -> Self {
        let function = Function { name: &head.name, arguments: String::new() };
        Self { id: head.id_in(&identity.id, choice), kind: "function", function }
    }

    /// Returns the call in the older form.
    pub(super) fn into_function(self) -> Function<'a> {
        self.function
    }

    /// Adds a piece of its arguments.
    pub(super) fn push(&mut self, arguments: &str) {
        self.function.arguments.push_str(arguments);
    }
}
