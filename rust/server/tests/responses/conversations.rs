//! The prompt that items become: the template writes role, thought, calls and content of each
//! message.
#![allow(
    clippy::needless_pass_by_value,
    reason = "a table of them reads better without a sign before every body"
)]

use serde_json::{Value, json};

use crate::common::{Stage, poll_once, post};

const TEMPLATE: &str = "{% for m in messages %}[{{ m.role }}{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}:{{ m.content }}\
{% for call in m.tool_calls %}<{{ call.id }} {{ call.function.name }} {{ call.function.arguments | tojson }}>{% endfor %}\
{% if m.tool_call_id %}#{{ m.tool_call_id }}{% endif %}]{% endfor %}{% if tools %}{{ tools | length }} tools{% endif %}";

/// Returns the messages that the prompt is made of, by a template that raises them as its error.
fn prompt(body: Value) -> String {
    let template = format!("{{% set text %}}{TEMPLATE}{{% endset %}}{{{{ raise_exception(text) }}}}");
    let stage = Stage::with_template("", &template);
    let answer = stage.answer(post("/v1/responses", body));
    let std::task::Poll::Ready((_, answer)) = poll_once(std::pin::pin!(answer)) else { panic!("it waits") };
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let message = answer["error"]["message"].as_str().unwrap();
    message.to_owned()
}

fn of(input: Value) -> String {
    prompt(json!({ "input": input }))
}

/// A turn that falls apart, or runs into the next, is a conversation that the model has never had.
#[tokio::test]
async fn items_become_turns() {
    let user = json!({ "role": "user", "content": "hi" });
    let call =
        |id: &str| json!({ "type": "function_call", "call_id": id, "name": "f", "arguments": "{\"x\":1}" });
    let output = |id: &str| json!({ "type": "function_call_output", "call_id": id, "output": "ok" });
    let thought = json!({ "type": "reasoning", "summary": [], "content": [{ "type": "reasoning_text", "text": "Hm" }] });
    let said = json!({ "type": "message", "role": "assistant", "content": [
        { "type": "output_text", "text": "A" }, { "type": "refusal", "refusal": "B" },
    ] });
    let summary = json!({ "type": "reasoning", "summary": [{ "type": "summary_text", "text": "So" }] });
    let packed = json!({ "type": "reasoning", "summary": [], "encrypted_content": "SG0=" });
    let sealed = json!({ "type": "reasoning", "summary": [], "encrypted_content": "gAAAA-_" });
    for (input, expected) in [
        (json!("hi"), "[user:hi]"),
        (json!([user]), "[user:hi]"),
        (
            json!([thought, said, call("a"), call("b")]),
            "[assistant(Hm):A\nB<a f {\"x\": 1}><b f {\"x\": 1}>]",
        ),
        (json!([call("a"), said]), "[assistant:<a f {\"x\": 1}>][assistant:A\nB]"),
        (json!([said, said]), "[assistant:A\nB][assistant:A\nB]"),
        (
            json!([user, call("a"), output("a"), call("b"), output("b"), said]),
            "[user:hi][assistant:<a f {\"x\": 1}>][tool:ok#a][assistant:<b f {\"x\": 1}>][tool:ok#b][assistant:A\nB]",
        ),
        (json!([summary, said, packed, call("a")]), "[assistant(So):A\nB][assistant(Hm):<a f {\"x\": 1}>]"),
        (json!([sealed, said]), "[assistant:A\nB]"),
        (
            json!([{ "type": "custom_tool_call", "call_id": "a", "name": "p", "input": "x" },
                   { "type": "custom_tool_call_output", "call_id": "a", "output": [{ "type": "input_text", "text": "y" }] }]),
            "[assistant:<a p {\"input\": \"x\"}>][tool:y#a]",
        ),
    ] {
        assert_eq!(of(input.clone()), expected, "{input}");
    }
}

/// Templates that know one system message, at the beginning, refuse what agents send otherwise.
#[tokio::test]
async fn what_the_model_is_told_to_do_first_is_one_message() {
    let input = json!([
        { "role": "developer", "content": [{ "type": "input_text", "text": "B" }, { "type": "input_text", "text": "C" }] },
        { "role": "user", "content": "hi" },
        { "role": "system", "content": "D" },
    ]);
    let with = prompt(json!({ "instructions": "A", "input": input }));
    assert_eq!(with, "[system:A\n\nB\nC][user:hi][system:D]");
    let without = prompt(json!({ "input": input }));
    assert_eq!(without, "[system:B\nC][user:hi][system:D]");
    let twice = json!([{ "role": "developer", "content": "A" }, { "role": "system", "content": "B" }]);
    assert_eq!(prompt(json!({ "input": twice })), "[system:A\n\nB]");
}

/// A model whose prompt has tools that do not run calls them.
#[tokio::test]
async fn tools_that_the_server_cannot_run_are_left_out() {
    let tools = json!([
        { "type": "function", "name": "f", "strict": false, "parameters": null, "description": null },
        { "type": "web_search" },
        { "type": "namespace", "name": "n", "tools": [] },
        { "type": "custom", "name": "c" },
    ]);
    assert_eq!(prompt(json!({ "input": "hi", "tools": tools })), "[user:hi]1 tools");
}
