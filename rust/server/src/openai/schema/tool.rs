//! The fields of tools, and of calls in earlier messages. All others go to the template as they
//! are.

use super::params::{CHAT, honoured};
use super::{Kind, Param};

const TYPE: Param =
    honoured(CHAT, "type", Kind::Words(&["function"]), "`\"function\"`", "Others are refused.");

/// A tool of a request.
pub const TOOL: &[Param] =
    &[TYPE, honoured(CHAT, "function", Kind::Object(FUNCTION), "", "What can be called.")];

/// A function of a tool; also an entry of the older `functions`.
pub const FUNCTION: &[Param] = &[
    honoured(CHAT, "name", Kind::ToolName, "", "What a call names."),
    honoured(CHAT, "description", Kind::MaybeText(1 << 20), "none", "For the template."),
    honoured(
        CHAT,
        "parameters",
        Kind::Variables,
        "`{\"type\": \"object\", \"properties\": {}}`",
        "The JSON schema of the arguments: for the template, and for the types of values that a model writes without quotes.",
    ),
    honoured(
        CHAT,
        "strict",
        Kind::Boolean,
        "`false`",
        "`true` holds the arguments of calls to `parameters`, see [structured-output.md](structured-output.md).",
    ),
];

/// A call in an earlier message.
pub const CALL: &[Param] = &[
    honoured(CHAT, "id", Kind::MaybeText(1024), "none", "For the template."),
    TYPE,
    honoured(CHAT, "function", Kind::Object(CALLED), "", "What was called."),
];

/// The function of a call.
pub const CALLED: &[Param] = &[
    honoured(CHAT, "name", Kind::Text(1024), "", "The name of the tool."),
    honoured(
        CHAT,
        "arguments",
        Kind::Anything,
        "`{}`",
        "An object, as JSON in a text or as it is; the template gets the object.",
    ),
];
