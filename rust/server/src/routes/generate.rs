//! The common part of the routes that generate: all but making prompts and writing answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::{HeaderMap, request};
use axum::response::Response;

use super::body::{json, read_json};
use super::cache_salt::cache_salt;
use crate::app::App;
use crate::error::ApiError;
use crate::generation::{Generation, identity};
use crate::middleware::{ApiKeyNumber, RequestName};
use crate::sse;
use crate::stream::{Answer, Choice, ChunkStream, Chunks, Identity, collect};

/// One API: its requests and its answers. Implementors hold the parts of the request that answers
/// repeat.
pub(super) trait Api: Sized + Send + 'static {
    /// The prefix of its ids.
    const PREFIX: &'static str;
    /// Writes its streams.
    type Chunks: Chunks + Unpin + Send + 'static;

    /// Reads a body and makes its prompts.
    fn prepare(app: &App, client: &Client, body: &[u8]) -> Result<(Self, Generation), ApiError>;
    /// Returns the writer of a stream.
    fn chunks(self, identity: Identity, generation: Generation, num_choices: usize) -> Self::Chunks;
    /// Returns the body of a whole answer.
    fn whole(
        self,
        identity: &Identity,
        generation: &Generation,
        choices: &[Choice],
        answers: &mut [Answer],
    ) -> Vec<u8>;
}

/// The client of a request.
#[derive(Debug)]
pub(super) struct Client {
    /// The name of the request.
    pub(super) name: String,
    /// The number of its key.
    pub(super) key: u32,
    /// The headers of the request.
    pub(super) headers: HeaderMap,
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut request::Parts, _: &S) -> Result<Self, Infallible> {
        let RequestName(name) = parts.extensions.get().cloned().expect("every request has a name");
        let ApiKeyNumber(key) = *parts.extensions.get().expect("every request has been let through");
        Ok(Self { name, key, headers: parts.headers.clone() })
    }
}

/// A request that has a place in the queue, so that it cannot be refused any more.
#[derive(Debug)]
pub(super) struct Started<A> {
    pub(super) api: A,
    pub(super) identity: Identity,
    pub(super) generation: Generation,
    pub(super) choices: Vec<Choice>,
    /// How long its stream may be silent.
    pub(super) max_silence: Duration,
}

pub(super) async fn create<A: Api>(
    State(app): State<Arc<App>>,
    client: Client,
    body: Body,
) -> Result<Response, ApiError> {
    start::<A>(&app, client, body).await?.answer(&app).await
}

/// Reads a request, and queues it.
///
/// # Errors
/// Any refusal of a request.
pub(super) async fn start<A: Api>(
    app: &Arc<App>,
    client: Client,
    body: Body,
) -> Result<Started<A>, ApiError> {
    let body = read_json(app, &client.headers, body).await?;
    let (num_bytes, client) = (body.len(), Arc::new(client));
    let asker = Arc::clone(&client);
    let prepared = app.prepare(num_bytes, move |app| A::prepare(app, &asker, &body)).await?;
    let (api, mut generation) = prepared;
    if generation.is_held_to_something() {
        generation = app.prepare_away(num_bytes, move |app| generation.constrain(app)).await?;
    }
    let Client { name, key, headers } = &*client;
    let identity = identity(app, A::PREFIX, &generation.options, name);
    let cache_salt = cache_salt(headers, generation.options.cache_salt.as_deref());
    let choices = generation.submit(app, cache_salt, *key, generation.patience(headers))?;
    let max_silence = generation.max_silence(headers);
    Ok(Started { api, identity, generation, choices, max_silence })
}

impl<A: Api> Started<A> {
    /// Returns the answer, streamed or whole as requested.
    ///
    /// # Errors
    /// The error that ended a whole answer early.
    pub(super) async fn answer(self, app: &App) -> Result<Response, ApiError> {
        if self.generation.options.stream {
            return Ok(sse::response(Body::from_stream(self.stream())));
        }
        self.whole(app).await
    }

    /// Returns the answer as events.
    pub(super) fn stream(self) -> ChunkStream<A::Chunks> {
        let Self { api, identity, generation, choices, max_silence } = self;
        let chunks = api.chunks(identity, generation, choices.len());
        ChunkStream::new(chunks, choices, max_silence)
    }

    /// Returns the answer in one piece.
    async fn whole(self, app: &App) -> Result<Response, ApiError> {
        let Self { api, identity, generation, mut choices, .. } = self;
        let mut answers = collect(&mut choices).await?;
        let num_details_bytes = generation.num_details_bytes();
        let write = move || api.whole(&identity, &generation, &choices, &mut answers);
        Ok(json(app.write(num_details_bytes, write).await))
    }
}
