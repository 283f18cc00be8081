//! `GET /version`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;

pub(super) async fn version(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({ "version": app.naming.version }))
}
