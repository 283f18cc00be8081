//! What the routes that generate have in common: all but how a prompt is made and how an answer is written.

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
use crate::generation::{Generation, identity};
use crate::middleware::{ApiKeyNumber, RequestName};
use crate::sse;
use crate::stream::{Answer, Choice, ChunkStream, Chunks, Identity, collect};

/// One API: its requests and its answers.
pub(super) trait Api {
    /// What its ids begin with.
    const PREFIX: &'static str;
    /// Writes its streams.
    type Chunks: Chunks + Unpin + Send + 'static;

    /// Reads a body and makes its prompts.
    fn prepare(app: &App, body: &[u8]) -> Result<Generation, ApiError>;
    /// What writes a stream.
    fn chunks(identity: Identity, generation: Generation, num_choices: usize) -> Self::Chunks;
    /// The body of a whole answer.
    fn whole(
        identity: &Identity,
        generation: &Generation,
        choices: &[Choice],
        answers: &mut [Answer],
    ) -> Vec<u8>;
}

pub(super) async fn create<A: Api>(
    State(app): State<Arc<App>>,
    Extension(RequestName(name)): Extension<RequestName>,
    Extension(ApiKeyNumber(key)): Extension<ApiKeyNumber>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_json(&app, &headers, body).await?;
    let num_bytes = body.len();
    let mut generation = app.prepare(num_bytes, move |app| A::prepare(app, &body)).await?;
    if generation.is_held_to_something() {
        generation = app.prepare_away(num_bytes, move |app| generation.constrain(app)).await?;
    }
    let identity = identity(&app, A::PREFIX, &generation.options, &name);
    let cache_salt = cache_salt(&headers, generation.options.cache_salt.as_deref());
    let mut choices = generation.submit(&app, cache_salt, key, generation.patience(&headers))?;
    if generation.options.stream {
        let max_silence = generation.max_silence(&headers);
        let chunks = A::chunks(identity, generation, choices.len());
        return Ok(sse::response(Body::from_stream(ChunkStream::new(chunks, choices, max_silence))));
    }
    let mut answers = collect(&mut choices).await?;
    let num_details_bytes = generation.num_details_bytes();
    let write = move || A::whole(&identity, &generation, &choices, &mut answers);
    Ok(json(app.write(num_details_bytes, write).await))
}
