//! Text completion answers: the whole object and its chunks have the same shape.

use serde::Serialize;

use crate::openai::finish::{Finish, FinishReason, StopReason};
use crate::openai::usage::Usage;
use crate::sse::{TEXT, TextEvent, write_event};
use crate::stream::{Answer, Chunks, Identity};

/// Writes the chunks of a text completion stream.
#[derive(Debug)]
pub struct CompletionChunks {
    /// What all chunks of the stream share.
    identity: Identity,
    /// Other chunks carry `"usage":null` if the last one will carry numbers.
    include_usage: bool,
    /// The prompt of each choice, if it is to be echoed.
    echoes: Vec<String>,
    /// The deltas of each choice.
    texts: Vec<TextEvent>,
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [Choice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: usize,
    text: &'a str,
    logprobs: Option<()>,
    finish_reason: Option<FinishReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<&'a StopReason>,
}

impl<'a> Choice<'a> {
    fn new(index: usize, text: &'a str, finish: Option<&'a Finish>) -> Self {
        let finish_reason = finish.map(|finish| finish.finish_reason);
        let stop_reason = finish.and_then(|finish| finish.stop_reason.as_ref());
        Self { index, text, logprobs: None, finish_reason, stop_reason }
    }
}

impl<'a> Completion<'a> {
    fn new(identity: &'a Identity, choices: &'a [Choice<'a>], usage: Option<Option<Usage>>) -> Self {
        let Identity { id, created, model } = identity;
        Self { id, object: "text_completion", created: *created, model, choices, usage }
    }
}

impl CompletionChunks {
    /// Writes the chunks of so many choices.
    #[must_use]
    pub fn new(identity: Identity, include_usage: bool, echoes: Vec<String>, num_choices: usize) -> Self {
        let mut chunks = Self { identity, include_usage, echoes, texts: Vec::new() };
        let text = |index| TextEvent::new(&chunks.chunk(&[Choice::new(index, TEXT, None)], None));
        chunks.texts = (0..num_choices).map(text).collect();
        chunks
    }

    fn chunk<'a>(&'a self, choices: &'a [Choice<'a>], usage: Option<Usage>) -> Completion<'a> {
        Completion::new(&self.identity, choices, self.include_usage.then_some(usage))
    }
}

impl Chunks for CompletionChunks {
    fn opening(&self, index: usize, frames: &mut Vec<u8>) {
        if let Some(prompt) = self.echoes.get(index) {
            crate::stream::pieces(prompt).for_each(|piece| self.text(index, piece, frames));
        }
    }

    fn text(&self, index: usize, text: &str, frames: &mut Vec<u8>) {
        self.texts[index].write(frames, text);
    }

    fn finish(&self, index: usize, finish: &Finish, frames: &mut Vec<u8>) {
        write_event(frames, &self.chunk(&[Choice::new(index, "", Some(finish))], None));
    }

    fn usage(&self, usage: Usage, frames: &mut Vec<u8>) {
        if self.include_usage {
            write_event(frames, &self.chunk(&[], Some(usage)));
        }
    }
}

/// The body of a whole answer; echoes are already in the texts.
#[must_use]
pub fn whole(identity: &Identity, answers: &[Answer], usage: Usage) -> Vec<u8> {
    let answers = answers.iter().enumerate();
    let choices: Vec<_> =
        answers.map(|(index, answer)| Choice::new(index, &answer.text, Some(&answer.finish))).collect();
    let body = Completion::new(identity, &choices, Some(Some(usage)));
    serde_json::to_vec(&body).expect("wire types serialise")
}
