//! The state of a parse that formats share: the text that is left, and the events so far.

use std::mem;

use crate::event::{Event, EventKind, Outcome};
use crate::input::{Behind, Input};
use crate::marker::{Found, Marker, end_of_letters, find};
use crate::schema::Tools;

/// The channel of text outside calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Reasoning,
    Content,
}

/// The text that is left, and the events so far.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) input: Input,
    pub(crate) tools: Tools,
    pub(crate) channel: Channel,
    /// Whether there has been text since the beginning, the reasoning or a call.
    pub(crate) has_text: bool,
    /// Whitespace at the beginning of such a stretch of text: text if text follows, syntax if a
    /// marker does.
    whitespace: String,
    has_calls: bool,
    events: Vec<Event>,
}

impl Session {
    pub(crate) fn new(tools: Tools, channel: Channel) -> Self {
        Self {
            input: Input::default(),
            tools,
            channel,
            has_text: false,
            whitespace: String::new(),
            has_calls: false,
            events: Vec::new(),
        }
    }

    /// Appends the events so far to these.
    pub(crate) fn drain_into(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.events);
    }

    /// Takes plain text. Whitespace waits until more text follows.
    pub(crate) fn text(&mut self, num_bytes: usize) {
        let text = self.input.take(num_bytes);
        if !self.has_text && text.chars().all(char::is_whitespace) {
            self.whitespace.push_str(text);
            return;
        }
        self.has_text = true;
        let text = mem::take(&mut self.whitespace) + text;
        self.tell_text(text);
    }

    /// Takes markers.
    pub(crate) fn syntax(&mut self, num_bytes: usize) {
        self.input.take(num_bytes);
        let num_bytes = num_bytes + mem::take(&mut self.whitespace).len();
        self.tell(EventKind::Syntax, num_bytes);
    }

    /// Starts a new stretch of text.
    pub(crate) fn turn_to(&mut self, channel: Channel) {
        self.syntax(0);
        self.channel = channel;
        self.has_text = false;
    }

    /// Begins a call, which ends the reasoning.
    pub(crate) fn begin(&mut self, name: String, id: Option<String>, num_bytes: usize) {
        self.turn_to(Channel::Content);
        self.has_calls = true;
        self.input.take(num_bytes);
        self.tell(EventKind::CallBegin { name, id }, num_bytes);
    }

    /// Takes arguments that are JSON as they are.
    pub(crate) fn arguments(&mut self, num_bytes: usize) {
        let text = self.input.take(num_bytes).to_owned();
        self.tell(EventKind::Arguments(text), num_bytes);
    }

    /// Takes text that was converted to these arguments.
    pub(crate) fn arguments_from(&mut self, arguments: &str, num_bytes: usize) {
        self.input.take(num_bytes);
        self.tell(EventKind::Arguments(arguments.to_owned()), num_bytes);
    }

    /// Ends the call.
    pub(crate) fn end(&mut self, outcome: Outcome, num_bytes: usize) {
        self.input.take(num_bytes);
        self.tell(EventKind::CallEnd(outcome), num_bytes);
        self.has_text = false;
    }

    /// Passes on the rest of arguments that have left their format, up to the marker that ends the
    /// call, or the end of the answer. Returns whether that has come.
    pub(crate) fn pass_rest(&mut self, closing: &[Marker]) -> bool {
        match find(&self.input, 0, &[closing]) {
            Found::Marker { index, at } => {
                self.arguments(at);
                self.end(Outcome::Malformed, closing[index].len());
                true
            }
            Found::Open { .. } if self.input.is_finished() => {
                self.arguments(end_of_letters(&self.input, 0, closing));
                self.end(Outcome::Malformed, self.input.rest().len());
                true
            }
            Found::Open { at } => {
                self.arguments(at);
                false
            }
        }
    }

    /// Ends the answer: trailing whitespace is content, unless it follows a call.
    pub(crate) fn flush(&mut self) {
        let whitespace = mem::take(&mut self.whitespace);
        let num_bytes = whitespace.len();
        if self.has_calls || self.channel == Channel::Reasoning {
            self.tell(EventKind::Syntax, num_bytes);
        } else {
            self.tell_text(whitespace);
        }
    }

    /// Returns the end of the whitespace at a position, and what follows. A very long run, which
    /// each piece would scan again, does not count as space between markers.
    pub(crate) fn skip_whitespace(&self, at: usize) -> (usize, Next) {
        let (end, next) = self.whitespace_end(at);
        if end - at > MAX_SPACE_BYTES { (end, Next::Special) } else { (end, next) }
    }

    /// Returns what follows the next whitespace, of any length.
    pub(crate) fn next(&self) -> (usize, Next) {
        self.whitespace_end(0)
    }

    /// Takes the whitespace behind a call: it is text if text follows.
    pub(crate) fn set_space_aside(&mut self) {
        let (num_bytes, _) = self.next();
        self.text(num_bytes);
    }

    /// Takes the whitespace between parts of arguments.
    pub(crate) fn skip_space_in_arguments(&mut self) {
        let (num_bytes, _) = self.next();
        self.arguments_from("", num_bytes);
    }

    fn whitespace_end(&self, at: usize) -> (usize, Next) {
        let (letters, behind) = self.input.letters(at);
        let trimmed = letters.trim_start();
        let end = at + letters.len() - trimmed.len();
        let next = match (trimmed.as_bytes().first(), behind) {
            (Some(byte), _) => Next::Byte(*byte),
            (None, Behind::Special) => Next::Special,
            (None, Behind::Open) => Next::Wait,
            (None, Behind::End) => Next::End,
        };
        (end, next)
    }

    fn tell_text(&mut self, text: String) {
        let num_bytes = text.len();
        match self.channel {
            Channel::Reasoning => self.tell(EventKind::Reasoning(text), num_bytes),
            Channel::Content => self.tell(EventKind::Content(text), num_bytes),
        }
    }

    /// Appends an event, or makes the last one longer.
    fn tell(&mut self, kind: EventKind, num_bytes: usize) {
        if let Some(last) = self.events.last_mut() {
            let is_joined = match (&mut last.kind, &kind) {
                (EventKind::Reasoning(before), EventKind::Reasoning(text))
                | (EventKind::Content(before), EventKind::Content(text))
                | (EventKind::Arguments(before), EventKind::Arguments(text)) => {
                    before.push_str(text);
                    true
                }
                (EventKind::Syntax, EventKind::Syntax) => true,
                _ => false,
            };
            if is_joined {
                last.num_bytes += num_bytes;
                return;
            }
        }
        let is_empty = match &kind {
            EventKind::Reasoning(text) | EventKind::Content(text) | EventKind::Arguments(text) => {
                text.is_empty()
            }
            EventKind::Syntax => true,
            EventKind::CallBegin { .. } | EventKind::CallEnd(_) => false,
        };
        if !(is_empty && num_bytes == 0) {
            self.events.push(Event { kind, num_bytes });
        }
    }
}

/// Longest whitespace between the markers of a call that has not begun.
const MAX_SPACE_BYTES: usize = 1024;

/// The text behind whitespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Byte(u8),
    Special,
    /// More may come.
    Wait,
    /// The answer is over.
    End,
}
