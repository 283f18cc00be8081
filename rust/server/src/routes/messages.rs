//! `POST /v1/messages` and `POST /v1/messages/count_tokens`

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::body::read_json;
use super::generate::{Api, Client};
use crate::anthropic::events::MessageEvents;
use crate::anthropic::request::{parse, parse_count};
use crate::anthropic::response::{TokenCount, whole};
use crate::app::App;
use crate::error::ApiError;
use crate::generation::{Generation, num_prompt_tokens, of_chat};
use crate::stream::{Answer, Choice, Identity, usage_of};

pub(super) struct Messages;

impl Api for Messages {
    const PREFIX: &'static str = "msg_";
    type Chunks = MessageEvents;

    fn prepare(app: &App, _: &Client, body: &[u8]) -> Result<(Self, Generation), ApiError> {
        let mut request = parse(body, app.vocab_size)?;
        // Clients send a budget to every model.
        request.options.thinking_token_budget.take_if(|_| app.text.formats.reasoning.is_none());
        Ok((Self, of_chat(app, request)?))
    }

    fn chunks(self, identity: Identity, _: Generation, _: usize) -> MessageEvents {
        MessageEvents::new(identity)
    }

    fn whole(
        self,
        identity: &Identity,
        _: &Generation,
        choices: &[Choice],
        answers: &mut [Answer],
    ) -> Vec<u8> {
        whole(identity, &answers[0], usage_of(choices))
    }
}

pub(super) async fn count_tokens(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<TokenCount>, ApiError> {
    let body = read_json(&app, &headers, body).await?;
    let num_bytes = body.len();
    let prepare = move |app: &App| {
        let request = parse_count(&body, app.vocab_size)?;
        Ok(Json(TokenCount { input_tokens: num_prompt_tokens(app, request)? }))
    };
    app.prepare(num_bytes, prepare).await
}
