//! The rules that a stream keeps whatever is in it, checked from its bytes alone, and what a client
//! makes of it.

use std::collections::BTreeMap;

use axum::http::Response;
use serde_json::{Map, Value, json};

use super::Transcript;
use super::parts::Parts;

/// The client's options that decide the order of events.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub is_chat: bool,
    pub num_choices: usize,
    pub include_usage: bool,
    pub continuous_usage: bool,
}

impl Asked {
    /// From the body of a request that was accepted.
    pub fn of(path: &str, body: &Value) -> Self {
        let is_chat = path.contains("/chat/");
        let num_prompts = match &body["prompt"] {
            Value::Array(list) if !is_chat && !list[0].is_number() => list.len(),
            _ => 1,
        };
        let n = usize::try_from(body["n"].as_u64().unwrap_or(1)).unwrap();
        let usage = &body["stream_options"];
        let include_usage = usage["include_usage"] == true;
        Self {
            is_chat,
            num_choices: num_prompts * n,
            include_usage,
            continuous_usage: include_usage && usage["continuous_usage_stats"] == true,
        }
    }
}

/// Fails with a sentence unless a rule holds.
macro_rules! rule {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err(format!($($message)+));
        }
    };
}

/// A choice as a client sees it: all of its chunks joined.
#[derive(Debug, Default)]
struct Choice {
    is_open: bool,
    is_finished: bool,
    told: Map<String, Value>,
    parts: Parts,
}

#[derive(Debug)]
struct Reader {
    asked: Asked,
    choices: BTreeMap<usize, Choice>,
    identity: Option<[Value; 3]>,
    text_has_begun: bool,
    /// Tokens that the chunk before has counted.
    num_counted: u64,
    /// Those among them that were reasoning.
    num_thought: u64,
    prompt_token_ids: Value,
    usage: Value,
    error: Value,
}

/// Checks a stream, and puts together what it tells; how it was cut into events is no longer in it.
///
/// # Errors
/// The rule that is broken.
pub fn read(transcript: &Transcript, asked: Asked) -> Result<Value, String> {
    check_head(&transcript.head)?;
    let mut events = Vec::new();
    for write in &transcript.writes {
        rule!(write.ends_with("\n\n"), "a write ends inside an event: {write:?}");
        rule!(!write.contains('\r'), "a carriage return");
        events.extend(write.split_terminator("\n\n"));
    }
    let is_done = |event: &&str| *event == "data: [DONE]";
    let is_error = |event: &&str| event.starts_with("data: {\"error\":");
    let num_done = events.iter().copied().filter(is_done).count();
    if transcript.is_cut {
        rule!(num_done == 0, "[DONE] is there although the answer is cut");
        rule!(events.last().is_some_and(is_error), "a cut without a reason");
    } else {
        rule!(!events.iter().any(is_error), "an answer that has failed looks complete");
        rule!(events.last().is_some_and(is_done), "the last event is not [DONE]");
        rule!(num_done == 1, "[DONE] is there twice");
        events.pop();
    }
    let mut reader = Reader {
        asked,
        choices: BTreeMap::new(),
        identity: None,
        text_has_begun: false,
        num_counted: 0,
        num_thought: 0,
        prompt_token_ids: Value::Null,
        usage: Value::Null,
        error: Value::Null,
    };
    for event in events {
        if event != ":" {
            reader.take(event).map_err(|broken| format!("{broken} in {event}"))?;
        }
    }
    reader.end()
}

pub fn check_head(head: &Response<()>) -> Result<(), String> {
    for (name, value) in [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
    ] {
        let is_there = head.headers().get(name).is_some_and(|given| given == value);
        rule!(is_there, "no `{name}: {value}`");
    }
    rule!(head.headers().contains_key("x-request-id"), "no name");
    rule!(!head.headers().contains_key("content-encoding"), "compressed");
    Ok(())
}

impl Reader {
    fn take(&mut self, event: &str) -> Result<(), String> {
        let data = event.strip_prefix("data: ").ok_or("no data line")?;
        rule!(!data.contains('\n'), "more than one line");
        let chunk: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
        rule!(serde_json::to_string(&chunk).is_ok_and(|compact| compact == data), "JSON that is not compact");
        rule!(data.len() < 64 << 10 || data.contains("\"prompt_token_ids\""), "64 KiB");
        rule!(self.error.is_null() && self.usage.is_null(), "an event behind the last");
        if let Some(error) = chunk.get("error") {
            self.error = error.clone();
            return check_error(&chunk);
        }
        self.check_identity(&chunk)?;
        let choices = chunk["choices"].as_array().ok_or("no choices")?;
        self.check_usage(&chunk, choices.is_empty())?;
        match &choices[..] {
            [] => self.usage = chunk["usage"].clone(),
            [choice] => self.take_choice(choice)?,
            _ => return Err("several choices at once".to_owned()),
        }
        if let Some(ids) = chunk.get("prompt_token_ids") {
            rule!(self.prompt_token_ids.is_null(), "the prompt is told twice");
            self.prompt_token_ids = ids.clone();
        }
        Ok(())
    }

