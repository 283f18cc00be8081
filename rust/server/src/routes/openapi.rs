//! `GET /openapi.json`

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde_json::Value;

use crate::app::App;
use crate::door::Prefix;
use crate::openai::openapi;

pub(super) async fn document(State(app): State<Arc<App>>, prefix: Option<Extension<Prefix>>) -> Json<Value> {
    Json(openapi::document(&app.naming.version, prefix.as_ref().map(|prefix| &*prefix.0.0)))
}
