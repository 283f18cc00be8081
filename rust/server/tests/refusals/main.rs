//! Refusals: all before the 200, in OpenAI's shape.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod structured;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use common::{Stage, get, post};
use http_body_util::BodyExt;
use insta::assert_snapshot;
use serde_json::{Value, json};
use streamcore_engine::EngineConfig;
use streamcore_server::DriverLimits;
use streamcore_server::driver::NewRequest;
use streamcore_server::middleware::tag;
use tower::ServiceExt;

pub(crate) const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

pub(crate) async fn refusals(requests: Vec<(&str, Request<Body>)>) -> String {
    let stage = Stage::new("");
    let mut lines = Vec::new();
    for (what, request) in requests {
        // Accepted requests have no runner.
        let answer = tokio::time::timeout(Duration::from_secs(60), stage.answer(request)).await;
        let (head, body) = answer.unwrap_or_else(|_| panic!("{what} is not refused"));
        assert_eq!(head.headers()["content-type"], "application/json", "{what}");
        assert_eq!(head.headers()["x-request-id"], "t1", "{what}");
        lines.push(format!("{what}\n  {} {body}", head.status().as_u16()));
    }
    assert!(stage.is_clean(), "a refused request has left something behind");
    lines.join("\n")
}

pub(crate) fn chat(field: &str, value: Value) -> Request<Body> {
    let mut body = json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }] });
    body[field] = value;
    post(CHAT, body)
}

pub(crate) fn completion(field: &str, value: Value) -> Request<Body> {
    let mut body = json!({ "model": "toy", "prompt": "hi" });
    body[field] = value;
    post(COMPLETIONS, body)
}

