//! The size of a prompt, without an answer.

use serde_json::{Value, json};

use crate::common::{Stage, post};
use crate::kept::{PATH, ask_json, create};

const COUNT: &str = "/v1/responses/input_tokens";

/// A client that fits its conversation into the context by these counts must not be wrong by one.
#[tokio::test]
async fn what_is_counted_is_what_an_answer_begins_with() {
    let mut stage = Stage::new("Hi!");
    let previous = create(&mut stage, json!({ "instructions": "I", "input": "a" })).await;
    let (id, item) = (previous["id"].clone(), previous["output"][0]["id"].clone());
    let tool = json!({ "type": "function", "name": "f", "parameters": { "type": "object" } });
    for body in [
        json!({ "input": "hi" }),
        json!({ "instructions": "Be brief.", "input": [{ "role": "user", "content": "é" }] }),
        json!({ "input": "b", "previous_response_id": id }),
        json!({ "previous_response_id": id }),
        json!({ "input": [{ "type": "item_reference", "id": item }, { "role": "user", "content": "c" }] }),
        json!({ "input": "hi", "tools": [tool], "tool_choice": "none", "store": false }),
    ] {
        let (status, counted) = ask_json(&mut stage, post(COUNT, body.clone())).await;
        assert_eq!((status, &counted["object"]), (200, &json!("response.input_tokens")), "{counted}");
        let answered = create(&mut stage, body.clone()).await;
        assert_eq!(counted["input_tokens"], answered["usage"]["input_tokens"], "{body}");
    }
}

/// Counting is for those who do not know whether their prompt fits; it takes no place, and leaves
/// nothing behind.
#[tokio::test]
async fn a_prompt_that_does_not_fit_is_counted_all_the_same() {
    let mut stage = Stage::new("Hi!");
    for truncation in ["disabled", "auto"] {
        let body = json!({ "input": "x".repeat(500), "truncation": truncation });
        let (status, counted) = ask_json(&mut stage, post(COUNT, body)).await;
        assert_eq!((status, &counted["input_tokens"]), (200, &json!("u:\na:".len() + 500)));
    }
    assert!(stage.app.responses.as_ref().unwrap().is_empty() && stage.is_clean());
}

/// What an answer would be refused for is known before it is asked for, by the same field.
#[tokio::test]
async fn what_cannot_be_answered_is_not_counted() {
    let mut stage = Stage::new("");
    for body in [
        json!({}),
        json!({ "input": 7 }),
        json!({ "input": "hi", "model": "no" }),
        json!({ "input": "hi", "previous_response_id": "resp_1" }),
        json!({ "input": "hi", "tools": [{ "type": "mcp" }] }),
        json!({ "input": [{ "role": "user", "content": [{ "type": "input_image" }] }] }),
    ] {
        let refusal = async |stage: &mut Stage, path| -> (u16, Value) {
            ask_json(stage, post(path, body.clone())).await
        };
        let counted = refusal(&mut stage, COUNT).await;
        assert!([400, 404].contains(&counted.0), "{body}: {counted:?}");
        assert_eq!(counted, refusal(&mut stage, PATH).await, "{body}");
    }
}

/// A conversation may go on without a word of the user: the model is asked for more.
#[tokio::test]
async fn a_response_may_follow_another_without_input() {
    let mut stage = Stage::new("Hi!");
    let previous = create(&mut stage, json!({ "input": "a" })).await;
    let next = create(&mut stage, json!({ "previous_response_id": previous["id"] })).await;
    assert_eq!(next["usage"]["input_tokens"], "u:a\na:Hi!\na:".len());
    let items = format!("{PATH}/{}/input_items", next["id"].as_str().unwrap());
    assert_eq!(ask_json(&mut stage, crate::common::get(&items)).await.1["data"], json!([]));
}
