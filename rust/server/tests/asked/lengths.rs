//! Prompts and answers that do not fit into the context.

use serde_json::{Value, json};
use streamcore_engine::EngineConfig;
use streamcore_server::DriverLimits;

use crate::common::{Stage, engine_config, limits, post};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

fn chat(extra: &Value) -> (&'static str, Value) {
    let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    (CHAT, body)
}

fn completion(extra: &Value) -> (&'static str, Value) {
    let mut body = json!({ "prompt": "hi" });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    (COMPLETIONS, body)
}

async fn refusal(stage: &Stage, (path, body): (&str, Value)) -> (Value, Value, String) {
    let (head, answer) = stage.answer(post(path, body.clone())).await;
    assert_eq!(head.status(), 400, "{body}: {answer}");
    let error: Value = serde_json::from_str(&answer).unwrap();
    let error = &error["error"];
    (error["param"].clone(), error["code"].clone(), error["message"].as_str().unwrap().to_owned())
}

/// A client that hears that the prompt is too long cuts it, and is refused again for what it was
/// really about.
#[tokio::test]
async fn the_field_that_is_to_blame_is_named_with_both_numbers() {
    let limit = "this model's maximum context length is 128 tokens";
    assert_refused(vec![
        (
            completion(&json!({ "max_tokens": 9000 })),
            "max_tokens",
            format!("`max_tokens` is 9000, there is room for 126: {limit}, the prompt has 2 (context_length_exceeded)"),
        ),
        (
            completion(&json!({ "max_completion_tokens": 9000, "max_tokens": 5 })),
            "max_completion_tokens",
            format!("`max_completion_tokens` is 9000, there is room for 126: {limit}, the prompt has 2 (context_length_exceeded)"),
        ),
        (
            chat(&json!({ "max_completion_tokens": 9000 })),
            "max_completion_tokens",
            format!("`max_completion_tokens` is 9000, there is room for 121: {limit}, the prompt has 7 (context_length_exceeded)"),
        ),
        (
            chat(&json!({ "max_tokens": 122, "n": 3 })),
            "max_tokens",
            format!("`max_tokens` is 122, there is room for 121: {limit}, the prompt has 7 (context_length_exceeded)"),
        ),
    ])
    .await;
}

/// A prompt of several would have to be looked for, and one that leaves no room be counted by hand.
#[tokio::test]
async fn a_prompt_that_is_too_long_is_named_with_both_numbers() {
    let limit = "this model's maximum context length is 128 tokens";
    let x = |len: usize| json!("x".repeat(len));
    let long = json!([{ "role": "user", "content": "x".repeat(200) }]);
    assert_refused(vec![
        (
            completion(&json!({ "prompt": x(200) })),
            "prompt",
            format!("the prompt is too long: {limit}, the prompt has 200"),
        ),
        (
            completion(&json!({ "prompt": x(200), "max_tokens": 9000 })),
            "prompt",
            format!("the prompt is too long: {limit}, the prompt has 200"),
        ),
        (
            completion(&json!({ "prompt": x(128) })),
            "prompt",
            format!(
                "the prompt is too long: {limit}, the prompt has 128, which leaves no room for an answer"
            ),
        ),
        (
            completion(&json!({ "prompt": vec![7; 129], "echo": true, "max_tokens": 0 })),
            "prompt",
            format!("the prompt is too long: {limit}, the prompt has 129"),
        ),
        (
            chat(&json!({ "messages": long })),
            "messages",
            format!("the prompt is too long: {limit}, the prompt has 205"),
        ),
        (
            completion(&json!({ "prompt": ["a", x(128), x(500)] })),
            "prompt[1]",
            format!(
                "the prompt is too long: {limit}, `prompt[1]` has 128, which leaves no room for an answer"
            ),
        ),
        (
            completion(&json!({ "prompt": ["a", x(9000)] })),
            "prompt[1]",
            format!("the prompt is too long: {limit}, the first 1024 bytes of `prompt[1]` have 1024 tokens"),
        ),
        (
            completion(&json!({ "prompt": [[1], vec![7; 100]], "max_tokens": 40 })),
            "max_tokens",
            format!("`max_tokens` is 40, there is room for 28: {limit}, `prompt[1]` has 100 (context_length_exceeded)"),
        ),
    ])
    .await;
}

