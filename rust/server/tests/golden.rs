//! Golden transcripts: a request, a script for the runner, and the exact bytes of the answer.
#![allow(clippy::unwrap_used)]

mod common;

use std::pin::pin;
use std::time::Duration;

use common::{Stage, get, poll_once, post};
use http_body_util::BodyExt;
use insta::assert_snapshot;
use serde_json::{Value, json};
use streamcore_engine::EngineConfig;
use tower::ServiceExt;

fn chat(extra: &Value) -> Value {
    let mut body =
        json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }], "stream": true });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

fn completion(extra: &Value) -> Value {
    let mut body = json!({ "model": "toy", "prompt": "ab", "stream": true });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// Every OpenAI client parses these bytes; a key more or less, or another order of events, breaks some of them.
#[tokio::test(start_paused = true)]
async fn chat_stream() {
    let transcript = Stage::new("Hi!").play(post(CHAT, chat(&json!({}))), 1);
    assert_snapshot!(transcript.golden());
}

/// Bills are made from the usage chunk; the client that asked for it expects `usage` in all others, too.
#[tokio::test(start_paused = true)]
async fn chat_stream_with_usage() {
    let body = chat(&json!({ "stream_options": { "include_usage": true }, "max_tokens": 2 }));
    assert_snapshot!(Stage::new("Hi!").play(post(CHAT, body), 1).golden());
}

/// A stop string that shows, even in part, breaks every agent that splits its prompt by it.
#[tokio::test(start_paused = true)]
async fn chat_stream_to_a_stop_string() {
    let body = chat(&json!({ "stop": ["zz", "END"] }));
    let mut stage = Stage::new("aENbEND never seen");
    assert_snapshot!(stage.play(post(CHAT, body), 1).golden());
    stage.runner.step(Duration::ZERO);
    assert!(stage.is_clean(), "the engine stops generating, too");
    let metrics = stage.runner.driver.render_metrics("toy");
    assert!(metrics.contains("streamcore_requests_total{finish_reason=\"stop\"} 1"), "{metrics}");
}

/// Half a character in a delta is a replacement character on the user's screen.
#[tokio::test(start_paused = true)]
async fn chat_stream_of_characters_in_pieces() {
    let transcript = Stage::new("é🦀!").play(post(CHAT, chat(&json!({}))), 1);
    assert_snapshot!(transcript.golden());
}

/// A client that runs out of room in the middle of a character must still get a valid, finished stream.
#[tokio::test(start_paused = true)]
async fn chat_stream_that_ends_inside_a_character() {
    let transcript = Stage::new("a🦀").play(post(CHAT, chat(&json!({ "max_tokens": 3 }))), 1);
    assert_snapshot!(transcript.golden());
}

/// `stop_reason` is how a client of vLLM knows which of its tokens ended the text.
#[tokio::test(start_paused = true)]
async fn chat_stream_to_a_stop_token() {
    let body = chat(&json!({ "stop_token_ids": [33] }));
    assert_snapshot!(Stage::new("Hi!").play(post(CHAT, body), 1).golden());
}

/// A failure that looks like an end is taken for the answer: it must be an error event, after all text that was there before it.
#[tokio::test(start_paused = true)]
async fn chat_stream_that_fails() {
    for (name, num_steps) in
        [("chat_stream_that_fails_at_once", 0), ("chat_stream_that_fails_after_two_tokens", 2)]
    {
        let mut stage = Stage::new("Hi!");
        let response = stage.router.clone().oneshot(post(CHAT, chat(&json!({})))).await.unwrap();
        stage.run(num_steps);
        stage.runner.driver.fail("the device is lost");
        assert_snapshot!(name, common::transcript_of(response).await.golden());
        assert!(stage.is_clean());
    }
}

/// Two prompts in one stream are told apart by their index only.
#[tokio::test(start_paused = true)]
async fn completion_stream_of_two_prompts() {
    let body = completion(&json!({ "prompt": ["ab", [99, 100]], "echo": true, "max_tokens": 2 }));
    assert_snapshot!(Stage::new("xyz").play(post(COMPLETIONS, body), 1).golden());
}

/// Without a stream the same answer is one object with its usage.
#[tokio::test(start_paused = true)]
async fn whole_chat() {
    let transcript = Stage::new("Hi!").play(post(CHAT, chat(&json!({ "stream": false }))), 1);
    assert!(transcript.head.headers().contains_key("openai-processing-ms"));
    assert_snapshot!(transcript.golden());
}

/// A client that lets the model go on with its own message must not get the beginning of another one in between.
#[tokio::test(start_paused = true)]
async fn a_chat_without_generation_prompt() {
    let mut stage = Stage::new("!");
    let body = chat(&json!({ "stream": false, "add_generation_prompt": false }));
    // The template writes "u:hi" and a line break, and nothing after it.
    assert!(stage.play(post(CHAT, body), 1).body().contains("\"prompt_tokens\":5"));
}

/// Scripts that finish a text read `choices[].text` by index, and `usage` for all of them.
#[tokio::test(start_paused = true)]
async fn whole_completion() {
    let body = completion(&json!({ "stream": false, "prompt": ["ab", "cd"], "stop": "z" }));
    assert_snapshot!(Stage::new("xyz").play(post(COMPLETIONS, body), 1).golden());
}

/// SDKs list models to check a key, dashboards to find the context length; ids with slashes are the rule on the hub.
#[tokio::test]
async fn models() {
    let stage = Stage::new("");
    let (list, one) =
        (stage.answer(get("/v1/models")).await.1, stage.answer(get("/v1/models/org/toy")).await.1);
    assert_snapshot!(format!("{list}\n{one}"));
}

/// Clients fill the context that they are told; with a small pool of blocks the model's own would get each of them a 400.
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

/// Load generators tokenise their prompts here before they start.
#[tokio::test]
async fn tokenize_and_back() {
    let stage = Stage::new("");
    let mut lines = Vec::new();
    for (path, body) in [
        ("/tokenize", json!({ "model": "toy", "prompt": "a é" })),
        ("/tokenize", json!({ "messages": [{ "role": "developer", "content": "x" }] })),
        (
            "/tokenize",
            json!({ "messages": [{ "role": "user", "content": "x" }], "add_generation_prompt": false }),
        ),
        ("/detokenize", json!({ "tokens": [97, 32, 195, 169] })),
        ("/detokenize", json!({ "tokens": [97, 257] })),
    ] {
        lines.push(stage.answer(post(path, body)).await.1);
    }
    assert_snapshot!(lines.join("\n"));
}

/// The same tokens must make the same text however many of them come at once: a fast engine, a slow reader or a second step in
/// flight must not change what the client sees.
#[tokio::test(start_paused = true)]
async fn the_answer_does_not_depend_on_how_the_steps_are_cut() {
    let usage = json!({ "stream_options": { "include_usage": true } });
    let cases: [(&str, Value); 5] = [
        ("Hello, wörld 🦀🦀!", json!({})),
        ("aENbEND never seen", json!({ "stop": ["zz", "END"] })),
        ("ab🦀cd", json!({ "max_tokens": 4 })),
        ("abcabcabd", json!({ "stop": "abcabd" })),
        ("Hi!", json!({ "stop_token_ids": [33] })),
    ];
    for (script, extra) in cases {
        for (path, body) in [(CHAT, chat(&extra)), (COMPLETIONS, completion(&extra))] {
            let mut body = body;
            body.as_object_mut().unwrap().extend(usage.as_object().unwrap().clone());
            let mut expected = None;
            for max_steps_in_flight in 1..=2 {
                for steps_per_read in 1..=script.len() + 2 {
                    let config = EngineConfig { max_steps_in_flight, ..common::engine_config() };
                    let mut stage = Stage::with_config(script, config, common::limits());
                    let outcome = stage.play(post(path, body.clone()), steps_per_read).outcome(0);
                    let expected = expected.get_or_insert(outcome.clone());
                    assert_eq!(*expected, outcome, "{script} at {steps_per_read} steps per read");
                }
            }
        }
    }
}

/// A reader that falls behind gets fewer and larger events, none above 64 KiB: clients have line buffers of that size.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_merged_events_of_bounded_size() {
    let config = EngineConfig { block_size: 1 << 12, max_model_len: 1 << 16, ..common::engine_config() };
    let script = "\u{1}".repeat(40_000);
    let mut stage = Stage::with_config(&script, config, common::limits());
    let transcript = stage.play(post(CHAT, chat(&json!({}))), 50_000);
    let events: Vec<_> = transcript.writes.iter().flat_map(|write| write.split_inclusive("\n\n")).collect();
    assert_eq!(events.len(), 1 + 40_000_usize.div_ceil(8 << 10) + 2, "role, text, finish, done");
    assert!(events.iter().all(|event| event.len() < 64 << 10));
    assert!(transcript.outcome(0).starts_with(&format!("{script:?}")));
}

/// A proxy or a client with a read timeout hangs up on a long prefill, unless something comes; a comment breaks no client.
#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_a_comment() {
    for (read_timeout, silence_s) in [(None, 15), (Some("600"), 15), (Some("9"), 3), (Some("soon"), 15)] {
        let stage = Stage::new("a");
        let mut request = post(CHAT, chat(&json!({})));
        if let Some(read_timeout) = read_timeout {
            request.headers_mut().insert("x-stainless-read-timeout", read_timeout.parse().unwrap());
        }
        let mut body = stage.router.clone().oneshot(request).await.unwrap().into_body();
        for _ in 0..2 {
            assert!(poll_once(pin!(body.frame())).is_pending());
            tokio::time::advance(Duration::from_millis(silence_s * 1000 - 10)).await;
            assert!(poll_once(pin!(body.frame())).is_pending(), "too early");
            let comment = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(comment, ":\n\n");
        }
    }
}
