//! Every path.

mod body;
mod cache_salt;
mod chat_completions;
mod completions;
mod generate;
mod health;
mod metrics;
mod models;
mod openapi;
mod tokenize;
mod version;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use self::chat_completions::Chat;
use self::completions::Completions;
use crate::app::App;
use crate::error::ApiError;
use crate::middleware::{authorize, cors, tag};
use crate::script::received::record;

/// The whole application, for any way to serve it.
pub fn router(app: Arc<App>) -> Router {
    let open = Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .method_not_allowed_fallback(method_not_allowed);
    let guarded = Router::new()
        .route("/v1/chat/completions", post(generate::create::<Chat>))
        .route("/v1/completions", post(generate::create::<Completions>))
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

async fn unknown_route(uri: Uri) -> ApiError {
    ApiError::UnknownRoute(uri.path().to_owned())
}

async fn method_not_allowed(method: Method) -> ApiError {
    ApiError::MethodNotAllowed(method.to_string())
}
