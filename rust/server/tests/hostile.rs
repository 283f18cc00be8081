//! Any JSON body gets an answer or a refusal that clients can read: never a 5xx, a panic or
//! silence.
#![allow(clippy::unwrap_used)]

mod common;

use axum::body::Body;
use axum::http::Request;
use common::contract::{Asked, check_error, read};
use common::{Stage, post};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use streamcore_server::openai::schema::params::{PARAMS, STREAM_OPTIONS};
use streamcore_server::openai::schema::{Endpoint, Fate, Kind, Neutral, Param};

const ROUTES: [(&str, Endpoint); 2] =
    [("/v1/chat/completions", Endpoint::Chat), ("/v1/completions", Endpoint::Completions)];

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3_i64..200).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0_u32..30).prop_map(|tenths| json!(f64::from(tenths) / 10.0)),
    ]
}

/// Returns nothing in particular.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        "\\PC{0,8}".prop_map(Value::from),
        any::<String>().prop_map(|text| text.chars().take(12).collect::<String>().into()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = select(vec!["role", "content", "type", "text", "name", "0", "", "tool_calls", "x"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key, inner, 0..4)
                .prop_map(|fields| json!(fields.into_iter().collect::<std::collections::BTreeMap<_, _>>())),
        ]
    })
}

fn content() -> impl Strategy<Value = Value> {
    prop_oneof![
        "\\PC{0,12}".prop_map(Value::from),
        prop::collection::vec("\\PC{0,5}".prop_map(|text| json!({ "type": "text", "text": text })), 0..3)
            .prop_map(Value::from),
        anything(),
    ]
}

fn messages() -> BoxedStrategy<Value> {
    let role = select(vec!["system", "developer", "user", "assistant", "tool", "boss", "<end>"]);
    let any_field = ("[a-z<>]{0,5}|tool_calls|function_call|tool_call_id|name|reasoning", anything());
    let more = prop::option::weighted(0.4, prop_oneof![any_field, call()]);
    let message = (role, content(), more).prop_map(|(role, content, more)| {
        let mut message = json!({ "role": role, "content": content });
        message.as_object_mut().unwrap().extend(more);
        message
    });
    prop::collection::vec(message, 0..3).prop_map(Value::from).boxed()
}

/// Tools, or the older functions.
fn tools() -> BoxedStrategy<Value> {
    let function = || {
        ("[a-z]{0,4}", anything(), any::<bool>()).prop_map(|(name, parameters, strict)| {
            json!({ "name": name, "description": "<end>", "parameters": parameters, "strict": strict })
        })
    };
    let tool = prop_oneof![
        2 => function().prop_map(|function| json!({ "type": "function", "function": function })),
        1 => function(),
        1 => anything(),
    ];
    prop::collection::vec(tool, 0..3).prop_map(Value::from).boxed()
}

/// Returns a call of an earlier answer, and its older form.
fn call() -> impl Strategy<Value = (String, Value)> {
    let called = || {
        let arguments = prop_oneof![
            "[{}\\[\\]\":a<> ]{0,8}".prop_map(Value::from),
            Just(json!("{\"a\": [1]}")),
            anything(),
        ];
        ("[a-z<>]{0,4}", arguments)
            .prop_map(|(name, arguments)| json!({ "name": name, "arguments": arguments }))
    };
    let call = called().prop_map(|called| json!({ "id": "1", "function": called }));
    prop_oneof![
        called().prop_map(|called| ("function_call".to_owned(), called)),
        prop::collection::vec(call, 0..3).prop_map(|calls| ("tool_calls".to_owned(), calls.into())),
    ]
}

