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
    let Path(id) = id.unwrap_or_else(|_| Path(String::from("\u{fffd}")));
    if id.ends_with('/') && app.served_name(id.trim_end_matches('/')).is_ok() {
        return Err(unknown(prefix, uri.path()));
    }
    Ok(Json(model(&app, app.served_name(&id)?)).into_response())
}

fn model<'a>(app: &'a App, id: &'a str) -> Model<'a> {
    Model {
        id,
        object: "model",
        created: app.naming.created,
        owned_by: "streamcore",
        root: app.model_name(),
        parent: None,
        max_model_len: app.driver.config().max_seq_len(),
    }
}
