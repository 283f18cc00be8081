//! `GET /openapi.json`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use crate::app::App;
use crate::openai::openapi;

pub(super) async fn document(State(app): State<Arc<App>>) -> Json<Value> {
    Json(openapi::document(&app.naming.version))
}
