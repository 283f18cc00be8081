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
use crate::openai::tokenize::{
    DetokenizeResponse, TokenizeRequest, TokenizeResponse, TokenizeSource, parse_detokenize,
};
use crate::text::{TextError, token_name};

pub(super) async fn tokenize(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<TokenizeResponse>, ApiError> {
    let body = read_json(&app, &headers, body).await?;
    let num_bytes = body.len();
    let prepare = move |app: &App| {
        let TokenizeRequest { source, return_token_strs } = TokenizeRequest::parse(&body, app.vocab_size)?;
        let tokens = match source {
            TokenizeSource::Prompt { text, add_special_tokens } => {
                let encode_text = |text: &str| app.text.tokenizer.encode(text, add_special_tokens);
                encode(app, &text, None, "prompt", encode_text)?
            }
            TokenizeSource::Messages(conversation) => encode_conversation(app, conversation, None)?.tokens,
        };
        let token_strs = return_token_strs.then(|| token_names(app, &tokens));
        let max_model_len = app.driver.config().max_seq_len();
        Ok(Json(TokenizeResponse { count: tokens.len(), max_model_len, tokens, token_strs }))
    };
    app.prepare(num_bytes, prepare).await
}

/// As in log-probabilities.
fn token_names(app: &App, tokens: &[u32]) -> Vec<String> {
    let detokenizer = app.text.tokenizer.detokenizer(true);
    tokens.iter().map(|id| token_name(detokenizer.content(*id)).into_owned()).collect()
}

pub(super) async fn detokenize(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    let body = read_json(&app, &headers, body).await?;
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
