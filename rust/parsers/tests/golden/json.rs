//! Calls that are JSON objects.

use streamcore_parsers::ToolFormat;

use crate::{Cases, check};

const HERMES: Cases<'_> = &[
    (
        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>",
        &["call weather {\"city\": \"Oslo\"}"],
    ),
    (
        "Let me see.\n<tool_call>{\"name\":\"now\",\"arguments\":{}}</tool_call> Done.",
        &["content Let me see.\n", "call now {}", "content  Done."],
    ),
    (
        "\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"days\": 2}}\n</tool_call>\n",
        &["call now {}", "call weather {\"days\": 2}"],
    ),
    (
        "<tool_call>{\"arguments\": {\"where\": {\"a\": [1, {\"b\": \"}\"}]}}, \"name\": \"weather\"}</tool_call>",
        &["call weather {\"where\": {\"a\": [1, {\"b\": \"}\"}]}}"],
    ),
    (
        "<tool_call>{\"type\": \"function\", \"name\": \"weather\", \"parameters\": {\"city\": \"\\u00c5s \\\"\\\\ 日本 😀</tool_call>\"}, \"x\": [1]}</tool_call>",
        &["call weather {\"city\": \"\\u00c5s \\\"\\\\ 日本 😀</tool_call>\"}"],
    ),
    (
        "<tool_call>{\"name\": \"weather\", \"arguments\": \"{\\\"city\\\": \\\"O\\\\\\\"s\\u006co\\\"}\"}</tool_call>",
        &["call weather {\"city\": \"O\\\"slo\"}"],
    ),
    (
        "<tool_call>{\"arguments\": \"{\\\"days\\\": 1}\", \"name\": \"weather\"}</tool_call>",
        &["call weather {\"days\": 1}"],
    ),
    ("<tool_call>{\"name\": \"now\"}</tool_call>", &["call now {}"]),
    ("<tool_call>{\"name\": \"now\", \"arguments\": null}</tool_call>", &["call now {}"]),
    ("<tool_call>{\"name\": \"now\", \"arguments\": \"\"}</tool_call>", &["call now {}"]),
    // Malformed: a list, no name, no quotes, a word, and a call that breaks off once it has
    // begun.
    (
        "<tool_call>{\"name\": \"now\", \"arguments\": [1]}</tool_call>",
        &["content <tool_call>{\"name\": \"now\", \"arguments\": [1]}</tool_call>"],
    ),
    ("<tool_call>{\"arguments\": {}}</tool_call>", &["content <tool_call>{\"arguments\": {}}</tool_call>"]),
    ("<tool_call>{name: \"now\"}</tool_call>", &["content <tool_call>{name: \"now\"}</tool_call>"]),
    (
        "<tool_call>{\"name\": \"now\", \"arguments\": \"none\"}</tool_call>",
        &["content <tool_call>{\"name\": \"now\", \"arguments\": \"none\"}</tool_call>"],
    ),
    (
        "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": 'b'}}</tool_call> x",
        &["call now {\"a\": 'b'}} malformed", "content  x"],
    ),
    (
        "<tool_call>{\"name\": \"now\", \"arguments\": \"{\\\"a\\\" 1}\"}</tool_call> x",
        &["call now {\"a\" 1}\"} malformed", "content  x"],
    ),
    // A brace too many is text, and so is the tag behind it.
    (
        "<tool_call>{\"name\": \"now\", \"arguments\": {}}}</tool_call>",
        &["call now {}", "content }</tool_call>"],
    ),
    ("<tool_call>{\"name\": \"now\", \"arguments\": {}}", &["call now {}"]),
    (
        "<tool_call><tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>",
        &["content <tool_call>", "call now {}"],
    ),
    (
        "<tool_call>[{\"name\": \"now\"}, {\"name\": \"weather\", \"arguments\": {}}]</tool_call>",
        &["call now {}", "call weather {}"],
    ),
    (
        "<tool_call>{\"name\": \"now\"}\n{\"name\": \"weather\"}</tool_call>",
        &["call now {}", "call weather {}"],
    ),
];

