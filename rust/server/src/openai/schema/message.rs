//! The fields of a message.

use super::Neutral::Null;
use super::params::{CHAT, honoured, refused};
use super::tool::{CALL, CALLED};
use super::{Kind, Param};

/// The fields that are checked here. All others go to the template as they are, and so do the
/// values of `role`.
pub const MESSAGE: &[Param] = &[
    honoured(
        CHAT,
        "role",
        Kind::Text(1024),
        "",
        "Whatever the template knows; `developer` becomes `system` for one that does not name it, and `function` becomes `tool` for one that names that.",
    ),
    honoured(
        CHAT,
        "content",
        Kind::Anything,
        "empty, but required for `system`, `developer` and `user`",
        "A text, or a list of text parts, which are joined by line breaks.",
    ),
    honoured(CHAT, "name", Kind::Text(1024), "none", "For the template."),
    honoured(CHAT, "tool_calls", Kind::Objects(CALL), "none", "The calls of an earlier answer."),
    honoured(
        CHAT,
        "tool_call_id",
        Kind::MaybeText(1024),
        "none",
        "For the template: the `id` of the call that this answers.",
    ),
    honoured(
        CHAT,
        "function_call",
        Kind::Object(CALLED),
        "none",
        "OpenAI's older calls: becomes one of `tool_calls`, which win over it.",
    ),
    refused(CHAT, "audio", Null, "Text only."),
];
