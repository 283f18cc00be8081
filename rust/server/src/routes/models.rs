//! `GET /v1/models` and `GET /v1/models/{id}`

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::unknown;
use crate::anthropic::error::is_asked;
use crate::anthropic::models as anthropic;
use crate::app::App;
use crate::door::Prefix;
use crate::error::ApiError;
use crate::openai::models::{Model, ModelList};

pub(super) async fn list(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let names = app.naming.served_model_names.iter();
    if is_asked(uri.path(), &headers) {
        let data = names.map(|id| anthropic_model(&app, id)).collect();
        return Json(anthropic::ModelList::new(data)).into_response();
    }
    Json(ModelList { object: "list", data: names.map(|id| model(&app, id)).collect() }).into_response()
}

pub(super) async fn retrieve(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    prefix: Option<Extension<Prefix>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // An id that is not UTF-8 names no model.
    let Path(id) = id.unwrap_or_else(|_| Path(String::from("\u{fffd}")));
    if id.ends_with('/') && app.served_name(id.trim_end_matches('/')).is_ok() {
        return Err(unknown(prefix, uri.path()));
    }
    let id = app.served_name(&id)?;
    if is_asked(uri.path(), &headers) {
        return Ok(Json(anthropic_model(&app, id)).into_response());
    }
    Ok(Json(model(&app, id)).into_response())
}

fn anthropic_model<'a>(app: &App, id: &'a str) -> anthropic::Model<'a> {
    let max_len = app.driver.config().max_seq_len();
    anthropic::Model {
        r#type: "model",
        id,
        display_name: id,
        created_at: anthropic::time(app.naming.created),
        lifecycle: "active",
        max_input_tokens: max_len,
        max_tokens: max_len,
    }
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
