//! `POST /v1/chat/completions`

use super::generate::{Api, Client};
use crate::app::App;
use crate::error::ApiError;
use crate::generation::{Generation, of_chat};
use crate::openai::chat::request::ChatRequest;
use crate::openai::chat::response::{ChatChunks, whole};
use crate::stream::{Answer, Choice, Identity, usage_of};

pub(super) struct Chat;

impl Api for Chat {
    const PREFIX: &'static str = "chatcmpl-";
    type Chunks = ChatChunks;

    fn prepare(app: &App, _: &Client, body: &[u8]) -> Result<(Self, Generation), ApiError> {
        Ok((Self, of_chat(app, ChatRequest::parse(body, app.vocab_size)?)?))
    }

    fn chunks(self, identity: Identity, generation: Generation, num_choices: usize) -> ChatChunks {
        let details = generation.options.details;
        let prompt = generation.prompts.into_iter().next().filter(|_| details.token_ids);
        ChatChunks::new(identity, details, num_choices, prompt.map(|prompt| prompt.tokens))
    }

    fn whole(
        self,
        identity: &Identity,
        generation: &Generation,
        choices: &[Choice],
        answers: &mut [Answer],
    ) -> Vec<u8> {
        let prompt = generation.told_prompts(&choices[..1]).pop().unwrap_or_default();
        whole(identity, answers, usage_of(choices), &generation.options.details, &prompt)
    }
}
