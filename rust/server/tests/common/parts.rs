//! The rules of calls and reasoning in a chat stream.

use serde_json::{Map, Value, json};

/// Calls and reasoning of a choice so far.
#[derive(Debug, Default)]
pub struct Parts {
    reasoning: String,
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

/// Fails with a sentence unless a rule holds.
macro_rules! rule {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err(format!($($message)+));
        }
    };
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

impl Parts {
    /// Takes a delta behind the opening: text, reasoning or a piece of a call, one of them. Whether
    /// it is one of the last two.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn take(&mut self, delta: &Map<String, Value>) -> Result<bool, String> {
        let keys: Vec<_> = delta.keys().map(String::as_str).collect();
        match &keys[..] {
            [] | ["content"] => Ok(false),
            ["reasoning", "reasoning_content"] => {
                let [told, again] = ["reasoning", "reasoning_content"].map(|key| delta[key].as_str());
                rule!(told == again, "reasoning under two names that differ");
                rule!(told.is_some_and(|told| !told.is_empty()), "reasoning that is no text");
                self.reasoning += told.unwrap_or_default();
                Ok(true)
            }
            ["reasoning" | "reasoning_content"] => Err("reasoning under one name".to_owned()),
            ["function_call"] => self.take_function(&delta["function_call"]).map(|()| true),
            ["tool_calls"] => match delta["tool_calls"].as_array().map(Vec::as_slice) {
                Some([call]) => self.take_call(call).map(|()| true),
                _ => Err("not one call at a time".to_owned()),
            },
            _ => Err("a delta with more than text".to_owned()),
        }
    }

    /// OpenAI's older calls, of which there is one, without an id.
    fn take_function(&mut self, function: &Value) -> Result<(), String> {
        let arguments = function["arguments"].as_str().ok_or("a call without arguments")?;
        match (&keys(function)[..], self.calls.last_mut()) {
            (["name", "arguments"], None) => {
                rule!(arguments.is_empty(), "a call of another shape");
                let name = function["name"].as_str().unwrap_or_default().to_owned();
                self.calls.push(Call { id: String::new(), name, arguments: String::new() });
            }
            (["arguments"], Some(call)) if call.id.is_empty() => call.arguments += arguments,
            _ => return Err("a second call in the older form".to_owned()),
        }
        Ok(())
    }

    fn take_call(&mut self, call: &Value) -> Result<(), String> {
        let index = call["index"].as_u64().ok_or("a call without an index")?;
        let arguments = call["function"]["arguments"].as_str().ok_or("a call without arguments")?;
        let (call_keys, function_keys) = (keys(call), keys(&call["function"]));
        if call.get("id").is_none() {
            rule!(call_keys == ["index", "function"], "a continuation with more than arguments");
            rule!(function_keys == ["arguments"], "a continuation with more than arguments");
            rule!(!arguments.is_empty(), "a continuation with nothing");
            rule!(index + 1 == self.calls.len() as u64, "arguments of a call that is not the last");
            let last = self.calls.last_mut().ok_or("arguments before a call")?;
            last.arguments += arguments;
            return Ok(());
        }
        rule!(call_keys == ["index", "id", "type", "function"], "a call of another shape");
        rule!(function_keys == ["name", "arguments"], "a call of another shape");
        rule!(call["type"] == "function" && arguments.is_empty(), "a call of another shape");
        rule!(index == self.calls.len() as u64, "a call out of order");
        let [id, name] =
            [&call["id"], &call["function"]["name"]].map(|text| text.as_str().unwrap_or_default());
        rule!(!id.is_empty() && !name.is_empty(), "a call without an id or a name");
        rule!(self.calls.iter().all(|call| call.id != id), "two calls of one id");
        self.calls.push(Call { id: id.to_owned(), name: name.to_owned(), arguments: String::new() });
        Ok(())
    }

    /// Checks that the finish fits.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn check_end(&self, reason: &str) -> Result<(), String> {
        let is_complete = |call: &Call| serde_json::from_str::<Map<String, Value>>(&call.arguments).is_ok();
        let has_complete = self.calls.iter().any(is_complete);
        let is_older = self.calls.iter().any(|call| call.id.is_empty());
        rule!(reason != "tool_calls" || (has_complete && !is_older), "a finish of calls without a call");
        rule!(
            reason != "function_call" || (has_complete && is_older),
            "a finish of an older call without one"
        );
        rule!(reason != "stop" || !has_complete, "a call that the finish does not tell");
        Ok(())
    }

    /// Returns what a client makes of them, if there are any.
    pub fn told(&self) -> Map<String, Value> {
        let mut told = Map::new();
        if !self.reasoning.is_empty() {
            told.insert("reasoning".to_owned(), self.reasoning.clone().into());
        }
        if !self.calls.is_empty() {
            let calls = self.calls.iter().map(|Call { id, name, arguments }| {
                json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
            });
            told.insert("tool_calls".to_owned(), calls.collect());
        }
        told
    }
}
