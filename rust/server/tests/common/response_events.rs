//! The grammar of the events of a response, checked from their bytes alone, and what a client makes
//! of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Transcript;
use super::contract::{check_head, check_logprobs};

/// Fails with a sentence unless a rule holds.
macro_rules! rule {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err(format!($($message)+));
        }
    };
}

#[derive(Debug, Default)]
struct Reader {
    num_events: u64,
    /// Id, model and time of the response.
    identity: Option<[Value; 3]>,
    last_status: String,
    has_begun: bool,
    items: Vec<Value>,
    ids: BTreeSet<String>,
    open: Option<Open>,
    end: Value,
}

/// An item that has been added and is not done.
#[derive(Debug)]
struct Open {
    item: Value,
    part: Part,
    text: String,
    logprobs: Vec<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    None,
    Open,
    TextDone,
    Done,
}

/// Checks a stream, and returns the response that it ends with; how it was cut into events is not
/// in it.
///
/// # Errors
/// The rule that is broken.
pub fn read(transcript: &Transcript) -> Result<Value, String> {
    check_head(&transcript.head)?;
    rule!(!transcript.is_cut, "a cut: every end has an event of its own");
    let mut events = Vec::new();
    for write in &transcript.writes {
        rule!(write.ends_with("\n\n"), "a write ends inside an event: {write:?}");
        rule!(!write.contains('\r'), "a carriage return");
        events.extend(write.split_terminator("\n\n").filter(|event| *event != ":"));
    }
    read_events(&events)
}

/// Returns the same of events.
///
/// # Errors
/// The rule that is broken.
pub fn read_events(events: &[&str]) -> Result<Value, String> {
    let mut reader = Reader::default();
    for event in events {
        reader.take(event).map_err(|broken| format!("{broken} in {event}"))?;
    }
    rule!(!reader.end.is_null(), "no end");
    let mut end = reader.end;
    end.as_object_mut().ok_or("no object")?.remove("created_at");
    Ok(end)
}

impl Reader {
    fn take(&mut self, event: &str) -> Result<(), String> {
        let (name, data) = event.split_once("\ndata: ").ok_or("no data line")?;
        let name = name.strip_prefix("event: ").ok_or("no event line")?;
        rule!(!data.contains('\n'), "more than two lines");
        let value: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
        rule!(serde_json::to_string(&value).is_ok_and(|compact| compact == data), "JSON that is not compact");
        rule!(value["type"] == name, "a type that is not the event's name");
        rule!(value["sequence_number"] == self.num_events, "a wrong sequence number");
        rule!(self.end.is_null(), "an event behind the last");
        self.num_events += 1;
        let short = name.strip_prefix("response.").ok_or("no event of a response")?;
        match (self.num_events, short) {
            (1, "created") => self.take_response(short, &value),
            (1, _) => Err("the first event is not response.created".to_owned()),
            (_, "created") => Err("a second response.created".to_owned()),
            (_, "queued" | "in_progress" | "completed" | "incomplete" | "failed") => {
                self.take_response(short, &value)
            }
            (_, "output_item.added") => self.add_item(&value),
            (_, "output_item.done") => self.end_item(&value),
            _ => self.take_part(short, &value),
        }
    }

