//! Turns a conversation into the tokens of its prompt.

use serde_json::{Map, Value};

use super::literals::{Literals, unused_characters};
use super::{ChatTemplate, RenderOptions, TemplateError, TextError, TextModel, encode_within};

/// The end of a conversation's prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptEnd {
    /// Behind the last message.
    LastMessage,
    /// Where the assistant's answer begins.
    Answer,
    /// Inside the last message, which the model continues.
    InsideLastMessage,
}

/// A conversation, and how it becomes a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// As chat templates take them: `role` and `content`, both strings, and the client's other
    /// fields.
    pub messages: Vec<Value>,
    /// As chat templates take them: each with `type` and `function`.
    pub tools: Vec<Value>,
    /// Where the prompt ends.
    pub end: PromptEnd,
    /// More variables for the template.
    pub variables: Map<String, Value>,
}

/// A tokenised conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedConversation {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// The rendered text, to see how the prompt ends; users' markers are replaced by other
    /// characters.
    pub text: String,
}

/// Why a conversation has no prompt.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The model has no chat template.
    #[error("this model has no chat template, use `/v1/completions`")]
    NoTemplate,
    /// The template refused the conversation, or failed.
    #[error("{0}")]
    Template(#[from] TemplateError),
    /// The rendered text does not end with the last message.
    #[error("the chat template changes the last message, so that it cannot be continued")]
    NothingToContinue,
    /// The text cannot be tokenised.
    #[error("{0}")]
    Text(#[from] TextError),
}

impl TextModel {
    /// Renders and tokenises a conversation, as `apply_chat_template` of `transformers` does,
    /// except that special tokens' text in a message, a tool or a variable stays text. Tools are
    /// left out if the template knows none. A conversation that certainly has more than
    /// `max_tokens` is refused, see [`encode_within`].
    ///
    /// # Errors
    /// [`PromptError`]
    pub fn encode_conversation(
        &self,
        mut conversation: Conversation,
        max_tokens: Option<usize>,
    ) -> Result<EncodedConversation, PromptError> {
        let fault = || match &self.chat_template_fault {
            Some(fault) => TemplateError::Failed(fault.clone()).into(),
            None => PromptError::NoTemplate,
        };
        let template = self.chat_template.as_ref().ok_or_else(fault)?;
        let messages = conversation.messages.iter_mut().filter_map(Value::as_object_mut);
        messages.for_each(|message| translate(message, template));
        if !template.knows_tools() {
            conversation.tools.clear();
        }
        let literals = Literals::take_out_of(&mut conversation, &self.tokenizer);
        let mark = match conversation.end {
            PromptEnd::InsideLastMessage => Mark::put_into(&mut conversation),
            PromptEnd::LastMessage | PromptEnd::Answer => None,
        };
        let Conversation { messages, tools, end, variables } = conversation;
        let options = RenderOptions {
            add_generation_prompt: end == PromptEnd::Answer,
            tools: (!tools.is_empty()).then(|| tools.into()),
            extra: variables,
        };
        let text = if end == PromptEnd::InsideLastMessage {
            let mark = mark.ok_or(PromptError::NothingToContinue)?;
            mark.cut(template.render(&messages, &options)?).ok_or(PromptError::NothingToContinue)?
        } else {
            template.render(&messages, &options)?
        };
        let pieces = self.tokenizer.in_pieces(false);
        let encode = |text: &str, _: usize| literals.encode(text, &self.tokenizer);
        let tokens = encode_within(&text, max_tokens, pieces, encode)?;
        Ok(EncodedConversation { tokens, text })
    }
}

/// Renames roles and fields for a template: `developer` is the newer name of `system`, `function`
/// the older one of `tool`, and thoughts are `reasoning` or `reasoning_content`.
fn translate(message: &mut Map<String, Value>, template: &ChatTemplate) {
    if message.get("role").is_some_and(|role| role == "developer") && !template.names("developer") {
        message.insert("role".to_owned(), "system".into());
    }
    if message.get("role").is_some_and(|role| role == "function") && template.names("tool") {
        message.insert("role".to_owned(), "tool".into());
    }
    const NAMES: [&str; 2] = ["reasoning_content", "reasoning"];
    let [known, other] = if template.names(NAMES[0]) { NAMES } else { [NAMES[1], NAMES[0]] };
    if !message.contains_key(known)
        && template.names(known)
        && let Some(thought) = message.get(other).cloned()
    {
        message.insert(known.to_owned(), thought);
    }
}

/// A mark at the end of the last message, to find it in the rendered text. Its space shows whether
/// the template keeps white space there.
struct Mark(String);

impl Mark {
    fn put_into(conversation: &mut Conversation) -> Option<Self> {
        let mark = format!("{} ", unused_characters(conversation).last()?);
        let Value::String(content) = conversation.messages.last_mut()?.get_mut("content")? else {
            return None;
        };
        content.push_str(&mark);
        Some(Self(mark))
    }

    fn cut(&self, mut rendered: String) -> Option<String> {
        let end = rendered.rfind(self.0.trim_end())?;
        let keeps_spaces = rendered[end..].starts_with(&self.0);
        rendered.truncate(end);
        if !keeps_spaces {
            rendered.truncate(rendered.trim_end().len());
        }
        Some(rendered)
    }
}
