//! Calls and reasoning, as each family of models writes them.

use std::fmt::Write;

use serde_json::{Value, json};
use streamcore_parsers::{ReasoningFormat, ToolFormat};

use crate::case::{Ask, Case, case, chat};
use crate::common::Transcript;
use crate::family::Family;

pub(crate) const HERMES: Family = Family {
    name: "hermes",
    tools: Some(ToolFormat::Hermes),
    reasoning: None,
    markers: &[("<tool_call>", false), ("</tool_call>", false)],
};
pub(crate) const QWEN3: Family = Family {
    name: "qwen3",
    reasoning: Some(ReasoningFormat::Qwen3),
    markers: &[("<tool_call>", false), ("</tool_call>", false), ("<think>", false), ("</think>", false)],
    ..HERMES
};
const LETTERS: Family = Family { name: "hermes in letters", markers: &[], ..QWEN3 };
const LLAMA3: Family = Family {
    name: "llama3_json",
    tools: Some(ToolFormat::Llama3Json),
    reasoning: None,
    markers: &[("<|python_tag|>", true)],
};
const MISTRAL: Family = Family {
    name: "mistral",
    tools: Some(ToolFormat::Mistral),
    reasoning: None,
    markers: &[("[TOOL_CALLS]", true), ("[ARGS]", true), ("[CALL_ID]", true)],
};
const QWEN3_XML: Family = Family { name: "qwen3_xml", tools: Some(ToolFormat::Qwen3Xml), ..HERMES };
const DEEPSEEK: Family = Family {
    name: "deepseek_r1",
    tools: None,
    reasoning: Some(ReasoningFormat::DeepseekR1),
    markers: &[("<think>", true), ("</think>", true)],
};
const HARMONY: Family = Family {
    name: "openai",
    tools: Some(ToolFormat::Openai),
    reasoning: Some(ReasoningFormat::OpenaiGptoss),
    markers: &[
        ("<|start|>", true),
        ("<|channel|>", true),
        ("<|message|>", true),
        ("<|constrain|>", true),
        ("<|end|>", true),
        ("<|call|>", true),
        ("<|return|>", true),
    ],
};

const CALL: &str = r#"<tool_call>{"name":"f","arguments":{"x":1}}</tool_call>"#;
const THOUGHT: &str = r#"<think>Hm, né.</think>
<tool_call>{"name":"f","arguments":{}}</tool_call>"#;

fn of(family: &'static Family, case: Case) -> Case {
    let mut body = case.json().unwrap();
    if family.tools.is_some() && case.ask.path == "/v1/chat/completions" {
        body["tools"] = json!([{ "function": { "name": "f" } }, { "function": { "name": "g" } }]);
    }
    let ask = Ask { body: body.to_string(), ..case.ask };
    Case { family: Some(family), ask, ..case }
}

fn counted(mut fields: Value) -> Value {
    fields["stream"] = json!(true);
    fields["stream_options"] = json!({ "include_usage": true, "continuous_usage_stats": true });
    fields
}

/// Returns every reported byte beside calls and reasoning.
pub(crate) fn calls() -> Vec<Case> {
    let mut cases = told_calls();
    cases.extend(stopped_calls());
    cases
}

