//! Scripted answers over real sockets, by the runner that is served with them.
#![allow(clippy::unwrap_used)]

mod calls;
#[path = "../common/mod.rs"]
mod common;
mod mistakes;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::model::text_model;
use serde_json::{Value, json};
use streamcore_engine::EngineConfig;
use streamcore_server::script::{ParserNames, runner};
use streamcore_server::text::TextModel;
use streamcore_server::{Access, Naming, Script, Server, ServerConfig, bind};

/// A server that plays a script, for the length of a test.
struct Stage {
    server: Option<Server>,
    script: Arc<Script>,
    player: Option<JoinHandle<()>>,
}

impl Stage {
    fn new(rules: &Value) -> Self {
        Self::of(&json!({ "rules": rules }), ParserNames::default(), text_model())
    }

    /// One that plays a whole script, with parsers that are named beside it.
    fn of(script: &Value, parsers: ParserNames<'_>, mut text: TextModel) -> Self {
        let script = Arc::new(Script::load(&script.to_string(), &mut text, parsers).unwrap());
        let config = ServerConfig {
            naming: Naming {
                served_model_names: vec!["toy".to_owned()],
                version: "1.2.3".to_owned(),
                created: 42,
                ..Naming::default()
            },
            access: Access::default(),
            vocab_size: text.tokenizer.vocab_size(),
            engine: EngineConfig { max_model_len: 2048, num_blocks: 512, ..common::engine_config() },
            limits: common::limits(),
            script: Some(Arc::clone(&script)),
        };
        let server = Server::start(bind("127.0.0.1", 0).unwrap(), text, config).unwrap();
        let (driver, played) = (Arc::clone(server.driver()), Arc::clone(&script));
        let player = thread::spawn(move || runner::run(&driver, &played));
        Self { server: Some(server), script, player: Some(player) }
    }

    /// Everything that comes until the server closes, or `until` has come.
    fn post(&self, body: &Value, until: &str) -> String {
        let address = self.server.as_ref().unwrap().address().unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        let (body, mut read) = (body.to_string(), Vec::new());
        let head =
            format!("POST /v1/chat/completions HTTP/1.1\r\nhost: toy\r\ncontent-length: {}", body.len());
        write!(socket, "{head}\r\nconnection: close\r\n\r\n{body}").unwrap();
        let mut bytes = [0; 4096];
        while until.is_empty() || !String::from_utf8_lossy(&read).contains(until) {
            match socket.read(&mut bytes) {
                Ok(0) | Err(_) => break,
                Ok(num_bytes) => read.extend_from_slice(&bytes[..num_bytes]),
            }
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Returns the whole answer to a body, with the model's name in it.
    fn answer(&self, mut body: Value) -> Value {
        body["model"] = json!("toy");
        let transcript = self.post(&body, "");
        let (_, body) = transcript.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|_| panic!("{transcript}"))
    }

    fn ask(&self, text: &str, stream: bool) -> String {
        let messages = json!([{ "role": "user", "content": text }]);
        self.post(&json!({ "model": "toy", "messages": messages, "stream": stream }), "")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let server = self.server.take().unwrap();
        server.drain(Duration::ZERO);
        self.player.take().unwrap().join().unwrap();
        server.shutdown();
    }
}

/// Returns the text of each delta, in order.
fn deltas(transcript: &str) -> Vec<String> {
    let data = transcript.lines().filter_map(|line| line.strip_prefix("data: {"));
    let events = data.map(|data| serde_json::from_str::<Value>(&format!("{{{data}")).unwrap());
    let texts =
        events.filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned));
    texts.filter(|text| !text.is_empty()).collect()
}

/// A client is tested against chunks that are cut where its author wants them cut, on a busy
/// machine too.
#[test]
fn pieces_are_events_however_they_are_cut() {
    let answer = json!({ "pieces": ["Hel", "lo ", [0xf0, 0x9f], [0xa6, 0x80], "!"] });
    let stage = Stage::new(&json!([{ "answer": answer }]));
    let transcript = stage.ask("hi", true);
    assert_eq!(deltas(&transcript), ["Hel", "lo ", "🦀", "!"]);
    assert!(transcript.contains("\"finish_reason\":\"stop\"") && transcript.contains("data: [DONE]"));
    assert!(stage.ask("hi", false).contains("\"completion_tokens\":6"), "five pieces and the end");
}