/// Returns a value that a field may have, more or less.
fn fitting(param: &Param) -> BoxedStrategy<Value> {
    let text = || "[ -~]{0,9}".prop_map(Value::from);
    let token = || (0_u32..258).prop_map(Value::from);
    let tokens = || prop::collection::vec(token(), 0..4).prop_map(Value::from);
    match (param.fate, param.kind) {
        (Fate::Refused { unless, .. }, _) => neutral(unless),
        (_, Kind::Boolean) => any::<bool>().prop_map(Value::from).boxed(),
        (_, Kind::Integer(min, max)) => {
            let usual = (min.max(-1)..=max.min(9)).prop_map(Value::from);
            prop_oneof![3 => usual, 1 => select(vec![min, max]).prop_map(Value::from)].boxed()
        }
        (_, Kind::Truncation(_)) => (-1_i64..9).prop_map(Value::from).boxed(),
        (_, Kind::Number(min, max)) => (min..=max).prop_map(Value::from).boxed(),
        (_, Kind::MaybeText(_)) => {
            select(vec!["toy", "toy", "org/toy", "", "x"]).prop_map(Value::from).boxed()
        }
        (_, Kind::Text(_) | Kind::Name) => text().boxed(),
        (_, Kind::Texts { .. }) => {
            prop_oneof![text(), prop::collection::vec(text(), 0..5).prop_map(Value::from)].boxed()
        }
        (_, Kind::TokenIds(_)) => tokens().boxed(),
        (_, Kind::LogitBias(_)) => {
            let biases = prop::collection::btree_map("[0-9]{1,3}", -101.0..101.0_f64, 0..3);
            biases.prop_map(|biases| json!(biases)).boxed()
        }
        (_, Kind::Object(_)) => stream_options().boxed(),
        (_, Kind::TextList { .. }) => prop::collection::vec(text(), 0..5).prop_map(Value::from).boxed(),
        (_, Kind::Input) => prop_oneof![text().boxed(), messages()].boxed(),
        (_, Kind::Metadata) => prop::collection::btree_map("[a-z]{1,9}", "[ -~]{0,9}", 0..3)
            .prop_map(|texts| json!(texts))
            .boxed(),
        (_, Kind::Messages) => messages(),
        (_, Kind::Blocks) => content().boxed(),
        (_, Kind::Prompt) => {
            let one = || prop_oneof![text(), tokens()];
            prop_oneof![one(), prop::collection::vec(one(), 0..3).prop_map(Value::from)].boxed()
        }
        (_, Kind::ToolName) => text().boxed(),
        (_, Kind::Words(words)) => {
            prop_oneof![3 => select(words).prop_map(Value::from), 1 => anything()].boxed()
        }
        (_, Kind::Objects(_)) => tools(),
        (_, Kind::ToolChoice) => {
            prop_oneof![3 => select(vec!["auto", "none", "never"]).prop_map(Value::from), 1 => anything()]
                .boxed()
        }
        (_, Kind::Variables | Kind::Anything | Kind::ResponseFormat | Kind::StructuredOutputs) => {
            anything().boxed()
        }
    }
}

fn neutral(unless: Neutral) -> BoxedStrategy<Value> {
    let values = match unless {
        Neutral::Null => vec![Value::Null],
        Neutral::False => vec![json!(false)],
        Neutral::True => vec![json!(true)],
        Neutral::Numbers(numbers) => numbers.iter().map(|number| json!(number)).collect(),
        Neutral::Empty => vec![json!(""), json!([]), json!({})],
        Neutral::Words(words) => words.iter().map(|word| json!(word)).collect(),
        Neutral::ListOf(word) => vec![json!([word])],
    };
    select(values).boxed()
}

fn stream_options() -> impl Strategy<Value = Value> {
    let option = (select(STREAM_OPTIONS.to_vec()), any::<bool>());
    prop::collection::vec(option, 0..3).prop_map(|options| {
        let named = options.iter().map(|(param, value)| (param.name.to_owned(), json!(value)));
        Value::Object(named.collect())
    })
}

/// Returns a body of this table: what has to be there, a few fields with fitting values, fewer with
/// any.
fn body(endpoint: Endpoint) -> impl Strategy<Value = Value> {
    // What answers are held to is compiled by another thread; `constrained` has that.
    let params: Vec<Param> = PARAMS.iter().filter(|param| param.is_on(endpoint)).copied().collect();
    let basis = match endpoint {
        Endpoint::Chat => json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }] }),
        Endpoint::Completions => json!({ "model": "toy", "prompt": "hi" }),
        Endpoint::Messages => json!({}),
    };
    let field = select(params.clone())
        .prop_flat_map(|param| fitting(&param).prop_map(move |value| (param.name.to_owned(), value)));
    let names =
        params.iter().map(|param| param.name.to_owned()).chain(["nobody".to_owned()]).collect::<Vec<_>>();
    let hostile = (select(names), anything());
    let (fields, others) = (prop::collection::vec(field, 0..6), prop::collection::vec(hostile, 0..2));
    // Half of them have nothing hostile in them: these are to be answered.
    (fields, others, any::<bool>(), any::<bool>()).prop_map(move |(fields, others, is_hostile, stream)| {
        let mut body = basis.clone();
        body["stream"] = json!(stream);
        for (name, value) in fields.into_iter().chain(others.into_iter().filter(|_| is_hostile)) {
            body[name] = value;
        }
        body
    })
}

/// Returns a stage that answers every prompt in the same way, wherever its text begins.
fn stage() -> Stage {
    Stage::new("né 🦀 <end>END!".repeat(12))
}

/// Returns what a body is answered with, if it is as it must be. All that is generated must be
/// given back.
fn status(stage: &mut Stage, path: &str, body: &str) -> Result<u16, String> {
    let transcript = stage.play(post(path, body), 3);
    stage.run(2);
    if !stage.is_clean() {
        return Err("something is left behind".to_owned());
    }
    let status = transcript.head.status();
    let is_stream = transcript.head.headers()["content-type"].as_bytes().starts_with(b"text/event");
    if is_stream {
        read(&transcript, Asked::of(path, &serde_json::from_str(body).unwrap()))?;
        return Ok(status.as_u16());
    }
    let answer: Value = serde_json::from_str(&transcript.body()).map_err(|error| error.to_string())?;
    match status.as_u16() {
        200 if answer["choices"].is_array()
            || answer["tokens"].is_array()
            || answer["prompt"].is_string() =>
        {
            Ok(200)
        }
        400..500 => check_error(&answer).map(|()| status.as_u16()),
        _ => Err(format!("{status} {answer}")),
    }
}

