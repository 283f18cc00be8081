//! The formats of calls, by their names in vLLM.

use crate::calls::Calls;
use crate::families::gemma::Gemma;
use crate::families::json_call::CallRules;
use crate::families::json_calls::JsonCalls;
use crate::families::mistral::Mistral;
use crate::families::named_json::{NamedJson, NamedMarkers};
use crate::families::pythonic::Pythonic;
use crate::families::tagged::{Tagged, Tags};
use crate::marker::Marker;

/// A format of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ToolFormat {
    /// JSON in `<tool_call>`; Qwen 2.5 and 3, Hermes, many others.
    Hermes,
    /// Tags for each parameter; Qwen3-Coder, Qwen 3.5 and later, Nemotron 3, Granite 4.2.
    Qwen3Xml,
    /// JSON alone or behind `<|python_tag|>`; Llama 3.
    Llama3Json,
    /// Python calls alone or in `<|python_start|>`; Llama 4.
    Llama4Pythonic,
    /// Python calls alone.
    Pythonic,
    /// Python calls in `<|tool_call_start|>`; LFM 2.
    Lfm2,
    /// Python calls in `<function_calls>`; OLMo 3.
    Olmo3,
    /// `[TOOL_CALLS]`.
    Mistral,
    /// Messages to `functions.NAME`; gpt-oss.
    Openai,
    /// `call:NAME{…}` in `<|tool_call>`; Gemma 4.
    Gemma4,
    /// `call:NAME{…}` in `<start_function_call>`; `FunctionGemma`.
    FunctionGemma,
    /// `functools[…]`, or the list in `<|tool_call|>`; Phi-4-mini.
    Phi4MiniJson,
    /// JSON in `<tool_call>`; Granite 4.
    Granite4,
    /// A list of JSON behind `<|tool_call|>` or `<tool_call>`; Granite 3.
    Granite,
    /// Pairs of `<arg_key>` and `<arg_value>`; GLM 4.5 and later.
    Glm47,
    /// Name and JSON in `<｜tool▁calls▁begin｜>`; `DeepSeek` V3.1.
    DeepseekV31,
}

impl ToolFormat {
    /// Each, with its names; the first of a format is its own.
    pub const ALL: [(&'static str, Self); 18] = [
        ("hermes", Self::Hermes),
        ("qwen3_xml", Self::Qwen3Xml),
        ("qwen3_coder", Self::Qwen3Xml),
        ("llama3_json", Self::Llama3Json),
        ("llama4_pythonic", Self::Llama4Pythonic),
        ("pythonic", Self::Pythonic),
        ("lfm2", Self::Lfm2),
        ("olmo3", Self::Olmo3),
        ("mistral", Self::Mistral),
        ("openai", Self::Openai),
        ("gemma4", Self::Gemma4),
        ("functiongemma", Self::FunctionGemma),
        ("phi4_mini_json", Self::Phi4MiniJson),
        ("granite4", Self::Granite4),
        ("granite", Self::Granite),
        ("glm47", Self::Glm47),
        ("glm45", Self::Glm47),
        ("deepseek_v31", Self::DeepseekV31),
    ];

    /// Returns the format of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(known, format)| (known == name).then_some(format))
    }

    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find_map(|(name, format)| (format == self).then_some(name)).unwrap_or_default()
    }

    /// Creates its parser, with markers made by `marker`. Harmony has none here: its messages are
    /// more than calls.
    pub(crate) fn calls(self, marker: &mut impl FnMut(&'static str) -> Marker) -> Option<Box<dyn Calls>> {
        let plain = CallRules { is_bare: false, has_ids: false };
        Some(match self {
            Self::Hermes | Self::Granite4 => {
                let openings = vec![marker("<tool_call>")];
                Box::new(JsonCalls::new(openings, Some(marker("</tool_call>")), plain))
            }
            Self::Granite => {
                let openings = vec![marker("<|tool_call|>"), marker("<tool_call>")];
                Box::new(JsonCalls::new(openings, None, plain).in_list())
            }
            Self::Phi4MiniJson => {
                let openings = vec![marker("functools"), marker("<|tool_call|>")];
                Box::new(JsonCalls::new(openings, Some(marker("<|/tool_call|>")), plain).in_list())
            }
            Self::Llama3Json => {
                let rules = CallRules { is_bare: true, ..plain };
                Box::new(JsonCalls::new(vec![marker("<|python_tag|>")], None, rules).separated_by(b';'))
            }
            Self::Mistral => {
                Box::new(Mistral::new(marker("[TOOL_CALLS]"), marker("[ARGS]"), marker("[CALL_ID]")))
            }
            Self::DeepseekV31 => Box::new(NamedJson::new(deepseek_markers(marker))),
            Self::Pythonic => Box::new(Pythonic::new(None, true)),
            Self::Llama4Pythonic => {
                Box::new(Pythonic::new(Some([marker("<|python_start|>"), marker("<|python_end|>")]), true))
            }
            Self::Lfm2 => Box::new(Pythonic::new(
                Some([marker("<|tool_call_start|>"), marker("<|tool_call_end|>")]),
                false,
            )),
            Self::Olmo3 => Box::new(Pythonic::new(
                Some([marker("<function_calls>"), marker("</function_calls>")]),
                false,
            )),
            Self::Gemma4 => {
                Box::new(Gemma::new(marker("<|tool_call>"), marker("<tool_call|>"), marker("<|\"|>")))
            }
            Self::FunctionGemma => Box::new(Gemma::new(
                marker("<start_function_call>"),
                marker("<end_function_call>"),
                marker("<escape>"),
            )),
            Self::Qwen3Xml => Box::new(Tagged::new(qwen3_tags(marker))),
            Self::Glm47 => Box::new(Tagged::new(glm_tags(marker))),
            Self::Openai => return None,
        })
    }
}

/// Returns the tags of Qwen.
fn qwen3_tags(marker: &mut impl FnMut(&'static str) -> Marker) -> Tags {
    Tags {
        outer: [marker("<tool_call>"), marker("</tool_call>")],
        name: Some([marker("<function="), marker(">")]),
        key: [marker("<parameter="), marker(">")],
        value: None,
        value_end: marker("</parameter>"),
        value_end_on_new_line: Some(marker("\n</parameter>")),
        call_end: Some(marker("</function>")),
    }
}

/// Returns the tags of GLM.
fn glm_tags(marker: &mut impl FnMut(&'static str) -> Marker) -> Tags {
    Tags {
        outer: [marker("<tool_call>"), marker("</tool_call>")],
        name: None,
        key: [marker("<arg_key>"), marker("</arg_key>")],
        value: Some(marker("<arg_value>")),
        value_end: marker("</arg_value>"),
        value_end_on_new_line: None,
        call_end: None,
    }
}

/// Returns the markers of DeepSeek.
fn deepseek_markers(marker: &mut impl FnMut(&'static str) -> Marker) -> NamedMarkers {
    NamedMarkers {
        section: Some([marker("<｜tool▁calls▁begin｜>"), marker("<｜tool▁calls▁end｜>")]),
        opening: marker("<｜tool▁call▁begin｜>"),
        separator: marker("<｜tool▁sep｜>"),
        id: None,
        closing: Some(marker("<｜tool▁call▁end｜>")),
        may_lack_separator: false,
    }
}
