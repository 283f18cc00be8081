//! `POST /tokenize` and `POST /detokenize`

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;

use super::body::{json, read_json};
use crate::app::App;
use crate::error::ApiError;
use crate::generation::{encode, encode_conversation};
use crate::openai::tokenize::{
    DetokenizeResponse, TokenizeRequest, TokenizeResponse, TokenizeSource, parse_detokenize,
};
use crate::text::{TextError, token_name};

pub(super) async fn tokenize(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_json(&app, &headers, body).await?;
    let num_bytes = body.len();
    let prepare = move |app: &App| {
        let TokenizeRequest { source, return_token_strs } = TokenizeRequest::parse(&body, app.vocab_size)?;
        let tokens = match source {
            TokenizeSource::Prompt { text, add_special_tokens } => {
                let tokenizer = &app.text.tokenizer;
                let encode_text = |piece: &str, _: usize| tokenizer.encode(piece, add_special_tokens);
                encode(app, &text, None, "prompt", tokenizer.in_pieces(add_special_tokens), encode_text)?
            }
            TokenizeSource::Messages(conversation) => encode_conversation(app, conversation, None)?.tokens,
        };
        let token_strs = return_token_strs.then(|| token_names(app, &tokens));
        let max_model_len = app.driver.config().max_seq_len();
        Ok(written(&TokenizeResponse { count: tokens.len(), max_model_len, tokens, token_strs }))
    };
    app.prepare(num_bytes, prepare).await.map(json)
}

/// Serialises an answer on the thread that made it: it may be megabytes.
fn written(answer: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).expect("texts and numbers can be written")
}

/// Returns the names of tokens, as in log-probabilities.
fn token_names(app: &App, tokens: &[u32]) -> Vec<String> {
    let detokenizer = app.text.tokenizer.detokenizer(true);
    tokens.iter().map(|id| token_name(detokenizer.content(*id)).into_owned()).collect()
}

pub(super) async fn detokenize(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_json(&app, &headers, body).await?;
    let num_bytes = body.len();
    let prepare = move |app: &App| {
        let tokenizer = &app.text.tokenizer;
        let tokens = parse_detokenize(&body, tokenizer.vocab_size())?;
        let refused = |error: TextError| ApiError::invalid("invalid_value", "tokens", error.to_string());
        let prompt = tokenizer.decode(&tokens, false).map_err(refused)?;
        Ok(written(&DetokenizeResponse { prompt }))
    };
    app.prepare(num_bytes, prepare).await.map(json)
}