/// SDKs pick their exception by status and print the message; a body in another shape becomes
/// "Unknown error".
#[tokio::test]
async fn bodies_and_routes() {
    let with_type = |media_type: &str| {
        let mut request = chat("n", json!(1));
        request.headers_mut().insert("content-type", media_type.parse().unwrap());
        request
    };
    let mut announced = post(CHAT, "{}");
    announced.headers_mut().insert("content-length", "16777217".parse().unwrap());
    assert_snapshot!(
        refusals(vec![
            ("unknown route", get("/v1/nothing")),
            ("a slash too many", post("/v1/chat/completions/", "{}")),
            ("a slash and no id", get("/v1/models/")),
            ("wrong method", get(CHAT)),
            ("wrong method", post("/v1/models", "{}")),
            ("wrong method, without a key", post("/health", "{}")),
            ("wrong method, without a key", post("/ready", "{}")),
            ("unknown model in the path", get("/v1/models/no/such")),
            ("form", with_type("application/x-www-form-urlencoded")),
            ("invalid JSON", post(CHAT, "{\"model\": ")),
            ("not an object", post(CHAT, "[]")),
            ("a duplicate key", post(CHAT, r#"{"model":"toy","model":"toy"}"#)),
            ("too large by its own word", announced),
            ("too large", post(CHAT, &*" ".repeat((16 << 20) + 1))),
        ])
        .await
    );
}

/// A token without a row in the model's embedding takes the runner down, and every request with it.
#[tokio::test]
async fn tokens_that_only_the_tokenizer_knows() {
    // The letter is beyond the model, the tokenizer has it.
    let stage = Stage::with_vocab_size(usize::from(b'z'));
    for (request, param) in [
        (completion("prompt", json!("xyz")), "prompt"),
        (completion("prompt", json!([120, 122])), "prompt[1]"),
        (completion("stop_token_ids", json!([122])), "stop_token_ids[0]"),
        (chat("messages", json!([{ "role": "user", "content": "z" }])), "messages"),
    ] {
        let (head, body) = stage.answer(request).await;
        let error: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((head.status().as_u16(), &error["error"]["param"]), (400, &json!(param)), "{body}");
        assert!(body.contains("122"), "the token is named: {body}");
    }
    assert_eq!(stage.runner.driver.stats().num_waiting, 0);
    let known = post("/tokenize", json!({ "prompt": "z" }));
    assert_eq!(stage.answer(known).await.0.status(), 200, "the tokenizer can still be asked");
}

/// Each wrong value must be named, or its sender looks for it for an hour.
#[tokio::test]
async fn values() {
    let messages = json!([{ "role": "user", "content": "hi" }]);
    let both_ends = json!({ "model": "toy", "messages": messages, "continue_final_message": true, "add_generation_prompt": true });
    let both_ends = post(CHAT, both_ends);
    let scored_stream = json!({ "model": "toy", "messages": messages, "prompt_logprobs": 1, "stream": true });
    let scored_stream = post(CHAT, scored_stream);
    assert_snapshot!(
        refusals(vec![
            ("unknown model", chat("model", json!("gpt-9"))),
            ("no model and no messages", post(CHAT, r#"{"messages":[]}"#)),
            ("no messages", post(CHAT, r#"{"model":"toy"}"#)),
            ("no prompt", post(COMPLETIONS, r#"{"model":"toy"}"#)),
            ("empty messages", chat("messages", json!([]))),
            ("messages of the wrong type", chat("messages", json!("hi"))),
            ("message of the wrong type", chat("messages", json!(["hi"]))),
            ("no role", chat("messages", json!([{ "content": "x" }]))),
            ("role of the wrong type", chat("messages", json!([{ "role": 1, "content": "x" }]))),
            (
                "a tool call",
                chat("messages", json!([{ "role": "assistant", "tool_calls": [{ "id": "1" }] }]))
            ),
            ("no content", chat("messages", json!([{ "role": "user" }]))),
            ("an image", chat("messages", json!([{ "role": "user", "content": [{ "type": "image_url" }] }]))),
            ("too hot", chat("temperature", json!(2.5))),
            ("hot in words", chat("temperature", json!("hot"))),
            ("top_p", chat("top_p", json!(-0.1))),
            ("top_k", chat("top_k", json!(-2))),
            ("seed too large", chat("seed", json!(u64::MAX))),
            ("seed of more than 64 bits", chat("seed", json!(1e20))),
            ("seed with a fraction", chat("seed", json!(0.5))),
            ("no tokens at all", chat("max_tokens", json!(0))),
            ("too many tokens", chat("max_completion_tokens", json!(1000))),
            ("fewer than the least", chat("min_tokens", json!(200))),
            ("no choices", chat("n", json!(0))),
            ("more than n", completion("best_of", json!(2))),
            ("nothing at all", completion("max_tokens", json!(0))),
            ("a repetition penalty of nothing", chat("repetition_penalty", json!(0))),
            ("min_p", chat("min_p", json!(1.5))),
            ("top_n_sigma", chat("top_n_sigma", json!(-1.5))),
            ("presence_penalty", chat("presence_penalty", json!(-2.5))),
            ("a bias out of range", chat("logit_bias", json!({ "1": 101 }))),
            ("a bias of no token", chat("logit_bias", json!({ "1": 1, "257": 1 }))),
            ("a bias of a word", chat("logit_bias", json!({ "a": 1 }))),
            ("biases in a list", chat("logit_bias", json!([1]))),
            ("logprobs of a completion in chat", chat("logprobs", json!(2))),
            ("logprobs of chat in a completion", completion("logprobs", json!(true))),
            ("more logprobs than there are", completion("logprobs", json!(6))),
            ("top_logprobs alone", chat("top_logprobs", json!(2))),
            ("a request id with a space", chat("request_id", json!("a b"))),
            ("template variables in a list", chat("chat_template_kwargs", json!([]))),
            ("the conversation as a variable", chat("chat_template_kwargs", json!({ "messages": [] }))),
            ("a special token as a variable", chat("chat_template_kwargs", json!({ "bos_token": "x" }))),
            ("two ends of a prompt", both_ends),
            ("prompt_logprobs in a stream", scored_stream),
            ("a suffix", completion("suffix", json!("x".repeat(100)))),
            ("too many stops", chat("stop", json!(["a", "b", "c", "d", "e"]))),
            ("empty stop", chat("stop", json!(""))),
            ("stop token out of the vocabulary", chat("stop_token_ids", json!([1, 257]))),
            ("stream options without stream", chat("stream_options", json!({ "include_usage": true }))),
            ("prompt too long", completion("prompt", json!("x".repeat(200)))),
            ("empty prompt", completion("prompt", json!(""))),
            ("no prompts", completion("prompt", json!([]))),
            ("prompt token out of the vocabulary", completion("prompt", json!([0, -1]))),
            ("mixed prompts", completion("prompt", json!(["a", 1]))),
        ])
        .await
    );
}

/// A field that is silently dropped gives the wrong answer with status 200; one that changes
/// nothing must not stop a client.
#[tokio::test]
async fn fields_that_would_change_the_answer() {
    let refused = [
        ("tool_choice", json!("required")),
        ("guided_whitespace_pattern", json!(" ")),
        ("modalities", json!(["text", "audio"])),
        ("echo", json!(true)),
        ("best_of", json!(2)),
        ("chat_template", json!("{{ messages }}")),
        ("bad_words", json!(["a"])),
    ];
    for (field, value) in refused {
        let (head, body) = Stage::new("").answer(chat(field, value)).await;
        let error: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((head.status().as_u16(), &error["error"]["param"]), (400, &json!(field)), "{body}");
    }
    let harmless = json!({
        "model": "toy", "messages": [{ "role": "user", "content": [{ "type": "text", "text": "hi" }] }], "user": "u",
        "metadata": { "a": "b" }, "store": true, "service_tier": "auto", "n": 1, "logprobs": false, "tools": [],
        "tool_choice": "auto", "response_format": { "type": "text" }, "frequency_penalty": 0, "presence_penalty": 0.0,
        "logit_bias": {}, "temperature": null, "parallel_tool_calls": true, "never_heard_of": 1, "modalities": ["text"],
    });
    let transcript = Stage::new("ok").play(post(CHAT, harmless), 1);
    assert_eq!(transcript.head.status(), 200, "{}", transcript.body());
}

/// Overload must be told at once, with when to come back, and must leave those that wait alone.
#[tokio::test]
async fn a_full_queue() {
    let limits =
        DriverLimits { max_waiting_requests: 2, max_waiting_tokens: 1 << 20, ..DriverLimits::default() };
    let mut stage = Stage::with_config("ok", common::engine_config(), limits);
    let waits = stage.app.driver.submit(NewRequest::new(vec![97], 1)).unwrap();
    let prompts = json!({ "model": "toy", "prompt": ["a", "b"] });
    let (head, body) = stage.answer(post(COMPLETIONS, prompts)).await;
    assert_eq!(head.status(), 429);
    let error: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&error["error"]["type"], &error["error"]["code"]),
        (&json!("rate_limit_error"), &json!("queue_full"))
    );
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("2 requests are waiting, limit is 2, try again in "), "{message}");
    assert!(head.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(
        stage.app.driver.stats().num_waiting,
        1,
        "the prompt that would have found a place has not taken it"
    );
    assert!(stage.app.driver.render_metrics("toy").contains("streamcore_prompt_tokens_total 1\n"));
    drop(waits);
    stage.runner.step(Duration::ZERO);
    assert!(stage.is_clean());
    let transcript = stage.play(post(COMPLETIONS, json!({ "model": "toy", "prompt": ["a", "b"] })), 1);
    assert_eq!(transcript.head.status(), 200);
}

/// One prompt of megabytes would take gigabytes and half a minute, while all others wait.
#[tokio::test]
async fn a_prompt_that_is_far_too_long_is_not_tokenised_to_its_end() {
    let stage = Stage::new("");
    let long = "a b c d ".repeat(1000);
    let completion = json!({ "model": "toy", "prompt": long, "max_tokens": 1 });
    let chat = json!({ "model": "toy", "messages": [{ "role": "user", "content": long }] });
    for (path, body, param) in [(COMPLETIONS, completion.clone(), "prompt"), (CHAT, chat, "messages")] {
        let (head, body) = stage.answer(post(path, body)).await;
        assert_eq!(head.status(), 400, "{body}");
        let error: Value = serde_json::from_str(&body).unwrap();
        let expected = "the prompt is too long: this model's maximum context length is 128 tokens, \
                        the first 102";
        let error = &error["error"];
        // What is tokenised ends at a word, near eight bytes for each token that there may be.
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with(expected) && message.ends_with(" tokens"), "{message}");
        let told = (&error["code"], &error["param"]);
        assert_eq!(told, (&json!("context_length_exceeded"), &json!(param)));
    }
    // Its end is what counts then.
    let mut cut = completion;
    cut["truncate_prompt_tokens"] = json!(4);
    let transcript = Stage::new("x").play(post(COMPLETIONS, cut), 1);
    assert!(transcript.body().contains("\"prompt_tokens\":4,"), "{}", transcript.body());
}

/// A client that obeys `Retry-After` would come back for ever; one that asks for everything would
/// have the memory of all others.
#[tokio::test]
async fn what_can_never_be_queued_or_kept() {
    let limits =
        DriverLimits { max_waiting_requests: 200, max_waiting_tokens: 1000, ..DriverLimits::default() };
    let config = EngineConfig { num_blocks: 1 << 14, max_model_len: 1 << 16, ..common::engine_config() };
    let stage = Stage::with_config("", config, limits);
    let body = |mut extra: Value, prompt: Value| {
        (extra["model"], extra["prompt"]) = (json!("toy"), prompt);
        post(COMPLETIONS, extra)
    };
    let long = json!("x".repeat(600));
    let mut chat_scores =
        json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }], "n": 4 });
    (chat_scores["logprobs"], chat_scores["top_logprobs"]) = (json!(true), json!(20));
    for (request, param, words) in [
        (body(json!({ "n": 101 }), json!(["a", "b"])), "n", "202 choices of all its prompts, limit is 200"),
        (body(json!({}), json!([long, long])), "prompt", "1200 prompt tokens, limit is 1000"),
        (body(json!({ "prompt_logprobs": 20, "n": 8 }), json!("x".repeat(30_000))), "n", "limit is 1000"),
        (
            body(json!({ "logprobs": 5, "n": 128, "max_tokens": 8000 }), json!("x")),
            "logprobs",
            "up to 6144000 log-probabilities, limit is 4194304",
        ),
        (post(CHAT, chat_scores.clone()), "logprobs", "limit is 4194304"),
    ] {
        let (head, body) = stage.answer(request).await;
        assert_eq!(head.status(), 400, "{body}");
        let error: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(error["error"]["param"], param, "{body}");
        assert!(error["error"]["message"].as_str().unwrap().contains(words), "{body}");
    }
    assert!(stage.is_clean());

    let stage = Stage::with_config("", stage.app.driver.config().clone(), DriverLimits::default());
    let scored = json!({ "prompt_logprobs": 20, "n": 8 });
    let (_, body) = stage.answer(body(scored, json!("x".repeat(30_000)))).await;
    assert!(body.contains(r#""param":"prompt_logprobs""#), "{body}");
    chat_scores["stream"] = json!(true);
    let response = stage.router.clone().oneshot(post(CHAT, chat_scores)).await.unwrap();
    assert_eq!(response.status(), 200, "a stream keeps none");
}

/// An open route behind a key is how other people's GPUs are used; a closed `/health` is how an
/// orchestrator kills a healthy server.
#[tokio::test]
async fn keys() {
    let stage = Stage::with_keys(&["first", "second"]);
    let status = async |path: &str, header: &'static str, value: &'static str| {
        let mut request = get(path);
        request.headers_mut().insert(header, value.parse().unwrap());
        stage.answer(request).await.0.status().as_u16()
    };
    for path in ["/v1/models", "/metrics", "/version"] {
        for (header, value) in [
            ("authorization", "Bearer first"),
            ("authorization", "bearer second"),
            ("authorization", "BEARER  first"),
            ("x-api-key", "second"),
        ] {
            assert_eq!(status(path, header, value).await, 200, "{path} {value}");
        }
        for (header, value) in [
            ("authorization", "Bearer firs"),
            ("authorization", "Bearer firstsecond"),
            ("authorization", "first"),
            ("authorization", "Bearer"),
            ("authorization", "Basic first"),
            ("x-api-key", ""),
            ("accept", "text/plain"),
        ] {
            assert_eq!(status(path, header, value).await, 401, "{path} {value}");
        }
    }
    // SDKs send a placeholder in the one header when their user sets the other.
    for (bearer, x_api_key) in [("Bearer none", "first"), ("Bearer first", "none")] {
        let mut request = get("/version");
        request.headers_mut().insert("authorization", bearer.parse().unwrap());
        request.headers_mut().insert("x-api-key", x_api_key.parse().unwrap());
        assert_eq!(stage.answer(request).await.0.status(), 200, "{bearer} {x_api_key}");
    }
    assert_eq!(status("/nowhere", "x-api-key", "third").await, 401, "not even which routes there are");
    for path in ["/health", "/ready"] {
        assert_eq!(status(path, "accept", "text/plain").await, 200, "{path}");
    }
    let (head, body) = stage.answer(post(CHAT, "{}")).await;
    assert_eq!(head.status(), 401);
    assert!(body.contains("\"code\":\"invalid_api_key\""), "{body}");
}

/// A bug that one request finds must not take the others of its connection, or of the server, with
/// it.
#[tokio::test]
async fn a_panic_costs_one_request() {
    let stage = Stage::new("");
    async fn bug() {
        panic!("this panic is part of a test");
    }
    let boom = axum::Router::new()
        .route("/boom", axum::routing::get(bug))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&stage.app), tag));
    let response = boom.oneshot(get("/boom")).await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["x-request-id"], "t1");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"{\"error\":{\"message\":\"the server has failed"), "{body:?}");
    let (head, _) = stage.answer(get("/health")).await;
    assert_eq!(head.status(), 200);
}

/// A server behind on its work would spend the rest of its time on answers that no client waits for
/// any more.
#[tokio::test]
async fn a_whole_answer_is_not_computed_for_longer_than_its_client_waits() {
    let ask = |stream: bool| {
        let mut request = chat("stream", json!(stream));
        request.headers_mut().insert("x-stainless-read-timeout", "0.000000001".parse().unwrap());
        request
    };
    let mut stage = Stage::new("never");
    let refused = stage.play(ask(false), 20);
    assert_eq!(refused.head.status(), 504);
    let error: Value = serde_json::from_str(&refused.writes.concat()).unwrap();
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("the answer was not complete within "), "{message}");
    assert!(message.ends_with(" s, which is as long as its client waits"), "{message}");
    let expected =
        json!({ "message": message, "type": "server_error", "param": null, "code": "deadline_exceeded" });
    assert_eq!(error, json!({ "error": expected }));
    assert!(stage.is_clean());
    // A stream says all the time that it lives.
    assert!(stage.play(ask(true), 20).writes.concat().contains("never"));
}
