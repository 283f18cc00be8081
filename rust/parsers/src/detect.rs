//! Detects a model's formats by its chat template and its special tokens.
//!
//! A template that renders calls contains the markers of its format, searched from the most
//! specific to the most common: `<tool_call>` alone proves little.

use crate::format::ToolFormat;
use crate::reasoning::ReasoningFormat;

/// The detected formats of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Detected {
    /// The format of its calls.
    pub tools: Option<ToolFormat>,
    /// The format of its reasoning.
    pub reasoning: Option<ReasoningFormat>,
}

/// Recognises the formats of a model. `has_token` says whether a text is a token of its own in the
/// tokenizer.
#[must_use]
pub fn detect(chat_template: &str, has_token: impl Fn(&str) -> bool) -> Detected {
    let has = |text: &str| chat_template.contains(text);
    let tools = tools(has, &has_token);
    Detected { tools, reasoning: reasoning(has, &has_token, tools) }
}

fn tools(has: impl Fn(&str) -> bool, has_token: impl Fn(&str) -> bool) -> Option<ToolFormat> {
    let is_granite = has("<|start_of_role|>");
    let rules = [
        (ToolFormat::Openai, has("<|channel|>") && has("<|start|>")),
        (ToolFormat::Gemma4, has("<|tool_call>")),
        (ToolFormat::FunctionGemma, has("<start_function_call>")),
        // Its template lists tools and leaves the calls to the model.
        (
            ToolFormat::Lfm2,
            has("<|tool_call_start|>") || (has("<|tool_list_start|>") && has_token("<|tool_call_start|>")),
        ),
        (ToolFormat::Qwen3Xml, has("<function=") && has("<parameter=")),
        (ToolFormat::Glm47, has("<arg_key>") && has("<arg_value>")),
        (ToolFormat::Olmo3, has("<function_calls>")),
        (ToolFormat::Mistral, has("[TOOL_CALLS]")),
        // The older V3 writes the same markers and fenced code, which is another format.
        (ToolFormat::DeepseekV31, has("<｜tool▁calls▁begin｜>") && !has("```json")),
        (ToolFormat::Granite4, is_granite && has("<tool_call>")),
        (ToolFormat::Granite, is_granite && has("<|tool_call|>")),
        (ToolFormat::Hermes, has("<tool_call>")),
        (ToolFormat::Phi4MiniJson, has("functools") || has("<|/tool|>")),
        // Llama 4 writes Python, unless its template asks for JSON.
        (ToolFormat::Llama4Pythonic, has("<|header_start|>") && has("tools") && !has("JSON")),
        (ToolFormat::Llama3Json, (has("<|start_header_id|>") || has("<|header_start|>")) && has("tools")),
    ];
    rules.into_iter().find_map(|(format, is_it)| is_it.then_some(format))
}

