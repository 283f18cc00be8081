//! The fields that constrain an answer.

use super::Kind::{Anything, Boolean, ResponseFormat, StructuredOutputs, Text, Texts};
use super::Param;
use super::params::{BOTH, honoured};

/// The fields, on both routes.
pub const STRUCTURED: &[Param] = &[
    honoured(
        BOTH,
        "response_format",
        ResponseFormat,
        "text",
        "`text`, `json_object`, `json_schema` or vLLM's `structural_tag`: what the answer is held to, see [structured-output.md](structured-output.md).",
    ),
    honoured(
        BOTH,
        "structured_outputs",
        StructuredOutputs,
        "none",
        "vLLM's: one of `json`, `regex`, `choice`, `grammar`, `json_object`, `structural_tag`.",
    ),
    honoured(BOTH, "guided_json", Anything, "none", "vLLM's older `structured_outputs.json`."),
    honoured(BOTH, "guided_regex", Text(32 << 10), "none", "vLLM's older `structured_outputs.regex`."),
    honoured(
        BOTH,
        "guided_choice",
        Texts { max_len: 1000, max_chars: 4096 },
        "none",
        "vLLM's older `structured_outputs.choice`.",
    ),
    honoured(BOTH, "guided_grammar", Text(64 << 10), "none", "vLLM's older `structured_outputs.grammar`."),
    honoured(
        BOTH,
        "guided_json_object",
        Boolean,
        "`false`",
        "vLLM's older `structured_outputs.json_object`.",
    ),
];