async fn assert_refused(cases: Vec<((&str, Value), &str, String)>) {
    let stage = Stage::new("");
    for (asked, param, message) in cases {
        let (told, code, words) = refusal(&stage, asked).await;
        let expected = (&*message, &json!(param), &json!("context_length_exceeded"));
        assert_eq!((&*words, &told, &code), expected);
        // LiteLLM knows the error by these words, and LangChain by the code or the others.
        assert!(words.contains("this model's maximum context length is"));
    }
    assert!(stage.is_clean());
}

/// A context that the KV cache shortens would be called the model's.
#[tokio::test]
async fn a_context_that_the_cache_shortens_is_called_so() {
    let config = EngineConfig { num_blocks: 8, ..engine_config() };
    let stage = Stage::with_config("", config, limits());
    let limit = "this model's maximum context length is 32 tokens, as many as the KV cache holds";
    let (param, _, message) = refusal(&stage, completion(&json!({ "max_tokens": 31 }))).await;
    assert_eq!(param, "max_tokens");
    assert_eq!(
        message,
        format!(
            "`max_tokens` is 31, there is room for 30: {limit}, the prompt has 2 (context_length_exceeded)"
        )
    );
    let (param, _, message) = refusal(&stage, completion(&json!({ "prompt": "x".repeat(40) }))).await;
    assert_eq!(param, "prompt");
    assert_eq!(message, format!("the prompt is too long: {limit}, the prompt has 40"));
}

/// A number that the client has never sent sends its author looking for it.
#[tokio::test]
async fn no_refusal_quotes_what_was_not_sent() {
    let stage = Stage::new("");
    for (asked, param, message) in [
        (
            chat(&json!({ "min_tokens": 200 })),
            "min_tokens",
            "`min_tokens` is 200, at most 121 tokens are generated: the context has room for no more",
        ),
        (
            completion(&json!({ "min_tokens": 20 })),
            "min_tokens",
            "`min_tokens` is 20, at most 16 tokens are generated: that is the default of `max_tokens`",
        ),
        (
            completion(&json!({ "min_tokens": 20, "max_completion_tokens": 10 })),
            "min_tokens",
            "`min_tokens` is 20, at most 10 tokens are generated: `max_completion_tokens` says so",
        ),
        (
            completion(&json!({ "min_tokens": 1, "max_tokens": 0, "echo": true })),
            "min_tokens",
            "`min_tokens` is 1, at most 0 tokens are generated: `max_tokens` says so",
        ),
        (
            completion(&json!({ "best_of": 2 })),
            "best_of",
            "`best_of` is 2, it must be equal to `n`, which is 1 unless it is given: choices are not ranked",
        ),
        (completion(&json!({ "prompt": ["a", ""] })), "prompt[1]", "`prompt[1]` has no tokens"),
        (completion(&json!({ "prompt": [[1], []] })), "prompt[1]", "`prompt[1]` has no tokens"),
        (completion(&json!({ "prompt": "" })), "prompt", "`prompt` has no tokens"),
    ] {
        let (told, _, words) = refusal(&stage, asked).await;
        assert_eq!((&*words, told), (message, json!(param)));
    }
}

