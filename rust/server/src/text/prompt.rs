//! From a conversation to the tokens of its prompt.

use serde_json::{Map, Value};

use super::literals::{Literals, unused_characters};
use super::{ChatTemplate, RenderOptions, TemplateError, TextError, TextModel, encode_within};

/// Where the prompt of a conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptEnd {
    /// Behind the last message.
    LastMessage,
    /// Where the assistant's answer begins.
    Answer,
    /// Inside the last message, which the model goes on with.
    InsideLastMessage,
}

/// A conversation, and how it becomes a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// As chat templates take them: `role` and `content`, both strings, and what else the client
    /// has given.
    pub messages: Vec<Value>,
    /// As chat templates take them: each with `type` and `function`.
    pub tools: Vec<Value>,
    /// Where the prompt ends.
    pub end: PromptEnd,
    /// More variables for the template.
    pub variables: Map<String, Value>,
}

/// What a conversation has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedConversation {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// What the template has written, as far as it tells where the prompt ends: markers of users
    /// have other characters in their places.
    pub text: String,
}

/// Why a conversation has no prompt.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The model has no chat template.
    #[error("this model has no chat template, use `/v1/completions`")]
    NoTemplate,
    /// The template refused the conversation, or cannot make anything of it.
    #[error("{0}")]
    Template(#[from] TemplateError),
    /// The last message does not stand at the end of what the template makes of it.
    #[error("the chat template changes the last message, so that it cannot be continued")]
    NothingToContinue,
    /// The text cannot be tokenised.
    #[error("{0}")]
    Text(#[from] TextError),
}

impl TextModel {
    /// Renders and tokenises a conversation, as `apply_chat_template` of `transformers` does, but
    /// that the text of special tokens in a message, a tool or a variable is text. Tools are left
    /// out if the template knows none. A conversation that certainly has more than `max_tokens` is
    /// refused, see [`encode_within`].
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

/// Tells a template what it knows under another name: `developer` is the newer name of `system`,
/// `function` the older one of `tool`, and what a model has thought is `reasoning` to some clients
/// and `reasoning_content` to most templates, or the other way round.
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

/// Shows where the last message ends in what the template makes of it. The space tells whether the
/// template keeps white space there.
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
