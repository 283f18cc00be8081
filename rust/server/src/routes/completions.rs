//! `POST /v1/completions`

use std::ops::Range;

use super::generate::{Api, Client};
use crate::app::App;
use crate::error::ApiError;
use crate::generation::{Generation, Prompt, completion_grammar, encode, max_prompt_tokens};
use crate::openai::completions::request::{CompletionRequest, DEFAULT_MAX_TOKENS, PromptSource};
use crate::openai::completions::response::{CompletionChunks, whole};
use crate::openai::options::Options;
use crate::script::cue::Cue;
use crate::stream::{Answer, Choice, Echo, Identity, usage_of};

pub(super) struct Completions;

impl Api for Completions {
    const PREFIX: &'static str = "cmpl-";
    type Chunks = CompletionChunks;

    fn prepare(app: &App, _: &Client, body: &[u8]) -> Result<(Self, Generation), ApiError> {
        let CompletionRequest { prompts, are_listed, add_special_tokens, mut options } =
            CompletionRequest::parse(body, app.vocab_size)?;
        options.model = app.served_name(&options.model)?.to_owned();
        let field = |index| if are_listed { format!("prompt[{index}]") } else { "prompt".to_owned() };
        let make = |(index, source)| prompt(app, source, field(index), add_special_tokens, &options);
        let prompts = prompts.into_iter().enumerate().map(make).collect::<Result<_, _>>()?;
        let grammar = completion_grammar(options.asked.take());
        let mut generation = Generation::new(app, options, prompts, DEFAULT_MAX_TOKENS)?;
        generation.grammar = grammar;
        Ok((Self, generation))
    }

    fn chunks(self, identity: Identity, generation: Generation, num_choices: usize) -> CompletionChunks {
        let details = generation.options.details;
        let told = generation.prompt_of_choices().filter(|_| details.token_ids);
        let prompts = told.map(|prompt| prompt.tokens.clone()).collect();
        CompletionChunks::new(identity, details, num_choices, prompts)
    }

    fn whole(
        self,
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
    field: String,
    add_special_tokens: bool,
    options: &Options,
) -> Result<Prompt, ApiError> {
    let cue = app.script.as_ref().map(|_| match &source {
        PromptSource::Text(text) => Cue::of_text(text),
        PromptSource::Tokens(tokens) => Cue::of_text(text_of(app, tokens, true)),
    });
    let is_scored = options.details.logprobs.is_some();
    let (tokens, echo) = match source {
        PromptSource::Text(text) => {
            let (max_tokens, tokenizer) = (max_prompt_tokens(app, options), &app.text.tokenizer);
            let pieces = tokenizer.in_pieces(add_special_tokens);
            if options.echo && is_scored {
                let encode_text = |piece: &str, start: usize| {
                    let encoded = tokenizer.encode_with_ranges(piece, add_special_tokens)?;
                    Ok(encoded.into_iter().map(|(id, range)| (id, moved(range, start))).collect())
                };
                let tokens = encode(app, &text, max_tokens, &field, pieces, encode_text)?;
                let ids = tokens.iter().map(|(id, _)| *id).collect();
                (ids, Some(Echo::ScoredText { text, tokens }))
            } else {
                let encode_text = |piece: &str, _: usize| tokenizer.encode(piece, add_special_tokens);
                let tokens = encode(app, &text, max_tokens, &field, pieces, encode_text)?;
                (tokens, options.echo.then_some(Echo::Text(text)))
            }
        }
        PromptSource::Tokens(tokens) => {
            let echo = match (options.echo, is_scored) {
                (false, _) => None,
                (true, true) => Some(Echo::Scored(tokens.clone())),
                (true, false) => Some(Echo::Text(text_of(app, &tokens, !options.details.special_tokens))),
            };
            (tokens, echo)
        }
    };
    Ok(Prompt { tokens, field, echo, cue })
}

/// Shifts a token's range to the whole text; the empty range of a token without text stays as it
/// is.
fn moved(range: Range<usize>, start: usize) -> Range<usize> {
    if range.is_empty() { range } else { range.start + start..range.end + start }
}

/// Returns the text of `tokens`, without an unfinished last character.
fn text_of(app: &App, tokens: &[u32], skip_special_tokens: bool) -> String {
    let mut detokenizer = app.text.tokenizer.detokenizer(skip_special_tokens);
    let mut text = String::new();
    tokens.iter().for_each(|token| detokenizer.push(*token, &mut text));
    text
}
