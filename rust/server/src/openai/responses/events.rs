//! The events of a response, in OpenAI's order. A whole response is their final result.
//!
//! ```text
//! created, in_progress
//!   output_item.added                                            one item after the other
//!     content_part.added, output_text.delta …, output_text.done, content_part.done
//!   output_item.done
//! completed | incomplete | failed
//! ```

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::object::{Output, ResponseObject, Status, Told};
use super::open_item::{AtPart, Open, OpenKind, list};
use crate::error::ApiError;
use crate::openai::finish::{Finish, FinishReason};
use crate::openai::logprobs::{ChatLogprobs, LogprobsFormat};
use crate::openai::usage::Usage;
use crate::sse::write_named_event;
use crate::stored::Recording;
use crate::stream::{CallHead, Chunks, Identity, Said, ShownToken};

/// Writes the events of a response, and records them if it is stored.
#[derive(Debug)]
pub struct ResponseEvents {
    identity: Identity,
    told: Told,
    members: Map<String, Value>,
    format: LogprobsFormat,
    /// Items that are done.
    output: Vec<Output>,
    open: Option<Open>,
    sequence_number: u64,
    is_cut_off: bool,
    is_over: bool,
    /// The present object.
    body: Vec<u8>,
    recording: Option<Recording>,
}

#[derive(Serialize)]
struct Event<'a, T> {
    r#type: &'a str,
    sequence_number: u64,
    #[serde(flatten)]
    data: T,
}

#[derive(Serialize)]
struct AtItem<'a> {
    output_index: usize,
    item: &'a Output,
}

#[derive(Serialize)]
struct OfResponse {
    response: Box<RawValue>,
}

impl ResponseEvents {
    /// Writes the events of a response, and leaves them in `recording`.
    #[must_use]
    pub fn new(identity: Identity, told: Told, format: LogprobsFormat, recording: Option<Recording>) -> Self {
        let members = told.members();
        Self {
            identity,
            told,
            members,
            format,
            output: Vec::new(),
            open: None,
            sequence_number: 0,
            is_cut_off: false,
            is_over: false,
            body: Vec::new(),
            recording,
        }
    }

    /// Returns the last written object.
    #[must_use]
    pub fn into_body(mut self) -> Vec<u8> {
        std::mem::take(&mut self.body)
    }

