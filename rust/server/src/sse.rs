//! Server-sent events: one `data:` line of compact JSON and one blank line for each, and before it
//! an `event:` line where the API has one.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use memchr::memmem;
use serde::Serialize;

/// The last event of every stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// The keep-alive of a stream. A bare comment: named ones and `ping` break clients.
pub const KEEPALIVE: &[u8] = b":\n\n";

/// Initial room for an event, so that a usual one costs one allocation.
const TYPICAL_EVENT_BYTES: usize = 320;

/// Appends one event. Compact JSON has no line break outside of strings and escapes those inside,
/// so one line is enough.
pub fn write_event<T: Serialize>(frames: &mut Vec<u8>, data: &T) {
    frames.reserve(TYPICAL_EVENT_BYTES);
    frames.extend_from_slice(b"data: ");
    serde_json::to_writer(&mut *frames, data).expect("wire types serialise and a vector takes every byte");
    frames.extend_from_slice(b"\n\n");
}

/// Appends one event that has a name.
pub fn write_named_event<T: Serialize>(frames: &mut Vec<u8>, name: &str, data: &T) {
    frames.extend_from_slice(b"event: ");
    frames.extend_from_slice(name.as_bytes());
    frames.push(b'\n');
    write_event(frames, data);
}

/// Placeholder for the text of a [`TextEvent`].
pub const TEXT: &str = "\0";

/// Events that differ in one text only, one for every token, so the rest is serialised once.
#[derive(Debug)]
pub struct TextEvent {
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Start of the other variable value in the tail, if there is one.
    value_start: usize,
}

impl TextEvent {
    /// Creates events like `example`, which has [`TEXT`] in the place of the text, and none after
    /// it.
    pub fn new<T: Serialize>(example: &T) -> Self {
        let text = serde_json::to_vec(TEXT).expect("a string serialises");
        let mut head = Vec::new();
        write_event(&mut head, example);
        let start = memmem::rfind(&head, &text).expect("the example has the text");
        let tail = head.split_off(start + text.len());
        head.truncate(start);
        Self { head, tail, value_start: 0 }
    }

    /// Creates events with another variable value behind the text: the first in the example equal
    /// to `value`.
    pub fn with_value<T: Serialize, V: Serialize>(example: &T, value: &V) -> Self {
        let event = Self::new(example);
        let value = serde_json::to_vec(value).expect("wire types serialise");
        let value_start = memmem::find(&event.tail, &value).expect("the example has the value");
        let tail = [&event.tail[..value_start], &event.tail[value_start + value.len()..]].concat();
        Self { tail, value_start, ..event }
    }

    /// Appends the event with this text.
    pub fn write(&self, frames: &mut Vec<u8>, text: &str) {
        self.write_with(frames, text, |_| {});
    }

    /// Appends the event with this text and the value that `append` writes.
    pub fn write_with(&self, frames: &mut Vec<u8>, text: &str, append: impl FnOnce(&mut Vec<u8>)) {
        frames.reserve(self.head.len() + text.len() + 2 + self.tail.len());
        frames.extend_from_slice(&self.head);
        serde_json::to_writer(&mut *frames, text).expect("a string serialises and a vector takes every byte");
        let (before, behind) = self.tail.split_at(self.value_start);
        frames.extend_from_slice(before);
        append(frames);
        frames.extend_from_slice(behind);
    }
}

/// Returns a response whose headers go out at once and whose body is a stream of events.
pub fn response(body: Body) -> Response {
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    (headers, body).into_response()
}

/// Returns whether a response is a stream of events.
pub fn is_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line break inside a delta would end the event early and the client would see half of its
    /// JSON.
    #[test]
    fn an_event_is_one_line_whatever_the_text() {
        let mut frames = Vec::new();
        write_event(&mut frames, &"a\nb\r\n\n\u{2028}c");
        assert_eq!(frames, "data: \"a\\nb\\r\\n\\n\u{2028}c\"\n\n".as_bytes());
    }

    /// Tokens take the short way, all other chunks the long one: a client must not see which.
    #[test]
    fn an_event_is_the_same_by_either_way() {
        let event = |text| serde_json::json!({ "model": TEXT, "text": text, "usage": null });
        let template = TextEvent::new(&event(TEXT));
        for text in ["", "a\nb", "\"\\", "\0\u{7f}\u{2028}é🦀", TEXT] {
            let (mut short, mut long) = (Vec::new(), Vec::new());
            template.write(&mut short, text);
            write_event(&mut long, &event(text));
            assert_eq!(short, long, "{text:?}");
            let with_usage = TextEvent::with_value(&event(TEXT), &());
            let (mut spliced, mut plain) = (Vec::new(), Vec::new());
            with_usage.write_with(&mut spliced, text, |frames| frames.extend_from_slice(b"[1]"));
            write_event(&mut plain, &serde_json::json!({ "model": TEXT, "text": text, "usage": [1] }));
            assert_eq!(spliced, plain, "{text:?}");
        }
    }
}