    fn take_response(&mut self, name: &str, event: &Value) -> Result<(), String> {
        let response = &event["response"];
        rule!(response["object"] == "response", "no response");
        let identity = ["id", "model", "created_at"].map(|key| response[key].clone());
        rule!(response["id"].as_str().is_some_and(|id| id.starts_with("resp_")), "a foreign id");
        rule!(response["created_at"].is_u64() && response["model"].is_string(), "no time or model");
        let first = self.identity.get_or_insert(identity.clone());
        rule!(*first == identity, "the identity has changed");
        self.has_begun |= name == "in_progress";
        let status = response["status"].as_str().unwrap_or_default().to_owned();
        let expected: &[&str] = match name {
            "created" => &["in_progress", "queued"],
            "incomplete" => &["incomplete", "cancelled"],
            name => &[name],
        };
        rule!(expected.contains(&&*status), "status `{status}` in response.{name}");
        rule!(self.open.is_none(), "an item is still open");
        rule!(response["output"] == json!(self.items), "the output is not what the items were");
        rule!((status == "failed") == response["error"].is_object(), "an error that does not fit");
        let is_final = !["in_progress", "queued"].contains(&&*status);
        rule!(is_final || self.items.is_empty(), "an item before the beginning");
        rule!(self.last_status != "in_progress" || status != "queued", "queued again");
        if is_final {
            rule!(self.has_begun || status != "completed", "completed, and not begun");
            rule!(
                (status == "incomplete") == response["incomplete_details"]["reason"].is_string(),
                "no reason, or one too many"
            );
            let statuses: Vec<_> = self.items.iter().map(|item| &item["status"]).collect();
            rule!(
                status != "completed" || statuses.iter().all(|status| *status == "completed"),
                "an item is not complete"
            );
            if status != "cancelled" {
                check_usage(&response["usage"])?;
            }
            self.end = response.clone();
        } else {
            rule!(response["usage"].is_null(), "usage before the end");
        }
        self.last_status = status;
        Ok(())
    }

    fn add_item(&mut self, event: &Value) -> Result<(), String> {
        rule!(self.has_begun, "an item before the response is in progress");
        rule!(self.open.is_none(), "the item before is still open");
        rule!(event["output_index"] == self.items.len(), "a wrong output index");
        let item = event["item"].clone();
        let id = item["id"].as_str().ok_or("no id")?;
        rule!(self.ids.insert(id.to_owned()), "an id twice");
        rule!(item["status"] == "in_progress", "an item that begins done");
        let (prefix, is_empty) = match item["type"].as_str().unwrap_or_default() {
            "message" => ("msg_", item["content"] == json!([]) && item["role"] == "assistant"),
            "reasoning" => ("rs_", item["content"] == json!([]) && item["summary"] == json!([])),
            "function_call" => {
                let call = item["call_id"].as_str().ok_or("no call id")?;
                rule!(self.ids.insert(call.to_owned()), "a call id twice");
                ("fc_", item["arguments"] == "" && item["name"].is_string())
            }
            _ => return Err("an item of another type".to_owned()),
        };
        rule!(id.starts_with(prefix), "an id of another kind");
        rule!(is_empty, "an item that is not empty");
        self.open = Some(Open { item, part: Part::None, text: String::new(), logprobs: Vec::new() });
        Ok(())
    }

    fn take_part(&mut self, name: &str, event: &Value) -> Result<(), String> {
        let index = self.items.len();
        let open = self.open.as_mut().ok_or("no item is open")?;
        rule!(event["item_id"] == open.item["id"], "another item");
        rule!(event["output_index"] == index, "a wrong output index");
        let kind = open.item["type"].as_str().unwrap_or_default();
        if let Some(step) = name.strip_prefix("function_call_arguments.") {
            rule!(kind == "function_call", "arguments of what is no call");
            return open.grow(step, event, "arguments");
        }
        let is_summary = name.starts_with("reasoning_summary_");
        let place = if is_summary { "summary_index" } else { "content_index" };
        rule!(event[place] == 0, "no place, or another one");
        let (part, step) = match name.split_once('.').ok_or("no event of a part")? {
            ("content_part", step) => {
                (if kind == "message" { "output_text" } else { "reasoning_text" }, format!("part.{step}"))
            }
            ("reasoning_summary_part", step) => ("summary_text", format!("part.{step}")),
            ("output_text", step) => ("output_text", step.to_owned()),
            ("reasoning_text", step) => ("reasoning_text", step.to_owned()),
            ("reasoning_summary_text", step) => ("summary_text", step.to_owned()),
            _ => return Err("an unknown event".to_owned()),
        };
        rule!((kind == "message") == (part == "output_text"), "a part of another kind of item");
        match &*step {
            "part.added" => {
                rule!(open.part == Part::None, "a second part");
                rule!(
                    event["part"]["type"] == part && event["part"]["text"] == "",
                    "a part that is not empty"
                );
                open.part = Part::Open;
                open.item["part"] = part.into();
                Ok(())
            }
            "part.done" => {
                rule!(open.part == Part::TextDone, "a part that ends before its text");
                rule!(event["part"] == open.part_now(), "a part that is not its text");
                open.part = Part::Done;
                Ok(())
            }
            step => {
                rule!(open.item["part"] == part, "text of another kind");
                open.grow(step, event, "text")
            }
        }
    }

