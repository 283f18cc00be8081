//! What is refused of tools and of the choice among them.

use insta::assert_snapshot;
use serde_json::json;

use crate::common::post;
use crate::{CHAT, chat, completion, refusals};

/// An agent whose tools are left out in silence answers without them, and its developer looks for the reason in the prompt.
#[tokio::test]
async fn tools() {
    let messages = json!([{ "role": "user", "content": "hi" }]);
    let one_call = json!({ "model": "toy", "messages": messages, "parallel_tool_calls": false,
        "tools": [{ "type": "function", "function": { "name": "f" } }] });
    let one_call = post(CHAT, one_call);
    assert_snapshot!(
        refusals(vec![
            ("tools that are no list", chat("tools", json!({ "f": {} }))),
            (
                "a tool of another kind",
                chat("tools", json!([{ "type": "custom", "custom": { "name": "f" } }]))
            ),
            ("a tool without a function", chat("tools", json!([{ "type": "function", "name": "f" }]))),
            ("a tool without a name", chat("tools", json!([{ "function": { "description": "x" } }]))),
            ("a tool with a name of two words", chat("tools", json!([{ "function": { "name": "a b" } }]))),
            (
                "parameters in a list",
                chat("tools", json!([{ "function": { "name": "f", "parameters": [] } }]))
            ),
            (
                "a strict tool",
                chat(
                    "tools",
                    json!([{ "function": { "name": "f" } }, { "function": { "name": "g", "strict": true } }])
                )
            ),
            ("a strict function", chat("functions", json!([{ "name": "f", "strict": true }]))),
            ("a forced call", chat("tool_choice", json!("required"))),
            ("a named call", chat("tool_choice", json!({ "type": "function", "function": { "name": "f" } }))),
            ("allowed tools", chat("tool_choice", json!({ "type": "allowed_tools", "allowed_tools": {} }))),
            ("a choice that there is not", chat("tool_choice", json!("maybe"))),
            ("a choice of the wrong type", chat("tool_choice", json!(1))),
            ("a named older call", chat("function_call", json!({ "name": "f" }))),
            ("one call at most", one_call),
            ("tools of a completion", completion("tools", json!([{ "function": { "name": "f" } }]))),
        ])
        .await
    );
}
