//! Any body gets an answer or a refusal that Anthropic's clients can read: never a 5xx, a panic or
//! silence.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use streamcore_server::anthropic::schema::{BLOCKS, OWN, params};

use crate::cases::{COUNT, MESSAGES};
use crate::common::{Stage, post};
use crate::grammar::{check_message, check_refusal, read};

/// Returns nothing in particular.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..200).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        select(vec!["user", "text", "tool_use", "auto", "tool", "f", "json_schema"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let key = select(vec!["type", "text", "name", "id", "input", "content", "role", "schema", "x"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..4).prop_map(|fields| json!(fields)),
        ]
    })
}

/// Returns a block with some of its fields, and values that may fit.
fn block() -> impl Strategy<Value = Value> {
    let names: Vec<_> = BLOCKS.iter().flat_map(|(_, params)| params.iter().map(|param| param.name)).collect();
    let kind = select(vec!["text", "tool_use", "tool_result", "thinking", "redacted_thinking", "image"]);
    let text = || prop_oneof![3 => "[a-z<>]{1,4}".prop_map(Value::from), 1 => anything()];
    let more = prop::collection::btree_map(select(names), anything(), 0..2);
    (kind, text(), text(), more).prop_map(|(kind, text, name, more)| {
        let mut block = json!({
            "type": kind, "text": text, "thinking": text, "content": text, "name": name,
            "tool_use_id": name, "id": name,
        });
        block.as_object_mut().unwrap().extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        block
    })
}

fn messages() -> impl Strategy<Value = Value> {
    let content = prop_oneof![
        "[a-z<>]{0,5}".prop_map(Value::from),
        prop::collection::vec(block(), 0..3).prop_map(Value::from),
        anything(),
    ];
    let role = select(vec!["user", "assistant", "user", "system", "tool"]);
    let message = (role, content).prop_map(|(role, content)| json!({ "role": role, "content": content }));
    prop::collection::vec(message, 0..4).prop_map(Value::from)
}

/// Returns what may be asked for beside the messages, more or less.
fn fields() -> impl Strategy<Value = Value> {
    select(vec![
        json!({}),
        json!({ "stream": true }),
        json!({ "stop_sequences": ["END", "é"], "top_k": 3, "top_p": 0.5 }),
        json!({ "tools": [{ "name": "f" }], "thinking": { "type": "enabled", "budget_tokens": 5 } }),
        json!({ "tools": [{ "name": "f" }, { "type": "bash_20250124", "name": "bash" }] }),
        json!({ "tools": [{ "name": "f" }], "tool_choice": { "type": "none" }, "stream": true }),
        json!({ "system": [{ "type": "text", "text": "s" }], "temperature": 0 }),
        json!({ "max_tokens": 2_000_000_000, "stream": true }),
    ])
}

fn body() -> impl Strategy<Value = Value> {
    let names: Vec<_> = OWN.iter().chain(params()).map(|param| param.name).collect();
    let usual = Just(json!([{ "role": "user", "content": "hi" }]));
    let asked = prop_oneof![1 => usual, 3 => messages()];
    (asked, fields(), prop::collection::btree_map(select(names), anything(), 0..2)).prop_map(
        |(messages, fields, others)| {
            let mut body = json!({ "model": "toy", "max_tokens": 20, "messages": messages });
            let all = body.as_object_mut().unwrap();
            all.extend(fields.as_object().unwrap().clone());
            all.extend(others.into_iter().map(|(name, value)| (name.to_owned(), value)));
            body
        },
    )
}

/// Returns what a body is answered with, if it is as it must be. All that is generated must be
/// given back.
fn status(stage: &mut Stage, path: &str, body: &Value) -> Result<u16, String> {
    let transcript = stage.play(post(path, body.clone()), 3);
    stage.run(2);
    if !stage.is_clean() {
        return Err("something is left behind".to_owned());
    }
    let status = transcript.head.status().as_u16();
    if transcript.head.headers()["content-type"].as_bytes().starts_with(b"text/event") {
        return read(&transcript).map(|_| status);
    }
    let answer: Value = serde_json::from_str(&transcript.body()).map_err(|error| error.to_string())?;
    match status {
        200 if path == COUNT => answer["input_tokens"].as_u64().map(|_| 200).ok_or("no count".to_owned()),
        200 => check_message(&answer).map(|()| 200),
        400..500 => check_refusal(&answer).map(|()| status),
        _ => Err(format!("{status} {answer}")),
    }
}

/// A body that brings a worker down, or is answered in a shape that no client reads, takes the
/// others with it.
#[test]
fn every_body_is_answered_or_refused() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _context = runtime.enter();
    let config = ProptestConfig {
        cases: 400,
        rng_seed: RngSeed::Fixed(39),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    // Where its text begins in an answer does not matter here.
    let stage = RefCell::new(Stage::new("né 🦀 END!".repeat(12)));
    let (num_answered, num_refused) = (Cell::new(0), Cell::new(0));
    runner
        .run(&body(), |body| {
            // What an answer is held to is compiled by another thread; `constrained` has that.
            prop_assume!(body["output_config"].is_null() && body["output_format"].is_null());
            prop_assume!(["any", "tool"].iter().all(|kind| body["tool_choice"]["type"] != *kind));
            prop_assume!(body["tool_choice"]["disable_parallel_tool_use"].is_null());
            let status = |path| {
                status(&mut stage.borrow_mut(), path, &body)
                    .map_err(|broken| TestCaseError::fail(format!("{broken}: {body}")))
            };
            let (answered, counted) = (status(MESSAGES)?, status(COUNT)?);
            prop_assert!(
                answered == counted || counted == 200,
                "{answered} {counted}: what is answered can be counted: {body}"
            );
            let count = if answered == 200 { &num_answered } else { &num_refused };
            count.set(count.get() + 1);
            Ok(())
        })
        .unwrap();
    let counts = (num_answered.get(), num_refused.get());
    assert!(counts.0 > 60 && counts.1 > 100, "{counts:?}");
}