    fn end_item(&mut self, event: &Value) -> Result<(), String> {
        let open = self.open.take().ok_or("no item is open")?;
        rule!(event["output_index"] == self.items.len(), "a wrong output index");
        let item = &event["item"];
        for key in ["id", "type", "call_id", "name", "role"] {
            rule!(item.get(key) == open.item.get(key), "another `{key}`");
        }
        rule!(
            ["completed", "incomplete"].contains(&item["status"].as_str().unwrap_or_default()),
            "no status"
        );
        if item["type"] == "function_call" {
            rule!(open.part == Part::TextDone, "arguments that are not done");
            rule!(item["arguments"] == open.text, "other arguments");
        } else {
            rule!(open.part == Part::Done, "a part that is not done");
            let place = if open.item["part"] == "summary_text" { "summary" } else { "content" };
            rule!(item[place] == json!([open.part_now()]), "another text");
        }
        self.items.push(item.clone());
        Ok(())
    }
}

impl Open {
    /// More text, or its end.
    fn grow(&mut self, step: &str, event: &Value, name: &str) -> Result<(), String> {
        let is_call = name == "arguments";
        rule!(self.part == Part::Open || (is_call && self.part == Part::None), "text outside of its part");
        let logprobs = event.get("logprobs").and_then(Value::as_array).cloned();
        rule!(
            logprobs.is_some() == (self.item["part"] == "output_text"),
            "log-probabilities in a wrong place"
        );
        check_logprobs(&event["logprobs"])?;
        match step {
            "delta" => {
                let delta = event["delta"].as_str().ok_or("no delta")?;
                let logprobs = logprobs.unwrap_or_default();
                rule!(!(delta.is_empty() && logprobs.is_empty()), "a delta of nothing");
                self.text.push_str(delta);
                self.logprobs.extend(logprobs);
            }
            "done" => {
                rule!(event[name] == self.text, "{name} that is not its deltas");
                rule!(!is_call || event["name"] == self.item["name"], "another name");
                rule!(logprobs.is_none_or(|all| all == self.logprobs), "other log-probabilities");
                self.part = Part::TextDone;
            }
            _ => return Err("an unknown event".to_owned()),
        }
        Ok(())
    }

    fn part_now(&self) -> Value {
        let kind = &self.item["part"];
        if kind == "output_text" {
            return json!({
                "type": kind, "annotations": [], "logprobs": self.logprobs, "text": self.text,
            });
        }
        json!({ "type": kind, "text": self.text })
    }
}

fn check_usage(usage: &Value) -> Result<(), String> {
    let count = |value: &Value| value.as_u64().ok_or("a count that is missing");
    let (input, output) = (count(&usage["input_tokens"])?, count(&usage["output_tokens"])?);
    rule!(input + output == count(&usage["total_tokens"])?, "a sum that is wrong");
    rule!(count(&usage["input_tokens_details"]["cached_tokens"])? <= input, "more cached than there was");
    let reasoning = count(&usage["output_tokens_details"]["reasoning_tokens"])?;
    rule!(reasoning <= output, "more reasoning than output");
    Ok(())
}
