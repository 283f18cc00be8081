//! Token ids and log-probabilities.

use serde_json::json;

use crate::case::{Case, case, chat, completion};

pub(crate) fn ids() -> Vec<Case> {
    vec![
        case("chat ids", chat(json!({ "return_token_ids": true })), "é"),
        case("chat ids in a stream", chat(json!({ "return_token_ids": true, "stream": true })), "aé"),
        case("completion ids", completion(json!({ "return_token_ids": true })), "é"),
        case(
            "completion ids in a stream",
            completion(json!({ "return_token_ids": true, "stream": true })),
            "aé",
        ),
        case(
            "ids of two prompts in a stream",
            completion(json!({
                "return_token_ids": true, "stream": true, "prompt": ["ab", "cd"],
            })),
            "x\u{1e}yz",
        ),
        case(
            "ids of a stop string",
            chat(json!({ "return_token_ids": true, "stream": true, "stop": "END" })),
            "aENbEND no",
        ),
        case(
            "ids of a stop token",
            chat(json!({ "return_token_ids": true, "stop_token_ids": [33] })),
            "a! no",
        ),
    ]
}

pub(crate) fn chat_logprobs() -> Vec<Case> {
    let top =
        |num_top: u32| json!({ "logprobs": true, "top_logprobs": num_top, "stream": true, "max_tokens": 2 });
    vec![
        case("chat logprobs", chat(json!({ "logprobs": true, "top_logprobs": 2 })), "bé"),
        case(
            "chat logprobs in a stream",
            chat(json!({ "logprobs": true, "top_logprobs": 1, "stream": true })),
            "bé",
        ),
        case("chat logprobs of no others", chat(top(0)), "ba"),
        case("chat logprobs of five others", chat(top(5)), "ba"),
        case("chat logprobs of twenty others", chat(top(20)), "ba"),
        case("chat logprobs of an unfinished character", chat(top(1)), "a🦀"),
        case(
            "chat logprobs with usage",
            chat(json!({
                "logprobs": true, "stream": true, "n": 2,
                "stream_options": { "include_usage": true, "continuous_usage_stats": true },
            })),
            "b\u{1e}aa",
        ),
        case(
            "chat logprobs to a stop string",
            chat(json!({
                "logprobs": true, "return_token_ids": true, "stop": "##!", "stream": true,
            })),
            "a##b##! never",
        ),
        case(
            "chat logprobs as ids",
            chat(json!({ "logprobs": true, "return_tokens_as_token_ids": true })),
            "bé",
        ),
        case("chat logprobs of the prompt", chat(json!({ "prompt_logprobs": 1, "max_tokens": 1 })), "x"),
    ]
}

pub(crate) fn completion_logprobs() -> Vec<Case> {
    vec![
        case("completion logprobs", completion(json!({ "logprobs": 2 })), "bé"),
        case("completion logprobs of no others", completion(json!({ "logprobs": 0 })), "bé"),
        case("completion logprobs in a stream", completion(json!({ "logprobs": 5, "stream": true })), "bé"),
        case("completion logprobs of nothing", completion(json!({ "logprobs": 1 })), ""),
        case(
            "completion logprobs of the prompt",
            completion(json!({ "prompt_logprobs": 1, "max_tokens": 1 })),
            "x",
        ),
        case(
            "echo with logprobs",
            completion(json!({
                "echo": true, "logprobs": 1, "max_tokens": 1, "prompt": ["aé", [98, 99, 100]],
            })),
            "xy",
        ),
        case(
            "echo with logprobs in a stream",
            completion(json!({
                "echo": true, "logprobs": 0, "max_tokens": 1, "stream": true,
            })),
            "xy",
        ),
        case(
            "echo with logprobs and ids in a stream",
            completion(json!({
                "echo": true, "logprobs": 1, "return_token_ids": true, "prompt": "né", "stream": true,
            })),
            "🦀",
        ),
        case("echo alone", completion(json!({ "echo": true, "max_tokens": 0 })), "xy"),
        case(
            "echo alone with logprobs",
            completion(json!({ "echo": true, "logprobs": 0, "max_tokens": 0 })),
            "xy",
        ),
        case(
            "echo alone in a stream",
            completion(json!({
                "echo": true, "max_tokens": 0, "stream": true, "stream_options": { "include_usage": true },
            })),
            "xy",
        ),
    ]
}
