//! Describes tools to a model whose template does not.

use serde_json::Value;
use streamcore_parsers::ToolFormat;

use crate::app::App;
use crate::asked::tools::Tools;
use crate::text::{ChatTemplate, Conversation};

/// The format of calls for a model that has none of its own.
pub(super) const PLAIN_FORMAT: ToolFormat = ToolFormat::Hermes;

/// Adds the tools to the user's last message, which every template takes, if the answer must be a
/// call and the template has no place for tools.
pub fn instruct(app: &App, conversation: &mut Conversation, tools: &Tools) {
    let knows_tools = app.text.chat_template.as_ref().is_some_and(ChatTemplate::knows_tools);
    if knows_tools || !tools.must_be_called() {
        return;
    }
    let last = conversation.messages.iter_mut().rev().find(|message| message["role"] == "user");
    if let Some(Value::String(content)) = last.and_then(|message| message.get_mut("content")) {
        let functions: Vec<String> = tools.callable().map(|tool| tool["function"].to_string()).collect();
        content.push_str(
            "\n\nAnswer with calls of these functions, each given with the JSON schema of its parameters:\n",
        );
        content.push_str(&functions.join("\n"));
        content.push_str(
            "\nWrite a call as <tool_call>, a JSON object with \"name\" and \"arguments\", and </tool_call>.",
        );
    }
}
