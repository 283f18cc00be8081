//! `GET /health` and `GET /ready`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use crate::app::App;
use crate::driver::Health;
use crate::error::ApiError;

/// Returns whether the process should live: also while it drains.
pub(super) async fn health(State(app): State<Arc<App>>) -> Result<StatusCode, ApiError> {
    match app.driver.health() {
        Health::Serving | Health::Draining => Ok(StatusCode::OK),
        Health::Failed(message) => Err(ApiError::EngineFailed(message)),
    }
}

/// Returns whether new requests should come here.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<StatusCode, ApiError> {
    match app.driver.health() {
        Health::Serving => Ok(StatusCode::OK),
        Health::Draining => Err(ApiError::ShuttingDown),
        Health::Failed(message) => Err(ApiError::EngineFailed(message)),
    }
}
