//! The log lines of refused requests.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{Request, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use common::{Stage, post};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use streamcore_server::error::ApiError;
use streamcore_server::middleware::tag;
use tower::ServiceExt;
use tracing::subscriber::DefaultGuard;

const CHAT: &str = "/v1/chat/completions";

/// The log of this test's thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> (Self, DefaultGuard) {
        let log = Self::default();
        let lines = log.clone();
        let builder = tracing_subscriber::fmt().json().flatten_event(true);
        let subscriber = builder.with_writer(move || lines.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// Returns the only line about a request since the last call.
    fn line(&self) -> Value {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let lines = lines.map(|line| serde_json::from_slice::<Value>(line).unwrap());
        let mut lines: Vec<_> = lines.filter(|line| line["request_id"].is_string()).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns one of each. A variant that is added has to be added here, or this does not compile.
fn every_error() -> Vec<ApiError> {
    let text = || "x".to_owned();
    let errors = vec![
        ApiError::invalid("invalid_value", "top_p", "`top_p` is 2"),
        ApiError::malformed("noise"),
        ApiError::ApiKey,
        ApiError::Host(text()),
        ApiError::ModelNotFound(text()),
        ApiError::ResponseNotFound(text()),
        ApiError::NotOffered("x"),
        ApiError::UnknownRoute { path: text(), meant: None },
        ApiError::MethodNotAllowed(text()),
        ApiError::HeadTimeout(1),
        ApiError::BodyTimeout(1),
        ApiError::SlowReader,
        ApiError::BodyTooLarge(1),
        ApiError::HeadTooLarge,
        ApiError::MediaType(text()),
        ApiError::ContentEncoding(text()),
        ApiError::QueueFull { reason: text(), retry_after_s: 1 },
        ApiError::Internal,
        ApiError::NotFinite,
        ApiError::Grammar(text()),
        ApiError::Crowded,
        ApiError::ShuttingDown,
        ApiError::EngineFailed(text()),
        ApiError::Deadline(1),
        ApiError::Scripted {
            status: StatusCode::IM_A_TEAPOT,
            code: "teapot".to_owned(),
            message: text(),
            retry_after_s: None,
        },
        ApiError::Cut,
    ];
    for error in &errors {
        match error {
            ApiError::Invalid { .. }
            | ApiError::ApiKey
            | ApiError::Host(_)
            | ApiError::ModelNotFound(_)
            | ApiError::ResponseNotFound(_)
            | ApiError::NotOffered(_)
            | ApiError::UnknownRoute { .. }
            | ApiError::MethodNotAllowed(_)
            | ApiError::HeadTimeout(_)
            | ApiError::BodyTimeout(_)
            | ApiError::SlowReader
            | ApiError::BodyTooLarge(_)
            | ApiError::HeadTooLarge
            | ApiError::MediaType(_)
            | ApiError::ContentEncoding(_)
            | ApiError::QueueFull { .. }
            | ApiError::Internal
            | ApiError::NotFinite
            | ApiError::Grammar(_)
            | ApiError::Crowded
            | ApiError::ShuttingDown
            | ApiError::EngineFailed(_)
            | ApiError::Deadline(_)
            | ApiError::Scripted { .. }
            | ApiError::Cut => {}
        }
    }
    errors
}

/// An operator whose customers get 400s has nothing but the log, and `status=400` is no answer to
/// "why?".
#[tokio::test]
async fn every_error_says_why_in_the_log() {
    let (log, _guard) = Log::start();
    let stage = Stage::new("");
    for error in every_error() {
        let answer = error.clone();
        let router = Router::new()
            .route("/refused", get(move || async { answer }))
            .layer(from_fn_with_state(Arc::clone(&stage.app), tag));
        let response = router.oneshot(common::get("/refused")).await.unwrap();
        let _ = response.into_body().collect().await;
        let line = log.line();
        assert_eq!(line["status"], error.status().as_u16(), "{line}");
        assert_eq!(line["code"], error.code(), "{line}");
        assert_eq!(line["param"].as_str(), error.param(), "{line}");
    }
}

/// The same for requests on their way through keys, routes and checks; one that is served blames
/// nothing.
#[tokio::test]
async fn what_a_route_or_a_layer_refuses_says_why_in_the_log() {
    let (log, _guard) = Log::start();
    let stage = Stage::new("");
    let chat = |field: &str, value: Value| {
        let mut body = json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }] });
        body[field] = value;
        post(CHAT, body)
    };
    let with = |name: &'static str, value: &str| {
        let mut request = post(CHAT, "{}");
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    for (request, code, param) in [
        (chat("temperature", json!(9)), "invalid_value", Some("temperature")),
        (chat("model", json!("gpt-9")), "model_not_found", Some("model")),
        (chat("tool_choice", json!("required")), "invalid_value", Some("tool_choice")),
        (post(CHAT, "{"), "invalid_json", None),
        (with("content-type", "text/plain"), "unsupported_media_type", None),
        (with("content-encoding", "br"), "unsupported_content_encoding", None),
        (with("content-length", "99999999"), "body_too_large", None),
        (post("/v1/messages", "{}"), "missing_required_parameter", Some("max_tokens")),
        (post("/v1/nothing", "{}"), "unknown_route", None),
        (post("/v1/models", "{}"), "method_not_allowed", None),
        (Request::delete("/health").body(axum::body::Body::empty()).unwrap(), "method_not_allowed", None),
    ] {
        stage.answer(request).await;
        let line = log.line();
        assert_eq!((line["code"].as_str(), line["param"].as_str()), (Some(code), param), "{line}");
    }
    stage.answer(common::get("/version")).await;
    assert_eq!(log.line()["code"], Value::Null);
    let guarded = Stage::with_keys(&["key"]);
    guarded.answer(common::get("/version")).await;
    assert_eq!(log.line()["code"], "invalid_api_key");
}

/// A stream that has failed has status 200: without a code it looks in the log as if all were well.
#[tokio::test]
async fn a_stream_that_breaks_off_says_why_in_the_log() {
    let (log, _guard) = Log::start();
    let mut stage = Stage::new("hello");
    stage.runner.fails_after = Some(2);
    let body = json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }], "stream": true });
    stage.play_routed(post(CHAT, body), &[1]);
    let line = log.line();
    assert_eq!((&line["status"], &line["code"]), (&json!(200), &json!("engine_failed")), "{line}");
}

/// The name of a field is the client's text: a line break in it would write lines of its own.
#[tokio::test]
async fn a_name_in_the_log_is_short_and_on_one_line() {
    let (log, _guard) = Log::start();
    let stage = Stage::new("");
    let error = ApiError::invalid("invalid_value", format!("a\nstatus=200 {}", "x".repeat(500)), "m");
    let router = Router::new()
        .route("/refused", get(move || async { error }))
        .layer(from_fn_with_state(Arc::clone(&stage.app), tag));
    router.oneshot(common::get("/refused")).await.unwrap().into_body().collect().await.unwrap();
    assert!(log.line()["param"].as_str().unwrap().len() <= 64);
}
