//! `POST /v1/completions`

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::body::{json, read_json};
use super::cache_salt::cache_salt;
use crate::app::App;
use crate::error::ApiError;
use crate::generation::{Generation, Prompt, encode, identity};
use crate::middleware::{ApiKeyNumber, RequestName};
use crate::openai::completions::request::{CompletionRequest, DEFAULT_MAX_TOKENS, PromptSource};
use crate::openai::completions::response::{CompletionChunks, whole};
use crate::sse;
use crate::stream::{ChunkStream, Echo, collect, usage_of};

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(RequestName(name)): Extension<RequestName>,
    Extension(ApiKeyNumber(key)): Extension<ApiKeyNumber>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_json(&app, &headers, body).await?;
    let generation = app.run(body.len(), move |app| prepare(app, &body)).await?;
    let identity = identity(&app, "cmpl", &generation.options, &name);
    let cache_salt = cache_salt(&headers, generation.options.cache_salt.as_deref());
    let mut choices = generation.submit(&app, cache_salt, key, generation.patience(&headers))?;
    let max_silence = generation.max_silence(&headers);
    let details = generation.options.details;
    if generation.options.stream {
        let told = generation.prompt_of_choices().filter(|_| details.token_ids);
        let prompts = told.map(|prompt| prompt.tokens.clone()).collect();
        let chunks = CompletionChunks::new(identity, details, choices.len(), prompts);
        let stream = ChunkStream::new(chunks, choices, max_silence);
        return Ok(sse::response(Body::from_stream(stream)));
    }
    let mut answers = collect(&mut choices).await?;
    let num_details_bytes = generation.num_details_bytes();
    let finish = move |_: &App| {
        let prompts = generation.told_prompts(&choices);
        whole(&identity, &mut answers, usage_of(&choices), &details, &prompts)
    };
    Ok(json(app.run(num_details_bytes, finish).await))
}

fn prepare(app: &App, body: &[u8]) -> Result<Generation, ApiError> {
    let request = CompletionRequest::parse(body, app.vocab_size)?;
    app.check_model(&request.options.model)?;
    let CompletionRequest { prompts, add_special_tokens, options } = request;
    let mut encoded = Vec::with_capacity(prompts.len());
    for source in prompts {
        let (tokens, text) = match source {
            PromptSource::Text(text) => (encode(app, &text, add_special_tokens, "prompt")?, Some(text)),
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
        encoded.push(Prompt { tokens, echo, cue });
    }
    Generation::new(app, options, encoded, DEFAULT_MAX_TOKENS, "prompt")
}

/// All but an unfinished character at the end.
fn text_of(app: &App, tokens: &[u32], skip_special_tokens: bool) -> String {
    let mut detokenizer = app.text.tokenizer.detokenizer(skip_special_tokens);
    let mut text = String::new();
    tokens.iter().for_each(|token| detokenizer.push(*token, &mut text));
    text
}
