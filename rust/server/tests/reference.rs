//! The table of request fields: what is published about it, and that the parser has it all.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, Request};
use common::{Stage, get, post};
use serde_json::{Map, Value, json};
use streamcore_server::anthropic as messages;
use streamcore_server::error::ApiError;
use streamcore_server::openai::chat::request::ChatRequest;
use streamcore_server::openai::completions::request::CompletionRequest;
use streamcore_server::openai::fields::Fields;
use streamcore_server::openai::reference;
use streamcore_server::openai::responses::params::RESPONSES;
use streamcore_server::openai::responses::{Kept, Past, ResponsesRequest};
use streamcore_server::openai::schema::message::MESSAGE;
use streamcore_server::openai::schema::params::STREAM_OPTIONS;
use streamcore_server::openai::schema::{Endpoint, Fate, Kind, Param, body_params};
use streamcore_server::openai::structured;

/// A page that says what was true last month is worse than none. `UPDATE_DOCS=1` writes it again.
#[test]
fn the_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, reference::page()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == reference::page(), "docs/protocol.md is out of date: run `make docs`");
}

/// Authors of clients and operators of proxies look here for what to expect; what is not there is
/// found out in production.
#[tokio::test(start_paused = true)]
async fn every_header_of_an_answer_is_on_the_page() {
    let page = reference::page();
    let section = page.split("\n## ").find(|section| section.starts_with("Headers and comments")).unwrap();
    let section = section.to_ascii_lowercase();
    let mut stage = Stage::with_origins(&["https://a.example"]);
    let with_key = |mut request: Request<Body>, more: &[(&'static str, &'static str)]| {
        for (name, value) in [("x-api-key", "key"), ("origin", "https://a.example")].iter().chain(more) {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        request
    };
    let preflight = Request::options("/v1/models").body(Body::empty()).unwrap();
    let asked =
        [("access-control-request-method", "GET"), ("access-control-request-headers", "authorization")];
    let completion =
        |stream: bool| post("/v1/completions", json!({ "model": "toy", "prompt": "a", "stream": stream }));
    let mut heads = vec![
        stage.answer(with_key(get("/v1/models"), &[])).await.0,
        stage.answer(with_key(get("/metrics"), &[])).await.0,
        stage.answer(with_key(get("/v1/completions"), &[])).await.0,
        stage.answer(with_key(preflight, &asked)).await.0,
        stage.play(with_key(completion(false), &[]), 1).head,
        stage.play(with_key(completion(true), &[]), 1).head,
    ];
    stage.runner.driver.drain(Duration::from_secs(1));
    heads.push(stage.answer(with_key(completion(false), &[])).await.0);
    let names: BTreeSet<_> =
        heads.iter().flat_map(|head| head.headers().keys()).map(HeaderName::as_str).collect();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        assert!(section.contains(&format!("`{name}")), "{name}");
    }
}

/// Returns a value that the table allows.
fn example(param: &Param) -> Value {
    match (param.name, param.kind) {
        ("stream", _) => json!(true),
        // Each of these is only allowed without another of them.
        ("continue_final_message" | "echo", _) => json!(false),
        (_, Kind::Boolean) => json!(true),
        (_, Kind::Integer(..) | Kind::Truncation(_) | Kind::Number(..)) => json!(1),
        (_, Kind::Text(_) | Kind::MaybeText(_) | Kind::Name | Kind::Texts { .. } | Kind::Prompt) => {
            json!("a")
        }
        (_, Kind::TokenIds(_)) => json!([1]),
        (_, Kind::LogitBias(_)) => json!({ "1": 1 }),
        (_, Kind::Object(params)) => {
            let honoured = params.iter().filter(|param| matches!(param.fate, Fate::Honoured { .. }));
            honoured.map(|param| (param.name.to_owned(), example(param))).collect::<Map<_, _>>().into()
        }
        (_, Kind::Blocks) => json!("a"),
        (_, Kind::Messages) => json!([{ "role": "user", "content": "hi" }]),
        (_, Kind::ToolName) => json!("f"),
        (_, Kind::Words(words)) => json!(words[0]),
        (_, Kind::Objects(params)) => {
            let required = params.iter().filter(|param| matches!(param.fate, Fate::Honoured { default: "" }));
            let fields = required.map(|param| match param.kind {
                Kind::Object(_) => (param.name, json!({ "name": "f" })),
                _ => (param.name, example(param)),
            });
            json!([fields.collect::<std::collections::BTreeMap<_, _>>()])
        }
        (_, Kind::ToolChoice) => json!("auto"),
        (_, Kind::ResponseFormat) => json!({ "type": "json_object" }),
        (_, Kind::StructuredOutputs) => json!({ "regex": "a" }),
        (_, Kind::Variables | Kind::Anything | Kind::Metadata) => json!({}),
        (_, Kind::TextList { .. }) => json!([]),
        (_, Kind::Input) => json!("hi"),
    }
}

