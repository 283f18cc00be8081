//! `POST /v1/chat/completions`

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;

use super::body::{json, read_json};
use super::cache_salt::cache_salt;
use crate::app::App;
use crate::error::ApiError;
use crate::generation::{Generation, Prompt, encode_conversation, identity};
use crate::middleware::{ApiKeyNumber, RequestName};
use crate::openai::chat::request::ChatRequest;
use crate::openai::chat::response::{ChatChunks, whole};
use crate::sse;
use crate::stream::{ChunkStream, collect, usage_of};

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(RequestName(name)): Extension<RequestName>,
    Extension(ApiKeyNumber(key)): Extension<ApiKeyNumber>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_json(&app, &headers, body).await?;
    let generation = app.run(body.len(), move |app| prepare(app, &body)).await?;
    let identity = identity(&app, "chatcmpl", &generation.options, &name);
    let cache_salt = cache_salt(&headers, generation.options.cache_salt.as_deref());
    let mut choices = generation.submit(&app, cache_salt, key, generation.patience(&headers))?;
    let max_silence = generation.max_silence(&headers);
    let details = generation.options.details;
    if generation.options.stream {
        let prompt = generation.prompts.into_iter().next().filter(|_| details.token_ids);
        let chunks = ChatChunks::new(identity, details, choices.len(), prompt.map(|prompt| prompt.tokens));
        let stream = ChunkStream::new(chunks, choices, max_silence);
        return Ok(sse::response(Body::from_stream(stream)));
    }
    let mut answers = collect(&mut choices).await?;
    let num_details_bytes = generation.num_details_bytes();
    let finish = move |_: &App| {
        let prompt = generation.told_prompts(&choices[..1]).pop().unwrap_or_default();
        whole(&identity, &mut answers, usage_of(&choices), &details, &prompt)
    };
    Ok(json(app.run(num_details_bytes, finish).await))
}

fn prepare(app: &App, body: &[u8]) -> Result<Generation, ApiError> {
    let ChatRequest { conversation, options } = ChatRequest::parse(body, app.vocab_size)?;
    app.check_model(&options.model)?;
    let cue = app.script.as_ref().map(|_| last_of_user(&conversation.messages).to_owned());
    let prompt = Prompt { tokens: encode_conversation(app, conversation)?, echo: None, cue };
    Generation::new(app, options, vec![prompt], usize::MAX, "messages")
}

/// What the rules of a script look at.
fn last_of_user(messages: &[Value]) -> &str {
    let last = messages.iter().rev().find(|message| message["role"] == "user");
    last.and_then(|message| message["content"].as_str()).unwrap_or_default()
}
