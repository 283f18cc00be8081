//! What one API key takes never comes out of the others' share.
#![allow(clippy::unwrap_used)]

mod common;

use axum::body::Body;
use axum::http::Request;
use common::{Stage, post};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use streamcore_server::Access;
use streamcore_server::ledger::Pool;
use tower::ServiceExt;

const COMPLETIONS: &str = "/v1/completions";

fn with_key(key: &str, body: Value) -> Request<Body> {
    let mut request = post(COMPLETIONS, body);
    request.headers_mut().insert("x-api-key", key.parse().unwrap());
    request
}

fn stream(prompt: &str) -> Value {
    json!({ "model": "toy", "prompt": prompt, "max_tokens": 4, "stream": true })
}

/// Returns the bodies of streams that are accepted, and the statuses of those that are not.
async fn send(stage: &Stage, key: &str, body: Value, count: usize) -> (Vec<Body>, Vec<u16>) {
    let (mut open, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let response = stage.router.clone().oneshot(with_key(key, body.clone())).await.unwrap();
        match response.status().as_u16() {
            200 => open.push(response.into_body()),
            status => refused.push(status),
        }
    }
    (open, refused)
}

/// A customer that keeps the queue full would have nearly all requests of another refused.
#[tokio::test]
async fn a_full_queue_has_room_for_the_key_that_has_nothing_in_it() {
    let stage = Stage::with_keys(&["flood", "other"]);
    let (flood, refused) = send(&stage, "flood", stream("a"), 40).await;
    assert_eq!((flood.len(), refused), (12, vec![429; 28]));
    let (others, refused) = send(&stage, "other", stream("b"), 4).await;
    assert_eq!((others.len(), refused), (4, vec![]));
    let (_, body) = stage.answer(with_key("flood", stream("a"))).await;
    assert!(body.contains("(this API key has 12, its limit is now 12), try again in "), "{body}");
    assert_eq!(stage.app.driver.ledger().held(Pool::Requests), 16);
}

/// A request that fits into no queue that its key will ever have would be told to try again for
/// ever.
#[tokio::test]
async fn what_is_beyond_the_part_of_a_key_is_refused_for_good() {
    let stage = Stage::with_keys(&["flood", "other"]);
    let (_, refused) = send(&stage, "flood", json!({ "model": "toy", "prompt": "a", "n": 13 }), 1).await;
    assert_eq!(refused, [400]);
}

/// A key would move its whole flood before the others' requests by one number in each body.
#[tokio::test]
async fn priority_moves_a_request_before_those_of_its_own_key_alone() {
    let is_served = async |priority_keys: Vec<u32>| {
        let api_keys = ["flood", "other"].map(str::to_owned).into();
        let mut stage = Stage::with_access(&Access { api_keys, priority_keys, ..Access::default() });
        let mut urgent = stream("a");
        urgent["priority"] = json!(-9);
        // More than there are rows.
        let (flood, _) = send(&stage, "flood", urgent, 12).await;
        let (mut other, _) = send(&stage, "other", stream("b"), 1).await;
        stage.run(1);
        let first = other[0].frame().now_or_never();
        drop(flood);
        first.is_some()
    };
    assert!(is_served(vec![]).await);
    assert!(!is_served(vec![1]).await, "unless the operator lets it");
}
