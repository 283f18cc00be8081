//! Streams that are nearly right: a checker that lets one of them pass proves nothing.

use axum::http::Response;

use crate::common::Transcript;
use crate::grammar::read;

const GOOD: &str = r#":

event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"toy","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":4,"cache_creation_input_tokens":0,"cache_read_input_tokens":3,"output_tokens":0}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: ping
data: {"type":"ping"}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hi"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"c","name":"f","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":4,"cache_creation_input_tokens":0,"cache_read_input_tokens":3,"output_tokens":9}}

event: message_stop
data: {"type":"message_stop"}

"#;

fn transcript(body: &str) -> Transcript {
    let head = Response::builder()
        .header("content-type", "text/event-stream; charset=utf-8")
        .header("cache-control", "no-cache, no-transform")
        .header("x-accel-buffering", "no")
        .header("x-request-id", "t1")
        .header("request-id", "t1");
    Transcript { head: head.body(()).unwrap(), writes: vec![body.to_owned()], is_cut: false }
}

/// Returns the events of the good stream.
fn events() -> Vec<&'static str> {
    GOOD.split_terminator("\n\n").collect()
}

/// Returns the good stream with its n-th event changed.
fn with(nth: usize, change: impl FnOnce(&str) -> Vec<String>) -> String {
    let mut events: Vec<_> = events().into_iter().map(str::to_owned).collect();
    let changed = change(&events[nth]);
    events.splice(nth..=nth, changed);
    events.into_iter().map(|event| event + "\n\n").collect()
}

fn without(nth: usize) -> String {
    with(nth, |_| Vec::new())
}

fn twice(nth: usize) -> String {
    with(nth, |event| vec![event.to_owned(), event.to_owned()])
}

fn replaced(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

fn swapped(nth: usize) -> String {
    let mut events = events();
    events.swap(nth, nth + 1);
    events.into_iter().map(|event| format!("{event}\n\n")).collect()
}

/// Every rule of the checker must be there for a reason.
#[test]
fn no_broken_stream_passes() {
    read(&transcript(GOOD)).unwrap();
    let error =
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}\n\n";
    let mut broken = vec![
        ("a comment inside", with(6, |_| vec![":".to_owned()])),
        ("a ping before the message", with(0, |_| vec![events()[6].to_owned()])),
        ("a thought that is not signed", without(4)),
        ("a thought that goes on", swapped(3)),
        ("an end before the block's", swapped(12)),
        ("a block inside another", without(5)),
        ("an index left out", replaced("\"index\":1,\"content_block\"", "\"index\":2,\"content_block\"")),
        ("a delta elsewhere", replaced("\"index\":1,\"delta\"", "\"index\":0,\"delta\"")),
        ("a stop elsewhere", replaced("stop\",\"index\":2", "stop\",\"index\":1")),
        ("text in a call", replaced("input_json_delta\",\"partial_json", "text_delta\",\"text")),
        ("an empty delta", replaced("\"text\":\"Hi\"", "\"text\":\"\"")),
        ("an empty text", without(8)),
        ("a name that is another", replaced("event: ping", "event: pong")),
        ("no name", replaced("event: ping\n", "")),
        ("no type", replaced("data: {\"type\":\"ping\"}", "data: {}")),
        ("an unknown reason", replaced("\"tool_use\",\"stop_sequence\"", "\"stop\",\"stop_sequence\"")),
        ("a reason without its sequence", replaced("\"tool_use\",\"stop_s", "\"stop_sequence\",\"stop_s")),
        ("a sequence without its reason", replaced("null},\"usage\":{\"input", "\"x\"},\"usage\":{\"input")),
        ("calls that are not told", replaced("\"tool_use\",\"stop_s", "\"end_turn\",\"stop_s")),
        ("calls that are none", replaced("\"partial_json\":\"{}\"", "\"partial_json\":\"{\"")),
        ("no usage", replaced(",\"output_tokens\":9", "")),
        (
            "another prompt",
            replaced(
                "\"cache_read_input_tokens\":3,\"output_tokens\":9",
                "\"cache_read_input_tokens\":2,\"output_tokens\":9",
            ),
        ),
        ("white space", replaced("\"index\":1}", "\"index\": 1}")),
        ("an error behind the end", format!("{GOOD}{error}")),
        ("nothing", String::new()),
    ];
    for nth in [1, 2, 7, 13, 14] {
        broken.push(("an event too few", without(nth)));
    }
    for nth in [1, 2, 4, 5, 7, 9, 10, 12, 13, 14] {
        broken.push(("an event twice", twice(nth)));
    }
    for (what, body) in broken {
        assert!(read(&transcript(&body)).is_err(), "{what}:\n{body}");
    }
    let mut cut = transcript(GOOD);
    cut.is_cut = true;
    assert!(read(&cut).is_err(), "a body without an end");
    let mut half = transcript(GOOD);
    half.writes = vec![GOOD[..300].to_owned(), GOOD[300..].to_owned()];
    assert!(read(&half).is_err(), "half an event in a write");
    let failed = events()[..9].join("\n\n") + "\n\n" + error;
    let told = read(&transcript(&failed)).unwrap();
    assert_eq!(told["open"]["text"], "Hi", "an error may come anywhere");
}
