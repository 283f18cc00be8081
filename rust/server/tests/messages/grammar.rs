//! The rules that a stream of `/v1/messages` keeps whatever is in it, checked from its bytes alone,
//! and what a client makes of it.

use axum::http::Response;
use serde_json::{Map, Value, json};

use crate::common::Transcript;

/// Fails with a sentence unless a rule holds.
macro_rules! rule {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err(format!($($message)+));
        }
    };
}

/// A block so far.
#[derive(Debug)]
struct Block {
    kind: String,
    told: Value,
    text: String,
    signature: String,
}

/// The events so far.
#[derive(Debug, Default)]
struct Reader {
    message: Value,
    blocks: Vec<Value>,
    open: Option<Block>,
    end: Value,
    usage: Value,
    error: Value,
    is_over: bool,
}

/// Checks a stream, and puts its message together; how it was cut into events is no longer in it.
///
/// # Errors
/// The rule that is broken.
pub(crate) fn read(transcript: &Transcript) -> Result<Value, String> {
    check_head(&transcript.head)?;
    rule!(!transcript.is_cut, "the body has no end");
    let mut reader = Reader::default();
    for write in &transcript.writes {
        rule!(write.ends_with("\n\n"), "a write ends inside an event: {write:?}");
        rule!(!write.contains('\r'), "a carriage return");
        for event in write.split_terminator("\n\n") {
            reader.take(event).map_err(|broken| format!("{broken} in {event}"))?;
        }
    }
    reader.end()
}

