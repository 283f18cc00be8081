//! Text completion answers: the whole object and its chunks have the same shape.

use serde::Serialize;

use crate::error::ApiError;
use crate::openai::error::ErrorBody;
use crate::openai::logprobs::{CompletionLogprobs, PromptLogprobs};
use crate::openai::options::Details;
use crate::sse::{DONE, TEXT, TextEvent, write_event};
use crate::stream::finish::{Finish, FinishReason, StopReason};
use crate::stream::usage::Usage;
use crate::stream::{Answer, Chunks, Identity, Said, ShownToken, ToldPrompt, token_ids};

/// Writes the chunks of a text completion stream.
#[derive(Debug)]
pub struct CompletionChunks {
    /// The identity that all chunks share.
    identity: Identity,
    details: Details,
    /// The prompt of each choice, reported in its first chunk if at all.
    prompts: Vec<Vec<u32>>,
    /// The deltas of each choice, if they are nothing but text.
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
    logprobs: Option<CompletionLogprobs<'a>>,
    finish_reason: Option<FinishReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<&'a StopReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<&'a [u32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_logprobs: Option<PromptLogprobs<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<u32>>,
}

impl<'a> Choice<'a> {
    fn new(index: usize, text: &'a str) -> Self {
        Self {
            index,
            text,
            logprobs: None,
            finish_reason: None,
            stop_reason: None,
            prompt_token_ids: None,
            prompt_logprobs: None,
            token_ids: None,
        }
    }

    fn with_tokens(self, tokens: &'a [ShownToken], details: &Details) -> Self {
        let logprobs =
            details.tells_logprobs(tokens).then(|| CompletionLogprobs::new(tokens, details.format()));
        Self { logprobs, token_ids: token_ids(tokens, details), ..self }
    }

    fn whole(index: usize, answer: &'a Answer, prompt: &'a ToldPrompt, details: &Details) -> Self {
        let Answer { delta, finish } = answer;
        let format = details.format();
        Self {
            // Lists even if empty, so that scripts can loop over them.
            logprobs: details.logprobs.map(|_| CompletionLogprobs::new(&delta.tokens, format)),
            prompt_token_ids: prompt.token_ids.as_deref(),
            prompt_logprobs: prompt.logprobs.as_deref().map(|scores| PromptLogprobs::new(scores, format)),
            token_ids: token_ids(&delta.tokens, details),
            ..Self::new(index, &delta.text).with_finish(finish)
        }
    }

    fn with_finish(self, finish: &'a Finish) -> Self {
        let (finish_reason, stop_reason) = (Some(finish.finish_reason), finish.stop_reason.as_ref());
        Self { finish_reason, stop_reason, ..self }
    }
}

impl<'a> Completion<'a> {
    fn new(identity: &'a Identity, choices: &'a [Choice<'a>], usage: Option<Option<Usage>>) -> Self {
        let Identity { id, created, model } = identity;
        Self { id, object: "text_completion", created: *created, model, choices, usage }
    }
}

impl CompletionChunks {
    /// Writes the chunks of this many choices. `prompts` has the tokens of each, if reported.
    #[must_use]
    pub fn new(identity: Identity, details: Details, num_choices: usize, prompts: Vec<Vec<u32>>) -> Self {
        let mut chunks = Self { identity, details, prompts, texts: Vec::new() };
        if details.is_text_only() {
            let text = |index| TextEvent::new(&chunks.chunk(&[Choice::new(index, TEXT)], None));
            chunks.texts = (0..num_choices).map(text).collect();
        }
        chunks
    }

    fn chunk<'a>(&'a self, choices: &'a [Choice<'a>], usage: Option<Usage>) -> Completion<'a> {
        Completion::new(&self.identity, choices, self.details.include_usage.then_some(usage))
    }

    /// Writes a chunk of one choice; the first has the prompt.
    fn write(&mut self, choice: Choice<'_>, usage: Option<Usage>, frames: &mut Vec<u8>) {
        let prompt = self.prompts.get_mut(choice.index).map(std::mem::take).unwrap_or_default();
        let prompt_token_ids = (!prompt.is_empty()).then_some(&*prompt);
        write_event(frames, &self.chunk(&[Choice { prompt_token_ids, ..choice }], usage));
    }
}

impl Chunks for CompletionChunks {
    fn tells_usage(&self) -> bool {
        self.details.continuous_usage
    }

    fn tells_tokens(&self) -> bool {
        self.details.tells_tokens()
    }

    fn opening(&mut self, _: usize, _: Option<Usage>, _: &mut Vec<u8>) {}

    fn text(
        &mut self,
        index: usize,
        text: &str,
        tokens: &[ShownToken],
        usage: Option<Usage>,
        frames: &mut Vec<u8>,
    ) {
        if let Some(event) = self.texts.get(index) {
            return event.write(frames, text);
        }
        let details = self.details;
        self.write(Choice::new(index, text).with_tokens(tokens, &details), usage, frames);
    }

    /// Does nothing: text is never parsed here.
    fn said(&mut self, _: usize, _: Said<'_>, _: &[ShownToken], _: Option<Usage>, _: &mut Vec<u8>) {}

    fn finish(
        &mut self,
        index: usize,
        finish: &Finish,
        tail: &[ShownToken],
        usage: Option<Usage>,
        frames: &mut Vec<u8>,
    ) {
        let details = self.details;
        let choice = Choice::new(index, "").with_tokens(tail, &details).with_finish(finish);
        self.write(choice, usage, frames);
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

/// Returns the body of a whole answer; `prompts` has an entry for each choice.
#[must_use]
pub fn whole(
    identity: &Identity,
    answers: &mut [Answer],
    usage: Usage,
    details: &Details,
    prompts: &[ToldPrompt],
) -> Vec<u8> {
    answers.iter_mut().for_each(|answer| answer.delta.join_tokens());
    let choices: Vec<_> = answers
        .iter()
        .zip(prompts)
        .enumerate()
        .map(|(index, (answer, prompt))| Choice::whole(index, answer, prompt, details))
        .collect();
    let body = Completion::new(identity, &choices, Some(Some(usage)));
    serde_json::to_vec(&body).expect("wire types serialise")
}
