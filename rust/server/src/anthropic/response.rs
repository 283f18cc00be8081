//! A whole answer, and what it shares with the events of a stream.

use std::borrow::Cow;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::stream::finish::{Finish, FinishReason, StopReason};
use crate::stream::usage::Usage;
use crate::stream::{Answer, Delta, Identity, PartKind};

/// Anthropic's `message` object.
#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    id: &'a str,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<ContentBlock<'a>>,
    #[serde(flatten)]
    end: End<'a>,
    usage: Tokens,
}

impl<'a> Message<'a> {
    /// Returns a message without content.
    pub(super) fn begun(identity: &'a Identity, usage: Usage) -> Self {
        Self::new(identity, Vec::new(), End::default(), usage)
    }

    fn new(identity: &'a Identity, content: Vec<ContentBlock<'a>>, end: End<'a>, usage: Usage) -> Self {
        let (id, model) = (&*identity.id, &*identity.model);
        Self { id, r#type: "message", role: "assistant", model, content, end, usage: usage.into() }
    }
}

/// Why an answer has ended; `null` while it goes on.
#[derive(Debug, Default, Serialize)]
pub(super) struct End<'a> {
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
}

impl<'a> From<&'a Finish> for End<'a> {
    fn from(finish: &'a Finish) -> Self {
        let ended = |reason| Self { stop_reason: Some(reason), stop_sequence: None };
        match (finish.finish_reason, &finish.stop_reason) {
            (FinishReason::ToolCalls | FinishReason::FunctionCall, _) => ended("tool_use"),
            (FinishReason::Length, _) => ended("max_tokens"),
            (FinishReason::Stop, Some(StopReason::Text(text))) => {
                Self { stop_sequence: Some(text), ..ended("stop_sequence") }
            }
            (FinishReason::Stop, _) => ended("end_turn"),
        }
    }
}

/// Anthropic's `usage` object. Cached tokens are not counted in `input_tokens`.
#[derive(Debug, Serialize)]
pub(super) struct Tokens {
    input_tokens: usize,
    cache_creation_input_tokens: usize,
    cache_read_input_tokens: usize,
    output_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputTokensDetails>,
}

#[derive(Debug, Serialize)]
struct OutputTokensDetails {
    thinking_tokens: usize,
}

impl From<Usage> for Tokens {
    fn from(usage: Usage) -> Self {
        let cached = usage.prompt_tokens_details.cached_tokens;
        Self {
            input_tokens: usage.prompt_tokens - cached,
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: cached,
            output_tokens: usage.completion_tokens,
            output_tokens_details: usage
                .completion_tokens_details
                .map(|details| OutputTokensDetails { thinking_tokens: details.reasoning_tokens }),
        }
    }
}

/// A block of an answer.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ContentBlock<'a> {
    /// The answer itself.
    Text { text: &'a str },
    /// The model's thought. Clients send it back only with a signature; any will do here.
    Thinking { thinking: &'a str, signature: &'a str },
    /// A call.
    ToolUse { id: Cow<'a, str>, name: &'a str, input: Input<'a> },
}

/// The arguments of a call, letter for letter as the model has written them.
#[derive(Debug, Default)]
pub(super) struct Input<'a>(&'a str);

impl Serialize for Input<'_> {
    /// Arguments that are not an object become the value of a marking key, as Anthropic advises its
    /// clients to send them back.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(text) = self;
        let is_object = text.trim_start().starts_with('{');
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) if is_object => raw.serialize(serializer),
            _ if text.is_empty() => serializer.serialize_map(Some(0))?.end(),
            _ => serializer.collect_map([("INVALID_JSON", text)]),
        }
    }
}

/// Returns the blocks of an answer: the text, or what it has been parsed into.
fn blocks<'a>(identity: &'a Identity, delta: &'a Delta) -> Vec<ContentBlock<'a>> {
    let mut blocks = Vec::new();
    for part in &delta.parts {
        match &part.kind {
            PartKind::Content if part.text.is_empty() => {}
            PartKind::Content => blocks.push(ContentBlock::Text { text: &part.text }),
            PartKind::Reasoning => {
                blocks.push(ContentBlock::Thinking { thinking: &part.text, signature: &identity.id });
            }
            PartKind::CallBegin(head) => {
                let id = head.id_in(&identity.id, 0);
                blocks.push(ContentBlock::ToolUse { id, name: &head.name, input: Input::default() });
            }
            PartKind::Arguments { .. } => {
                if let Some(ContentBlock::ToolUse { input, .. }) = blocks.last_mut() {
                    *input = Input(&part.text);
                }
            }
        }
    }
    if !delta.text.is_empty() {
        blocks.push(ContentBlock::Text { text: &delta.text });
    }
    blocks
}

/// Returns the body of a whole answer.
#[must_use]
pub fn whole(identity: &Identity, Answer { delta, finish }: &Answer, usage: Usage) -> Vec<u8> {
    let message = Message::new(identity, blocks(identity, delta), finish.into(), usage);
    serde_json::to_vec(&message).expect("wire types serialise")
}

/// The answer of `/v1/messages/count_tokens`.
#[derive(Debug, Serialize)]
pub struct TokenCount {
    /// Tokens of the prompt.
    pub input_tokens: usize,
}