fn check_head(head: &Response<()>) -> Result<(), String> {
    for (name, value) in [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
    ] {
        let is_there = head.headers().get(name).is_some_and(|given| given == value);
        rule!(is_there, "no `{name}: {value}`");
    }
    rule!(head.headers().get("request-id") == head.headers().get("x-request-id"), "two names");
    rule!(head.headers().contains_key("request-id"), "no name");
    Ok(())
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

impl Reader {
    fn take(&mut self, event: &str) -> Result<(), String> {
        rule!(!self.is_over, "an event behind the last");
        if event == ":" {
            rule!(self.message.is_null(), "a comment in place of a ping");
            return Ok(());
        }
        let (name, data) = event.split_once('\n').ok_or("not two lines")?;
        let name = name.strip_prefix("event: ").ok_or("no name")?;
        let data = data.strip_prefix("data: ").ok_or("no data")?;
        rule!(!data.contains('\n'), "more than two lines");
        rule!(event.len() < 64 << 10, "64 KiB");
        let body: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
        rule!(serde_json::to_string(&body).is_ok_and(|compact| compact == data), "JSON that is not compact");
        rule!(body["type"] == name, "a type that is not the event's name");
        self.take_event(name, &body)
    }

    fn take_event(&mut self, name: &str, body: &Value) -> Result<(), String> {
        rule!(
            !self.message.is_null() || ["message_start", "error"].contains(&name),
            "an event before the message"
        );
        let is_end = ["ping", "message_stop", "error"].contains(&name);
        rule!(self.end.is_null() || is_end, "more of a message that has ended");
        match name {
            "ping" => rule!(keys(body) == ["type"], "a ping with more in it"),
            "message_start" => self.start(body)?,
            "content_block_start" => self.open(body)?,
            "content_block_delta" => self.tell(body)?,
            "content_block_stop" => self.close(body)?,
            "message_delta" => self.finish(body)?,
            "message_stop" => {
                rule!(keys(body) == ["type"], "a stop with more in it");
                rule!(!self.end.is_null(), "a stop without a reason");
                self.is_over = true;
            }
            "error" => {
                rule!(keys(body) == ["type", "error"], "an error with more in it");
                check_error(&body["error"])?;
                self.error = body["error"].clone();
                self.is_over = true;
            }
            _ => return Err("an unknown event".to_owned()),
        }
        Ok(())
    }

    fn start(&mut self, body: &Value) -> Result<(), String> {
        rule!(self.message.is_null(), "a second message");
        rule!(keys(body) == ["type", "message"], "a start of another shape");
        let message = &body["message"];
        check_message(message)?;
        rule!(message["content"] == json!([]), "a message that begins with content");
        rule!(message["stop_reason"].is_null(), "a message that begins with its end");
        rule!(message["usage"]["output_tokens"] == 0, "tokens before the first");
        self.message = message.clone();
        Ok(())
    }

    fn open(&mut self, body: &Value) -> Result<(), String> {
        rule!(keys(body) == ["type", "index", "content_block"], "a start of another shape");
        rule!(self.open.is_none(), "two blocks at once");
        rule!(body["index"] == self.blocks.len(), "a block out of order");
        let told = &body["content_block"];
        let kind = told["type"].as_str().ok_or("a block without a type")?.to_owned();
        match &*kind {
            "text" => rule!(*told == json!({ "type": "text", "text": "" }), "a text that is not empty"),
            "thinking" => {
                let empty = json!({ "type": "thinking", "thinking": "", "signature": "" });
                rule!(*told == empty, "a thought that is not empty");
                rule!(self.blocks.is_empty(), "a thought behind other blocks");
            }
            "tool_use" => {
                rule!(keys(told) == ["type", "id", "name", "input"], "a call of another shape");
                let is_word = |key: &str| told[key].as_str().is_some_and(|word| !word.is_empty());
                rule!(is_word("id") && is_word("name"), "a call without an id or a name");
                rule!(told["input"] == json!({}), "a call that begins with arguments");
                rule!(self.blocks.iter().all(|block| block["id"] != told["id"]), "two calls of one id");
            }
            _ => return Err("an unknown block".to_owned()),
        }
        let is_new = kind == "tool_use" || self.blocks.last().is_none_or(|last| last["type"] != kind);
        rule!(is_new, "two blocks that are one");
        let (text, signature) = (String::new(), String::new());
        self.open = Some(Block { kind, told: told.clone(), text, signature });
        Ok(())
    }

    fn tell(&mut self, body: &Value) -> Result<(), String> {
        rule!(keys(body) == ["type", "index", "delta"], "a delta of another shape");
        rule!(body["index"] == self.blocks.len(), "a delta of another block");
        let block = self.open.as_mut().ok_or("a delta of no block")?;
        rule!(block.signature.is_empty(), "more of a thought that is signed");
        let delta = &body["delta"];
        let kind = delta["type"].as_str().ok_or("a delta without a type")?;
        let (of, key) = match kind {
            "text_delta" => ("text", "text"),
            "thinking_delta" => ("thinking", "thinking"),
            "signature_delta" => ("thinking", "signature"),
            "input_json_delta" => ("tool_use", "partial_json"),
            _ => return Err("an unknown delta".to_owned()),
        };
        rule!(block.kind == of, "a delta of another kind of block");
        rule!(keys(delta) == ["type", key], "a delta with more in it");
        let text = delta[key].as_str().ok_or("a delta that is no text")?;
        rule!(!text.is_empty(), "a delta with nothing in it");
        if kind == "signature_delta" {
            block.signature = text.to_owned();
        } else {
            block.text += text;
        }
        Ok(())
    }

    fn close(&mut self, body: &Value) -> Result<(), String> {
        rule!(keys(body) == ["type", "index"], "a stop of another shape");
        rule!(body["index"] == self.blocks.len(), "a stop of another block");
        let block = self.open.take().ok_or("a stop of no block")?;
        let Block { kind, mut told, text, signature } = block;
        rule!(!text.is_empty() || kind == "tool_use", "an empty block");
        rule!((kind == "thinking") != signature.is_empty(), "a thought that is not signed");
        match &*kind {
            "tool_use" => told["input"] = input(&text),
            _ => told[&kind] = text.into(),
        }
        if kind == "thinking" {
            told["signature"] = signature.into();
        }
        self.blocks.push(told);
        Ok(())
    }

    fn finish(&mut self, body: &Value) -> Result<(), String> {
        rule!(keys(body) == ["type", "delta", "usage"], "an end of another shape");
        rule!(self.open.is_none(), "an end inside a block");
        check_end(&body["delta"], &self.blocks)?;
        let (before, usage) = (&self.message["usage"], &body["usage"]);
        check_usage(usage)?;
        for key in ["input_tokens", "cache_read_input_tokens"] {
            rule!(usage[key] == before[key], "a prompt of another length");
        }
        (self.end, self.usage) = (body["delta"].clone(), usage.clone());
        Ok(())
    }

    fn end(mut self) -> Result<Value, String> {
        rule!(self.is_over, "the stream breaks off");
        if !self.error.is_null() {
            let open = self.open.map(|block| json!({ "type": block.kind, "text": block.text }));
            return Ok(json!({ "blocks": self.blocks, "open": open, "error": self.error }));
        }
        self.message["content"] = self.blocks.into();
        for key in ["stop_reason", "stop_sequence"] {
            self.message[key] = self.end[key].clone();
        }
        self.message["usage"] = self.usage;
        check_message(&self.message)?;
        Ok(self.message)
    }
}

/// Returns the arguments of a call, or what a whole answer has in the place of arguments that are
/// no object.
fn input(text: &str) -> Value {
    match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(input) => input.into(),
        Err(_) if text.is_empty() => json!({}),
        Err(_) => json!({ "INVALID_JSON": text }),
    }
}

