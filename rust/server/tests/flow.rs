//! When things are sent, and how much waits: the clock is paused and moves on when no task has
//! anything to do.
#![allow(clippy::unwrap_used)]

mod common;

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use common::{Stage, poll_once, post};
use http_body_util::BodyExt;
use serde_json::json;
use tokio::time::{Instant, advance};
use tower::ServiceExt;

const CHAT: &str = "/v1/chat/completions";

fn chat() -> Request<Body> {
    post(CHAT, json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }], "stream": true }))
}

async fn frame(body: &mut Body) -> String {
    let frame = body.frame().await.unwrap().unwrap();
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

fn is_silent(body: &mut Body) -> bool {
    poll_once(std::pin::pin!(body.frame())).is_pending()
}

/// A proxy that has seen no head within its limit answers 504, however fast the tokens come after a
/// long prefill.
#[tokio::test(start_paused = true)]
async fn the_head_is_there_before_the_first_step() {
    let mut stage = Stage::new("Hi");
    let response = stage.router.clone().oneshot(chat()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(stage.runner.driver.stats().steps, 0);
    let mut body = response.into_body();
    assert!(is_silent(&mut body));
    stage.run(1);
    assert!(frame(&mut body).await.contains("\"content\":\"H\""), "the first token is sent at once");
}

/// Clients and proxies give up on a stream that is silent; a comment in the middle of the data
/// would only cost.
#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_a_comment_and_by_nothing_else() {
    let mut stage = Stage::new("Hello");
    let mut body = stage.router.clone().oneshot(chat()).await.unwrap().into_body();
    let start = Instant::now();
    for nth in 1..=3 {
        assert_eq!(frame(&mut body).await, ":\n\n");
        assert_eq!(start.elapsed(), Duration::from_secs(15 * nth));
    }
    advance(Duration::from_secs(10)).await;
    stage.run(1);
    assert!(frame(&mut body).await.starts_with("data: "));
    let last_event = Instant::now();
    assert_eq!(frame(&mut body).await, ":\n\n");
    assert_eq!(
        last_event.elapsed(),
        Duration::from_secs(15),
        "from the last event on, not by the old rhythm"
    );
}

/// A reader that lags gets the same text in fewer events, and the others get theirs token by token.
#[tokio::test(start_paused = true)]
async fn what_a_slow_reader_has_not_taken_merges_and_nobody_else_notices() {
    let mut stage = Stage::new("abcdefgh");
    let mut slow = stage.router.clone().oneshot(chat()).await.unwrap().into_body();
    let mut fast = stage.router.clone().oneshot(chat()).await.unwrap().into_body();
    stage.run(1);
    for letter in ["a", "b", "c", "d"] {
        assert!(frame(&mut fast).await.contains(&format!("\"content\":\"{letter}\"")));
        stage.run(1);
    }
    let merged = frame(&mut slow).await;
    assert!(merged.contains("\"content\":\"abcde\""), "{merged}");
    assert!(is_silent(&mut slow));
}

/// A body that drips keeps a connection, and its client, busy for ever.
#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_answered_with_408() {
    let stage = Stage::new("");
    let never = Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, Infallible>>());
    let (head, body) = stage.answer(Request::post(CHAT).body(never).unwrap()).await;
    assert_eq!(head.status(), 408);
    assert!(body.contains("\"code\":\"body_timeout\""), "{body}");
}

/// A thousand brackets must not be a stack overflow, which takes the process with it.
#[tokio::test]
async fn json_that_nests_too_deep_is_refused() {
    let stage = Stage::new("");
    let deep = format!("{{\"model\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let (head, body) = stage.answer(post(CHAT, deep.as_str())).await;
    assert_eq!(head.status(), 400, "{body}");
}
