//! Text, its ends, and several choices.

use serde_json::json;

use crate::case::{Case, case, chat, completion};
use crate::common::NEXT_CHOICE;

/// Scripts of two and of three choices.
const TWO: &str = "Hi!\u{1e}Well, yes";
const THREE: &str = "a\u{1e}bcd\u{1e}";

pub(crate) fn whole_chats() -> Vec<Case> {
    assert!(TWO.contains(NEXT_CHOICE));
    vec![
        case("chat", chat(json!({})), "Hi!"),
        case("chat that says nothing", chat(json!({})), ""),
        case("chat to its limit", chat(json!({ "max_completion_tokens": 2, "max_tokens": 9 })), "Hi!"),
        case(
            "chat with parts",
            chat(json!({ "messages": [
            { "role": "developer", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] },
            { "role": "user", "content": "c", "name": "d" },
        ] })),
            "ok",
        ),
        case(
            "chat with ignored fields",
            chat(json!({ "user": "u", "metadata": {}, "store": true, "nobody": 1 })),
            "ok",
        ),
        case("chat of two choices", chat(json!({ "n": 2 })), TWO),
        case("chat by another name", chat(json!({ "model": "org/toy" })), "Hi"),
        case("chat with a request id", chat(json!({ "request_id": "my.own-1" })), "Hi"),
        case(
            "chat that goes on",
            chat(json!({ "continue_final_message": true, "messages": [
            { "role": "user", "content": "hi" }, { "role": "assistant", "content": "Well" },
        ] })),
            ", yes",
        ),
    ]
}

pub(crate) fn whole_completions() -> Vec<Case> {
    vec![
        case("completion", completion(json!({})), "xyz"),
        case("completion to its limit", completion(json!({ "max_tokens": 2 })), "xyz"),
        case("completion to OpenAI's limit", completion(json!({})), "0123456789abcdefghij"),
        case("completion of tokens", completion(json!({ "prompt": [97, 98] })), "xyz"),
        case(
            "completion of two prompts",
            completion(json!({ "prompt": ["ab", "cd"], "stop": "z" })),
            "xyz\u{1e}12",
        ),
        case(
            "completion of two prompts with two choices",
            completion(json!({
                "prompt": [[97, 98], [99, 100]], "n": 2, "max_tokens": 3,
            })),
            TWO,
        ),
        case("completion with echo", completion(json!({ "echo": true, "prompt": "né" })), "xyz"),
        case("completion with a request id", completion(json!({ "request_id": "my.own-1" })), "Hi"),
        case(
            "completion of a cut prompt",
            completion(json!({ "prompt": "abcdef", "truncate_prompt_tokens": 2 })),
            "x",
        ),
        case(
            "completion that shows special tokens",
            completion(json!({
                "skip_special_tokens": false, "ignore_eos": true, "max_tokens": 4,
            })),
            "a<end>b",
        ),
        case(
            "completion that hides special tokens",
            completion(json!({ "ignore_eos": true, "max_tokens": 4 })),
            "a<end>b",
        ),
        case(
            "completion with its end token",
            completion(json!({
                "include_stop_str_in_output": true, "skip_special_tokens": false,
            })),
            "a",
        ),
    ]
}

fn usage(mut fields: serde_json::Value) -> serde_json::Value {
    fields["stream"] = json!(true);
    fields["stream_options"] = json!({ "include_usage": true });
    fields
}

