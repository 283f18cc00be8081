//! `POST /tokenize` and `POST /detokenize`

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::body::read_json;
use crate::app::App;
use crate::error::ApiError;
use crate::generation::{encode, encode_conversation};
use crate::openai::tokenize::{DetokenizeResponse, TokenizeRequest, TokenizeResponse, parse_detokenize};
use crate::text::TextError;

pub(super) async fn tokenize(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<TokenizeResponse>, ApiError> {
    let body = read_json(&headers, body).await?;
    let num_bytes = body.len();
    let prepare = move |app: &App| match TokenizeRequest::parse(&body)? {
        TokenizeRequest::Prompt { text, add_special_tokens } => {
            encode(app, &text, add_special_tokens, "prompt")
        }
        TokenizeRequest::Messages { messages, add_generation_prompt } => {
            encode_conversation(app, &messages, add_generation_prompt)
        }
    };
    let tokens = app.prepare(num_bytes, prepare).await?;
    let max_model_len = app.driver.config().max_seq_len();
    Ok(Json(TokenizeResponse { count: tokens.len(), max_model_len, tokens }))
}

pub(super) async fn detokenize(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    let body = read_json(&headers, body).await?;
    let num_bytes = body.len();
    let prepare = move |app: &App| {
        let tokenizer = &app.text.tokenizer;
        let tokens = parse_detokenize(&body, tokenizer.vocab_size())?;
        let refused = |error: TextError| ApiError::invalid("invalid_value", "tokens", error.to_string());
        tokenizer.decode(&tokens, false).map_err(refused)
    };
    let prompt = app.prepare(num_bytes, prepare).await?;
    Ok(Json(DetokenizeResponse { prompt }))
}