    fn emit(&mut self, frames: &mut Vec<u8>, name: &'static str, data: impl Serialize) {
        let event = Event { r#type: name, sequence_number: self.sequence_number, data };
        self.sequence_number += 1;
        let start = frames.len();
        write_named_event(frames, name, &event);
        if let Some(recording) = &self.recording {
            recording.add(&frames[start..]);
        }
    }

    /// Writes an event with the whole object.
    fn emit_response(
        &mut self,
        frames: &mut Vec<u8>,
        name: &'static str,
        status: Status,
        change: impl FnOnce(&mut ResponseObject<'_>),
    ) {
        let mut response = ResponseObject::new(&self.identity, status, &self.members);
        response.output = &self.output;
        change(&mut response);
        self.body = serde_json::to_vec(&response).expect("wire types serialise");
        if let Some(recording) = &self.recording {
            recording.set(status, &self.body);
        }
        let json = String::from_utf8_lossy(&self.body).into_owned();
        let response = RawValue::from_string(json).expect("what was written as JSON can be read");
        self.emit(frames, name, OfResponse { response });
        if status.is_final() {
            self.is_over = true;
            if let Some(recording) = &self.recording {
                recording.end();
            }
        }
    }

    fn begin_item(&mut self, kind: OpenKind, frames: &mut Vec<u8>) {
        self.close(Status::Completed, frames);
        let index = self.output.len();
        let name = self.identity.id.trim_start_matches("resp_");
        let id = format!("{}_{name}_{index}", kind.prefix());
        let open = Open { kind, id, text: String::new(), logprobs: Vec::new() };
        let item = open.item(Status::InProgress, false);
        self.emit(frames, "response.output_item.added", AtItem { output_index: index, item: &item });
        if let Some(names) = open.kind.names() {
            let at = AtPart { part: Some(open.part()), ..open.at(index) };
            self.emit(frames, names.part_added, at);
        }
        self.open = Some(open);
    }

    /// Adds to an item of this kind, after closing an open one of another kind.
    fn grow(&mut self, kind: OpenKind, text: &str, tokens: &[ShownToken], frames: &mut Vec<u8>) {
        if self.open.as_ref().is_none_or(|open| open.kind != kind) {
            self.begin_item(kind, frames);
        }
        let Some(mut open) = self.open.take() else { return };
        open.text.push_str(text);
        let logprobs = match open.kind {
            OpenKind::Message => Some(self.logprobs(tokens, &mut open.logprobs)),
            _ => None,
        };
        let name = open.kind.names().map_or("response.function_call_arguments.delta", |names| names.delta);
        self.emit(frames, name, AtPart { delta: Some(text), logprobs, ..open.at(self.output.len()) });
        self.open = Some(open);
    }

    /// Writes the log-probabilities of these tokens, and adds them to the part's.
    fn logprobs(&self, tokens: &[ShownToken], all: &mut Vec<u8>) -> Box<RawValue> {
        let mut fresh = Vec::new();
        if self.told.has_logprobs {
            ChatLogprobs::new(tokens, self.format).write_entries(&mut fresh);
        }
        if !all.is_empty() && !fresh.is_empty() {
            all.push(b',');
        }
        all.extend_from_slice(&fresh);
        list(&fresh)
    }

    /// Ends the open item.
    fn close(&mut self, status: Status, frames: &mut Vec<u8>) {
        let Some(open) = self.open.take() else { return };
        let index = self.output.len();
        match (open.kind.names(), &open.kind) {
            (Some(names), _) => {
                let logprobs = (open.kind == OpenKind::Message).then(|| list(&open.logprobs));
                let done = AtPart { text: Some(&open.text), logprobs, ..open.at(index) };
                self.emit(frames, names.done, done);
                self.emit(frames, names.part_done, AtPart { part: Some(open.part()), ..open.at(index) });
            }
            (None, OpenKind::Call { name, .. }) => {
                let arguments = Some(&*open.text);
                let done = AtPart { name: Some(name), arguments, ..open.at(index) };
                self.emit(frames, "response.function_call_arguments.done", done);
            }
            (None, _) => {}
        }
        let item = open.item(status, self.told.has_encrypted_content);
        self.emit(frames, "response.output_item.done", AtItem { output_index: index, item: &item });
        self.output.push(item);
    }

    fn begin_call(&mut self, head: &CallHead, frames: &mut Vec<u8>) {
        let call_id = head.id_in(&self.identity.id, 0).into_owned();
        self.begin_item(OpenKind::Call { call_id, name: head.name.clone() }, frames);
    }

    /// Returns the kind of the open call.
    fn open_call(&self) -> Option<OpenKind> {
        let open = self.open.as_ref()?;
        matches!(open.kind, OpenKind::Call { .. }).then(|| open.kind.clone())
    }

    fn has_said_something(&self) -> bool {
        let is_said = |item: &Output| !matches!(item, Output::Reasoning { .. });
        self.output.iter().any(is_said)
    }
}

impl Chunks for ResponseEvents {
    fn tells_usage(&self) -> bool {
        false
    }

    fn tells_tokens(&self) -> bool {
        self.told.has_logprobs
    }

    fn begin(&mut self, frames: &mut Vec<u8>) {
        let status = if self.told.background { Status::Queued } else { Status::InProgress };
        self.emit_response(frames, "response.created", status, |_| {});
        if self.told.background {
            self.emit_response(frames, "response.queued", status, |_| {});
        } else {
            self.emit_response(frames, "response.in_progress", status, |_| {});
        }
    }

    fn opening(&mut self, _: usize, _: Option<Usage>, frames: &mut Vec<u8>) {
        if self.told.background {
            self.emit_response(frames, "response.in_progress", Status::InProgress, |_| {});
        }
    }

    fn text(
        &mut self,
        index: usize,
        text: &str,
        tokens: &[ShownToken],
        usage: Option<Usage>,
        frames: &mut Vec<u8>,
    ) {
        self.said(index, Said::Content(text), tokens, usage, frames);
    }

    fn said(
        &mut self,
        _: usize,
        said: Said<'_>,
        tokens: &[ShownToken],
        _: Option<Usage>,
        frames: &mut Vec<u8>,
    ) {
        match said {
            // Tokens without text belong to the open item, if there is one.
            Said::Content("") => {
                let is_open = self.open.as_ref().is_some_and(|open| open.kind == OpenKind::Message);
                if is_open && self.told.has_logprobs && tokens.iter().any(|token| token.logprobs.is_some()) {
                    self.grow(OpenKind::Message, "", tokens, frames);
                }
            }
            Said::Content(text) => self.grow(OpenKind::Message, text, tokens, frames),
            Said::Reasoning(text) => {
                let kind = if self.told.summary.is_some() { OpenKind::Summary } else { OpenKind::Reasoning };
                self.grow(kind, text, tokens, frames);
            }
            Said::CallBegin(head) => self.begin_call(head, frames),
            Said::Arguments { text, .. } => {
                if let Some(kind) = self.open_call() {
                    self.grow(kind, text, tokens, frames);
                }
            }
        }
    }

    fn finish(
        &mut self,
        index: usize,
        finish: &Finish,
        tail: &[ShownToken],
        usage: Option<Usage>,
        frames: &mut Vec<u8>,
    ) {
        self.is_cut_off = finish.finish_reason == FinishReason::Length;
        self.said(index, Said::Content(""), tail, usage, frames);
    }

    fn end(&mut self, usage: Usage, frames: &mut Vec<u8>) {
        let (status, name) = if self.is_cut_off {
            (Status::Incomplete, "response.incomplete")
        } else {
            (Status::Completed, "response.completed")
        };
        self.close(status, frames);
        if !self.has_said_something() {
            // An empty answer is a message.
            self.begin_item(OpenKind::Message, frames);
            self.close(status, frames);
        }
        self.emit_response(frames, name, status, |response| {
            response.usage = Some(usage.into());
            if status == Status::Incomplete {
                response.incomplete_details = Some(json!({ "reason": "max_output_tokens" }));
            }
        });
    }

    /// The last event reports the failure, and every client knows it.
    fn fail(&mut self, error: &ApiError, usage: Usage, frames: &mut Vec<u8>) -> bool {
        self.close(Status::Incomplete, frames);
        self.emit_response(frames, "response.failed", Status::Failed, |response| {
            response.usage = Some(usage.into());
            // OpenAI's code for the server's fault.
            response.error = Some(json!({ "code": "server_error", "message": error.to_string() }));
        });
        true
    }
}

impl Drop for ResponseEvents {
    /// Marks a response whose client has left or has cancelled it.
    fn drop(&mut self) {
        if self.recording.is_none() || self.is_over {
            return;
        }
        let mut unread = Vec::new();
        self.close(Status::Incomplete, &mut unread);
        self.emit_response(&mut unread, "response.incomplete", Status::Cancelled, |_| {});
    }
}
