//! Chat answers: the whole object and its chunks.

use std::borrow::Cow;

use serde::Serialize;

use super::tool_calls::{Function, FunctionDelta, ToolCall, ToolCallDelta};
use crate::error::ApiError;
use crate::openai::error::ErrorBody;
use crate::openai::logprobs::{ChatLogprobs, PromptLogprobs};
use crate::openai::options::Details;
use crate::sse::{DONE, TEXT, TextEvent, write_event};
use crate::stream::finish::{Finish, FinishReason, StopReason};
use crate::stream::usage::Usage;
use crate::stream::{Answer, Chunks, Identity, PartKind, Said, ShownToken, ToldPrompt, token_ids};

/// Writes the chunks of a chat stream.
#[derive(Debug)]
pub struct ChatChunks {
    /// The identity that all chunks share.
    identity: Identity,
    details: Details,
    /// Reported in the first chunk, if at all.
    prompt_token_ids: Option<Vec<u32>>,
    /// The deltas of each choice, if they are nothing but text, or text and log-probabilities.
    texts: Vec<TextEvent>,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [ChunkChoice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<&'a [u32]>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: usize,
    delta: Delta<'a>,
    logprobs: Option<ChatLogprobs<'a>>,
    finish_reason: Option<FinishReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<&'a StopReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<u32>>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ToolCallDelta<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionDelta<'a>>,
}

impl<'a> Delta<'a> {
    fn of(identity: &Identity, choice: usize, said: Said<'a>, details: &Details) -> Self {
        let call = |call| Self { tool_calls: Some([call]), ..Self::default() };
        let function = |function| Self { function_call: Some(function), ..Self::default() };
        match said {
            Said::Content(text) => Self { content: Some(text), ..Self::default() },
            Said::Reasoning(text) => {
                let [reasoning, reasoning_content] = details.reasoning_field.told(text);
                Self { reasoning, reasoning_content, ..Self::default() }
            }
            // Only a script makes several calls to a client that has room for one.
            Said::CallBegin(head) if details.calls_are_older && head.index == 0 => {
                function(FunctionDelta::begin(head))
            }
            Said::Arguments { call: 0, text } if details.calls_are_older => {
                function(FunctionDelta::arguments(text))
            }
            Said::CallBegin(head) => call(ToolCallDelta::begin(identity, choice, head)),
            Said::Arguments { call: index, text } => call(ToolCallDelta::arguments(index, text)),
        }
    }
}

impl<'a> ChunkChoice<'a> {
    fn new(index: usize, delta: Delta<'a>) -> Self {
        Self { index, delta, logprobs: None, finish_reason: None, stop_reason: None, token_ids: None }
    }

    fn with_tokens(self, tokens: &'a [ShownToken], details: &Details) -> Self {
        let logprobs = details.tells_logprobs(tokens).then(|| ChatLogprobs::new(tokens, details.format()));
        Self { logprobs, token_ids: token_ids(tokens, details), ..self }
    }
}

impl ChatChunks {
    /// Writes the chunks of this many choices.
    #[must_use]
    pub fn new(
        identity: Identity,
        details: Details,
        num_choices: usize,
        prompt_token_ids: Option<Vec<u32>>,
    ) -> Self {
        let mut chunks = Self { identity, details, prompt_token_ids, texts: Vec::new() };
        if details.is_text_only() {
            let delta = || Delta { content: Some(TEXT), ..Delta::default() };
            let text = |index| TextEvent::new(&chunks.chunk(&[ChunkChoice::new(index, delta())], None));
            chunks.texts = (0..num_choices).map(text).collect();
        } else if details.is_logprobs_only() {
            let logprobs = || ChatLogprobs::new(&[], details.format());
            let delta = || Delta { content: Some(TEXT), ..Delta::default() };
            let text = |index| {
                let choice = ChunkChoice { logprobs: Some(logprobs()), ..ChunkChoice::new(index, delta()) };
                TextEvent::with_value(&chunks.chunk(&[choice], None), &logprobs())
            };
            chunks.texts = (0..num_choices).map(text).collect();
        }
        chunks
    }

    fn chunk<'a>(&'a self, choices: &'a [ChunkChoice<'a>], usage: Option<Usage>) -> Chunk<'a> {
        let Identity { id, created, model } = &self.identity;
        let usage = self.details.include_usage.then_some(usage);
        let object = "chat.completion.chunk";
        Chunk { id, object, created: *created, model, choices, usage, prompt_token_ids: None }
    }
}

impl Chunks for ChatChunks {
    fn tells_usage(&self) -> bool {
        self.details.continuous_usage
    }

    fn tells_tokens(&self) -> bool {
        self.details.tells_tokens()
    }

    fn opening(&mut self, index: usize, usage: Option<Usage>, frames: &mut Vec<u8>) {
        let delta = Delta { role: Some("assistant"), content: Some(""), ..Delta::default() };
        let prompt_token_ids = self.prompt_token_ids.take();
        let choices = [ChunkChoice::new(index, delta)];
        let prompt_token_ids = prompt_token_ids.as_deref();
        write_event(frames, &Chunk { prompt_token_ids, ..self.chunk(&choices, usage) });
    }

