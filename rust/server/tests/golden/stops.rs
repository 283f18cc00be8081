//! Stop strings that are, or have in them, the text of a special token.

use serde_json::{Value, json};

use crate::case::{Case, case, chat, completion};

/// The end token does not end the answer.
fn ignoring(mut fields: Value) -> Value {
    fields["ignore_eos"] = true.into();
    fields
}

/// The tokenizer's one special token is `<end>`, which ends an answer unless `ignore_eos` is set.
pub(crate) fn special_tokens() -> Vec<Case> {
    let end = json!({ "stop": "<end>" });
    vec![
        case("a stop string that is the end token", chat(end.clone()), "a<end>b"),
        case("the same where it would not end", chat(ignoring(end.clone())), "a<end>b"),
        case(
            "the same in a stream",
            chat(ignoring(json!({ "stop": ["<end>"], "stream": true }))),
            "ab<end>c",
        ),
        case(
            "the same of two choices",
            completion(ignoring(json!({ "stop": ["x", "<end>"], "n": 2 }))),
            "a<end>b\u{1e}bx",
        ),
        case(
            "the same as part of the output",
            completion(ignoring(json!({ "stop": "<end>", "include_stop_str_in_output": true }))),
            "a<end>b",
        ),
        case(
            "the same as part of an output that shows special tokens",
            chat(ignoring(
                json!({ "stop": "<end>", "include_stop_str_in_output": true, "skip_special_tokens": false }),
            )),
            "a<end>b",
        ),
        case(
            "the same where special tokens are shown",
            chat(ignoring(json!({ "stop": "<end>", "skip_special_tokens": false }))),
            "a<end>b",
        ),
        case(
            "the same behind the least number of tokens",
            completion(ignoring(json!({ "stop": "<end>", "min_tokens": 3, "max_tokens": 9 }))),
            "a<end>b<end>c",
        ),
    ]
}

/// More of a stop string than a special token, and the reported tokens.
pub(crate) fn around_special_tokens() -> Vec<Case> {
    vec![
        case(
            "a stop string that has the end token in it",
            completion(ignoring(json!({ "stop": "b<end>\n", "stream": true }))),
            "ab<end>cb<end>\nd",
        ),
        case(
            "a stop string that begins with the end token",
            completion(ignoring(json!({ "stop": "<end>!" }))),
            "a<end>b<end>!c",
        ),
        case(
            "a stop string around a hidden token",
            completion(ignoring(json!({ "stop": ["bc", ">"] }))),
            "ab<end>c",
        ),
        case(
            "the end token as a stop token, too",
            completion(json!({ "stop": "<end>", "stop_token_ids": [256] })),
            "a<end>b",
        ),
        case(
            "ids up to the end token as a stop string",
            completion(ignoring(
                json!({ "stop": "<end>", "return_token_ids": true, "logprobs": 0, "stream": true }),
            )),
            "ab<end>c",
        ),
        case(
            "ids up to the end token as part of the output",
            completion(ignoring(
                json!({ "stop": "<end>", "return_token_ids": true, "include_stop_str_in_output": true }),
            )),
            "ab<end>c",
        ),
    ]
}