/// Returns whether a field says what the answer is held to: only one may.
fn is_constraint(param: &Param) -> bool {
    ["structured_outputs", "output_format"].contains(&param.name) || param.name.starts_with("guided_")
}

const ENDPOINTS: [Endpoint; 3] = [Endpoint::Chat, Endpoint::Completions, Endpoint::Messages];

/// Returns every field that a route knows.
fn params_of(endpoint: Endpoint) -> Vec<&'static Param> {
    match endpoint {
        Endpoint::Messages => messages::schema::params().collect(),
        _ => body_params().filter(|param| param.is_on(endpoint)).collect(),
    }
}

/// Returns why a body is refused, if it is.
fn refusal(endpoint: Endpoint, fields: &mut Fields) -> Option<ApiError> {
    match endpoint {
        Endpoint::Chat => ChatRequest::take(fields, 100).err(),
        Endpoint::Completions => CompletionRequest::take(fields, 100).err(),
        Endpoint::Messages => messages::request::take(fields, 100).err(),
    }
}

fn honoured(endpoint: Endpoint) -> Map<String, Value> {
    let params = params_of(endpoint).into_iter();
    let honoured = params.filter(|param| matches!(param.fate, Fate::Honoured { .. }));
    // It is not allowed together with `stream`.
    honoured
        .filter(|param| param.name != "prompt_logprobs" && !is_constraint(param))
        .map(|param| (param.name.to_owned(), example(param)))
        .collect()
}

/// A field that the reference calls honoured and no code reads is silently ignored.
#[test]
fn every_honoured_field_is_read() {
    for endpoint in ENDPOINTS {
        let body = Value::Object(honoured(endpoint)).to_string();
        let mut fields = Fields::parse(body.as_bytes()).unwrap();
        assert_eq!(refusal(endpoint, &mut fields), None, "{body}");
        assert_eq!(fields.left().collect::<Vec<_>>(), Vec::<&str>::new());
        let openai = params_of(endpoint).into_iter().filter(|_| endpoint != Endpoint::Messages);
        for param in openai.filter(|param| is_constraint(param)) {
            let is_honoured = matches!(param.fate, Fate::Honoured { .. });
            let mut fields =
                Fields::parse(json!({ param.name: example(param) }).to_string().as_bytes()).unwrap();
            let asked = structured::take(&mut fields).unwrap();
            assert_eq!(asked.is_some(), is_honoured, "{}", param.name);
        }
    }
}

/// The same of a response: each of its own fields must change what is made of the request.
#[test]
fn every_honoured_field_of_a_response_is_read() {
    let parse = |extra: Value| {
        let mut body = json!({ "input": "hi" });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        ResponsesRequest::parse(body.to_string().as_bytes(), 100, Past::Kept(&NothingBefore))
            .map(|request| format!("{request:?}"))
    };
    let logprobs = json!(["message.output_text.logprobs"]);
    let examples = json!({
        "input": "other", "instructions": "Be short.", "max_output_tokens": 7, "previous_response_id": "resp_1",
        "store": false, "background": true, "text": { "format": { "type": "json_object" } },
        "reasoning": { "effort": "low" }, "tools": [{ "type": "function", "name": "f" }],
        "tool_choice": "none", "include": logprobs, "truncation": "auto", "metadata": { "a": "b" },
        "top_logprobs": 3,
    });
    let plain = parse(json!({})).unwrap();
    for param in RESPONSES.iter().filter(|param| matches!(param.fate, Fate::Honoured { .. })) {
        let mut extra = json!({ param.name: examples[param.name] });
        if param.name == "top_logprobs" {
            extra["include"] = logprobs.clone();
        }
        assert_ne!(parse(extra).unwrap(), plain, "{}", param.name);
    }
    for param in RESPONSES {
        let instead = match param.fate {
            Fate::Refused { instead, .. } => instead,
            Fate::Honoured { .. } | Fate::Ignored => continue,
        };
        let error = parse(json!({ param.name: { "any": "thing" } })).unwrap_err();
        assert_eq!((error.code(), error.param()), ("unsupported_parameter", Some(param.name)));
        assert!(instead.is_none_or(|ours| error.to_string().ends_with(&format!("use `{ours}`"))), "{error}");
    }
}

#[derive(Debug)]
struct NothingBefore;

impl Kept for NothingBefore {
    fn conversation(&self, _: &str) -> Result<Vec<Value>, ApiError> {
        Ok(Vec::new())
    }

    fn item(&self, _: &str) -> Result<Option<Value>, ApiError> {
        Ok(None)
    }
}

