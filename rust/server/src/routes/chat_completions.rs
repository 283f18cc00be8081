//! `POST /v1/chat/completions`

use super::generate::{Api, Client};
use crate::app::App;
use crate::error::ApiError;
use crate::generation::{
    Generation, Manner, Prompt, answer_setup, chat_grammar, encode_conversation, instruct, max_prompt_tokens,
};
use crate::openai::chat::request::ChatRequest;
use crate::openai::chat::response::{ChatChunks, whole};
use crate::openai::chat::tools::declared;
use crate::script::cue::Cue;
use crate::stream::{Answer, Choice, Identity, usage_of};

pub(super) struct Chat;

impl Api for Chat {
    const PREFIX: &'static str = "chatcmpl-";
    type Chunks = ChatChunks;

    fn prepare(app: &App, _: &Client, body: &[u8]) -> Result<(Self, Generation), ApiError> {
        Ok((Self, generation_of(app, ChatRequest::parse(body, app.vocab_size)?)?))
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

/// What a chat has generated, whichever dialect it was written in.
pub(super) fn generation_of(app: &App, request: ChatRequest) -> Result<Generation, ApiError> {
    let ChatRequest { mut conversation, tools, mut options } = request;
    options.model = app.served_name(&options.model)?.to_owned();
    options.details.reasoning_field = app.naming.reasoning_field;
    let cue = app.script.as_ref().map(|_| Cue::of_messages(&conversation.messages));
    instruct(app, &mut conversation, &tools);
    let encoded = encode_conversation(app, conversation, max_prompt_tokens(app, &options))?;
    let manner = Manner::of(app, &tools, &encoded.text);
    let setup = answer_setup(&manner, declared(tools.callable()));
    let grammar = chat_grammar(&manner, options.asked.take(), &tools)?;
    let prompt = Prompt { tokens: encoded.tokens, field: "messages".to_owned(), echo: None, cue };
    let mut generation = Generation::new(app, options, vec![prompt], usize::MAX)?;
    (generation.setup, generation.grammar) = (setup, grammar);
    Ok(generation)
}
