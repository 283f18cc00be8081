//! Responses that are kept: who may look at them, what follows them, and what goes on by itself.

use std::pin::pin;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use streamcore_server::DriverLimits;
use tokio::task::yield_now;
use tower::ServiceExt;

pub(crate) use crate::common::ask;
use crate::common::{Stage, engine_config, get, limits, poll_once, post};

pub(crate) const PATH: &str = "/v1/responses";

pub(crate) fn delete(path: &str) -> Request<Body> {
    Request::delete(path).body(Body::empty()).unwrap()
}

pub(crate) async fn ask_json(stage: &mut Stage, request: Request<Body>) -> (u16, Value) {
    let (status, body) = ask(stage, request).await;
    (status, serde_json::from_str(&body).unwrap())
}

/// Lets the engine and what runs in the background go on.
pub(crate) async fn settle(stage: &mut Stage, num_steps: usize) {
    for _ in 0..num_steps {
        stage.run(1);
        yield_now().await;
        yield_now().await;
    }
}

pub(crate) async fn create(stage: &mut Stage, mut body: Value) -> Value {
    body["model"] = json!("toy");
    let (status, response) = ask_json(stage, post(PATH, body)).await;
    assert_eq!(status, 200, "{response}");
    response
}

fn at(response: &Value, rest: &str) -> String {
    format!("{PATH}/{}{rest}", response["id"].as_str().unwrap())
}

/// A client that asks again must get what it got, and nothing once it has deleted it.
#[tokio::test]
async fn a_response_is_kept_until_it_is_deleted() {
    let mut stage = Stage::new("Hi!");
    let response = create(&mut stage, json!({ "input": "hi" })).await;
    assert_eq!(response["store"], true);
    assert_eq!(ask_json(&mut stage, get(&at(&response, ""))).await, (200, response.clone()));
    let (status, items) = ask_json(&mut stage, get(&at(&response, "/input_items"))).await;
    assert_eq!((status, &items["data"][0]["content"][0]["text"]), (200, &json!("hi")));
    assert_eq!((&items["has_more"], &items["first_id"]), (&json!(false), &items["last_id"]));
    let (status, deleted) = ask_json(&mut stage, delete(&at(&response, ""))).await;
    assert_eq!((status, &deleted["deleted"]), (200, &json!(true)));
    for rest in ["", "/input_items", "?stream=true"] {
        assert_eq!(ask_json(&mut stage, get(&at(&response, rest))).await.0, 404);
    }
    assert_eq!(ask_json(&mut stage, delete(&at(&response, ""))).await.0, 404);
    let unkept = create(&mut stage, json!({ "input": "hi", "store": false })).await;
    assert_eq!(ask_json(&mut stage, get(&at(&unkept, ""))).await.0, 404);
}

/// What one customer has asked must not be read by another, whatever ids they try.
#[tokio::test]
async fn another_keys_responses_are_not_there() {
    let mut stage = Stage::with_keys(&["first", "second"]);
    let with_key = |mut request: Request<Body>, key: &'static str| {
        request.headers_mut().insert("x-api-key", key.parse().unwrap());
        request
    };
    let body = json!({ "model": "toy", "input": "hi" });
    let (_, response) = ask_json(&mut stage, with_key(post(PATH, body), "first")).await;
    let item = response["output"][0]["id"].clone();
    assert_eq!(ask_json(&mut stage, with_key(get(&at(&response, "")), "first")).await.0, 200);
    for request in [
        get(&at(&response, "")),
        get(&at(&response, "/input_items")),
        post(&at(&response, "/cancel"), ""),
        delete(&at(&response, "")),
    ] {
        assert_eq!(ask_json(&mut stage, with_key(request, "second")).await.0, 404);
    }
    for body in [
        json!({ "input": "hi", "previous_response_id": response["id"] }),
        json!({ "input": [{ "type": "item_reference", "id": item }] }),
    ] {
        let (status, answer) = ask_json(&mut stage, with_key(post(PATH, body.clone()), "second")).await;
        assert_eq!(status, 400, "{answer}");
        assert_eq!(ask_json(&mut stage, with_key(post(PATH, body), "first")).await.0, 200);
    }
}

