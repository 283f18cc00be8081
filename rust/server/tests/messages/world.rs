//! What holds for chat holds here: silence, keys, limits, deadlines, slow readers and counts.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use streamcore_engine::EngineConfig;
use tower::ServiceExt;

use crate::cases::{MESSAGES, ask};
use crate::common::{Stage, engine_config, get, limits, post};
use crate::grammar::{check_refusal, read};

fn streamed() -> axum::http::Request<axum::body::Body> {
    ask(json!({ "stream": true })).request()
}

/// Claude Code gives up on a stream that tells no event for a while; a ping before the message is one
/// that some clients do not expect.
#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_a_comment_and_then_by_pings() {
    let mut stage = Stage::new("Hello");
    let mut body = stage.router.clone().oneshot(streamed()).await.unwrap().into_body();
    let mut next = async || {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        String::from_utf8(frame.to_vec()).unwrap()
    };
    assert_eq!(next().await, ":\n\n");
    stage.run(1);
    assert!(next().await.starts_with("event: message_start\n"));
    let before = tokio::time::Instant::now();
    assert_eq!(next().await, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
    assert_eq!(before.elapsed(), Duration::from_secs(15));
}

/// Either header may bring the key; without one nothing is read of the body.
#[tokio::test(start_paused = true)]
async fn a_key_comes_in_either_header() {
    let mut stage = Stage::with_keys(&["first", "second"]);
    let mut status = |name: &'static str, value: &str| {
        let mut request = ask(json!({})).request();
        request.headers_mut().insert(name, value.parse().unwrap());
        stage.play(request, 1).head.status().as_u16()
    };
    assert_eq!(status("x-api-key", "second"), 200);
    assert_eq!(status("authorization", "Bearer first"), 200);
    assert_eq!(status("x-api-key", "third"), 401);
    assert_eq!(status("anthropic-version", "2023-06-01"), 401);
}

/// Who pays for tokens that were cached pays twice; one key must not learn what another has asked.
#[tokio::test(start_paused = true)]
async fn cached_tokens_are_told_to_those_who_may_share_them() {
    let mut stage = Stage::with_keys(&["first", "second"]);
    let mut usage = |key: &str| {
        let mut request = ask(json!({ "max_tokens": 1, "system": "abcdefgh" })).request();
        request.headers_mut().insert("x-api-key", key.parse().unwrap());
        let body: Value = serde_json::from_str(&stage.play(request, 1).body()).unwrap();
        let count = |name: &str| body["usage"][name].as_u64().unwrap();
        (count("input_tokens"), count("cache_read_input_tokens"))
    };
    let (all, cached) = usage("first");
    assert_eq!(cached, 0);
    let (computed, cached) = usage("first");
    assert!(cached >= 8 && computed + cached == all, "{computed} {cached} of {all}");
    assert_eq!(usage("second"), (all, 0));
}

/// Claude Code asks for 32,000 tokens whatever the model has: a refusal would leave it without any answer.
#[tokio::test(start_paused = true)]
async fn more_than_there_is_room_for_is_as_much_as_there_is() {
    let mut stage = Stage::new("x".repeat(500));
    let transcript = stage.play(ask(json!({ "max_tokens": 32_000 })).request(), 1);
    let body: Value = serde_json::from_str(&transcript.body()).unwrap();
    assert_eq!(body["stop_reason"], "max_tokens");
    assert_eq!(body["usage"]["output_tokens"], 128 - body["usage"]["input_tokens"].as_u64().unwrap());
    let full = ask(json!({ "system": "x".repeat(150), "max_tokens": 32_000 })).request();
    let refused = stage.play(full, 1);
    assert_eq!(refused.head.status(), 400);
    assert!(refused.body().contains("prompt is too long"), "{}", refused.body());
}

/// An answer that its client waits for no longer must not go on; what it gets then is an error of its SDK.
#[tokio::test(start_paused = true)]
async fn a_whole_answer_ends_when_its_client_gives_up() {
    let mut request = ask(json!({})).request();
    request.headers_mut().insert("x-stainless-read-timeout", "0.000000001".parse().unwrap());
    let mut stage = Stage::new("never");
    let refused = stage.play(request, 20);
    assert_eq!(refused.head.status(), 504);
    let body: Value = serde_json::from_str(&refused.writes.concat()).unwrap();
    check_refusal(&body).unwrap();
    assert_eq!(body["error"]["type"], "timeout_error");
    assert!(stage.is_clean());
}

/// A reader that falls behind gets fewer and larger events, none above 64 KiB.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_merged_events_of_bounded_size() {
    let config = EngineConfig { block_size: 1 << 12, max_model_len: 1 << 16, ..engine_config() };
    let script = "\u{1}".repeat(40_000);
    let mut stage = Stage::with_config(&script, config, limits());
    let transcript = stage.play(ask(json!({ "stream": true, "max_tokens": 50_000 })).request(), 50_000);
    let told = read(&transcript).unwrap();
    assert_eq!(told["content"][0]["text"], script);
    let num_events = transcript.writes.concat().matches("content_block_delta\n").count();
    assert_eq!(num_events, 40_000_usize.div_ceil(8 << 10));
}

/// A dashboard that leaves one dialect out shows a server that idles under load.
#[tokio::test(start_paused = true)]
async fn metrics_count_these_requests() {
    let mut stage = Stage::new("abc");
    stage.play(ask(json!({})).request(), 1);
    let left = post(MESSAGES, json!({}));
    stage.play(left, 1);
    let (_, page) = stage.answer(get("/metrics")).await;
    for line in [
        "streamcore_generation_tokens_total 4",
        "streamcore_requests_total{finish_reason=\"stop\"} 1",
        "streamcore_http_responses_total{status=\"400\"} 1",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is not in {page}");
    }
}