/// A call between markers reaches the client in any order of its keys; a broken one stays text.
#[test]
fn hermes() {
    check(ToolFormat::Hermes, HERMES);
}

const LLAMA3_JSON: Cases<'_> = &[
    ("{\"name\": \"weather\", \"parameters\": {\"city\": \"Oslo\"}}", &["call weather {\"city\": \"Oslo\"}"]),
    (" \n{\"type\": \"function\", \"name\": \"now\", \"parameters\": {}}", &["call now {}"]),
    (
        "<|python_tag|>{\"name\": \"now\", \"parameters\": {}}; {\"name\": \"weather\", \"parameters\": {\"days\": 1}}",
        &["call now {}", "call weather {\"days\": 1}"],
    ),
    (
        "{\"name\": \"now\", \"parameters\": {}}\n{\"name\": \"now\", \"parameters\": {}}",
        &["call now {}", "call now {}"],
    ),
    ("{\"parameters\": {\"city\": \"\\n\"}, \"name\": \"weather\"}", &["call weather {\"city\": \"\\n\"}"]),
    (
        "I call <|python_tag|>{\"name\": \"now\", \"parameters\": {}} now",
        &["content I call ", "call now {}", "content  now"],
    ),
    ("{\"name\": \"Oslo\", \"parameters\": {}}", &["content {\"name\": \"Oslo\", \"parameters\": {}}"]),
    ("{\"name\": \"now\", \"size\": 1}", &["content {\"name\": \"now\", \"size\": 1}"]),
    ("{\"é\": 1}", &["content {\"é\": 1}"]),
    ("{\"name\": \"now\", \"parameters\": {\"a\": 1]}", &["call now {\"a\": 1]} malformed"]),
    ("{\"name\": 1}", &["content {\"name\": 1}"]),
    (
        "{\"a\": 1}; {\"name\": \"now\", \"parameters\": {}}",
        &["content {\"a\": 1}; {\"name\": \"now\", \"parameters\": {}}"],
    ),
    ("<|python_tag|>print(1)", &["content <|python_tag|>print(1)"]),
    ("{\"name\": \"now\", \"parameters\": {\"a\": x}}", &["call now {\"a\": x}} malformed"]),
];

/// What is not a call by the name of a tool is an answer that happens to be JSON.
#[test]
fn llama3_json() {
    check(ToolFormat::Llama3Json, LLAMA3_JSON);
}

const GRANITE: Cases<'_> = &[
    (
        "<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"weather\", \"arguments\": {\"days\": 1}}]",
        &["call now {}", "call weather {\"days\": 1}"],
    ),
    ("Sure: <tool_call>[{\"name\": \"now\"}]", &["content Sure: ", "call now {}"]),
    ("<|tool_call|>{\"name\": \"now\"}", &["content <|tool_call|>{\"name\": \"now\"}"]),
    ("<|tool_call|>[]", &["content <|tool_call|>[]"]),
    (
        "<|tool_call|>[{\"name\": \"now\"} {\"name\": \"now\"}]",
        &["call now {}", "content  {\"name\": \"now\"}]"],
    ),
];

const PHI4_MINI_JSON: Cases<'_> = &[
    (
        "functools[{\"name\": \"weather\", \"arguments\": {\"limits\": [[1], \"]\"]}}]",
        &["call weather {\"limits\": [[1], \"]\"]}"],
    ),
    ("<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}]<|/tool_call|>", &["call now {}"]),
    ("import functools\nfunctools.reduce", &["content import functools\nfunctools.reduce"]),
];

const GRANITE4: Cases<'_> = &[(
    "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n<tool_call>{\"name\": \"now\"}</tool_call>",
    &["call now {}", "call now {}"],
)];

/// Several calls in one list would reach the client as one, or as text.
#[test]
fn lists_of_json() {
    check(ToolFormat::Granite, GRANITE);
    check(ToolFormat::Phi4MiniJson, PHI4_MINI_JSON);
    check(ToolFormat::Granite4, GRANITE4);
}
