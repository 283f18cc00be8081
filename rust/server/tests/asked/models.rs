//! The name of the model: as requested, and as answered.

use serde_json::{Value, json};

use crate::common::{Stage, get, post};

fn body(path: &str, model: Option<Value>, stream: bool) -> Value {
    let mut body = match path {
        "/v1/completions" => json!({ "prompt": "hi" }),
        _ => json!({ "messages": [{ "role": "user", "content": "hi" }] }),
    };
    body["stream"] = json!(stream);
    if let Some(model) = model {
        body["model"] = model;
    }
    body
}

/// A client that checks whether it got the model that it asked for would take the answer for
/// another one's.
#[tokio::test(start_paused = true)]
async fn an_answer_has_the_name_that_was_asked_for() {
    for path in ["/v1/chat/completions", "/v1/completions"] {
        for (asked, told) in [
            (Some(json!("toy")), "toy"),
            (Some(json!("org/toy")), "org/toy"),
            (None, "toy"),
            (Some(Value::Null), "toy"),
            (Some(json!("")), "toy"),
        ] {
            let whole = Stage::new("ok").play(post(path, body(path, asked.clone(), false)), 1);
            let answer: Value = serde_json::from_str(&whole.body()).unwrap();
            assert_eq!(answer["model"], told, "{path} {asked:?}");
            let streamed = Stage::new("ok").play(post(path, body(path, asked.clone(), true)), 1);
            assert!(streamed.events().iter().all(|event| event["model"] == told), "{path} {asked:?}");
        }
    }
}

/// A client that has mistyped the name would otherwise have to find out elsewhere what it is.
#[tokio::test]
async fn a_model_that_is_not_served_is_refused_with_those_that_are() {
    let stage = Stage::new("");
    let unknown = "model `Toy` does not exist, served: `toy`, `org/toy`; did you mean `toy`?";
    let mut refusals = vec![stage.answer(get("/v1/models/Toy")).await];
    for path in ["/v1/chat/completions", "/v1/completions"] {
        refusals.push(stage.answer(post(path, body(path, Some(json!("Toy")), true))).await);
    }
    for (head, answer) in refusals {
        let error: Value = serde_json::from_str(&answer).unwrap();
        let expected = json!({
            "message": unknown, "type": "invalid_request_error", "param": "model", "code": "model_not_found",
        });
        assert_eq!((head.status().as_u16(), &error["error"]), (404, &expected));
    }
}

/// Programs that were written for vLLM read these to learn what they talk to.
#[tokio::test]
async fn models_are_told_in_vllms_shape() {
    let stage = Stage::new("");
    let (_, list) = stage.answer(get("/v1/models")).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    let model = |id: &str| {
        json!({
            "id": id, "object": "model", "created": 42, "owned_by": "streamcore", "root": "toy", "parent": null,
            "max_model_len": 128,
        })
    };
    assert_eq!(list, json!({ "object": "list", "data": [model("toy"), model("org/toy")] }));
    let (_, one) = stage.answer(get("/v1/models/org/toy")).await;
    assert_eq!(serde_json::from_str::<Value>(&one).unwrap(), model("org/toy"));
}