pub(crate) fn streams() -> Vec<Case> {
    let streamed = || json!({ "stream": true });
    let continuous = json!({ "include_usage": true, "continuous_usage_stats": true });
    let with_continuous = |n: usize| json!({ "stream": true, "n": n, "stream_options": continuous });
    vec![
        case("chat", chat(streamed()), "Hi!"),
        case("chat that says nothing", chat(streamed()), ""),
        case("chat with usage", chat(usage(json!({ "max_tokens": 2 }))), "Hi!"),
        case(
            "chat without usage",
            chat(json!({ "stream": true, "stream_options": { "include_usage": false } })),
            "Hi",
        ),
        case("chat with usage all the time", chat(with_continuous(1)), "Hi"),
        case("chat of two choices", chat(usage(json!({ "n": 2 }))), TWO),
        case("chat of two choices with usage all the time", chat(with_continuous(2)), TWO),
        case("chat of three choices, one of them empty", chat(json!({ "stream": true, "n": 3 })), THREE),
        case("chat with a request id", chat(json!({ "stream": true, "request_id": "my.own-1" })), "Hi"),
        case("characters in pieces", chat(streamed()), "é🦀!"),
        case("joined characters", chat(streamed()), "👩‍👩‍👧‍👦🏳️‍🌈🤷🏽‍♀️"),
        case("combining characters", chat(streamed()), "e\u{301}\u{200b}\u{feff}\u{0}\u{7f}\u{2028}"),
        case("what JSON escapes", chat(streamed()), "\"\\\n\r\t</script>\u{1}"),
        case("an end inside a character", chat(usage(json!({ "max_tokens": 3 }))), "a🦀"),
        case("an end inside the first character", chat(usage(json!({ "max_tokens": 2 }))), "🦀"),
        case("completion", completion(usage(json!({}))), "xyz"),
        case("completion that says nothing", completion(usage(json!({}))), ""),
        case("completion with usage all the time", completion(with_continuous(1)), "Hi"),
        case("completion of two choices", completion(json!({ "stream": true, "n": 2 })), TWO),
        case(
            "completion of two prompts with echo",
            completion(json!({
                "stream": true, "prompt": ["ab", [99, 100]], "echo": true, "max_tokens": 2,
            })),
            "xyz\u{1e}1",
        ),
        case(
            "completion of two prompts with two choices",
            completion(usage(json!({
                "prompt": ["ab", "cd"], "n": 2, "max_tokens": 3,
            }))),
            TWO,
        ),
        case(
            "completion that shows special tokens",
            completion(json!({
                "stream": true, "skip_special_tokens": false, "ignore_eos": true, "max_tokens": 4,
            })),
            "a<end>b",
        ),
        case(
            "completion that hides special tokens",
            completion(json!({
                "stream": true, "ignore_eos": true, "max_tokens": 4,
            })),
            "a<end>b",
        ),
    ]
}

pub(crate) fn stops() -> Vec<Case> {
    let stream = |stop: serde_json::Value| usage(json!({ "stop": stop }));
    vec![
        case("at once", chat(stream(json!("H"))), "Hi!"),
        case("in the middle", chat(stream(json!(["zz", "END"]))), "aENbEND never seen"),
        case("all that was held back comes at the end", chat(stream(json!("END!"))), "aEND"),
        case(
            "all that was held back comes at the limit",
            chat(usage(json!({ "stop": "END!", "max_tokens": 3 }))),
            "aENDxyz",
        ),
        case("a stop that begins inside another", chat(stream(json!(["bcd", "cx"]))), "abcx never"),
        case("the shorter of two that end together", chat(stream(json!(["abc", "c"]))), "xabc never"),
        case("a stop that begins like itself", chat(stream(json!("abcabd"))), "abcabcabd never"),
        case("a stop of characters in pieces", chat(stream(json!("🦀"))), "aé🦀 never"),
        case("a stop beside a character in pieces", chat(stream(json!("!é"))), "🦀!🦀!é never"),
        case("a stop that shares its first bytes", chat(stream(json!("🦀"))), "a🦁🦀 never"),
        case(
            "a stop that is part of the output",
            chat(usage(json!({
                "stop": "END", "include_stop_str_in_output": true,
            }))),
            "aEN END never",
        ),
        case(
            "not before the least tokens",
            chat(usage(json!({ "stop": "END", "min_tokens": 5 }))),
            "aENDbENDc",
        ),
        case(
            "different ends of two choices",
            chat(usage(json!({ "stop": "!", "n": 2 }))),
            "Hi! never\u{1e}Well, yes",
        ),
        case("a stop token", chat(usage(json!({ "stop_token_ids": [33] }))), "Hi!"),
        case(
            "a stop token that is part of the output",
            chat(usage(json!({
                "stop_token_ids": [33], "include_stop_str_in_output": true,
            }))),
            "Hi! never",
        ),
        case(
            "a stop token inside a character",
            chat(usage(json!({ "stop_token_ids": [0xa6] }))),
            "a🦀 never",
        ),
        case("a stop token that is the model's own", chat(usage(json!({ "stop_token_ids": [256] }))), "Hi"),
        case(
            "a stop token before a stop string",
            chat(usage(json!({ "stop": "!!", "stop_token_ids": [33] }))),
            "a!!",
        ),
        case("a completion", completion(usage(json!({ "stop": ["END"] }))), "aENbEND never"),
        case(
            "a completion with echo, whose prompt has the stop",
            completion(usage(json!({
                "stop": ["b"], "echo": true,
            }))),
            "xb never",
        ),
        case("a whole chat", chat(json!({ "stop": "END" })), "aENbEND never"),
        case(
            "a whole completion of two choices",
            completion(json!({ "stop": "!", "n": 2 })),
            "Hi! never\u{1e}Well",
        ),
    ]
}