/// The wrong rule answers the wrong test, and the test passes.
#[test]
fn the_first_rule_that_is_for_a_request_answers_it() {
    let stage = Stage::new(&json!([
        { "when": { "equals": "a" }, "answer": { "text": "equals" } },
        { "when": { "contains": "bc", "stream": false }, "answer": { "text": "contains" } },
        { "when": { "regex": "^[0-9]+$" }, "answers": [{ "text": "first" }, { "text": "second" }] },
        { "when": { "model": "other" }, "answer": { "text": "model" } },
    ]));
    for (asked, stream, answered) in [
        ("a", false, "equals"),
        ("abc", false, "contains"),
        ("abc", true, "\"code\":\"no_rule\""),
        ("12", false, "first"),
        ("13", false, "second"),
        ("14", false, "second"),
        ("x", false, "no rule of the script is for this request"),
    ] {
        let transcript = stage.ask(asked, stream);
        assert!(transcript.contains(answered), "{asked} {stream}: {transcript}");
    }
    assert_eq!(stage.script.num_replies(), 7);
}

/// A test of a client's handling of truncated answers needs one.
#[test]
fn an_answer_ends_as_the_script_says() {
    let stage = Stage::new(&json!([{ "answer": { "text": "abc", "finish_reason": "length" } }]));
    let transcript = stage.ask("hi", false);
    assert!(
        transcript.contains("\"content\":\"abc\"") && transcript.contains("\"finish_reason\":\"length\"")
    );
    assert!(transcript.contains("\"completion_tokens\":3"));
}

/// An error status must look like the real one, or the client is tested against something that
/// never happens.
#[test]
fn an_error_status_is_answered_before_the_stream() {
    let error = json!({ "status": 429, "code": "slow_down", "message": "too much", "retry_after_s": 7 });
    let stage = Stage::new(&json!([{ "answers": [{ "error": error }, { "text": "ok" }] }]));
    let transcript = stage.ask("hi", true);
    assert!(transcript.starts_with("HTTP/1.1 429"), "{transcript}");
    assert!(transcript.contains("retry-after: 7\r\n"), "{transcript}");
    assert!(
        transcript.contains("\"code\":\"slow_down\"") && transcript.contains("\"type\":\"rate_limit_error\"")
    );
    assert_eq!(deltas(&stage.ask("hi", true)).concat(), "ok");
}

/// Each fault must come after exactly the tokens that it was written behind.
#[test]
fn faults_strike_where_they_were_put() {
    let fault = |kind: &str, after: usize| json!({ "text": "abcd", "fault": { "kind": kind, "after_tokens": after } });
    let stage = Stage::new(&json!([{ "answers": [fault("error", 0), fault("error", 2), fault("cut", 2)] }]));
    let at_once = stage.ask("hi", true);
    assert!(deltas(&at_once).is_empty() && !at_once.contains("\"role\""), "{at_once}");
    assert!(at_once.ends_with("}}\n\n\r\n") && at_once.contains("data: {\"error\":"), "{at_once}");
    assert!(!at_once.contains("[DONE]"), "{at_once}");
    let later = stage.ask("hi", true);
    assert_eq!(deltas(&later), ["a", "b"]);
    assert!(later.contains("data: {\"error\":") && !later.contains("finish_reason\":\""), "{later}");
    let cut = stage.ask("hi", true);
    assert_eq!(deltas(&cut), ["a", "b"]);
    assert!(!cut.contains("[DONE]") && !cut.ends_with("0\r\n\r\n"), "the body is not ended: {cut}");
    let whole = stage.ask("hi", false);
    assert!(!whole.ends_with("0\r\n\r\n") && !whole.contains("\"choices\""), "{whole}");
}

/// An answer that hangs must neither hold up the others nor the end of the server.
#[test]
fn an_answer_that_hangs_hangs_alone() {
    let hang = json!({ "text": "abcd", "fault": { "kind": "hang", "after_tokens": 2 } });
    let stage = Stage::new(&json!([
        { "when": { "equals": "hang" }, "answer": hang },
        { "answer": { "text": "ok" } },
    ]));
    let body = json!({ "model": "toy", "messages": [{ "role": "user", "content": "hang" }], "stream": true });
    let hanging = stage.post(&body, "\"content\":\"b\"");
    assert_eq!(deltas(&hanging), ["a", "b"]);
    assert_eq!(deltas(&stage.ask("hi", true)).concat(), "ok");
}