/// Whatever is asked for, a refusal blames a field that is there, and tells no number that is
/// neither sent nor counted.
#[tokio::test]
async fn a_refusal_blames_what_is_there() {
    let limits = DriverLimits { max_waiting_requests: 1000, ..limits() };
    let stage = Stage::with_config("", engine_config(), limits);
    let mut num_refused = 0;
    for prompt_len in [1_usize, 60, 127, 128, 129, 300] {
        for max_tokens in [None, Some(1_usize), Some(2), Some(70), Some(128), Some(1 << 20)] {
            for field in ["max_tokens", "max_completion_tokens"] {
                let mut bodies = [
                    completion(&json!({ "prompt": "x".repeat(prompt_len) })),
                    completion(&json!({ "prompt": ["x", vec!["x"; prompt_len].concat()] })),
                    completion(&json!({ "prompt": vec![7; prompt_len] })),
                    chat(&json!({ "messages": [{ "role": "user", "content": "x".repeat(prompt_len) }] })),
                ];
                for (path, body) in &mut bodies {
                    if let Some(max_tokens) = max_tokens {
                        body[field] = json!(max_tokens);
                    }
                    // Those that fit are queued, and leave at once.
                    let request = post(path, body.clone());
                    let mut answer = std::pin::pin!(stage.answer(request));
                    let std::task::Poll::Ready((head, answer)) = crate::common::poll_once(answer.as_mut())
                    else {
                        continue;
                    };
                    assert_eq!(head.status(), 400, "{answer}");
                    let error: Value = serde_json::from_str(&answer).unwrap();
                    let (param, message) = (
                        error["error"]["param"].as_str().unwrap(),
                        error["error"]["message"].as_str().unwrap(),
                    );
                    let name = param.split('[').next().unwrap();
                    assert!(!body[name].is_null(), "{body}: {message}");
                    // The place of a prompt is no number of its.
                    let words = message.replace("prompt[0]", "").replace("prompt[1]", "");
                    let numbers =
                        words.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
                    let template = prompt_len + 5;
                    for number in numbers.map(|digits| digits.parse::<usize>().unwrap()) {
                        let room = |len: usize| 128_usize.checked_sub(len);
                        let known = [Some(prompt_len), Some(template), max_tokens, Some(128), Some(1)];
                        let known = known.into_iter().chain([room(prompt_len), room(template), room(1)]);
                        assert!(
                            known.flatten().any(|known| known == number),
                            "{number} in {body}: {message}"
                        );
                    }
                    num_refused += 1;
                }
            }
        }
    }
    assert!(num_refused > 100, "{num_refused}");
}

/// Evaluation harnesses score as much text as a model can read; nothing is generated, so it must
/// pass to the last token.
#[tokio::test(start_paused = true)]
async fn a_prompt_that_fills_the_context_can_be_scored() {
    for stream in [false, true] {
        let (path, mut body) =
            completion(&json!({ "prompt": "x".repeat(128), "max_tokens": 0, "stream": stream }));
        (body["echo"], body["logprobs"]) = (json!(true), json!(1));
        let mut stage = Stage::new("never");
        let transcript = stage.play(post(path, body), 1);
        assert_eq!(transcript.head.status(), 200, "{}", transcript.body());
        assert!(stage.is_clean());
        if !stream {
            let answer: Value = serde_json::from_str(&transcript.body()).unwrap();
            let choice = &answer["choices"][0];
            assert_eq!(
                (&choice["text"], &choice["finish_reason"]),
                (&json!("x".repeat(128)), &json!("length"))
            );
            assert_eq!(choice["logprobs"]["token_logprobs"].as_array().unwrap().len(), 128);
            assert_eq!(
                (&answer["usage"]["prompt_tokens"], &answer["usage"]["completion_tokens"]),
                (&json!(128), &json!(0))
            );
        }
        assert_eq!(stage.runner.driver.stats().generated_tokens, 0, "what no client gets is not counted");
    }
    let (path, scored) =
        completion(&json!({ "prompt": vec![7; 128], "max_tokens": 0, "prompt_logprobs": 0, "n": 2 }));
    let transcript = Stage::new("never").play(post(path, scored), 1);
    let answer: Value = serde_json::from_str(&transcript.body()).unwrap();
    assert_eq!(answer["choices"][1]["prompt_logprobs"].as_array().unwrap().len(), 128);
}