    fn text(
        &mut self,
        index: usize,
        text: &str,
        tokens: &[ShownToken],
        usage: Option<Usage>,
        frames: &mut Vec<u8>,
    ) {
        match self.texts.get(index) {
            Some(event) if self.details.is_text_only() => return event.write(frames, text),
            Some(event) if self.details.tells_logprobs(tokens) => {
                let logprobs = ChatLogprobs::new(tokens, self.details.format());
                return event.write_with(frames, text, |frames| logprobs.write(frames));
            }
            _ => {}
        }
        self.said(index, Said::Content(text), tokens, usage, frames);
    }

    fn said(
        &mut self,
        index: usize,
        said: Said<'_>,
        tokens: &[ShownToken],
        usage: Option<Usage>,
        frames: &mut Vec<u8>,
    ) {
        let delta = Delta::of(&self.identity, index, said, &self.details);
        let choice = ChunkChoice::new(index, delta).with_tokens(tokens, &self.details);
        write_event(frames, &self.chunk(&[choice], usage));
    }

    fn finish(
        &mut self,
        index: usize,
        finish: &Finish,
        tail: &[ShownToken],
        usage: Option<Usage>,
        frames: &mut Vec<u8>,
    ) {
        let choice = ChunkChoice::new(index, Delta::default()).with_tokens(tail, &self.details);
        let finish_reason = Some(self.details.finish_reason(finish));
        let choice = ChunkChoice { finish_reason, stop_reason: finish.stop_reason.as_ref(), ..choice };
        write_event(frames, &self.chunk(&[choice], usage));
    }

    fn end(&mut self, usage: Usage, frames: &mut Vec<u8>) {
        if self.details.include_usage {
            write_event(frames, &self.chunk(&[], Some(usage)));
        }
        frames.extend_from_slice(DONE);
    }

    /// Some clients skip an event without choices, and would take `[DONE]`, or the end of the body,
    /// for success.
    fn fail(&mut self, error: &ApiError, _: Usage, frames: &mut Vec<u8>) -> bool {
        write_event(frames, &ErrorBody::new(error));
        false
    }
}

#[derive(Serialize)]
struct ChatCompletion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<Choice<'a>>,
    usage: Usage,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<&'a [u32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_logprobs: Option<PromptLogprobs<'a>>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: usize,
    message: Message<'a>,
    logprobs: Option<ChatLogprobs<'a>>,
    #[serde(flatten)]
    finish: Finish,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<u32>>,
}

impl<'a> Choice<'a> {
    fn new(
        identity: &Identity,
        index: usize,
        Answer { delta, finish }: &'a Answer,
        details: &Details,
    ) -> Self {
        Self {
            index,
            message: Message::new(identity, index, delta, details),
            logprobs: details.logprobs.map(|_| ChatLogprobs::new(&delta.tokens, details.format())),
            finish: Finish { finish_reason: details.finish_reason(finish), ..finish.clone() },
            token_ids: token_ids(&delta.tokens, details),
        }
    }
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<Cow<'a, str>>,
    refusal: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<Function<'a>>,
}

impl<'a> Message<'a> {
    /// Creates a message from the text or its parsed parts.
    fn new(identity: &Identity, choice: usize, delta: &'a crate::stream::Delta, details: &Details) -> Self {
        let (mut content, mut reasoning) = (Cow::Borrowed(&*delta.text), String::new());
        let mut tool_calls: Vec<ToolCall<'a>> = Vec::new();
        for part in &delta.parts {
            match &part.kind {
                PartKind::Content => content += &*part.text,
                PartKind::Reasoning => reasoning += &part.text,
                PartKind::CallBegin(head) => tool_calls.push(ToolCall::new(identity, choice, head)),
                PartKind::Arguments { .. } => {
                    if let Some(call) = tool_calls.last_mut() {
                        call.push(&part.text);
                    }
                }
            }
        }
        // An answer of calls alone has no content; any other has text, even if empty.
        let content = Some(content).filter(|content| !content.is_empty() || tool_calls.is_empty());
        let [reasoning, reasoning_content] =
            if reasoning.is_empty() { [None, None] } else { details.reasoning_field.told(reasoning) };
        let older = details.calls_are_older && !tool_calls.is_empty();
        let function_call = older.then(|| tool_calls.remove(0).into_function());
        let role = "assistant";
        Self { role, content, refusal: None, reasoning, reasoning_content, tool_calls, function_call }
    }
}

/// Returns the body of a whole answer.
#[must_use]
pub fn whole(
    identity: &Identity,
    answers: &mut [Answer],
    usage: Usage,
    details: &Details,
    prompt: &ToldPrompt,
) -> Vec<u8> {
    answers.iter_mut().for_each(|answer| answer.delta.join_tokens());
    let body = ChatCompletion {
        id: &identity.id,
        object: "chat.completion",
        created: identity.created,
        model: &identity.model,
        choices: answers
            .iter()
            .enumerate()
            .map(|(index, answer)| Choice::new(identity, index, answer, details))
            .collect(),
        usage,
        prompt_token_ids: prompt.token_ids.as_deref(),
        prompt_logprobs: prompt
            .logprobs
            .as_deref()
            .map(|scores| PromptLogprobs::new(scores, details.format())),
    };
    serde_json::to_vec(&body).expect("wire types serialise")
}
