//! All routes.

mod body;
mod cache_salt;
mod chat_completions;
mod completions;
mod content_encoding;
mod generate;
mod health;
mod messages;
mod metrics;
mod models;
mod near;
mod openapi;
mod received_body;
mod responses;
mod root_path;
mod tokenize;
mod version;

use std::sync::Arc;

use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Extension, Router};

use self::chat_completions::Chat;
use self::completions::Completions;
use self::messages::Messages;
use self::near::meant_by;
pub use self::root_path::under;
use crate::app::App;
use crate::door::Prefix;
use crate::error::ApiError;
use crate::middleware::{authorize, cors, tag};
use crate::script::received::record;

/// Paths whose `POST` generates.
pub const GENERATING: &[&str] = &["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"];

/// Returns the whole application, for any way to serve it.
pub fn router(app: Arc<App>) -> Router {
    let open = Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .method_not_allowed_fallback(method_not_allowed);
    let guarded = Router::new()
        .route("/v1/chat/completions", post(generate::create::<Chat>))
        .route("/v1/completions", post(generate::create::<Completions>))
        .route("/v1/messages", post(generate::create::<Messages>))
        .route("/v1/messages/count_tokens", post(messages::count_tokens))
        .route("/v1/responses", post(responses::create))
        .route("/v1/responses/compact", post(responses::compact))
        .route("/v1/responses/input_tokens", post(responses::input_tokens))
        .route("/v1/responses/{id}", get(responses::retrieve).delete(responses::delete))
        .route("/v1/responses/{id}/cancel", post(responses::cancel))
        .route("/v1/responses/{id}/input_items", get(responses::input_items))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::retrieve))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/version", get(version::version))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(openapi::document))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&app), authorize));
    let log = app.script.as_ref().and_then(|script| script.log().cloned());
    let router = guarded.merge(open).layer(from_fn_with_state(Arc::clone(&app), cors));
    let router = match log {
        Some(log) => router.layer(from_fn_with_state(log, record)),
        None => router,
    };
    router.layer(from_fn_with_state(Arc::clone(&app), tag)).with_state(app)
}

async fn unknown_route(prefix: Option<Extension<Prefix>>, uri: Uri) -> ApiError {
    unknown(prefix, uri.path())
}

/// Makes the error of an unknown path: the prefix as clients see it, and the likely route.
fn unknown(prefix: Option<Extension<Prefix>>, path: &str) -> ApiError {
    let prefix = prefix.map_or_else(String::new, |Extension(Prefix(prefix))| prefix);
    let meant = meant_by(path).map(|meant| format!("{prefix}{meant}"));
    ApiError::UnknownRoute { path: format!("{prefix}{path}"), meant }
}

async fn method_not_allowed(method: Method) -> ApiError {
    ApiError::MethodNotAllowed(method.to_string())
}