fn told_calls() -> Vec<Case> {
    let ids = json!({ "return_token_ids": true });
    let scores = json!({ "logprobs": true, "top_logprobs": 1 });
    vec![
        of(&HERMES, case("a call", chat(json!({ "stream": true })), CALL)),
        of(&HERMES, case("a whole call", chat(json!({})), CALL)),
        of(&QWEN3, case("a whole thought and a call", chat(json!({})), THOUGHT)),
        of(&QWEN3, case("usage all the time", chat(counted(json!({}))), THOUGHT)),
        of(&QWEN3, case("token ids", chat(counted(ids.clone())), THOUGHT)),
        of(&QWEN3, case("whole token ids", chat(ids), THOUGHT)),
        of(
            &HARMONY,
            case(
                "logprobs",
                chat(counted(scores.clone())),
                "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>",
            ),
        ),
        of(
            &HERMES,
            case("whole logprobs", chat(scores), r#"<tool_call>{"name":"f","arguments":{}}</tool_call>"#),
        ),
        of(
            &QWEN3,
            case(
                "two choices",
                chat(counted(json!({ "n": 2 }))),
                "<think>a</think>b\u{1e}<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>",
            ),
        ),
        of(&HERMES, case("two whole choices that call", chat(json!({ "n": 2 })), CALL)),
    ]
}

/// Returns those that a stop string, a limit or a runner ends.
fn stopped_calls() -> Vec<Case> {
    vec![
        of(
            &HERMES,
            case(
                "a stop string behind a call",
                chat(json!({ "stream": true, "stop": "END" })),
                r#"<tool_call>{"name":"f","arguments":{"x":"EN"}}</tool_call>END never"#,
            ),
        ),
        of(
            &HERMES,
            case(
                "a stop string within a call",
                chat(json!({ "stream": true, "stop": "END" })),
                r#"<tool_call>{"name":"f","arguments":{"x":"END"}}</tool_call>"#,
            ),
        ),
        of(
            &HERMES,
            case(
                "a stop string that is a marker",
                chat(json!({ "stream": true, "stop": "</tool_call>" })),
                CALL,
            ),
        ),
        of(
            &MISTRAL,
            case(
                "a stop string that is a hidden marker",
                chat(json!({ "stream": true, "stop": "[ARGS]" })),
                "Well[TOOL_CALLS]f[ARGS]{}",
            ),
        ),
        of(
            &HERMES,
            case("markers that show", chat(json!({ "skip_special_tokens": false, "stream": true })), CALL),
        ),
        of(
            &HERMES,
            case("a call that the limit cuts off", chat(json!({ "max_tokens": 8, "stream": true })), CALL),
        ),
        of(&HERMES, case("a whole call that the limit cuts off", chat(json!({ "max_tokens": 8 })), CALL)),
        of(
            &HERMES,
            case("a head that the limit cuts off", chat(json!({ "max_tokens": 4, "stream": true })), CALL),
        ),
        of(
            &QWEN3,
            case("a thought that the limit cuts off", chat(counted(json!({ "max_tokens": 3 }))), THOUGHT),
        ),
        of(&HERMES, case("a runner that dies within a call", chat(json!({ "stream": true })), CALL))
            .fails_after(9),
        of(&HERMES, case("a runner that dies within a whole call", chat(json!({})), CALL)).fails_after(9),
        of(
            &MISTRAL,
            case(
                "the last token of a limit",
                chat(json!({ "max_tokens": 4, "stream": true })),
                "[TOOL_CALLS]f[ARGS]{}",
            ),
        ),
    ]
}

/// Returns what the streams of each family tell, and the whole answers.
pub(crate) fn families() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, name, script) in SCRIPTS {
        for (way, fields) in [("stream", json!({ "stream": true })), ("whole", json!({}))] {
            let name = format!("{}, {name}, {way}", family.name).leak();
            cases.push(of(family, case(name, chat(fields), script)));
        }
    }
    cases
}

