//! `POST /v1/completions`

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::body::read_json;
use crate::app::App;
use crate::driver::NewRequest;
use crate::error::ApiError;
use crate::generation::{encode, identity, new_request, submit};
use crate::middleware::RequestName;
use crate::openai::completions::request::{CompletionRequest, DEFAULT_MAX_TOKENS, Prompt};
use crate::openai::completions::response::{CompletionChunks, whole};
use crate::openai::options::Options;
use crate::sse;
use crate::stream::{ChunkStream, collect, keepalive_interval, usage_of};

struct Prepared {
    options: Options,
    requests: Vec<NewRequest>,
    /// The text of each prompt, if it is to be echoed.
    echoes: Vec<String>,
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(RequestName(name)): Extension<RequestName>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_json(&headers, body).await?;
    let prepared = app.prepare(body.len(), move |app| prepare(app, &body)).await?;
    let Prepared { options, requests, echoes } = prepared;
    let num_prompt_tokens = requests.iter().map(|request| request.prompt.len()).sum();
    let identity = identity(&app, "cmpl", &name);
    let mut choices = submit(&app, &options, requests)?;
    if options.stream {
        let chunks = CompletionChunks::new(identity, options.include_usage, echoes, choices.len());
        let stream = ChunkStream::new(chunks, choices, num_prompt_tokens, keepalive_interval(&headers));
        return Ok(sse::response(Body::from_stream(stream)));
    }
    let mut answers = collect(&mut choices).await?;
    for (answer, echo) in answers.iter_mut().zip(&echoes) {
        answer.text.insert_str(0, echo);
    }
    let body = whole(&identity, &answers, usage_of(num_prompt_tokens, &choices));
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, json)], body).into_response())
}

fn prepare(app: &App, body: &[u8]) -> Result<Prepared, ApiError> {
    let CompletionRequest { prompts, echo, options } = CompletionRequest::parse(body, app.vocab_size)?;
    app.check_model(&options.model)?;
    let mut prepared = Prepared { options, requests: Vec::new(), echoes: Vec::new() };
    for prompt in prompts {
        if echo {
            prepared.echoes.push(text_of(app, &prompt)?);
        }
        let tokens = match prompt {
            Prompt::Text(text) => encode(app, &text, true, "prompt")?,
            Prompt::Tokens(tokens) => tokens,
        };
        let request = new_request(app, &prepared.options, tokens, DEFAULT_MAX_TOKENS, "prompt")?;
        prepared.requests.push(request);
    }
    Ok(prepared)
}

fn text_of(app: &App, prompt: &Prompt) -> Result<String, ApiError> {
    match prompt {
        Prompt::Text(text) => Ok(text.clone()),
        Prompt::Tokens(tokens) => app
            .text
            .tokenizer
            .decode(tokens, true)
            .map_err(|error| ApiError::invalid("invalid_value", "prompt", error.to_string())),
    }
}