    fn check_identity(&mut self, chunk: &Value) -> Result<(), String> {
        let (prefix, object) = match self.asked.is_chat {
            true => ("chatcmpl-", "chat.completion.chunk"),
            false => ("cmpl-", "text_completion"),
        };
        rule!(chunk["id"].as_str().is_some_and(|id| id.starts_with(prefix)), "a foreign id");
        rule!(chunk["object"] == object, "another object");
        rule!(chunk["created"].is_u64() && chunk["model"].is_string(), "no `created` or `model`");
        let identity = ["id", "created", "model"].map(|key| chunk[key].clone());
        let first = self.identity.get_or_insert(identity.clone());
        rule!(*first == identity, "the identity has changed");
        Ok(())
    }

    fn check_usage(&mut self, chunk: &Value, is_last: bool) -> Result<(), String> {
        let usage = chunk.get("usage");
        rule!(
            usage.is_some() == self.asked.include_usage,
            "`usage` is there though not asked for, or is missing"
        );
        let Some(usage) = usage else {
            rule!(!is_last, "no choices and no usage");
            return Ok(());
        };
        if !is_last && !self.asked.continuous_usage {
            rule!(usage.is_null(), "`usage` before the end");
            return Ok(());
        }
        let count = |key: &str| usage[key].as_u64();
        let sum =
            count("prompt_tokens").zip(count("completion_tokens")).map(|(prompt, answer)| prompt + answer);
        rule!(sum.is_some() && sum == count("total_tokens"), "a sum that is wrong");
        let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64();
        rule!(
            cached.is_some_and(|cached| Some(cached) <= count("prompt_tokens")),
            "more cached than there was"
        );
        let num_thought = usage["completion_tokens_details"].get("reasoning_tokens").and_then(Value::as_u64);
        rule!(
            num_thought <= count("completion_tokens") && num_thought.unwrap_or_default() >= self.num_thought,
            "reasoning that is counted wrong"
        );
        self.num_thought = num_thought.unwrap_or_default();
        rule!(!is_last || self.is_finished(), "the last usage before the end");
        let num_counted = count("completion_tokens").unwrap_or_default();
        let is_opening = chunk["choices"][0]["delta"].get("role").is_some();
        rule!(!is_opening || num_counted == 0, "a role that counts tokens");
        rule!(num_counted >= self.num_counted, "a count that falls");
        self.num_counted = num_counted;
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.choices.len() == self.asked.num_choices && self.choices.values().all(|choice| choice.is_finished)
    }

    fn take_choice(&mut self, chunk: &Value) -> Result<(), String> {
        let index = chunk["index"].as_u64().ok_or("no index")?;
        let index = usize::try_from(index).unwrap();
        rule!(index < self.asked.num_choices, "a choice that nobody asked for");
        let (num_open, is_chat) = (self.choices.len(), self.asked.is_chat);
        let choice = self.choices.entry(index).or_default();
        rule!(!choice.is_finished, "a chunk behind the finish");
        let finish_reason = chunk.get("finish_reason").ok_or("no `finish_reason`")?;
        let reasons: &[&str] =
            if is_chat { &["stop", "length", "tool_calls", "function_call"] } else { &["stop", "length"] };
        let is_known = finish_reason.as_str().is_none_or(|reason| reasons.contains(&reason));
        rule!(finish_reason.is_null() || (finish_reason.is_string() && is_known), "an unknown reason");
        let text = if is_chat {
            if chunk["delta"].get("role").is_some() {
                rule!(!choice.is_open && index == num_open, "a role too much, or not in order");
                rule!(!self.text_has_begun && finish_reason.is_null(), "a role behind text");
                rule!(chunk["delta"] == json!({ "role": "assistant", "content": "" }), "not an opening");
                choice.is_open = true;
                return Ok(());
            }
            rule!(num_open == self.asked.num_choices && choice.is_open, "text before all roles");
            let (has_parts, text) = choice.tell_parts(&chunk["delta"], finish_reason)?;
            rule!(!has_parts || finish_reason.is_null(), "a call or reasoning in a finish");
            if has_parts { None } else { Some(text) }
        } else {
            Some(chunk["text"].as_str().ok_or("no text")?)
        };
        self.text_has_begun = true;
        let tells_tokens = chunk["logprobs"].is_object() || chunk["token_ids"].get(0).is_some();
        let is_empty = text == Some("");
        rule!(text.is_none_or(str::is_empty) || finish_reason.is_null(), "text in a finish");
        rule!(!is_empty || finish_reason.is_string() || tells_tokens, "no text, and no tokens");
        choice.is_finished = finish_reason.is_string();
        choice.tell(chunk, text.unwrap_or_default())?;
        choice.check_calls(finish_reason)
    }

