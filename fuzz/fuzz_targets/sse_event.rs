//! Any text is one event of one line, the same by the short way and by the long one, and a client
//! reads it back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use streamcore_server::sse::{TEXT, TextEvent, write_event};

fuzz_target!(|input: (&str, &str)| {
    let (model, text) = input;
    let event = |text: &str| json!({ "model": model, "text": text, "usage": null });
    let (mut short, mut long) = (Vec::new(), Vec::new());
    TextEvent::new(&event(TEXT)).write(&mut short, text);
    write_event(&mut long, &event(text));
    assert_eq!(short, long);
    let line =
        short.strip_prefix(b"data: ").and_then(|rest| rest.strip_suffix(b"\n\n")).expect("it is framed");
    assert!(!line.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
    let read: Value = serde_json::from_slice(line).expect("it is JSON");
    assert_eq!(read, event(text));
});
