//! The fields of a message.

use super::Neutral::{Empty, Null};
use super::params::{CHAT, honoured, refused};
use super::{Kind, Param};

/// The fields that are looked at here. All others go to the template as they are, and so do the
/// values of `role`.
pub const MESSAGE: &[Param] = &[
    honoured(
        CHAT,
        "role",
        Kind::Text(1024),
        "",
        "Whatever the template knows; `developer` becomes `system` for one that does not name it.",
    ),
    honoured(
        CHAT,
        "content",
        Kind::Anything,
        "empty, but required for `system`, `developer` and `user`",
        "A text, or a list of text parts, which are joined by line breaks.",
    ),
    honoured(CHAT, "name", Kind::Text(1024), "none", "For the template."),
    refused(CHAT, "tool_calls", Empty, "Not supported yet."),
    refused(CHAT, "function_call", Null, "OpenAI's older tools."),
    refused(CHAT, "audio", Null, "Text only."),
];