    fn end(self) -> Result<Value, String> {
        rule!(!self.error.is_null() || self.is_finished(), "a choice without an end");
        rule!(
            !self.error.is_null() || self.usage.is_null() != self.asked.include_usage,
            "no usage, or usage that nobody asked for"
        );
        let choices: Vec<_> = self.choices.into_iter().map(|(index, choice)| (index, choice.told)).collect();
        Ok(json!({
            "choices": choices, "usage": self.usage, "error": self.error, "identity": self.identity.map(|own| own[0].clone()),
            "prompt_token_ids": self.prompt_token_ids,
        }))
    }
}

/// `{"error": {...}}`, with these four and nothing else.
pub fn check_error(body: &Value) -> Result<(), String> {
    let error = body["error"].as_object().ok_or("no error")?;
    rule!(body.as_object().is_some_and(|body| body.len() == 1), "more than an error");
    let keys: Vec<_> = error.keys().map(String::as_str).collect();
    rule!(keys == ["message", "type", "param", "code"], "another shape: {keys:?}");
    let is_text = |key: &str| error[key].as_str().is_some_and(|text| !text.is_empty());
    rule!(is_text("message") && is_text("type") && is_text("code"), "no message, type or code");
    rule!(error["param"].is_null() || is_text("param"), "`param` is no name");
    Ok(())
}

impl Choice {
    /// Returns whether a delta has reasoning or a call, and else its text.
    fn tell_parts<'a>(&mut self, delta: &'a Value, finish_reason: &Value) -> Result<(bool, &'a str), String> {
        let delta = delta.as_object().ok_or("no delta")?;
        if self.parts.take(delta)? {
            return Ok((true, ""));
        }
        match delta.get("content") {
            Some(content) => Ok((false, content.as_str().ok_or("content that is no text".to_owned())?)),
            None if finish_reason.is_string() => Ok((false, "")),
            None => Err("an empty delta".to_owned()),
        }
    }

    /// Checks the end of a choice, which has its parts as well.
    fn check_calls(&mut self, finish_reason: &Value) -> Result<(), String> {
        if let Some(reason) = finish_reason.as_str() {
            self.parts.check_end(reason)?;
            self.told.extend(self.parts.told());
        }
        Ok(())
    }

    fn tell(&mut self, chunk: &Value, text: &str) -> Result<(), String> {
        self.add("text", Value::from(text))?;
        let logprobs = chunk.get("logprobs").ok_or("no `logprobs`")?;
        check_logprobs(logprobs)?;
        for (key, value) in logprobs.as_object().into_iter().flatten() {
            self.add(&format!("logprobs.{key}"), value.clone())?;
        }
        for key in ["token_ids", "prompt_token_ids", "finish_reason", "stop_reason"] {
            self.add(key, chunk[key].clone())?;
        }
        Ok(())
    }

    /// Adds a delta to a message: texts and lists grow, all else comes once.
    fn add(&mut self, key: &str, value: Value) -> Result<(), String> {
        let told = self.told.entry(key).or_insert(Value::Null);
        match (told, value) {
            (_, Value::Null) => {}
            (Value::String(told), Value::String(more)) if key == "text" => told.push_str(&more),
            (Value::Array(told), Value::Array(more)) if key != "prompt_token_ids" => told.extend(more),
            (told @ Value::Null, value) => *told = value,
            _ => return Err(format!("`{key}` is told twice")),
        }
        Ok(())
    }
}

/// A log-probability is a number that is not positive, and no less than -9999.
pub fn check_logprobs(value: &Value) -> Result<(), String> {
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| match value.as_f64() {
            Some(logprob) if key == "logprob" => {
                rule!((-9999.0..=0.0).contains(&logprob), "log-probability {logprob}");
                Ok(())
            }
            _ => check_logprobs(value),
        }),
        Value::Array(list) => list.iter().try_for_each(check_logprobs),
        _ => Ok(()),
    }
}
