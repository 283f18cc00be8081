//! `POST /v1/responses`, its stored responses, and the size of its prompt.

mod kept;

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures_util::StreamExt;

pub(super) use self::kept::{cancel, delete, input_items, retrieve};
use super::body::{json, read_json};
use super::generate::{Api, Client, Started, start};
use crate::app::App;
use crate::error::ApiError;
use crate::generation::{Generation, num_prompt_tokens, of_chat, random};
use crate::ledger::Full;
use crate::openai::responses::{InputTokens, Past, ResponseEvents, ResponsesRequest, Told, stored_input};
use crate::sse;
use crate::stored::{KeptFor, NewResponse, Recording, ResponseStore, StoredResponse, replay};
use crate::stream::{Answer, Choice, Chunks, Identity, usage_of};

/// The parts of a request that its answer needs.
pub(super) struct Responses {
    told: Told,
    /// Whether the client requested a stream; a background response is always generated as one.
    is_streamed: bool,
    place: Place,
}

/// Where a response is kept.
enum Place {
    Nowhere,
    Planned { store: Arc<ResponseStore>, new: NewResponse, now: Instant },
    Kept(Recording),
    Refused(Full),
}

impl Responses {
    /// Starts to store the response, if requested and there is room.
    fn keep(&mut self) -> Option<Arc<StoredResponse>> {
        self.place = match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::Planned { store, new, now } => {
                store.open(new, now).map_or_else(Place::Refused, Place::Kept)
            }
            place => place,
        };
        let response = match &self.place {
            Place::Kept(recording) => Some(recording.response()),
            Place::Nowhere | Place::Planned { .. } | Place::Refused(_) => None,
        };
        self.told.store = response.is_some();
        response
    }

    fn events(mut self, identity: Identity, generation: &Generation) -> ResponseEvents {
        self.keep();
        let recording = match self.place {
            Place::Kept(recording) => Some(recording),
            Place::Nowhere | Place::Planned { .. } | Place::Refused(_) => None,
        };
        ResponseEvents::new(identity, self.told, generation.options.details.format(), recording)
    }
}

/// Reads a body, with what is kept for its client.
fn read(app: &App, client: &Client, now: Instant, body: &[u8]) -> Result<ResponsesRequest, ApiError> {
    let kept = app.responses.as_ref().map(|store| KeptFor::new(store, client.key, now, body.len()));
    let past = kept.as_ref().map_or(Past::Nothing, |kept| Past::Kept(kept));
    ResponsesRequest::parse(body, app.vocab_size, past)
}

impl Api for Responses {
    const PREFIX: &'static str = "resp_";
    type Chunks = ResponseEvents;

    fn prepare(app: &App, client: &Client, body: &[u8]) -> Result<(Self, Generation), ApiError> {
        let now = app.driver.now();
        let ResponsesRequest { mut chat, origins, mut told, input } = read(app, client, now, body)?;
        let is_streamed = chat.options.stream;
        chat.options.stream |= told.background;
        chat.options.details.keeps_logprobs = true;
        let mut place = Place::Nowhere;
        if let (true, Some(store)) = (told.store, &app.responses) {
            // The id gives access to the stored response.
            let name = format!("{:016x}{:016x}", random(), random());
            let new = NewResponse {
                id: format!("{}{name}", Self::PREFIX),
                owner: client.key,
                previous: told.previous_response_id.clone(),
                input: serde_json::to_vec(&stored_input(input, &name)).expect("JSON serialises"),
                keeps_events: is_streamed,
                is_background: told.background,
            };
            chat.options.request_id = Some(name);
            place = Place::Planned { store: Arc::clone(store), new, now };
        }
        let given = chat.options.sampling.numbers.or(app.text.generation.sampling);
        told.temperature = told.temperature.or(given.temperature.map(shortest)).or(Some(1.0));
        told.top_p = told.top_p.or(given.top_p.map(shortest)).or(Some(1.0));
        let generation = of_chat(app, chat).map_err(|error| origins.name(error))?;
        Ok((Self { told, is_streamed, place }, generation))
    }

    fn chunks(self, identity: Identity, generation: Generation, _: usize) -> ResponseEvents {
        self.events(identity, &generation)
    }

    /// Returns the object that the events of a stream would build up.
    fn whole(
        self,
        identity: &Identity,
        generation: &Generation,
        choices: &[Choice],
        answers: &mut [Answer],
    ) -> Vec<u8> {
        let mut events = self.events(identity.clone(), generation);
        let mut unread = Vec::new();
        events.begin(&mut unread);
        for Answer { delta, finish } in answers {
            delta.said().for_each(|(said, tokens)| events.said(0, said, tokens, None, &mut unread));
            events.finish(0, finish, &delta.tail, None, &mut unread);
        }
        events.end(usage_of(choices), &mut unread);
        events.into_body()
    }
}

/// Returns the shortest decimal of a number: 0.7 rather than 0.699999988079071.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    client: Client,
    body: Body,
) -> Result<Response, ApiError> {
    let started = start::<Responses>(&app, client, body).await?;
    if started.api.told.background {
        return in_background(&app, started).await;
    }
    started.answer(&app).await
}

/// Generates a response even if its client leaves; the client reads it from the store.
async fn in_background(app: &App, mut started: Started<Responses>) -> Result<Response, ApiError> {
    let Some(response) = started.api.keep() else {
        return Err(match started.api.place {
            Place::Refused(full) => app.driver.refuse(full).into(),
            Place::Nowhere | Place::Planned { .. } | Place::Kept(_) => ApiError::Internal,
        });
    };
    let (is_streamed, max_silence) = (started.api.is_streamed, started.max_silence);
    let mut events = started.stream();
    // The first events come before anything is generated.
    events.next().await;
    let generating = tokio::spawn(async move { while let Some(Ok(_)) = events.next().await {} });
    response.run_by(generating.abort_handle());
    if is_streamed {
        return Ok(sse::response(Body::from_stream(replay(response, 0, max_silence))));
    }
    Ok(json(response.body()))
}

/// `POST /v1/responses/input_tokens`: the size of the prompt that `/v1/responses` would make of
/// this body.
pub(super) async fn input_tokens(
    State(app): State<Arc<App>>,
    client: Client,
    body: Body,
) -> Result<Json<InputTokens>, ApiError> {
    let body = read_json(&app, &client.headers, body).await?;
    let num_bytes = body.len();
    let count = move |app: &App| {
        let ResponsesRequest { chat, origins, .. } = read(app, &client, app.driver.now(), &body)?;
        let num_tokens = num_prompt_tokens(app, chat).map_err(|error| origins.name(error))?;
        Ok(Json(InputTokens::of(num_tokens)))
    };
    app.prepare(num_bytes, count).await
}

/// `POST /v1/responses/compact`: OpenAI answers with a summary that only its own servers can read.
pub(super) async fn compact() -> ApiError {
    ApiError::NotOffered(
        "`/v1/responses/compact` is not offered, the server makes no summaries of its own: let the client \
         have the model write one, or set `truncation` to `auto`",
    )
}