fn reasoning(
    has: impl Fn(&str) -> bool,
    has_token: impl Fn(&str) -> bool,
    tools: Option<ToolFormat>,
) -> Option<ReasoningFormat> {
    if has("[THINK]") || (tools == Some(ToolFormat::Mistral) && has_token("[THINK]")) {
        return Some(ReasoningFormat::Mistral);
    }
    if has("thought process:") && has("<|start_of_role|>") {
        return Some(ReasoningFormat::Granite);
    }
    let thinks = has("<think>") || has("</think>");
    match tools {
        Some(ToolFormat::Openai) => Some(ReasoningFormat::OpenaiGptoss),
        Some(ToolFormat::Gemma4) => Some(ReasoningFormat::Gemma4),
        _ if has("<|channel>") => Some(ReasoningFormat::Gemma4),
        _ if !thinks => None,
        Some(ToolFormat::Glm47) => Some(ReasoningFormat::Glm45),
        Some(ToolFormat::Olmo3) => Some(ReasoningFormat::Olmo3),
        _ if has("<|start_of_role|>") => Some(ReasoningFormat::GraniteThinking),
        _ if has("<|im_start|>") => Some(ReasoningFormat::Qwen3),
        _ => Some(ReasoningFormat::DeepseekR1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A family, its template, its tokens, and the names of its formats.
    type Case<'a> = (&'a str, &'a str, &'a [&'a str], (&'a str, &'a str));

    const CASES: [Case<'_>; 24] = [
        ("Qwen 2.5", "<|im_start|>system # Tools <tools> <tool_call> </tool_call>", &[], ("hermes", "")),
        (
            "Qwen 3",
            "<|im_start|> <tools> <tool_call> </tool_call> <think>\n\n</think>",
            &["<tool_call>"],
            ("hermes", "qwen3"),
        ),
        (
            "Qwen3-Coder",
            "<|im_start|> <tool_call> <function= <parameter= </function>",
            &[],
            ("qwen3_xml", ""),
        ),
        (
            "Qwen 3.5",
            "<|im_start|> <tool_call> <function= <parameter= </think> <think>\n",
            &[],
            ("qwen3_xml", "qwen3"),
        ),
        (
            "Granite 4.2",
            "<|start_of_role|> <tool_call> <function= <parameter= <think>",
            &[],
            ("qwen3_xml", "granite_thinking"),
        ),
        ("Granite 4.0", "<|start_of_role|>assistant<|end_of_role|> <tool_call>", &[], ("granite4", "")),
        (
            "Granite 3",
            "<|start_of_role|> <|tool_call|> Here is my thought process:",
            &[],
            ("granite", "granite"),
        ),
        (
            "gpt-oss",
            "<|start|>assistant<|channel|>analysis<|message|>",
            &["<|call|>"],
            ("openai", "openai_gptoss"),
        ),
        (
            "Gemma 4",
            "<|turn>model <|tool_call>call: <tool_call|> <|channel>thought",
            &[],
            ("gemma4", "gemma4"),
        ),
        ("Gemma 4 without tools", "<|turn>model <|channel>thought", &[], ("", "gemma4")),
        ("FunctionGemma", "<start_of_turn> <start_function_call>call:", &[], ("functiongemma", "")),
        ("Gemma 3", "<start_of_turn>model", &[], ("", "")),
        ("Mistral", "[INST] [TOOL_CALLS] [/INST]", &["[ARGS]"], ("mistral", "")),
        ("Magistral", "[SYSTEM_PROMPT] [THINK] [TOOL_CALLS]", &[], ("mistral", "mistral")),
        (
            "Llama 3.1",
            "<|start_header_id|> {%- if tools %} <|python_tag|> {\"name\": ",
            &[],
            ("llama3_json", ""),
        ),
        ("Llama 3", "<|start_header_id|> {{ content }}", &[], ("", "")),
        ("Llama 4", "<|header_start|> {%- if tools %} <|python_start|>", &[], ("llama4_pythonic", "")),
        ("LFM 2", "<|im_start|> tools <|tool_list_start|>", &["<|tool_call_start|>"], ("lfm2", "")),
        ("OLMo 3", "<|im_start|> <functions> <function_calls>", &[], ("olmo3", "")),
        ("OLMo 3 Think", "<|im_start|> <function_calls> assistant\n<think>", &[], ("olmo3", "olmo3")),
        ("Phi-4-mini", "<|system|> <|tool|> <|/tool|> <|end|>", &[], ("phi4_mini_json", "")),
        (
            "GLM 4.7",
            "[gMASK]<sop> <tool_call> <arg_key> <arg_value> <think></think>",
            &[],
            ("glm47", "glm45"),
        ),
        (
            "DeepSeek V3.1",
            "<｜Assistant｜></think> <｜tool▁calls▁begin｜> <｜tool▁sep｜>",
            &[],
            ("deepseek_v31", "deepseek_r1"),
        ),
        (
            "DeepSeek R1 distilled",
            "<｜User｜> <｜Assistant｜><think>\\n <｜tool▁calls▁begin｜> ```json",
            &[],
            ("", "deepseek_r1"),
        ),
    ];

    fn names(template: &str, tokens: &[&str]) -> (&'static str, &'static str) {
        let Detected { tools, reasoning } = detect(template, |text| tokens.contains(&text));
        (tools.map_or("", ToolFormat::name), reasoning.map_or("", ReasoningFormat::name))
    }

    /// A model whose format is mistaken shows its users markup, and its agents no calls.
    #[test]
    fn families_are_recognised_by_the_markers_of_their_templates() {
        for (family, template, tokens, expected) in CASES {
            assert_eq!(names(template, tokens), expected, "{family}");
        }
    }
}
