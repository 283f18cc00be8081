//! Requests of tests.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use tokio::task::yield_now;
use tower::ServiceExt;

use super::{Stage, poll_once};

/// Returns a `POST` with a JSON body and a name of its own.
pub fn post(path: &str, body: impl Into<PostBody>) -> Request<Body> {
    Request::post(path)
        .header("content-type", "application/json")
        .header("x-request-id", "t1")
        .body(Body::from(body.into().0))
        .unwrap()
}

/// JSON, or what is sent in its place.
pub struct PostBody(String);

impl From<serde_json::Value> for PostBody {
    fn from(body: serde_json::Value) -> Self {
        Self(body.to_string())
    }
}

impl From<&str> for PostBody {
    fn from(body: &str) -> Self {
        Self(body.to_owned())
    }
}

pub fn get(path: &str) -> Request<Body> {
    Request::get(path).header("x-request-id", "t1").body(Body::empty()).unwrap()
}

/// Asks, and lets the engine and what runs in the background go on until the answer is there.
pub async fn ask(stage: &mut Stage, request: Request<Body>) -> (u16, String) {
    let mut answered = pin!(async {
        let response = stage.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    });
    loop {
        if let Poll::Ready(answer) = poll_once(answered.as_mut()) {
            return answer;
        }
        stage.runner.step(Duration::ZERO);
        yield_now().await;
    }
}
