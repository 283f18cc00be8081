//! `POST /v1/completions`

use super::generate::Api;
use crate::app::App;
use crate::error::ApiError;
use crate::generation::{Generation, Prompt, encode, max_prompt_tokens};
use crate::openai::completions::request::{CompletionRequest, DEFAULT_MAX_TOKENS, PromptSource};
use crate::openai::completions::response::{CompletionChunks, whole};
use crate::openai::options::Options;
use crate::stream::{Answer, Choice, Echo, Identity, usage_of};

pub(super) struct Completions;

impl Api for Completions {
    const PREFIX: &'static str = "cmpl";
    type Chunks = CompletionChunks;

    fn prepare(app: &App, body: &[u8]) -> Result<Generation, ApiError> {
        let request = CompletionRequest::parse(body, app.vocab_size)?;
        app.check_model(&request.options.model)?;
        let CompletionRequest { prompts, add_special_tokens, options } = request;
        let make = |source| prompt(app, source, add_special_tokens, &options);
        let prompts = prompts.into_iter().map(make).collect::<Result<_, _>>()?;
        Generation::new(app, options, prompts, DEFAULT_MAX_TOKENS, "prompt")
    }

    fn chunks(identity: Identity, generation: Generation, num_choices: usize) -> CompletionChunks {
        let details = generation.options.details;
        let told = generation.prompt_of_choices().filter(|_| details.token_ids);
        let prompts = told.map(|prompt| prompt.tokens.clone()).collect();
        CompletionChunks::new(identity, details, num_choices, prompts)
    }

    fn whole(
        identity: &Identity,
        generation: &Generation,
        choices: &[Choice],
        answers: &mut [Answer],
    ) -> Vec<u8> {
        let prompts = generation.told_prompts(choices);
        whole(identity, answers, usage_of(choices), &generation.options.details, &prompts)
    }
}

fn prompt(
    app: &App,
    source: PromptSource,
    add_special_tokens: bool,
    options: &Options,
) -> Result<Prompt, ApiError> {
    let (tokens, text) = match source {
        PromptSource::Text(text) => {
            let max_tokens = max_prompt_tokens(app, options);
            (encode(app, &text, add_special_tokens, max_tokens, "prompt")?, Some(text))
        }
        PromptSource::Tokens(tokens) => (tokens, None),
    };
    let cue = match &text {
        _ if app.script.is_none() => None,
        Some(text) => Some(text.clone()),
        None => Some(text_of(app, &tokens, true)),
    };
    let scored = options.details.logprobs.is_some();
    let echo = match text {
        _ if !options.echo => None,
        _ if scored => Some(Echo::Scored(tokens.clone())),
        Some(text) => Some(Echo::Text(text)),
        None => Some(Echo::Text(text_of(app, &tokens, !options.details.special_tokens))),
    };
    Ok(Prompt { tokens, echo, cue })
}

/// All but an unfinished character at the end.
fn text_of(app: &App, tokens: &[u32], skip_special_tokens: bool) -> String {
    let mut detokenizer = app.text.tokenizer.detokenizer(skip_special_tokens);
    let mut text = String::new();
    tokens.iter().for_each(|token| detokenizer.push(*token, &mut text));
    text
}
