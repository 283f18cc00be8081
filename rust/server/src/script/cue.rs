//! The part of a request that the rules of a script match.

use serde_json::Value;

/// The matched content of a prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cue {
    /// The last message of the user, or the prompt.
    pub text: String,
    /// Results of tools since the last turn of the model.
    pub tool_answers: Vec<ToolAnswer>,
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolAnswer {
    /// The tool, if its message or the call that it answers names it.
    pub name: Option<String>,
    /// The id of the call.
    pub call_id: Option<String>,
    /// The tool's result.
    pub content: String,
}

/// A request as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The content of the prompt.
    pub cue: &'a Cue,
    /// The requested model.
    pub model: &'a str,
    /// Whether the answer is streamed.
    pub stream: bool,
}

impl Cue {
    /// Returns the cue of a text.
    #[must_use]
    pub fn of_text(text: impl Into<String>) -> Self {
        Self { text: text.into(), tool_answers: Vec::new() }
    }

    /// Returns the cue of a conversation with checked messages.
    #[must_use]
    pub fn of_messages(messages: &[Value]) -> Self {
        let last_of = |role: &str| messages.iter().rposition(|message| message["role"] == role);
        let text = last_of("user").map_or("", |index| content(&messages[index]));
        let (before, since) = messages.split_at(last_of("assistant").map_or(0, |index| index + 1));
        let is_tool = |message: &&Value| message["role"] == "tool" || message["role"] == "function";
        let answer = |message: &Value| {
            let call_id = message["tool_call_id"].as_str().map(str::to_owned);
            let name = message["name"].as_str().or_else(|| called(before, call_id.as_deref()?));
            ToolAnswer { name: name.map(str::to_owned), call_id, content: content(message).to_owned() }
        };
        Self { text: text.to_owned(), tool_answers: since.iter().filter(is_tool).map(answer).collect() }
    }
}

fn content(message: &Value) -> &str {
    message["content"].as_str().unwrap_or_default()
}

/// Returns the tool of the call with this id; of several the last.
fn called<'a>(messages: &'a [Value], id: &str) -> Option<&'a str> {
    let calls = messages.iter().filter_map(|message| message["tool_calls"].as_array()).flatten();
    calls.rev().find(|call| call["id"] == id)?["function"]["name"].as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answers(messages: &Value) -> Vec<(Option<String>, Option<String>, String)> {
        let cue = Cue::of_messages(messages.as_array().expect("a list of messages"));
        let parts = |answer: ToolAnswer| (answer.name, answer.call_id, answer.content);
        cue.tool_answers.into_iter().map(parts).collect()
    }

    /// An agent that loses one of two results, or sends an old one again, passes a test that sees
    /// only one of them.
    #[test]
    fn the_answers_of_tools_are_those_since_the_last_turn() {
        let call = |id: &str, name: &str| json!({ "id": id, "function": { "name": name } });
        let tool =
            |id: &str, content: &str| json!({ "role": "tool", "tool_call_id": id, "content": content });
        let mut messages = json!([
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": "", "tool_calls": [call("a", "now")] },
            tool("a", "12:00"),
            { "role": "assistant", "content": "", "tool_calls": [call("a", "weather"), call("b", "now")] },
            tool("b", "13:00"),
            tool("a", "rain"),
            tool("c", "?"),
        ]);
        let some = |text: &str| Some(text.to_owned());
        let expected = [("now", "b", "13:00"), ("weather", "a", "rain")];
        let mut expected: Vec<_> =
            expected.map(|(name, id, content)| (some(name), some(id), content.to_owned())).into();
        expected.push((None, some("c"), "?".to_owned()));
        assert_eq!(answers(&messages), expected);
        messages.as_array_mut().expect("a list").push(json!({ "role": "assistant", "content": "Rain." }));
        assert_eq!(answers(&messages), []);
        let elder = json!([{ "role": "function", "name": "now", "content": "14:00" }]);
        assert_eq!(answers(&elder), [(some("now"), None, "14:00".to_owned())]);
    }
}
