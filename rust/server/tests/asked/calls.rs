//! Calls in earlier messages: what the template sees of them, and what is refused by its place.

use serde_json::{Value, json};

use crate::tools::{text, told};

/// Templates write arguments as their family does, which they can only do with an object.
#[tokio::test]
async fn the_template_sees_arguments_as_objects() {
    let arguments = r#"{"city": "Zürich \"x\"", "n": 1.0, "list": [1, {"a": null}], "zeta": 1, "alpha": 2}"#;
    let object: Value = serde_json::from_str(arguments).unwrap();
    let call = |arguments: Value| json!([{ "id": "call_1", "type": "function", "function": { "name": "f", "arguments": arguments } }]);
    for content in [json!({}), json!({ "content": null }), json!({ "content": "" }), json!({ "content": [] })]
    {
        for (given, expected) in [
            (json!(arguments), object.clone()),
            (object.clone(), object.clone()),
            (json!("{}"), json!({})),
            (json!(""), json!({})),
            (json!(" \n"), json!({})),
            (json!(null), json!({})),
        ] {
            let mut message = json!({ "role": "assistant", "tool_calls": call(given) });
            message.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
            let told = told(&json!({ "messages": [message] })).await.unwrap();
            let message = &told["messages"][0];
            assert_eq!(message["tool_calls"].to_string(), call(expected).to_string());
            assert_eq!(message["content"], "");
        }
    }
}

/// Conversations that were kept since 2023 have the older fields, which no template knows.
#[tokio::test]
async fn older_calls_become_calls() {
    let messages = json!([
        { "role": "assistant", "content": null, "function_call": { "name": "f", "arguments": "{\"a\": 1}" } },
        { "role": "function", "name": "f", "content": "22" },
        { "role": "assistant", "content": "x", "function_call": { "name": "old" },
          "tool_calls": [{ "id": "1", "function": { "name": "new", "arguments": {} } }] },
        { "role": "assistant", "content": "x", "function_call": null, "tool_calls": [] },
        { "role": "tool", "tool_call_id": "1", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] },
    ]);
    let call = |name: &str, arguments: Value| json!({ "type": "function", "function": { "name": name, "arguments": arguments } });
    let mut newer = call("new", json!({}));
    newer["id"] = json!("1");
    let told = told(&json!({ "messages": messages })).await.unwrap();
    assert_eq!(
        told["messages"],
        json!([
            { "role": "assistant", "content": "", "tool_calls": [call("f", json!({ "a": 1 }))] },
            { "role": "tool", "name": "f", "content": "22" },
            { "role": "assistant", "content": "x", "tool_calls": [newer] },
            { "role": "assistant", "content": "x" },
            { "role": "tool", "tool_call_id": "1", "content": "a\nb" },
        ])
    );
    let roles = "{% for m in messages %}[{{ m.role }}]{% endfor %}";
    assert_eq!(text(roles, &json!({ "messages": [messages[1]] })).await.unwrap(), "[function]");
}

/// A call that cannot be understood must be named, among the hundred of a long conversation.
#[tokio::test]
async fn calls_that_are_none_are_refused_by_their_place() {
    let place = "messages[0].tool_calls[1]";
    let arguments = format!("{place}.function.arguments");
    let deep = format!("{}1{}", "{\"a\":".repeat(65), "}".repeat(65));
    for (call, param, code, words) in [
        (json!(1), place.to_owned(), "invalid_type", "an object"),
        (json!({}), format!("{place}.function"), "missing_required_parameter", "missing"),
        (json!({ "function": "f" }), format!("{place}.function"), "invalid_type", "an object"),
        (
            json!({ "function": {} }),
            format!("{place}.function.name"),
            "missing_required_parameter",
            "missing",
        ),
        (json!({ "function": { "name": 1 } }), format!("{place}.function.name"), "invalid_type", "a string"),
        (json!({ "id": 1, "function": { "name": "f" } }), format!("{place}.id"), "invalid_type", "a string"),
        (
            json!({ "type": "custom", "custom": {} }),
            format!("{place}.type"),
            "unsupported_parameter",
            "`custom`",
        ),
        (
            json!({ "function": { "name": "f", "arguments": 1 } }),
            arguments.clone(),
            "invalid_type",
            "an object",
        ),
        (
            json!({ "function": { "name": "f", "arguments": "[1]" } }),
            arguments.clone(),
            "invalid_value",
            "a list",
        ),
        (
            json!({ "function": { "name": "f", "arguments": "{\"a\": " } }),
            arguments.clone(),
            "invalid_value",
            "EOF",
        ),
        (
            json!({ "function": { "name": "f", "arguments": "{\"a\":1,\"a\":2}" } }),
            arguments.clone(),
            "invalid_value",
            "twice",
        ),
        (
            json!({ "function": { "name": "f", "arguments": deep } }),
            arguments.clone(),
            "invalid_value",
            "64 levels",
        ),
    ] {
        let good = json!({ "function": { "name": "f", "arguments": "{}" } });
        let messages = json!([{ "role": "assistant", "tool_calls": [good, call] }]);
        let error = told(&json!({ "messages": messages })).await.unwrap_err();
        assert_eq!((&error["param"], &error["code"]), (&json!(param), &json!(code)), "{call}: {error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
}

/// The same for the fields around them.
#[tokio::test]
async fn fields_of_calls_have_their_types() {
    for (name, value) in
        [("tool_calls", json!("f")), ("function_call", json!([])), ("tool_call_id", json!(7))]
    {
        let mut message = json!({ "role": "assistant", "content": "x" });
        message[name] = value;
        let error = told(&json!({ "messages": [message] })).await.unwrap_err();
        assert_eq!(
            (&error["param"], &error["code"]),
            (&json!(format!("messages[0].{name}")), &json!("invalid_type"))
        );
    }
}

/// Texts inside of texts have values that the body's own limit does not count.
#[tokio::test]
async fn the_values_of_all_arguments_have_a_limit() {
    let arguments = format!("{{\"a\": [1{}]}}", ",1".repeat(400_000));
    let call = json!({ "function": { "name": "f", "arguments": arguments } });
    let calls = |count: usize| json!({ "messages": [{ "role": "assistant", "tool_calls": vec![call.clone(); count] }] });
    assert_eq!(text("x", &calls(2)).await.unwrap(), "x");
    let error = text("x", &calls(3)).await.unwrap_err();
    assert_eq!(error["param"], "messages[0].tool_calls[2].function.arguments");
    assert!(error["message"].as_str().unwrap().contains("values"), "{error}");
}