/// Returns a head of odd parts, and a good body.
fn head() -> impl Strategy<Value = Request<Body>> {
    let methods = vec!["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"];
    let paths = vec![
        "/",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/models",
        "/v1/models/",
        "/tokenize",
        "/detokenize",
        "/health",
        "/ready",
        "/version",
        "/metrics",
        "/openapi.json",
        "*",
        "/v1//models",
    ];
    let names = vec![
        "content-type",
        "content-length",
        "authorization",
        "x-api-key",
        "x-request-id",
        "x-stainless-read-timeout",
        "accept",
        "origin",
        "access-control-request-method",
        "expect",
        "te",
        "host",
    ];
    let values = vec![
        "",
        "application/json",
        "Bearer x",
        "-1",
        "inf",
        "NaN",
        "1e999",
        "99999999999999999999",
        "*",
        "null",
        "a\tb",
    ];
    let value = prop_oneof![
        select(values).prop_map(|value| value.as_bytes().to_vec()),
        prop::collection::vec(0x20_u8..0x7f, 0..80),
        prop::collection::vec(0x80_u8..=0xff, 0..80),
    ];
    let path = (select(paths), "[a-z%?#0-9/.]{0,8}", prop::bool::weighted(0.3));
    (select(methods), path, prop::collection::vec((select(names), value), 0..4)).prop_filter_map(
        "no request at all",
        |(method, (path, more, is_longer), headers)| {
            let uri = if is_longer { format!("{path}{more}") } else { path.to_owned() };
            let mut request = Request::builder().method(method).uri(uri);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            request.body(Body::from(r#"{"model":"toy","prompt":"hi","max_tokens":2}"#)).ok()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, cases: 1500, ..Default::default() })]

    /// SDKs retry every 5xx, and a handler that panics or hangs is a way to take the server down.
    #[test]
    fn any_body_of_the_table_is_answered_or_refused((path, body) in select(ROUTES.to_vec())
        .prop_flat_map(|(path, endpoint)| body(endpoint).prop_map(move |body| (path, body.to_string())))
    ) {
        // Longer ones are prepared by another thread, for which this one does not wait.
        prop_assume!(body.len() < 4 << 10);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _context = runtime.enter();
        let status = status(&mut stage(), path, &body);
        prop_assert!(status.is_ok(), "{:?} {}", status, body);
    }

    /// The same for what is no request at all, or was one before a proxy cut it.
    #[test]
    fn any_bytes_are_answered_or_refused(
        path in select(vec![ROUTES[0].0, ROUTES[1].0, "/tokenize", "/detokenize"]),
        body in prop_oneof![anything().prop_map(|body| body.to_string()), body(Endpoint::Chat).prop_map(|body| body.to_string())],
        wounds in prop::collection::vec((any::<Index>(), select(vec!["", "\"", "{", "]", ",", "\\u", "\u{0}", "1e999", "é"])), 0..3),
    ) {
        let mut chars: Vec<String> = body.chars().map(String::from).collect();
        for (index, wound) in wounds {
            if !chars.is_empty() {
                let place = index.index(chars.len());
                chars[place] = wound.to_owned();
            }
        }
        let body = chars.concat();
        prop_assume!(body.len() < 4 << 10);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _context = runtime.enter();
        let status = status(&mut stage(), path, &body);
        prop_assert!(status.is_ok(), "{:?} {}", status, body);
    }

    /// The same for what scanners send, and what proxies make of it.
    #[test]
    fn any_head_is_answered_or_refused(request in head()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _context = runtime.enter();
        let (what, is_head) = (format!("{request:?}"), request.method() == "HEAD");
        let transcript = stage().play_routed(request, &[3]);
        let status = transcript.head.status();
        prop_assert!(transcript.head.headers().contains_key("x-request-id"), "{}", what);
        prop_assert!(status.is_success() || status.is_client_error(), "{} {}", status, what);
        if status.is_client_error() && !is_head {
            let body = serde_json::from_str(&transcript.body()).unwrap();
            prop_assert_eq!(check_error(&body), Ok(()), "{}", what);
        }
    }
}

/// A generator that is only ever refused would prove nothing about answers.
#[test]
fn many_bodies_are_answered() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, TestRunner};
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _context = runtime.enter();
    let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(2), ..Config::default() });
    let (mut num_answered, num_bodies) = (0, 200);
    for _ in 0..num_bodies {
        let body = body(Endpoint::Completions).new_tree(&mut runner).unwrap().current();
        num_answered += usize::from(status(&mut stage(), ROUTES[1].0, &body.to_string()) == Ok(200));
    }
    assert!((num_bodies / 5..num_bodies * 9 / 10).contains(&num_answered), "{num_answered}");
}
