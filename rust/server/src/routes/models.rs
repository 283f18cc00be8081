//! `GET /v1/models` and `GET /v1/models/{id}`

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::unknown;
use crate::app::App;
use crate::door::Prefix;
use crate::error::ApiError;
use crate::openai::models::{Model, ModelList};

pub(super) async fn list(State(app): State<Arc<App>>) -> Response {
    let data = app.naming.served_model_names.iter().map(|id| model(&app, id)).collect();
    Json(ModelList { object: "list", data }).into_response()
}

pub(super) async fn retrieve(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    prefix: Option<Extension<Prefix>>,
    uri: Uri,
) -> Result<Response, ApiError> {
    // An id that is not UTF-8 names no model.
    let Path(id) = id.map_err(|_| ApiError::ModelNotFound(String::from("\u{fffd}")))?;
    if id.ends_with('/') && app.check_model(id.trim_end_matches('/')).is_ok() {
        return Err(unknown(prefix, uri.path()));
    }
    app.check_model(&id)?;
    Ok(Json(model(&app, &id)).into_response())
}

fn model<'a>(app: &App, id: &'a str) -> Model<'a> {
    let max_model_len = app.driver.config().max_seq_len();
    Model { id, object: "model", created: app.naming.created, owned_by: "streamcore", max_model_len }
}
