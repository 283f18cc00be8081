//! Requests of tests.

use axum::body::Body;
use axum::http::Request;

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