/// A client that follows the advice must not be refused again.
#[test]
fn what_is_to_be_used_instead_is_honoured() {
    for param in messages::schema::OWN {
        let Fate::Refused { instead: Some(instead), .. } = param.fate else { continue };
        let is_it = |other: &&Param| other.name == instead && matches!(other.fate, Fate::Honoured { .. });
        assert!(messages::schema::OWN.iter().any(|other| is_it(&other)), "{}: {instead}", param.name);
    }
    for param in body_params() {
        let Fate::Refused { instead: Some(instead), .. } = param.fate else { continue };
        let ours = body_params().find(|other| {
            other.name == instead
                && matches!(other.fate, Fate::Honoured { .. })
                && [Endpoint::Chat, Endpoint::Completions]
                    .iter()
                    .any(|on| param.is_on(*on) && other.is_on(*on))
        });
        assert!(ours.is_some(), "{}: {instead}", param.name);
    }
}

/// Of two rows for one field only the first would be obeyed.
#[test]
fn no_field_has_two_fates() {
    for endpoint in ENDPOINTS {
        let names: Vec<_> = params_of(endpoint).into_iter().map(|param| param.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    }
}

/// A value at the edge of its range must pass, and one beyond it be refused by name, as the
/// reference and the schema say.
#[test]
fn ranges_are_what_is_published() {
    let parse = |endpoint, name: &str, value: Value| {
        let mut body = honoured(endpoint);
        body.remove("max_tokens");
        body.remove("max_completion_tokens");
        if name.starts_with("guided_") {
            body.remove("response_format");
        }
        if name == "n" {
            body.remove("best_of");
        }
        if name == "best_of" {
            body.insert("n".to_owned(), value.clone());
        }
        body.insert(name.to_owned(), value);
        refusal(endpoint, &mut Fields::parse(Value::Object(body).to_string().as_bytes()).unwrap())
    };
    for endpoint in ENDPOINTS {
        for param in params_of(endpoint) {
            let maybe_text = |max_chars| {
                ([json!(""), json!("é".repeat(max_chars))], vec![json!("é".repeat(max_chars + 1))])
            };
            let texts = |max_chars| {
                // Two bytes each: a schema counts characters.
                (
                    ["x", "é"].map(|x| json!(x.repeat(max_chars))),
                    vec![json!(""), json!("é".repeat(max_chars + 1))],
                )
            };
            let (inside, outside) = match param.kind {
                Kind::Text(max_chars) | Kind::Texts { max_chars, .. } => texts(max_chars),
                Kind::MaybeText(max_chars) => maybe_text(max_chars),
                Kind::Truncation(max) => {
                    ([json!(-1), json!(max)], [-2, 0, max + 1].iter().map(|edge| json!(edge)).collect())
                }
                Kind::Integer(min, max) => {
                    let beyond = [min.checked_sub(1), max.checked_add(1)];
                    ([json!(min), json!(max)], beyond.iter().flatten().map(|edge| json!(edge)).collect())
                }
                Kind::Number(min, max) => {
                    ([json!(min), json!(max)], vec![json!(min - 0.001), json!(max + 0.001)])
                }
                _ => continue,
            };
            // `prompt_logprobs` and `max_tokens: 0` are refused for another reason.
            if !["prompt_logprobs", "max_tokens"].contains(&param.name) {
                for value in inside {
                    assert_eq!(parse(endpoint, param.name, value.clone()), None, "{} {value}", param.name);
                }
            }
            // `best_of` is refused with the `n` that it has to be equal to.
            for value in outside.into_iter().filter(|_| param.name != "best_of") {
                let error = parse(endpoint, param.name, value).unwrap();
                assert_eq!((error.param(), error.code()), (Some(param.name), "invalid_value"), "{error}");
            }
        }
    }
}

/// Tools that make clients or tests from the document fail on a reference that leads nowhere, or on
/// a field without a schema.
#[tokio::test]
async fn the_openapi_document_is_whole() {
    let (head, body) = Stage::new("").answer(get("/openapi.json")).await;
    assert_eq!(head.status(), 200);
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let references = body.split("\"$ref\":\"#/components/schemas/").skip(1);
    for name in references.map(|rest| rest.split('"').next().unwrap()) {
        assert!(schemas.contains_key(name), "{name}");
    }
    for (endpoint, schema) in
        ENDPOINTS.into_iter().zip(["ChatCompletionRequest", "CompletionRequest", "MessageRequest"])
    {
        for param in params_of(endpoint) {
            assert!(schemas[schema]["properties"][param.name].is_object(), "{}", param.name);
        }
    }
    let message = schemas["Message"].to_string();
    assert!(MESSAGE.iter().all(|param| message.contains(&format!("\"{}\"", param.name))), "{message}");
    let options = schemas["ChatCompletionRequest"]["properties"]["stream_options"].to_string();
    assert!(STREAM_OPTIONS.iter().all(|option| options.contains(option.name)), "{options}");
    let router = include_str!("../src/routes.rs");
    let routes = router.split("route(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    for route in routes {
        let path = route.replace("{*id}", "{id}");
        assert!(document["paths"][&path].is_object(), "{path} is missing");
    }
}
