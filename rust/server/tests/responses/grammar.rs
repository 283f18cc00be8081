//! That the check of events finds what breaks them.

use serde_json::{Value, json};

use crate::common::response_events::read_events;
use crate::common::{Stage, post};

/// Returns the events of a real answer.
fn good() -> Vec<Value> {
    let mut stage = Stage::new("Hi!");
    let body = json!({
        "model": "toy", "input": "hi", "stream": true, "store": false,
        "include": ["message.output_text.logprobs"],
    });
    let stream = stage.play(post("/v1/responses", body), 1).writes.concat();
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn check(events: &[Value]) -> Result<Value, String> {
    let lines: Vec<_> = events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}", event["type"].as_str().unwrap()))
        .collect();
    read_events(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Puts events back into a row after one was taken out or put in.
fn renumbered(mut events: Vec<Value>) -> Vec<Value> {
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    events
}

/// A check that finds nothing would let every test that leans on it pass.
#[tokio::test]
async fn what_breaks_a_rule_is_found() {
    let good = good();
    let place =
        |name: &str| good.iter().position(|event| event["type"] == format!("response.{name}")).unwrap();
    assert_eq!(check(&good).unwrap()["output"][0]["content"][0]["text"], "Hi!");
    let changed = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut events = good.clone();
        change(&mut events[place(name)]);
        events
    };
    let without = |name: &str| {
        let mut events = good.clone();
        events.remove(place(name));
        renumbered(events)
    };
    let twice = |name: &str| {
        let mut events = good.clone();
        events.insert(place(name), good[place(name)].clone());
        renumbered(events)
    };
    let swapped = |one: &str, other: &str| {
        let mut events = good.clone();
        events.swap(place(one), place(other));
        renumbered(events)
    };
    for (broken, events) in [
        ("no end", good[..good.len() - 1].to_vec()),
        ("behind the last", twice("completed")),
        ("not response.created", without("created")),
        ("a second response.created", twice("created")),
        ("in progress", without("in_progress")),
        ("sequence number", changed("output_text.delta", &|event| event["sequence_number"] = json!(3))),
        ("no item is open", without("output_item.added")),
        ("still open", without("output_item.done")),
        ("still open", twice("output_item.added")),
        ("text of another kind", without("content_part.added")),
        ("a second part", twice("content_part.added")),
        ("before its text", without("output_text.done")),
        ("not done", without("content_part.done")),
        ("not its deltas", swapped("output_text.done", "output_text.delta")),
        ("not its deltas", without("output_text.delta")),
        ("not its deltas", changed("output_text.done", &|event| event["text"] = json!("Hi"))),
        ("not its text", changed("content_part.done", &|event| event["part"]["text"] = json!(""))),
        ("another text", changed("output_item.done", &|event| event["item"]["content"] = json!([]))),
        ("another `id`", changed("output_item.done", &|event| event["item"]["id"] = json!("msg_2"))),
        ("no status", changed("output_item.done", &|event| event["item"]["status"] = json!("in_progress"))),
        ("another item", changed("output_text.delta", &|event| event["item_id"] = json!("msg_2"))),
        ("output index", changed("output_text.delta", &|event| event["output_index"] = json!(1))),
        ("another one", changed("output_text.delta", &|event| event["content_index"] = json!(1))),
        (
            "of nothing",
            changed("output_text.delta", &|event| {
                (event["delta"], event["logprobs"]) = (json!(""), json!([]));
            }),
        ),
        ("other log-probabilities", changed("output_text.done", &|event| event["logprobs"] = json!([]))),
        ("not what the items were", changed("completed", &|event| event["response"]["output"] = json!([]))),
        ("identity", changed("completed", &|event| event["response"]["id"] = json!("resp_2"))),
        ("status `failed`", changed("completed", &|event| event["response"]["status"] = json!("failed"))),
        ("an error", changed("completed", &|event| event["response"]["error"] = json!({}))),
        ("missing", changed("completed", &|event| event["response"]["usage"] = Value::Null)),
        ("a sum", changed("completed", &|event| event["response"]["usage"]["total_tokens"] = json!(1))),
        ("usage before", changed("in_progress", &|event| event["response"]["usage"] = json!({}))),
        ("not empty", changed("output_item.added", &|event| event["item"]["content"] = json!([{}]))),
        ("another kind", changed("output_item.added", &|event| event["item"]["id"] = json!("fc_1"))),
    ] {
        let message = check(&events).expect_err(broken);
        assert!(message.contains(broken), "{broken}: {message}");
    }
}

/// The same of lines that are no events.
#[test]
fn what_is_no_event_is_found() {
    for (broken, event) in [
        ("no event line", "id: 1\ndata: {}"),
        ("no data line", "event: response.created"),
        ("not the event's name", "event: response.created\ndata: {\"type\":\"response.failed\"}"),
        ("not compact", "event: response.created\ndata: {\"type\": \"response.created\"}"),
        ("more than two", "event: response.created\ndata: {}\ndata: {}"),
    ] {
        let message = read_events(&[event]).unwrap_err();
        assert!(message.contains(broken), "{broken}: {message}");
    }
}
