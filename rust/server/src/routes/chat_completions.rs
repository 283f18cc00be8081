//! `POST /v1/chat/completions`

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::body::read_json;
use crate::app::App;
use crate::driver::NewRequest;
use crate::error::ApiError;
use crate::generation::{encode_conversation, identity, new_request, submit};
use crate::middleware::RequestName;
use crate::openai::chat::request::ChatRequest;
use crate::openai::chat::response::{ChatChunks, ChatCompletion};
use crate::openai::options::Options;
use crate::sse;
use crate::stream::{ChunkStream, collect, keepalive_interval, usage_of};

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(RequestName(name)): Extension<RequestName>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_json(&headers, body).await?;
    let (options, request) = app.prepare(body.len(), move |app| prepare(app, &body)).await?;
    let num_prompt_tokens = request.prompt.len();
    let identity = identity(&app, "chatcmpl", &name);
    let mut choices = submit(&app, &options, vec![request])?;
    if options.stream {
        let chunks = ChatChunks::new(identity, options.include_usage, choices.len());
        let stream = ChunkStream::new(chunks, choices, num_prompt_tokens, keepalive_interval(&headers));
        return Ok(sse::response(Body::from_stream(stream)));
    }
    let answers = collect(&mut choices).await?;
    Ok(Json(ChatCompletion::new(identity, answers, usage_of(num_prompt_tokens, &choices))).into_response())
}

fn prepare(app: &App, body: &[u8]) -> Result<(Options, NewRequest), ApiError> {
    let ChatRequest { messages, add_generation_prompt, options } = ChatRequest::parse(body, app.vocab_size)?;
    app.check_model(&options.model)?;
    let prompt = encode_conversation(app, &messages, add_generation_prompt)?;
    let request = new_request(app, &options, prompt, usize::MAX, "messages")?;
    Ok((options, request))
}