/// A conversation that loses a turn, or tells it twice, gets another answer.
#[tokio::test]
async fn a_response_follows_another_with_all_that_was_said() {
    let mut stage = Stage::new("");
    let mut previous = create(&mut stage, json!({ "instructions": "I", "input": "a" })).await;
    let lengths = |response: &Value| response["usage"]["input_tokens"].as_u64().unwrap();
    let first = lengths(&previous);
    for (nth, name) in ["b", "c"].into_iter().enumerate() {
        let body = json!({ "input": name, "previous_response_id": previous["id"] });
        let followed = create(&mut stage, body).await;
        assert_eq!(followed["previous_response_id"], previous["id"]);
        // Each turn has `a:` and `u:` with a line break, and a letter; instructions are not carried
        // over.
        let expected = first - "s:I\n".len() as u64 + (nth as u64 + 1) * "a:\nu:b\n".len() as u64;
        assert_eq!(lengths(&followed), expected, "{name}");
        let (_, items) = ask_json(&mut stage, get(&at(&followed, "/input_items"))).await;
        assert_eq!(items["data"].as_array().unwrap().len(), 1, "its own input");
        previous = followed;
    }
    let item = previous["output"][0]["id"].clone();
    let referred = json!([{ "type": "item_reference", "id": item }, { "role": "user", "content": "d" }]);
    let response = create(&mut stage, json!({ "input": referred })).await;
    assert_eq!(lengths(&response), "a:\nu:d\na:".len() as u64);
}

/// Pages must have each item once, in either order.
#[tokio::test]
async fn input_items_come_in_pages() {
    let mut stage = Stage::new("");
    let items: Vec<_> = (0..5).map(|nth| json!({ "role": "user", "content": nth.to_string() })).collect();
    let response = create(&mut stage, json!({ "input": items })).await;
    for order in ["asc", "desc"] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let query = format!("/input_items?limit=2&order={order}{after}");
            let (status, page) = ask_json(&mut stage, get(&at(&response, &query))).await;
            assert_eq!(status, 200, "{page}");
            let texts = page["data"].as_array().unwrap().iter();
            seen.extend(texts.map(|item| item["content"][0]["text"].as_str().unwrap().to_owned()));
            if page["has_more"] == false {
                break;
            }
            after = format!("&after={}", page["last_id"].as_str().unwrap());
        }
        let mut expected: Vec<_> = (0..5).map(|nth| nth.to_string()).collect();
        if order == "desc" {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
    for (query, param) in
        [("limit=0", "limit"), ("limit=x", "limit"), ("order=up", "order"), ("after=msg_1", "after")]
    {
        let (status, refused) =
            ask_json(&mut stage, get(&at(&response, &format!("/input_items?{query}")))).await;
        assert_eq!((status, &refused["error"]["param"]), (400, &json!(param)), "{refused}");
    }
}

/// A job that is handed over must be done, also if its client hangs up.
#[tokio::test]
async fn what_runs_in_the_background_goes_on_without_its_client() {
    let mut stage = Stage::new("Hi!");
    let response = create(&mut stage, json!({ "input": "hi", "background": true })).await;
    assert_eq!(response["status"], "queued");
    let (_, now) = ask_json(&mut stage, get(&at(&response, ""))).await;
    assert_eq!(now["status"], "queued");
    settle(&mut stage, 10).await;
    let (_, done) = ask_json(&mut stage, get(&at(&response, ""))).await;
    assert_eq!(
        (&done["status"], &done["output"][0]["content"][0]["text"]),
        (&json!("completed"), &json!("Hi!"))
    );
    let (_, cancelled) = ask_json(&mut stage, post(&at(&response, "/cancel"), "")).await;
    assert_eq!(cancelled["status"], "completed", "it stays as it is");
    assert!(stage.is_clean());
}

