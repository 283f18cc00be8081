//! The effects of a stream on the engine, on memory and on a silent line; its bytes are in the
//! golden transcripts.
#![allow(clippy::unwrap_used)]

mod common;

use std::pin::pin;
use std::time::Duration;

use common::contract::{Asked, read};
use common::{Stage, get, poll_once, post};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use streamcore_engine::EngineConfig;
use tower::ServiceExt;

fn chat(extra: &Value) -> Value {
    let mut body =
        json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }], "stream": true });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

const CHAT: &str = "/v1/chat/completions";

/// Behind a stop string the engine would go on to the end of the context, in vain.
#[tokio::test(start_paused = true)]
async fn a_stop_string_stops_the_engine() {
    let body = chat(&json!({ "stop": ["zz", "END"] }));
    let mut stage = Stage::new("aENbEND never seen");
    stage.play(post(CHAT, body), 1);
    stage.runner.step(Duration::ZERO);
    assert!(stage.is_clean(), "the engine stops generating, too");
    let metrics = stage.runner.driver.render_metrics("toy");
    assert!(metrics.contains("streamcore_requests_total{finish_reason=\"stop\"} 1"), "{metrics}");
}

/// SDKs show how long the server took; a stream's head goes out before that is known.
#[tokio::test(start_paused = true)]
async fn whole_answers_tell_how_long_they_took() {
    for stream in [true, false] {
        let transcript = Stage::new("Hi!").play(post(CHAT, chat(&json!({ "stream": stream }))), 1);
        assert_eq!(transcript.head.headers().contains_key("openai-processing-ms"), !stream);
    }
}

/// A client that lets the model go on with its own message must not get the beginning of another
/// one in between.
#[tokio::test(start_paused = true)]
async fn a_chat_without_generation_prompt() {
    let mut stage = Stage::new("!");
    let body = chat(&json!({ "stream": false, "add_generation_prompt": false }));
    // The template writes "u:hi" and a line break, and nothing after it.
    assert!(stage.play(post(CHAT, body), 1).body().contains("\"prompt_tokens\":5"));
}

/// Clients fill the advertised context; with a small pool of blocks the model's own would get each
/// of them a 400.
#[tokio::test]
async fn the_context_is_what_can_be_asked_for() {
    let config = EngineConfig { num_blocks: 5, ..common::engine_config() };
    let stage = Stage::with_config("", config, common::limits());
    let tokenize = post("/tokenize", json!({ "prompt": "a" }));
    for request in [get("/v1/models"), get("/v1/models/toy"), tokenize] {
        let body = stage.answer(request).await.1;
        assert!(body.contains("\"max_model_len\":20"), "{body}");
    }
}

/// A reader that falls behind gets fewer and larger events, none above 64 KiB: clients have line
/// buffers of that size.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_merged_events_of_bounded_size() {
    let config = EngineConfig { block_size: 1 << 12, max_model_len: 1 << 16, ..common::engine_config() };
    let script = "\u{1}".repeat(40_000);
    let mut stage = Stage::with_config(&script, config, common::limits());
    let transcript = stage.play(post(CHAT, chat(&json!({}))), 50_000);
    let asked = Asked { is_chat: true, num_choices: 1, include_usage: false, continuous_usage: false };
    assert_eq!(read(&transcript, asked).map(|_| ()), Ok(()));
    let events: Vec<_> = transcript.writes.iter().flat_map(|write| write.split_inclusive("\n\n")).collect();
    assert_eq!(events.len(), 1 + 40_000_usize.div_ceil(8 << 10) + 2, "role, text, finish, done");
    assert!(events.iter().all(|event| event.len() < 64 << 10));
    assert!(transcript.outcome(0).starts_with(&format!("{script:?}")));
}

/// A proxy or a client with a read timeout hangs up on a long prefill, unless something comes; a
/// comment breaks no client.
#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_a_comment() {
    for (read_timeout, silence_ms) in [
        (None, 15_000),
        (Some("600"), 15_000),
        (Some("soon"), 15_000),
        (Some("9"), 3000),
        (Some("0.9"), 300),
        (Some("0.001"), 100),
    ] {
        let stage = Stage::new("a");
        let mut request = post(CHAT, chat(&json!({})));
        if let Some(read_timeout) = read_timeout {
            request.headers_mut().insert("x-stainless-read-timeout", read_timeout.parse().unwrap());
        }
        let mut body = stage.router.clone().oneshot(request).await.unwrap().into_body();
        for _ in 0..2 {
            assert!(poll_once(pin!(body.frame())).is_pending());
            tokio::time::advance(Duration::from_millis(silence_ms - 10)).await;
            assert!(poll_once(pin!(body.frame())).is_pending(), "too early");
            let comment = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(comment, ":\n\n");
        }
    }
}

/// The words of one choice would be lost because those of another fill a write, though both had
/// come before the failure.
#[tokio::test(start_paused = true)]
async fn a_failure_waits_for_the_text_of_all_choices() {
    let config = EngineConfig { block_size: 1 << 12, max_model_len: 1 << 16, ..common::engine_config() };
    let mut stage = Stage::with_config("\u{1}".repeat(20_000), config, common::limits())
        .each(|stage| stage.runner.fails_after = Some(12_000));
    let body = chat(&json!({ "n": 2 }));
    let told = read(&stage.play(post(CHAT, body.clone()), 13_000), Asked::of(CHAT, &body)).unwrap();
    assert!(told["error"].is_object());
    for choice in 0..2 {
        assert_eq!(told["choices"][choice][1]["text"].as_str().unwrap().len(), 12_000, "choice {choice}");
    }
}
