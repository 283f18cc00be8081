//! `continuous_usage_stats`: a count belongs to the chunk that shows what it counts.

use serde_json::{Value, json};

use crate::common::contract::{Asked, read};
use crate::common::{NEXT_CHOICE, Stage, post};

fn ask(path: &str, extra: &Value) -> Value {
    let mut body = match path {
        "/v1/completions" => json!({ "prompt": ["ab", "cd"] }),
        _ => json!({ "messages": [{ "role": "user", "content": "hi" }], "n": 2 }),
    };
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true, "continuous_usage_stats": true });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

/// Dashboards that draw tokens by time would show tokens before there are any, or those of text
/// that comes later.
#[tokio::test(start_paused = true)]
async fn a_chunk_counts_what_has_been_shown() {
    let script = ["né 🦀 ## {} EN", "abc<end>END"].join(NEXT_CHOICE);
    for path in ["/v1/chat/completions", "/v1/completions"] {
        for extra in [
            json!({ "return_token_ids": true }),
            json!({ "return_token_ids": true, "stop": ["END", "#!"] }),
            json!({ "return_token_ids": true, "stop": "## {", "ignore_eos": true, "max_tokens": 30 }),
        ] {
            for steps_per_read in [1, 3, 100] {
                let body = ask(path, &extra);
                let transcript = Stage::new(&script).play(post(path, body.clone()), steps_per_read);
                read(&transcript, Asked::of(path, &body)).unwrap();
                let mut num_shown = [0; 2];
                for event in transcript.events() {
                    let counted =
                        usize::try_from(event["usage"]["completion_tokens"].as_u64().unwrap()).unwrap();
                    let Some(choice) = event["choices"].get(0) else { continue };
                    let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
                    num_shown[index] += choice["token_ids"].as_array().map_or(0, Vec::len);
                    if choice["finish_reason"].is_string() {
                        // With a stop string, tokens are counted that are never shown.
                        let others = num_shown[1 - index];
                        assert!(counted >= num_shown.iter().sum(), "{event}");
                        num_shown[index] = counted - others;
                    }
                    assert_eq!(counted, num_shown.iter().sum::<usize>(), "{event}");
                }
            }
        }
    }
}

/// Counting the tokens of text must not show what is asked for elsewhere, nor make events that show
/// nothing.
#[tokio::test(start_paused = true)]
async fn counting_alone_tells_no_tokens() {
    for path in ["/v1/chat/completions", "/v1/completions"] {
        let body = ask(path, &json!({ "ignore_eos": true, "max_tokens": 60 }));
        // The end token leaves no text.
        let transcript = Stage::new("a€b").play(post(path, body.clone()), 1);
        let told = read(&transcript, Asked::of(path, &body)).unwrap();
        assert_eq!(told["choices"][0][1]["text"], "a€b");
        assert!(
            told["choices"][0][1]["token_ids"].is_null()
                && told["choices"][0][1]["logprobs.tokens"].is_null()
        );
        assert_eq!(told["usage"]["completion_tokens"], 120);
        let counts: Vec<_> = transcript
            .events()
            .iter()
            .map(|event| event["usage"]["completion_tokens"].as_u64().unwrap())
            .collect();
        assert!(counts.is_sorted() && counts[0] <= 1, "{counts:?}");
        assert_eq!(counts[0] == 0, path.contains("chat"), "the role of a chat shows no token: {counts:?}");
    }
}