/// A job that is not wanted any more takes the device from those that are.
#[tokio::test]
async fn what_is_cancelled_or_deleted_ends_at_once() {
    for is_deleted in [false, true] {
        let mut stage = Stage::new("Hi! And more.");
        let response = create(&mut stage, json!({ "input": "hi", "background": true })).await;
        settle(&mut stage, 3).await;
        if is_deleted {
            assert_eq!(ask_json(&mut stage, delete(&at(&response, ""))).await.0, 200);
        } else {
            let (status, cancelled) = ask_json(&mut stage, post(&at(&response, "/cancel"), "")).await;
            assert_eq!((status, &cancelled["status"]), (200, &json!("cancelled")));
            let text = cancelled["output"][0]["content"][0]["text"].as_str().unwrap();
            assert!("Hi! And more.".starts_with(text) && !text.is_empty(), "{text}");
        }
        settle(&mut stage, 3).await;
        assert!(stage.is_clean());
    }
    let mut stage = Stage::new("Hi");
    let response = create(&mut stage, json!({ "input": "hi" })).await;
    assert_eq!(ask_json(&mut stage, post(&at(&response, "/cancel"), "")).await.0, 400, "it has its client");
}

/// A stream whose client has left must give its blocks back, and say so to who asks for it later.
#[tokio::test]
async fn a_response_with_a_client_ends_with_it() {
    let mut stage = Stage::new("Hi! And more.");
    let body = json!({ "model": "toy", "input": "hi", "stream": true });
    let response = {
        let answered = stage.router.clone().oneshot(post(PATH, body)).await.unwrap();
        let mut body = answered.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let event = String::from_utf8(first.to_vec()).unwrap();
        let data = event.split("data: ").nth(1).unwrap().split('\n').next().unwrap();
        let created: Value = serde_json::from_str(data).unwrap();
        for _ in 0..4 {
            stage.run(1);
            let _ = poll_once(pin!(body.frame()));
        }
        created["response"].clone()
    };
    settle(&mut stage, 3).await;
    assert!(stage.is_clean());
    let (_, kept) = ask_json(&mut stage, get(&at(&response, ""))).await;
    assert_eq!(kept["status"], "cancelled");
    let text = kept["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!("Hi! And more.".starts_with(text) && !text.is_empty(), "{text}");
}

/// A server that was told to keep nothing must keep nothing, and say so.
#[tokio::test]
async fn a_server_may_keep_nothing() {
    let limits = DriverLimits { max_stored_responses: 0, ..limits() };
    let mut stage = Stage::with_config("Hi", engine_config(), limits);
    let response = create(&mut stage, json!({ "input": "hi", "store": true })).await;
    assert_eq!(response["store"], false);
    assert_eq!(ask_json(&mut stage, get(&at(&response, ""))).await.0, 404);
    for body in [json!({ "background": true }), json!({ "previous_response_id": "resp_1" })] {
        let (mut body, name) = (body.clone(), body.as_object().unwrap().keys().next().unwrap().clone());
        body["input"] = json!("hi");
        let (status, refused) = ask_json(&mut stage, post(PATH, body)).await;
        assert_eq!((status, &refused["error"]["param"]), (400, &json!(name)));
    }
}

/// Jobs without end must not push each other out: one that is accepted can be fetched.
#[tokio::test]
async fn more_jobs_than_may_be_kept_are_refused() {
    let limits = DriverLimits { max_stored_responses: 2, ..limits() };
    let mut stage = Stage::with_config("Hi", engine_config(), limits);
    let body = json!({ "input": "hi", "background": true });
    let first = create(&mut stage, body.clone()).await;
    create(&mut stage, body.clone()).await;
    let (status, refused) = ask_json(&mut stage, post(PATH, body.clone())).await;
    assert_eq!((status, &refused["error"]["code"]), (429, &json!("queue_full")));
    let streamed = json!({ "model": "toy", "input": "hi", "stream": true });
    let response = stage.router.clone().oneshot(post(PATH, streamed)).await.unwrap();
    let begun = response.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(std::str::from_utf8(&begun).unwrap().contains("\"store\":false"), "{begun:?}");
    settle(&mut stage, 10).await;
    assert_eq!(ask_json(&mut stage, get(&at(&first, ""))).await.1["status"], "completed");
    create(&mut stage, body).await;
}
