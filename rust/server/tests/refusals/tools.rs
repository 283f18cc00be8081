//! Refusals of tools and of the choice among them.

use insta::assert_snapshot;
use serde_json::json;

use crate::common::post;
use crate::{CHAT, chat, completion, refusals};

/// An agent whose tools are left out in silence answers without them, and its developer looks for
/// the reason in the prompt.
#[tokio::test]
async fn tools() {
    let messages = json!([{ "role": "user", "content": "hi" }]);
    let with_tool = |name: &str, value: serde_json::Value| {
        let mut body =
            json!({ "model": "toy", "messages": messages, "tools": [{ "function": { "name": "f" } }] });
        body[name] = value;
        post(CHAT, body)
    };
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
            ("a forced call without tools", chat("tool_choice", json!("required"))),
            (
                "a named call without tools",
                chat("tool_choice", json!({ "type": "function", "function": { "name": "f" } }))
            ),
            (
                "another tool",
                with_tool("tool_choice", json!({ "type": "function", "function": { "name": "g" } }))
            ),
            (
                "a choice of another kind",
                with_tool("tool_choice", json!({ "type": "custom", "custom": { "name": "f" } }))
            ),
            (
                "a choice without a function",
                with_tool("tool_choice", json!({ "type": "function", "name": "f" }))
            ),
            (
                "allowed tools without a mode",
                with_tool("tool_choice", json!({ "type": "allowed_tools", "allowed_tools": {} }))
            ),
            (
                "no allowed tools",
                with_tool(
                    "tool_choice",
                    json!({ "type": "allowed_tools", "allowed_tools": { "mode": "auto", "tools": [] } })
                )
            ),
            (
                "another mode",
                with_tool(
                    "tool_choice",
                    json!({ "type": "allowed_tools", "allowed_tools": { "mode": "none" } })
                )
            ),
            ("a choice that there is not", chat("tool_choice", json!("maybe"))),
            ("a choice of the wrong type", chat("tool_choice", json!(1))),
            ("a named older call", chat("function_call", json!({ "name": "f" }))),
            ("tools of a completion", completion("tools", json!([{ "function": { "name": "f" } }]))),
        ])
        .await
    );
}
