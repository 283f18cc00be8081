//! Runners that die, requests that are refused, and all other routes.

use serde_json::{Value, json};

use crate::case::{Ask, Before, CHAT, COMPLETIONS, Case, case, chat, completion, get, post};

pub(crate) fn failures() -> Vec<Case> {
    let streamed = || chat(json!({ "stream": true }));
    vec![
        case("before the first token", streamed(), "Hi!").fails_after(0),
        case("after two tokens", streamed(), "Hi!").fails_after(2),
        case("inside a character", streamed(), "a🦀").fails_after(3),
        case("with text held back", chat(json!({ "stream": true, "stop": "i!!" })), "Hi!").fails_after(3),
        case("before the end token", streamed(), "Hi!").fails_after(3),
        case("after the end", streamed(), "Hi!").fails_after(4),
        case(
            "with usage",
            chat(json!({
                "stream": true, "stream_options": { "include_usage": true },
            })),
            "Hi!",
        )
        .fails_after(2),
        case("with two choices", chat(json!({ "stream": true, "n": 2 })), "Hi!\u{1e}Yes").fails_after(2),
        case("when one of two choices has ended", chat(json!({ "stream": true, "n": 2 })), "H\u{1e}Yes")
            .fails_after(3),
        case("in a completion", completion(json!({ "stream": true, "echo": true })), "Hi!").fails_after(2),
        case(
            "in a completion before the first token",
            completion(json!({
                "stream": true, "echo": true,
            })),
            "Hi!",
        )
        .fails_after(0),
        case("in a whole chat", chat(json!({})), "Hi!").fails_after(2),
        case("in a whole completion", completion(json!({ "n": 2 })), "Hi!").fails_after(0),
    ]
}

fn announced(len: &'static str) -> Ask {
    chat(json!({})).with("content-length", len)
}

fn refused(field: &str, value: &Value) -> Case {
    case("a value", chat(json!({ field: value })), "")
}

pub(crate) fn refusals() -> Vec<Case> {
    vec![
        case("JSON that breaks off", post(CHAT, "{\"model\": "), ""),
        case("no object", post(COMPLETIONS, "[]"), ""),
        case("a key twice", post(CHAT, r#"{"model":"toy","model":"toy"}"#), ""),
        case("no messages", post(CHAT, r#"{"model":"toy"}"#), ""),
        case("no prompt", post(COMPLETIONS, r#"{"model":"toy"}"#), ""),
        Case { name: "too hot", ..refused("temperature", &json!(2.5)) },
        Case { name: "hot in words", ..refused("temperature", &json!("hot")) },
        Case {
            name: "a field that would change the answer",
            ..refused("tools", &json!([{ "type": "function" }]))
        },
        Case { name: "a token that does not exist", ..refused("stop_token_ids", &json!([257])) },
        case("a prompt that does not fit", completion(json!({ "prompt": "x".repeat(200) })), ""),
        case("an answer that does not fit", chat(json!({ "max_tokens": 1000, "stream": true })), ""),
        case("no key", chat(json!({})), "").after(Before::Keys),
        case("a wrong key", get("/v1/models").with("authorization", "Bearer third"), "").after(Before::Keys),
        case("a key", get("/version").with("authorization", "Bearer second"), "").after(Before::Keys),
        case("no such model", chat(json!({ "model": "gpt-9" })), ""),
        case("no such model in the path", get("/v1/models/no/such"), ""),
        case("no such route", get("/v1/nothing"), ""),
        case("a method that is not allowed", get(CHAT), ""),
        case("a method that nobody knows", Ask::new("BREW", "/v1/models"), ""),
        case("a body that is too long", announced("16777217"), ""),
        case(
            "a form",
            Ask { body: "a=b".to_owned(), ..Ask::new("POST", CHAT) }
                .with("content-type", "application/x-www-form-urlencoded"),
            "",
        ),
        case("a full queue", chat(json!({ "stream": true })), "").after(Before::FullQueue),
        case("a server that goes", chat(json!({ "stream": true })), "").after(Before::Drain),
        case("a server that goes is not ready", get("/ready"), "").after(Before::Drain),
        case("a server that goes lives", get("/health"), "").after(Before::Drain),
        case("a runner that has died", completion(json!({})), "").after(Before::Failure),
        case("a runner that has died is not ready", get("/ready"), "").after(Before::Failure),
        case("a runner that has died is not healthy", get("/health"), "").after(Before::Failure),
    ]
}

pub(crate) fn routes() -> Vec<Case> {
    let tokenize = |body: Value| post("/tokenize", body);
    let user = json!([{ "role": "user", "content": "x" }]);
    vec![
        case("models", get("/v1/models"), ""),
        case("a model", get("/v1/models/toy"), ""),
        case("a model with a slash", get("/v1/models/org/toy"), ""),
        case("the head of models", Ask::new("HEAD", "/v1/models"), ""),
        case("options of chat", Ask::new("OPTIONS", CHAT), ""),
        case("health", get("/health"), ""),
        case("ready", get("/ready"), ""),
        case("version", get("/version"), ""),
        case("tokens of a text", tokenize(json!({ "model": "toy", "prompt": "a é" })), ""),
        case("tokens with names", tokenize(json!({ "prompt": "a é", "return_token_strs": true })), ""),
        case("tokens of messages", tokenize(json!({ "messages": user })), ""),
        case(
            "tokens of messages that are answered by nobody",
            tokenize(json!({
                "messages": user, "add_generation_prompt": false,
            })),
            "",
        ),
        case("tokens of nothing", tokenize(json!({})), ""),
        case("the text of tokens", post("/detokenize", json!({ "tokens": [97, 32, 195, 169, 256] })), ""),
        case(
            "the text of a token that does not exist",
            post("/detokenize", json!({ "tokens": [97, 257] })),
            "",
        ),
    ]
}
