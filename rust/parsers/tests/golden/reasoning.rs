//! Reasoning before everything, in each of its forms.

use streamcore_parsers::{ReasoningFormat, ToolFormat};

use crate::support::Answer;
use crate::{Cases, answer, truncate};

/// The format, that of the calls, what the model writes, and what it says.
type Case<'a> = (&'a str, ToolFormat, &'a str, &'a [&'a str]);

const CASES: &[Case<'_>] = &[
    (
        "qwen3",
        ToolFormat::Hermes,
        "<think>\nHm.\n</think>\n\nHello.",
        &["reasoning \nHm.\n", "content \n\nHello."],
    ),
    ("qwen3", ToolFormat::Hermes, "\n<think>\n\n</think>\n\nHello.", &["content \n\nHello."]),
    (
        "qwen3",
        ToolFormat::Hermes,
        "<think>a</think>\n\n<tool_call>{\"name\": \"now\"}</tool_call>",
        &["reasoning a", "call now {}"],
    ),
    (
        "qwen3",
        ToolFormat::Hermes,
        "<think>a <tool_call> is\n<tool_call>{\"name\": \"now\"}</tool_call></think>b",
        &["reasoning a <tool_call> is\n", "call now {}", "content </think>b"],
    ),
    ("qwen3", ToolFormat::Hermes, "<think>never ends", &["reasoning never ends"]),
    ("qwen3", ToolFormat::Hermes, "No. <think>x</think>", &["content No. <think>x</think>"]),
    ("qwen3", ToolFormat::Hermes, "<thin", &["content <thin"]),
    (
        "qwen3",
        ToolFormat::Qwen3Xml,
        "<think>a<tool_call>\n<function=now>\n</function>\n</tool_call>",
        &["reasoning a", "call now {}"],
    ),
    ("deepseek_r1", ToolFormat::DeepseekV31, "<think>a</think>b", &["reasoning a", "content b"]),
    (
        "mistral",
        ToolFormat::Mistral,
        "[THINK]a[/THINK]b[TOOL_CALLS]now[ARGS]{}",
        &["reasoning a", "content b", "call now {}"],
    ),
    (
        "gemma4",
        ToolFormat::Gemma4,
        "<|channel>thought\nHm.\n<channel|>Hello.",
        &["reasoning Hm.\n", "content Hello."],
    ),
    ("gemma4", ToolFormat::Gemma4, "<|channel>thought\n<channel|>Hello.", &["content Hello."]),
    ("gemma4", ToolFormat::Gemma4, "<|channel>other\n<channel|>", &["content <|channel>other\n<channel|>"]),
    (
        "granite",
        ToolFormat::Granite,
        "Here is my thought process: a Here is my response: b",
        &["reasoning  a ", "content  b"],
    ),
    (
        "granite",
        ToolFormat::Granite,
        "Here's my thought process:aHere's my response:b",
        &["reasoning a", "content b"],
    ),
    ("granite", ToolFormat::Granite, "Here is my answer: b", &["content Here is my answer: b"]),
    ("granite_thinking", ToolFormat::Qwen3Xml, "<think>a</think>\n\nb", &["reasoning a", "content b"]),
    (
        "glm45",
        ToolFormat::Glm47,
        "<think>a</think><tool_call>now</tool_call>",
        &["reasoning a", "call now {}"],
    ),
    ("olmo3", ToolFormat::Olmo3, "<think>a</think>b", &["reasoning a", "content b"]),
    // A list in the thought of a format without markers is no call.
    (
        "deepseek_r1",
        ToolFormat::Pythonic,
        "<think>[now()]</think>[now()]",
        &["reasoning [now()]", "call now {}"],
    ),
];

/// A client that shows the thought as the answer, or keeps the answer as a thought.
#[test]
fn reasoning_is_told_from_the_answer() {
    for (name, tools, text, expected) in CASES {
        let format = ReasoningFormat::named(name).expect("the format has a name");
        let answer = Answer { reasoning: Some(format), ..answer(*tools) };
        assert_eq!(answer.says(text), *expected, "{name}: {text:?}");
        assert_eq!(answer.clone().special().says(text), *expected, "{name} with special tokens: {text:?}");
        truncate(&answer.special(), text);
    }
}

/// A prompt that ends in the marker leaves none for the answer.
#[test]
fn reasoning_that_the_prompt_has_opened() {
    let answer = Answer { reasoning: Some(ReasoningFormat::Qwen3), ..answer(ToolFormat::Qwen3Xml) }.inside();
    let cases: Cases<'_> = &[
        ("Hm.\n</think>\n\nHello.", &["reasoning Hm.\n", "content \n\nHello."]),
        ("<think>\nHm.</think>b", &["reasoning \nHm.", "content b"]),
        ("</think>b", &["content b"]),
        ("Hm.\n<tool_call>\n<function=now>\n</function>\n</tool_call>", &["reasoning Hm.\n", "call now {}"]),
        ("never ends <tool_call>", &["reasoning never ends <tool_call>"]),
    ];
    for (text, expected) in cases {
        assert_eq!(answer.says(text), *expected);
        assert_eq!(answer.clone().special().says(text), *expected);
    }
    let harmony = Answer::new(Some(ToolFormat::Openai), Some(ReasoningFormat::OpenaiGptoss));
    let text = "Hm.<|end|><|start|>assistant<|channel|>final<|message|>b";
    assert_eq!(harmony.inside().special().says(text), ["reasoning Hm.", "content b"]);
    let opened = "<|start|>assistant<|channel|>analysis<|message|>";
    assert!(ReasoningFormat::OpenaiGptoss.is_open_behind(opened));
    assert!(ReasoningFormat::Qwen3.is_open_behind("<|im_start|>assistant\n<think>\n"));
    assert!(!ReasoningFormat::Qwen3.is_open_behind("<|im_start|>assistant\n<think>\n\n</think>\n\n"));
    assert!(!ReasoningFormat::Qwen3.is_open_behind("<|im_start|>assistant\n"));
}