const SCRIPTS: [(&Family, &str, &str); 42] = [
    (&HERMES, "no call", "Hello, né 🦀 <b>"),
    (&HERMES, "one call", CALL),
    (
        &HERMES,
        "two calls",
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>",
    ),
    (&HERMES, "text around", "Let me see.\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\nDone."),
    (
        &HERMES,
        "escapes",
        "<tool_call>{\"name\":\"f\",\"arguments\":{\"x\":\"né 🦀 \\\"\\\\\\n\\u00e9</tool_call>\"}}</tool_call>",
    ),
    (
        &HERMES,
        "nested",
        "<tool_call>{\"name\":\"f\",\"arguments\":{\"x\":{\"y\":[1,{\"z\":null}]}}}</tool_call>",
    ),
    (&HERMES, "arguments first", "<tool_call>{\"arguments\":{\"x\":1},\"name\":\"f\"}</tool_call>"),
    (&HERMES, "truncated head", "<tool_call>{\"name\":\"f\",\"argu"),
    (&HERMES, "truncated arguments", "<tool_call>{\"name\":\"f\",\"arguments\":{\"x\":\"a"),
    (&HERMES, "malformed arguments", "<tool_call>{\"name\":\"f\",\"arguments\":{\"x\":a}}</tool_call> b"),
    (&HERMES, "no object", "<tool_call>[1]</tool_call>"),
    (&HERMES, "letters that are no marker", "<\u{1f}tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>"),
    (&LETTERS, "one call", CALL),
    (&LETTERS, "reasoning before", THOUGHT),
    (&QWEN3, "no call", "<think>Hm.</think>\n\nHello"),
    (&QWEN3, "reasoning before", THOUGHT),
    (
        &QWEN3,
        "reasoning that a call ends",
        "<think>So<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>",
    ),
    (&QWEN3, "reasoning that mentions a call", "<think>a <tool_call> is not</think>b"),
    (&QWEN3, "reasoning without an end", "<think>Hm, né 🦀"),
    (&QWEN3, "empty reasoning", "<think>\n\n</think>\n\nHello"),
    (&QWEN3, "nothing", ""),
    (&LLAMA3, "no call", "{\"a\": 1}"),
    (&LLAMA3, "one call", "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"x\": \"né\"}}"),
    (
        &LLAMA3,
        "two calls",
        "<|python_tag|>{\"name\":\"f\",\"parameters\":{}}; {\"name\":\"g\",\"parameters\":{}}",
    ),
    (&LLAMA3, "truncated", "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"x\""),
    (&LLAMA3, "malformed", "<|python_tag|>print(1)"),
    (&MISTRAL, "one call", "[TOOL_CALLS]f[ARGS]{\"x\": \"é\"}"),
    (
        &MISTRAL,
        "two calls and text",
        "Well.[TOOL_CALLS]f[ARGS]{}[TOOL_CALLS]g[CALL_ID]abcdef123[ARGS]{\"y\": 2}",
    ),
    (
        &MISTRAL,
        "the elder format",
        "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"x\": 1}}, {\"name\": \"g\", \"arguments\": {}}]",
    ),
    (&MISTRAL, "truncated", "[TOOL_CALLS]f[ARGS]{\"x\": "),
    (&MISTRAL, "malformed", "[TOOL_CALLS] is a marker"),
    (
        &QWEN3_XML,
        "one call",
        "<tool_call>\n<function=f>\n<parameter=x>\nné <b>\n\"1\"\n</parameter>\n</function>\n</tool_call>",
    ),
    (
        &QWEN3_XML,
        "two calls",
        "<tool_call>\n<function=f>\n</function>\n</tool_call>\n<tool_call>\n<function=g>\n<parameter=y>\n5\n</parameter>\n</function>\n</tool_call>",
    ),
    (&QWEN3_XML, "truncated", "Well.\n<tool_call>\n<function=f>\n<parameter=x>\na"),
    (&QWEN3_XML, "malformed", "<tool_call>\n<function f>\n</tool_call>"),
    (
        &HARMONY,
        "no call",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hello, né<|return|>",
    ),
    (
        &HARMONY,
        "a call",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"x\":\"é\"}<|call|>",
    ),
    (
        &HARMONY,
        "text and two calls",
        "<|channel|>commentary<|message|>Well.<|end|><|start|>assistant to=functions.f<|channel|>commentary json<|message|>{}<|end|><|start|>assistant to=functions.g<|channel|>commentary<|message|>{\"y\":2}<|call|>",
    ),
    (&HARMONY, "truncated", "<|channel|>commentary to=functions.f<|message|>{\"x\":"),
    (&DEEPSEEK, "reasoning", "<think>Hm, né.</think>\n\nHello"),
    (&DEEPSEEK, "text alone", "Hello <think>"),
    (&DEEPSEEK, "a call is none", "<think>a</think><tool_call>{}</tool_call>"),
];

/// The deltas of a stream and its ends; a whole answer as it is.
pub(crate) fn deltas(transcript: &Transcript) -> String {
    let body = transcript.body();
    if !body.starts_with("data: ") {
        return body;
    }
    let mut lines = String::new();
    for event in transcript.events() {
        let choice = &event["choices"][0];
        let line =
            if choice["finish_reason"].is_null() { &choice["delta"] } else { &choice["finish_reason"] };
        writeln!(lines, "{line}").unwrap();
    }
    lines
}
