//! That the check of events finds what breaks them.

use serde_json::{Value, json};

use streamcore_parsers::{ReasoningFormat, ToolFormat};

use crate::common::response_events::read_events;
use crate::common::{Stage, engine_config, post};
use crate::family::Family;

/// Returns the events of a real answer.
fn good() -> Vec<Value> {
    let mut stage = Stage::new("Hi!");
    let body = json!({
        "model": "toy", "input": "hi", "stream": true, "store": false,
        "include": ["message.output_text.logprobs"],
    });
    events_of(&mut stage, body)
}

fn events_of(stage: &mut Stage, body: Value) -> Vec<Value> {
    let stream = stage.play(post("/v1/responses", body), 1).writes.concat();
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// The same of one with a thought, or its summary, and a call.
fn with_call(reasoning: &Value) -> Vec<Value> {
    const FAMILY: Family = Family {
        name: "both",
        tools: Some(ToolFormat::Hermes),
        reasoning: Some(ReasoningFormat::Qwen3),
        markers: &[("<tool_call>", false), ("</tool_call>", false), ("<think>", false), ("</think>", false)],
    };
    let script = r#"<think>Hm.</think>So.<tool_call>{"name":"f","arguments":{"x":1}}</tool_call>"#;
    let mut stage = FAMILY.stage(script, engine_config());
    let tool = json!({ "type": "function", "name": "f", "parameters": { "type": "object" } });
    let body = json!({
        "model": "toy", "input": "hi", "stream": true, "store": false, "tools": [tool], "reasoning": reasoning,
    });
    events_of(&mut stage, body)
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

/// Where the items of an answer with a thought and a call are.
const THOUGHT: usize = 0;
const CALL: usize = 2;

/// The events of such an answer, and what is made of them.
struct Good(Vec<Value>);

impl Good {
    /// The first event of this name of an item.
    fn place(&self, name: &str, item: usize) -> usize {
        let name = format!("response.{name}");
        let is_it = |event: &Value| event["output_index"] == item && event["type"] == name;
        self.0.iter().position(is_it).unwrap()
    }

    fn changed(&self, name: &str, item: usize, change: impl Fn(&mut Value)) -> Vec<Value> {
        let mut events = self.0.clone();
        change(&mut events[self.place(name, item)]);
        events
    }

    /// One event has become another.
    fn renamed(&self, name: &str, item: usize, other: &str) -> Vec<Value> {
        self.changed(name, item, |event| {
            event["type"] = format!("response.{other}").into();
            event["summary_index"] = json!(0);
        })
    }

    /// A field of an item is another one where the item begins or ends.
    fn item(&self, name: &str, field: &str, value: impl Into<Value>) -> Vec<Value> {
        let value = value.into();
        self.changed(name, CALL, |event| event["item"][field] = value.clone())
    }

    fn without(&self, name: &str, item: usize) -> Vec<Value> {
        let mut events = self.0.clone();
        events.remove(self.place(name, item));
        renumbered(events)
    }

    /// The whole response at the end is another one.
    fn end(&self, change: impl Fn(&mut Value)) -> Vec<Value> {
        let mut events = self.0.clone();
        change(&mut events.last_mut().unwrap()["response"]);
        events
    }
}

fn assert_found(broken: &str, events: &[Value]) {
    let message = check(events).expect_err(broken);
    assert!(message.contains(broken), "{broken}: {message}");
}

/// The same of calls, of which text alone knows nothing.
#[tokio::test]
async fn what_breaks_a_call_is_found() {
    let good = Good(with_call(&json!({})));
    let output = check(&good.0).unwrap()["output"].clone();
    let kinds: Vec<_> = output.as_array().unwrap().iter().map(|item| item["type"].clone()).collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call"]);
    let message_id = output[1]["id"].as_str().unwrap();
    let (delta, done) = ("function_call_arguments.delta", "function_call_arguments.done");
    let (begin, end) = ("output_item.added", "output_item.done");
    for (broken, events) in [
        ("arguments that is not its deltas", good.without(delta, CALL)),
        (
            "arguments that is not its deltas",
            good.changed(done, CALL, |event| event["arguments"] = json!("{}")),
        ),
        ("arguments that are not done", good.without(done, CALL)),
        ("another name", good.changed(done, CALL, |event| event["name"] = json!("g"))),
        ("other arguments", good.item(end, "arguments", "{}")),
        ("another `name`", good.item(end, "name", "g")),
        ("another `call_id`", good.item(end, "call_id", "c")),
        ("no call id", good.item(begin, "call_id", Value::Null)),
        ("a call id twice", good.item(begin, "call_id", message_id)),
        ("an id twice", good.item(begin, "id", message_id)),
        ("not empty", good.item(begin, "arguments", "{")),
        ("another type", good.item(begin, "type", "mcp_call")),
        ("begins done", good.item(begin, "status", "completed")),
        ("not what the items were", good.end(|end| end["output"][2]["status"] = json!("incomplete"))),
        ("no reason", good.end(|end| end["incomplete_details"] = json!({ "reason": "max_output_tokens" }))),
    ] {
        assert_found(broken, &events);
    }
    let mut unfinished = good.item(end, "status", "incomplete");
    unfinished.last_mut().unwrap()["response"]["output"][CALL]["status"] = json!("incomplete");
    assert_found("an item is not complete", &unfinished);
}

/// The same of thoughts and their summaries.
#[tokio::test]
async fn what_breaks_a_thought_is_found() {
    let good = Good(with_call(&json!({})));
    let delta = "reasoning_text.delta";
    for (broken, events) in [
        ("of what is no call", good.renamed(delta, THOUGHT, "function_call_arguments.delta")),
        ("another kind of item", good.renamed(delta, THOUGHT, "output_text.delta")),
        ("text of another kind", good.renamed(delta, THOUGHT, "reasoning_summary_text.delta")),
        ("an unknown event", good.renamed(delta, THOUGHT, "thought.delta")),
        ("in a wrong place", good.changed(delta, THOUGHT, |event| event["logprobs"] = json!([]))),
        ("no delta", good.changed(delta, THOUGHT, |event| event["delta"] = json!(7))),
        ("text that is not its deltas", good.without(delta, THOUGHT)),
        ("text of another kind", good.without("content_part.added", THOUGHT)),
        ("before its text", good.without("reasoning_text.done", THOUGHT)),
        (
            "more reasoning",
            good.end(|end| end["usage"]["output_tokens_details"]["reasoning_tokens"] = json!(999)),
        ),
        ("more cached", good.end(|end| end["usage"]["input_tokens_details"]["cached_tokens"] = json!(999))),
    ] {
        assert_found(broken, &events);
    }
    let summary = Good(with_call(&json!({ "summary": "auto" })));
    check(&summary.0).unwrap();
    let part = "reasoning_summary_part.done";
    let other = summary.changed(part, THOUGHT, |event| event["part"]["type"] = json!("reasoning_text"));
    assert_found("a part that is not its text", &other);
}
