//! The chat into which a response is translated.

use serde_json::{Map, Value, json};

use crate::openai::origins::Origins;

/// The body of a chat under translation, and the origins of its parts.
#[derive(Debug, Default)]
pub(super) struct Translation {
    pub(super) body: Map<String, Value>,
    pub(super) origins: Origins,
    messages: Vec<Value>,
    /// Whether the next item may belong to the last message, which is the model's.
    is_open: bool,
    /// Whether the only message is the system's.
    is_all_system: bool,
}

impl Translation {
    /// Sets a field of the chat, with its origin in the response.
    pub(super) fn set(&mut self, name: &str, value: Value, origin: &str) {
        self.body.insert(name.to_owned(), value);
        self.origins.add(name, origin);
    }

    /// Adds a separate message.
    pub(super) fn add(&mut self, message: Value, origin: &str) {
        self.origins.add(self.path(self.messages.len()), origin);
        self.messages.push(message);
        self.is_open = false;
    }

    /// Sets the origin of a field of the last message.
    pub(super) fn field_from(&mut self, field: &str, origin: &str) {
        let message = self.path(self.messages.len().saturating_sub(1));
        self.origins.add(format!("{message}.{field}"), origin);
    }

    /// Adds instructions. Those at the start form one message: many templates allow only one, and
    /// only there.
    pub(super) fn add_system(&mut self, role: &str, text: &str, origin: &str) {
        if let [only] = &mut self.messages[..]
            && self.is_all_system
            && let Some(Value::String(before)) = only.get_mut("content")
        {
            before.push_str("\n\n");
            return before.push_str(text);
        }
        let is_first = self.messages.is_empty();
        self.add(json!({ "role": role, "content": text }), origin);
        self.is_all_system = is_first;
    }

    /// Adds a thought of the model: the first part of a turn.
    pub(super) fn add_reasoning(&mut self, text: &str, origin: &str) {
        let turn =
            self.turn(origin, |turn| turn.get("tool_calls").is_none() && turn.get("content").is_none());
        match turn.get_mut("reasoning_content") {
            Some(Value::String(before)) => {
                before.push('\n');
                before.push_str(text);
            }
            _ => {
                turn.insert("reasoning_content".to_owned(), text.into());
            }
        }
    }

    /// Adds content of the model.
    pub(super) fn add_content(&mut self, content: Value, origin: &str) {
        let turn =
            self.turn(origin, |turn| turn.get("tool_calls").is_none() && turn.get("content").is_none());
        turn.insert("content".to_owned(), content);
        self.field_from("content", &format!("{origin}.content"));
    }

    /// Adds a call of the model.
    pub(super) fn add_call(&mut self, id: &str, name: &str, arguments: &Value, origin: &str) {
        let turn = self.turn(origin, |_| true);
        let call = json!({
            "id": id, "type": "function", "function": { "name": name, "arguments": arguments },
        });
        let calls = turn.entry("tool_calls").or_insert_with(|| json!([]));
        let index = calls.as_array().map_or(0, Vec::len);
        if let Some(calls) = calls.as_array_mut() {
            calls.push(call);
        }
        let place = format!("tool_calls[{index}]");
        for (field, own) in [("", ""), (".id", ".call_id"), (".function", "")] {
            self.field_from(&format!("{place}{field}"), &format!("{origin}{own}"));
        }
    }

    /// Returns the whole body.
    pub(super) fn finish(mut self, origin: &str) -> (Map<String, Value>, Origins) {
        self.body.insert("messages".to_owned(), self.messages.into());
        self.origins.add("messages", origin);
        (self.body, self.origins)
    }

    /// Returns the model's open turn if it may go on, else a new one.
    fn turn(&mut self, origin: &str, may_go_on: fn(&Map<String, Value>) -> bool) -> &mut Map<String, Value> {
        let last = self.messages.last().and_then(Value::as_object);
        if !(self.is_open && last.is_some_and(may_go_on)) {
            self.add(json!({ "role": "assistant" }), origin);
            self.is_open = true;
        }
        let last = self.messages.last_mut().and_then(Value::as_object_mut);
        last.expect("there is a message, and each of them is an object")
    }

    fn path(&self, index: usize) -> String {
        format!("messages[{index}]")
    }
}
