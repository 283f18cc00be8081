//! The rules of a stream: that the check finds what breaks them, and that no answer does.
#![allow(clippy::unwrap_used)]

mod common;

use axum::http::Response;
use common::contract::{Asked, read};
use common::{NEXT_CHOICE, Stage, Transcript, engine_config, limits, post};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use streamcore_engine::EngineConfig;

fn transcript(body: &str) -> Transcript {
    let head = Response::builder()
        .header("content-type", "text/event-stream; charset=utf-8")
        .header("cache-control", "no-cache, no-transform")
        .header("x-accel-buffering", "no")
        .header("x-request-id", "t1");
    Transcript { head: head.body(()).unwrap(), writes: vec![body.to_owned()], is_cut: false }
}

fn cut(body: &str) -> Transcript {
    Transcript { is_cut: true, ..transcript(body) }
}

fn chunk(rest: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"toy\",{rest}}}\n\n"
    )
}

fn choice(delta: &str, finish_reason: &str) -> String {
    let choice =
        format!("{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish_reason}}}");
    chunk(&format!("\"choices\":[{choice}]"))
}

/// A check that finds nothing would let every test that leans on it pass.
#[test]
fn what_breaks_a_rule_is_found() {
    let asked = Asked { is_chat: true, num_choices: 1, include_usage: false, continuous_usage: false };
    let role = choice(r#"{"role":"assistant","content":""}"#, "null");
    let text = choice(r#"{"content":"a"}"#, "null");
    let finish = choice("{}", "\"stop\"");
    let done = "data: [DONE]\n\n";
    let error = "data: {\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":null,\"code\":\"c\"}}\n\n";
    let good = [&*role, &text, ":\n\n", &text, &finish, done].concat();
    assert_eq!(read(&transcript(&good), asked).unwrap()["choices"][0][1]["text"], "aa");
    let failed = [&*role, &text, error].concat();
    assert_eq!(read(&cut(&failed), asked).unwrap()["error"]["code"], "c");
    let text_in_finish = choice(r#"{"content":"a"}"#, "\"stop\"");
    let empty = choice(r#"{"content":""}"#, "null");
    let usage = chunk("\"choices\":[],\"usage\":null");
    let long = choice(&format!("{{\"content\":\"{}\"}}", "a".repeat(64 << 10)), "null");
    for (broken, parts) in [
        ("[DONE]", vec![&*role, &text, &finish]),
        ("twice", vec![&role, &text, &finish, done, done]),
        ("the last event", vec![&role, &finish, done, &text]),
        ("before all roles", vec![&text, &finish, done]),
        ("a role", vec![&role, &role, &finish, done]),
        ("without an end", vec![&role, &text, done]),
        ("behind the finish", vec![&role, &finish, &finish, done]),
        ("behind the finish", vec![&role, &finish, &text, done]),
        ("text in a finish", vec![&role, &text_in_finish, done]),
        ("no text", vec![&role, &empty, &finish, done]),
        ("looks complete", vec![&role, &text, error]),
        ("looks complete", vec![&role, &text, error, done]),
        ("`usage`", vec![&role, &finish, &usage, done]),
        ("64 KiB", vec![&role, &long, &finish, done]),
        ("no data line", vec!["event: x\n", &role, &finish, done]),
        ("no data line", vec![&role, "data:{}\n\n", &finish, done]),
        ("carriage return", vec![&role, &finish, "data: [DONE]\r\n\n"]),
        ("more than one line", vec![&role, "data: {}\ndata: {}\n\n", &finish, done]),
        ("inside an event", vec![&role, &finish, "data: [DONE]\n"]),
    ] {
        let message = read(&transcript(&parts.concat()), asked).unwrap_err();
        assert!(message.contains(broken), "{broken}: {message}");
    }
    for (broken, parts) in [
        ("behind the last", vec![&*role, error, &finish, error]),
        ("[DONE] is there", vec![&role, &text, error, done]),
        ("without a reason", vec![&role, &text]),
        ("without a reason", vec![&role, &text, &finish]),
    ] {
        let message = read(&cut(&parts.concat()), asked).unwrap_err();
        assert!(message.contains(broken), "{broken}: {message}");
    }
    for (name, other) in [
        ("compact", good.replacen("\"logprobs\":null", "\"logprobs\": null", 1)),
        ("identity", good.replacen("\"created\":1", "\"created\":2", 1)),
        ("foreign id", good.replacen("chatcmpl-1", "cmpl-1", 1)),
        ("nobody asked for", good.replace("\"index\":0", "\"index\":1")),
        ("unknown reason", good.replace("\"stop\"", "\"abort\"")),
        ("more than text", good.replacen("{\"content\":\"a\"}", "{\"content\":\"a\",\"ids\":[1]}", 1)),
    ] {
        assert_ne!(other, good);
        let message = read(&transcript(&other), asked).unwrap_err();
        assert!(message.contains(name), "{name}: {message}");
    }
    let mut compressed = transcript(&good);
    compressed.head.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(read(&compressed, asked).unwrap_err(), "compressed");
    let asked = Asked { include_usage: true, ..asked };
    assert!(read(&transcript(&good), asked).unwrap_err().contains("`usage`"));
}

/// The same of calls and reasoning, which clients put together by index, and whose pieces they
/// join.
#[test]
fn what_breaks_a_rule_of_calls_is_found() {
    let asked = Asked { is_chat: true, num_choices: 1, include_usage: false, continuous_usage: false };
    let role = choice(r#"{"role":"assistant","content":""}"#, "null");
    let (finish, stop) = (choice("{}", "\"tool_calls\""), choice("{}", "\"stop\""));
    let delta = |delta: &str| choice(delta, "null");
    let call = |call: &str| delta(&format!("{{\"tool_calls\":[{call}]}}"));
    let begin = |index: u32, id: &str| {
        let function = r#""type":"function","function":{"name":"f","arguments":""}"#;
        call(&format!("{{\"index\":{index},\"id\":\"{id}\",{function}}}"))
    };
    let more = |index: u32, text: &str| {
        call(&format!("{{\"index\":{index},\"function\":{{\"arguments\":\"{text}\"}}}}"))
    };
    let thought = delta(r#"{"reasoning":"a","reasoning_content":"a"}"#);
    let text = delta(r#"{"content":"a"}"#);
    let done = "data: [DONE]\n\n".to_owned();
    let read = |parts: &[&String]| {
        let body: String = parts.iter().map(|part| part.as_str()).collect();
        read(&transcript(&body), asked)
    };
    let (first, second, arguments) = (begin(0, "i"), begin(1, "j"), more(0, "{}"));
    let good =
        [&role, &thought, &text, &first, &arguments, &second, &more(1, "{"), &more(1, "}"), &finish, &done];
    let told = read(&good).unwrap()["choices"][0][1].clone();
    assert_eq!(told["reasoning"], "a");
    assert_eq!(told["tool_calls"][1]["function"], json!({ "name": "f", "arguments": "{}" }));
    let shaped = |rest: &str| call(&format!("{{\"index\":0,\"id\":\"i\",{rest}}}"));
    for (broken, parts) in [
        ("under one name", vec![&delta(r#"{"reasoning":"a"}"#), &stop]),
        ("that differ", vec![&delta(r#"{"reasoning":"a","reasoning_content":"b"}"#), &stop]),
        ("no text", vec![&delta(r#"{"reasoning":"","reasoning_content":""}"#), &stop]),
        ("more than text", vec![&delta(r#"{"content":"a","reasoning":"a","reasoning_content":"a"}"#), &stop]),
        ("one call at a time", vec![&delta(r#"{"tool_calls":[]}"#), &stop]),
        ("out of order", vec![&second, &finish]),
        ("out of order", vec![&first, &arguments, &begin(0, "j"), &finish]),
        ("two calls of one id", vec![&first, &arguments, &begin(1, "i"), &finish]),
        ("not the last", vec![&first, &second, &arguments, &finish]),
        ("not the last", vec![&more(0, "{}"), &finish]),
        ("with nothing", vec![&first, &more(0, ""), &finish]),
        (
            "more than arguments",
            vec![&first, &call(r#"{"index":0,"function":{"name":"f","arguments":"{}"}}"#)],
        ),
        (
            "more than arguments",
            vec![&first, &call(r#"{"index":0,"type":"function","function":{"arguments":"{}"}}"#)],
        ),
        ("another shape", vec![&shaped(r#""type":"function","function":{"name":"f","arguments":"{}"}"#)]),
        ("another shape", vec![&shaped(r#""type":"tool","function":{"name":"f","arguments":""}"#)]),
        ("another shape", vec![&shaped(r#""function":{"name":"f","arguments":""}"#)]),
        ("without an id", vec![&shaped(r#""type":"function","function":{"name":"","arguments":""}"#)]),
        ("without a call", vec![&text, &finish]),
        ("without a call", vec![&first, &more(0, "{"), &finish]),
        ("does not tell", vec![&first, &arguments, &stop]),
        (
            "in a finish",
            vec![&first, &arguments, &choice(r#"{"reasoning":"a","reasoning_content":"a"}"#, "\"stop\"")],
        ),
        ("not an opening", vec![&choice(r#"{"role":"assistant","content":"","tool_calls":[]}"#, "null")]),
    ] {
        let opening = if broken == "not an opening" { vec![] } else { vec![&role] };
        let message = read(&[opening, parts, vec![&done]].concat()).unwrap_err();
        assert!(message.contains(broken), "{broken}: {message}");
    }
}

/// Returns the bytes that are likely to be parts of characters, of stop strings, or the end token.
fn script() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => "[abE#]".prop_map(String::into_bytes),
        2 => "[é€🦀]".prop_map(String::into_bytes),
        1 => (0x80_u8..=0xff).prop_map(|byte| vec![byte]),
        1 => Just(b"END".to_vec()),
        1 => Just(b"<end>".to_vec()),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn fields() -> impl Strategy<Value = Value> {
    let stops = prop::collection::vec("[abE#€]{1,3}", 0..4);
    let switches = prop::array::uniform7(any::<bool>());
    (stops, switches, 1_u32..4, 1_u32..14, 0_u32..4).prop_map(|(stop, switches, n, max_tokens, min_tokens)| {
        let [ids, usage, continuous, includes_stop, ignore_eos, shows_special, logprobs] = switches;
        let mut fields = json!({
            "model": "toy", "stream": true, "stop": stop, "n": n, "max_tokens": max_tokens, "min_tokens": min_tokens.min(max_tokens),
            "return_token_ids": ids, "include_stop_str_in_output": includes_stop, "ignore_eos": ignore_eos,
            "skip_special_tokens": !shows_special,
            "stream_options": { "include_usage": usage, "continuous_usage_stats": continuous },
        });
        if logprobs {
            fields["top_logprobs"] = json!(2);
        }
        fields
    })
}

/// As a chat, or as a completion of one prompt or two.
fn asked(mut fields: Value, kind: u32, echo: bool) -> (&'static str, Value) {
    let logprobs = fields["top_logprobs"].is_number();
    if kind == 0 {
        fields["messages"] = json!([{ "role": "user", "content": "hi" }]);
        fields["logprobs"] = json!(logprobs);
        return ("/v1/chat/completions", fields);
    }
    fields["prompt"] = if kind == 1 { json!("aé") } else { json!(["abc", "€"]) };
    fields["echo"] = json!(echo);
    if logprobs {
        fields["logprobs"] = json!(2);
    }
    fields.as_object_mut().unwrap().shift_remove("top_logprobs");
    ("/v1/completions", fields)
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, cases: 400, ..Default::default() })]

    /// The rules must hold whatever the model says and whenever it dies, and the output must not
    /// depend on how it is cut.
    #[test]
    fn every_stream_keeps_the_rules(
        scripts in prop::collection::vec(script(), 1..4),
        fields in fields(),
        (kind, echo) in (0_u32..3, any::<bool>()),
        fails_after in prop::option::weighted(0.3, 0_usize..8),
        cuts in prop::collection::vec(1_usize..5, 1..6),
        max_steps_in_flight in 1_usize..3,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _context = runtime.enter();
        let (path, body) = asked(fields, kind, echo);
        let script = scripts.join(NEXT_CHOICE.as_bytes());
        let max_steps_in_flight = if fails_after.is_some() { 1 } else { max_steps_in_flight };
        let config = EngineConfig { max_steps_in_flight, ..engine_config() };
        let mut told = Vec::new();
        for cuts in [&[1][..], &cuts, &[100]] {
            let mut stage = Stage::with_config(&script, config.clone(), limits())
                .each(|stage| stage.runner.fails_after = fails_after);
            let transcript = stage.play_cut(post(path, body.clone()), cuts);
            let read = read(&transcript, Asked::of(path, &body));
            told.push(read.map_err(|broken| TestCaseError::fail(format!("{broken}\n{}", transcript.golden())))?);
            stage.run(2);
            prop_assert!(stage.is_clean());
        }
        prop_assert_eq!(&told[0], &told[1]);
        prop_assert_eq!(&told[0], &told[2]);
    }

    /// A model may write any bytes; over either door and cut anywhere they must be the text that
    /// they are, and nothing else.
    #[test]
    fn any_bytes_arrive_as_text(bytes in prop::collection::vec(any::<u8>(), 0..60), cuts in prop::collection::vec(1_usize..5, 1..6)) {
        prop_assume!(!bytes.contains(&NEXT_CHOICE.as_bytes()[0]));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _context = runtime.enter();
        let body = json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }], "stream": true });
        let path = "/v1/chat/completions";
        let transcript = Stage::new(&bytes).play_cut(post(path, body.clone()), &cuts);
        let told = read(&transcript, Asked::of(path, &body)).map_err(TestCaseError::fail)?;
        let text = told["choices"][0][1]["text"].as_str().unwrap_or_default();
        prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
    }
}
