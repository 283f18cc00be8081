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
    /// Renders and tokenises a conversation, as `apply_chat_template` of `transformers` does, but that the text of special tokens in
    /// a message is text. One that certainly has more than `max_tokens` is refused, see [`encode_within`].
    ///
    /// # Errors
    /// [`PromptError`]
    pub fn encode_conversation(
        &self,
        mut messages: Vec<Value>,
        end: PromptEnd,
        mut variables: Map<String, Value>,
        max_tokens: Option<usize>,
    ) -> Result<Vec<u32>, PromptError> {
        let fault = || match &self.chat_template_fault {
            Some(fault) => TemplateError::Failed(fault.clone()).into(),
            None => PromptError::NoTemplate,
        };
        let template = self.chat_template.as_ref().ok_or_else(fault)?;
        messages.iter_mut().filter_map(Value::as_object_mut).for_each(|message| translate(message, template));
        let literals = Literals::take_out_of(&mut messages, &mut variables, &self.tokenizer);
        let add_generation_prompt = end == PromptEnd::Answer;
        let mark = match end {
            PromptEnd::InsideLastMessage => Mark::put_into(&mut messages, &mut variables),
            PromptEnd::LastMessage | PromptEnd::Answer => None,
        };
        let options = RenderOptions { add_generation_prompt, tools: None, extra: variables };
        let text = if end == PromptEnd::InsideLastMessage {
            let mark = mark.ok_or(PromptError::NothingToContinue)?;
            mark.cut(template.render(&messages, &options)?).ok_or(PromptError::NothingToContinue)?
        } else {
            template.render(&messages, &options)?
        };
        Ok(encode_within(&text, max_tokens, |text| literals.encode(text, &self.tokenizer))?)
    }
}

/// Tells a template what it knows under another name: `developer` is the newer name of `system`,
/// and what a model has thought is `reasoning` to some clients and `reasoning_content` to most
/// templates, or the other way round.
fn translate(message: &mut Map<String, Value>, template: &ChatTemplate) {
    if message.get("role").is_some_and(|role| role == "developer") && !template.names("developer") {
        message.insert("role".to_owned(), "system".into());
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

/// Shows where the last message ends in what the template makes of it. The space tells whether the template keeps white space there.
struct Mark(String);

impl Mark {
    fn put_into(messages: &mut [Value], variables: &mut Map<String, Value>) -> Option<Self> {
        let mark = format!("{} ", unused_characters(messages, variables).last()?);
        let Value::String(content) = messages.last_mut()?.get_mut("content")? else { return None };
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
