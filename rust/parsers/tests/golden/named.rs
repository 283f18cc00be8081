//! Calls that are a name and JSON.

use streamcore_parsers::ToolFormat;

use crate::{Cases, check};

const MISTRAL: Cases<'_> = &[
    (
        "[TOOL_CALLS] [{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}, \"id\": \"aB3dE6gH9\"}]",
        &["call weather {\"city\": \"Oslo\"}"],
    ),
    (
        "[TOOL_CALLS][{\"id\": \"aB3dE6gH9\", \"name\": \"now\", \"arguments\": {}}, {\"name\": \"now\"}]",
        &["call now #aB3dE6gH9 {}", "call now {}"],
    ),
    (
        "Wait.[TOOL_CALLS]weather[ARGS]{\"city\": \"[ARGS] Oslo\"}[TOOL_CALLS]now[ARGS]{}",
        &["content Wait.", "call weather {\"city\": \"[ARGS] Oslo\"}", "call now {}"],
    ),
    ("[TOOL_CALLS]weather[CALL_ID]aB3dE6gH9[ARGS]{\"days\": 1}", &["call weather #aB3dE6gH9 {\"days\": 1}"]),
    ("[TOOL_CALLS]weather{\"days\": 1}", &["call weather {\"days\": 1}"]),
    ("[TOOL_CALLS] weather [ARGS] {\"days\": 1}\n", &["call weather {\"days\": 1}"]),
    ("[TOOL_CALLS]not a name[ARGS]{}", &["content [TOOL_CALLS]not a name[ARGS]{}"]),
    ("[TOOL_CALLS]now[ARGS]none", &["content [TOOL_CALLS]now[ARGS]none"]),
    ("[TOOL_CALLS]now[ARGS]", &["content [TOOL_CALLS]now[ARGS]"]),
    ("[TOOL_CALLS][]", &["content [TOOL_CALLS][]"]),
    (
        "[TOOL_CALLS]now[ARGS]{\"a\" 1}[TOOL_CALLS]now[ARGS]{}",
        &["call now {\"a\" 1} malformed", "call now {}"],
    ),
];

/// Tokenizers of both generations are in use, and one server runs them.
#[test]
fn mistral_in_both_ways() {
    check(ToolFormat::Mistral, MISTRAL);
}

const DEEPSEEK_V31: Cases<'_> = &[
    (
        "Hm.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"Oslo\"}<｜tool▁call▁end｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        &["content Hm.", "call weather {\"city\": \"Oslo\"}", "call now {}"],
    ),
    (
        "<｜tool▁calls▁begin｜>\n<｜tool▁call▁begin｜>now<｜tool▁sep｜><｜tool▁call▁end｜>\n<｜tool▁calls▁end｜> x",
        &["call now {}", "content  x"],
    ),
    ("<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}", &["call now {}"]),
    ("<｜tool▁calls▁begin｜>x<｜tool▁calls▁end｜>", &["content <｜tool▁calls▁begin｜>x<｜tool▁calls▁end｜>"]),
    (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>[]<｜tool▁call▁end｜>",
        &["content <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>[]<｜tool▁call▁end｜>"],
    ),
    (
        "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{1}<｜tool▁call▁end｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜>",
        &["call now {1} malformed", "call now {}"],
    ),
];

/// The markers of a section belong to no text.
#[test]
fn deepseek_v31() {
    check(ToolFormat::DeepseekV31, DEEPSEEK_V31);
}

const OPENAI: Cases<'_> = &[
    (
        "<|channel|>analysis<|message|>Think.<|end|><|start|>assistant<|channel|>final<|message|>Hello.<|return|>",
        &["reasoning Think.", "content Hello."],
    ),
    (
        "<|channel|>analysis<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{\"city\": \"Oslo\"}<|call|>",
        &["reasoning I look.", "call weather {\"city\": \"Oslo\"}"],
    ),
    (" to=functions.now<|channel|>commentary<|constrain|>json<|message|>{}", &["call now {}"]),
    (
        "<|channel|>commentary<|message|>First.<|end|><|start|>assistant to=functions.now<|channel|>commentary<|message|><|call|>",
        &["content First.", "call now {}"],
    ),
    (
        "<|channel|>commentary to=weather<|message|> {\"days\": 1} <|call|><|start|>assistant<|channel|>commentary to=functions.now<|message|>{}<|call|>",
        &["call weather {\"days\": 1}", "call now {}"],
    ),
    ("<|channel|>analysis to=python<|message|>print(1)<|call|>", &["reasoning print(1)"]),
    ("Just text.", &["content Just text."]),
    ("<|channel|>final<|message|>", &[]),
    (
        "<|channel|>commentary to=functions.now<|message|>[1]<|call|>",
        &["content <|channel|>commentary to=functions.now<|message|>[1]"],
    ),
    (
        "<|channel|>commentary to=functions.now<|message|>{\"a\" 1}<|call|><|start|>assistant<|channel|>final<|message|>x",
        &["call now {\"a\" 1} malformed", "content x"],
    ),
    ("<|channel|>commentary to=functions.now<|message|>{\"a\": \"b", &["call now {\"a\": \"b truncated"]),
    ("<|channel|>odd<|message|>x<|end|>", &["content x"]),
    ("<|channel|>final<|end|>", &["content <|channel|>final"]),
];

/// The recipient and the channel of a message decide who sees it.
#[test]
fn harmony() {
    check(ToolFormat::Openai, OPENAI);
}