/// Checks a message, whole or as it begins.
///
/// # Errors
/// The rule that is broken.
pub(crate) fn check_message(message: &Value) -> Result<(), String> {
    let expected = ["id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"];
    rule!(keys(message) == expected, "a message of another shape");
    rule!(message["id"].as_str().is_some_and(|id| id.starts_with("msg_")), "a foreign id");
    rule!(message["type"] == "message" && message["role"] == "assistant", "no message of an assistant");
    rule!(message["model"].is_string(), "no model");
    let blocks = message["content"].as_array().ok_or("no content")?;
    if !message["stop_reason"].is_null() {
        let end = json!({ "stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"] });
        check_end(&end, blocks)?;
    }
    check_usage(&message["usage"])
}

fn check_end(end: &Value, blocks: &[Value]) -> Result<(), String> {
    rule!(keys(end) == ["stop_reason", "stop_sequence"], "an end of another shape");
    let reason = end["stop_reason"].as_str().ok_or("an end without a reason")?;
    let known = ["end_turn", "max_tokens", "stop_sequence", "tool_use"];
    rule!(known.contains(&reason), "an unknown reason");
    let sequence = &end["stop_sequence"];
    rule!(sequence.is_null() || sequence.is_string(), "a sequence that is no text");
    rule!(sequence.is_string() == (reason == "stop_sequence"), "a sequence that does not fit the reason");
    let is_whole =
        |block: &Value| block["type"] == "tool_use" && block["input"].get("INVALID_JSON").is_none();
    let calls = blocks.iter().any(is_whole);
    rule!(reason != "tool_use" || calls, "calls that are not there");
    rule!(reason != "end_turn" || !calls, "calls that the reason does not tell");
    Ok(())
}

fn check_usage(usage: &Value) -> Result<(), String> {
    let counts = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"];
    let mut all = counts.to_vec();
    all.extend(usage.get("output_tokens_details").map(|_| "output_tokens_details"));
    rule!(keys(usage) == all, "a usage of another shape");
    rule!(counts.iter().all(|key| usage[*key].is_u64()), "a count that is none");
    if let Some(details) = usage.get("output_tokens_details") {
        let thought = details["thinking_tokens"].as_u64();
        rule!(thought.is_some() && thought <= usage["output_tokens"].as_u64(), "thoughts that are too long");
    }
    Ok(())
}

/// Checks what is in `error`.
///
/// # Errors
/// The rule that is broken.
pub(crate) fn check_error(error: &Value) -> Result<(), String> {
    rule!(keys(error) == ["type", "message"], "an error of another shape");
    let known = [
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
        "rate_limit_error",
        "api_error",
        "overloaded_error",
        "timeout_error",
    ];
    rule!(error["type"].as_str().is_some_and(|kind| known.contains(&kind)), "an unknown error");
    rule!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "an error without words");
    Ok(())
}

/// Checks the body of an answer that is none.
///
/// # Errors
/// The rule that is broken.
pub(crate) fn check_refusal(body: &Value) -> Result<(), String> {
    rule!(keys(body) == ["type", "error", "request_id"], "a refusal of another shape");
    rule!(body["type"] == "error" && body["request_id"].is_string(), "a refusal without a name");
    check_error(&body["error"])
}
