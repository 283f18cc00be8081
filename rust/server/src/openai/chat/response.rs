//! Chat answers: the whole object and its chunks.

use serde::Serialize;

use crate::openai::finish::{Finish, FinishReason, StopReason};
use crate::openai::usage::Usage;
use crate::sse::{TEXT, TextEvent, write_event};
use crate::stream::{Answer, Chunks, Identity};

/// Writes the chunks of a chat stream.
#[derive(Debug)]
pub struct ChatChunks {
    /// What all chunks of the stream share.
    identity: Identity,
    /// Other chunks carry `"usage":null` if the last one will carry numbers.
    include_usage: bool,
    /// The deltas of each choice.
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
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: usize,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<FinishReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<&'a StopReason>,
}

#[derive(Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

impl<'a> ChunkChoice<'a> {
    fn new(index: usize, delta: Delta<'a>, finish: Option<&'a Finish>) -> Self {
        let finish_reason = finish.map(|finish| finish.finish_reason);
        let stop_reason = finish.and_then(|finish| finish.stop_reason.as_ref());
        Self { index, delta, logprobs: None, finish_reason, stop_reason }
    }
}

impl ChatChunks {
    /// Writes the chunks of so many choices.
    #[must_use]
    pub fn new(identity: Identity, include_usage: bool, num_choices: usize) -> Self {
        let mut chunks = Self { identity, include_usage, texts: Vec::new() };
        let text = |index| {
            let delta = Delta { role: None, content: Some(TEXT) };
            TextEvent::new(&chunks.chunk(&[ChunkChoice::new(index, delta, None)], None))
        };
        chunks.texts = (0..num_choices).map(text).collect();
        chunks
    }

    fn chunk<'a>(&'a self, choices: &'a [ChunkChoice<'a>], usage: Option<Usage>) -> Chunk<'a> {
        let Identity { id, created, model } = &self.identity;
        let usage = self.include_usage.then_some(usage);
        Chunk { id, object: "chat.completion.chunk", created: *created, model, choices, usage }
    }

    fn write_delta(&self, index: usize, delta: Delta<'_>, finish: Option<&Finish>, frames: &mut Vec<u8>) {
        write_event(frames, &self.chunk(&[ChunkChoice::new(index, delta, finish)], None));
    }
}

impl Chunks for ChatChunks {
    fn opening(&self, index: usize, frames: &mut Vec<u8>) {
        self.write_delta(index, Delta { role: Some("assistant"), content: Some("") }, None, frames);
    }

    fn text(&self, index: usize, text: &str, frames: &mut Vec<u8>) {
        self.texts[index].write(frames, text);
    }

    fn finish(&self, index: usize, finish: &Finish, frames: &mut Vec<u8>) {
        self.write_delta(index, Delta { role: None, content: None }, Some(finish), frames);
    }

    fn usage(&self, usage: Usage, frames: &mut Vec<u8>) {
        if self.include_usage {
            write_event(frames, &self.chunk(&[], Some(usage)));
        }
    }
}

/// A whole answer.
#[derive(Debug, Serialize)]
pub struct ChatCompletion {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    choices: Vec<Choice>,
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: usize,
    message: Message,
    logprobs: Option<()>,
    #[serde(flatten)]
    finish: Finish,
}

#[derive(Debug, Serialize)]
struct Message {
    role: &'static str,
    content: String,
    refusal: Option<()>,
}

impl ChatCompletion {
    /// The object of these answers.
    #[must_use]
    pub fn new(identity: Identity, answers: Vec<Answer>, usage: Usage) -> Self {
        let choice = |(index, answer): (usize, Answer)| Choice {
            index,
            message: Message { role: "assistant", content: answer.text, refusal: None },
            logprobs: None,
            finish: answer.finish,
        };
        let choices = answers.into_iter().enumerate().map(choice).collect();
        let Identity { id, created, model } = identity;
        Self { id, object: "chat.completion", created, model, choices, usage }
    }
}
