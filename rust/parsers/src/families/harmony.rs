//! gpt-oss: messages with a header that names the recipient, `<|channel|>CHANNEL
//! to=RECIPIENT<|message|>TEXT<|end|>`.
//!
//! | message | is |
//! |---|---|
//! | to `functions.NAME`, or a tool of the request | a call, from the first brace of its text on |
//! | to any other recipient, or on channel `analysis` | reasoning |
//! | any other, on channel `final` or `commentary` | content |
//!
//! A call without text has the arguments `{}`.
//! The recipient stands in the role's part of the header or in the channel's. The prompt ends
//! within the first header, or with it; text without any header is content. A header that was cut
//! off at the end of the answer is syntax. One that ends without a message is content, as is, with
//! its header, a message to a tool whose text is no object.

use super::json_object::{JsonObject, Progress};
use crate::calls::is_name;
use crate::event::Outcome;
use crate::input::Behind;
use crate::marker::{Fit, Found, Marker, find};
use crate::session::{Channel, Next, Session};

/// The markers, in the order of [`Harmony::MARKERS`].
#[derive(Debug)]
pub(crate) struct Harmony {
    start: Marker,
    channel: Marker,
    message: Marker,
    /// What ends a message: `<|end|>`, `<|return|>`, `<|call|>`.
    ends: Vec<Marker>,
    /// These, and what a message begins with.
    borders: Vec<Marker>,
    has_calls: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// A message may begin, or text without a header.
    Start,
    Header,
    Body,
    /// The header of a call has been read, not taken: its text must be an object.
    CallStart {
        name: String,
        header_len: usize,
    },
    Arguments(JsonObject),
    Broken,
}

/// Longest whitespace before a recipient.
const MAX_SPACE_BYTES: usize = 64;

/// Longest header that is waited for.
const MAX_HEADER_BYTES: usize = 1024;

impl Harmony {
    /// Every marker.
    pub(crate) const MARKERS: [&str; 6] =
        ["<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>"];

    /// Returns a reader of messages; the prompt may have begun one on channel `analysis`.
    pub(crate) fn new(markers: [Marker; 6], has_calls: bool, starts_in_reasoning: bool) -> Self {
        let [start, channel, message, ends @ ..] = markers;
        let state = if starts_in_reasoning { State::Body } else { State::Start };
        let borders = [start, channel].into_iter().chain(ends).collect();
        Self { start, channel, message, ends: ends.to_vec(), borders, has_calls, state }
    }

    /// Reads what there is.
    pub(crate) fn run(&mut self, session: &mut Session) {
        // Once the answer is over, each step takes something or changes the state for one that
        // does.
        while !(session.input.is_empty() && matches!(self.state, State::Start | State::Body)) {
            let goes_on = match &mut self.state {
                State::Start => self.begin(session),
                State::Header => self.header(session),
                State::Body => self.body(session),
                State::CallStart { .. } => self.begin_call(session),
                State::Arguments(object) => {
                    let progress = object.step(session);
                    self.arguments(session, progress)
                }
                State::Broken => {
                    let is_over = session.pass_rest(&self.ends);
                    self.state = if is_over { State::Start } else { State::Broken };
                    is_over
                }
            };
            if !goes_on {
                break;
            }
        }
    }

    fn begin(&mut self, session: &mut Session) -> bool {
        let fits = [&self.start, &self.channel, &self.message].map(|marker| marker.fit(&session.input, 0));
        let letters = session.input.letters(0);
        let recipient = letters.0.trim_start();
        let may_be_header = letters.0.len() - recipient.len() <= MAX_SPACE_BYTES;
        if fits.contains(&Fit::Whole) || (may_be_header && recipient.starts_with(RECIPIENT)) {
            self.state = State::Header;
        } else if fits.contains(&Fit::Part)
            || (may_be_header && letters.1 == Behind::Open && RECIPIENT.starts_with(recipient))
        {
            return false;
        } else if let Some(end) = self.ends.iter().find(|end| end.fit(&session.input, 0) == Fit::Whole) {
            session.syntax(end.len());
        } else {
            session.turn_to(Channel::Content);
            self.state = State::Body;
        }
        true
    }

    fn header(&mut self, session: &mut Session) -> bool {
        let first =
            [self.start, self.channel].into_iter().find(|marker| marker.fit(&session.input, 0) == Fit::Whole);
        let from = first.map_or(0, |marker| marker.len());
        match find(&session.input, from, &[&[self.message], &self.ends]) {
            Found::Marker { index: 0, at } if at <= MAX_HEADER_BYTES => {
                self.read_header(session, at);
                true
            }
            Found::Open { at } if at <= MAX_HEADER_BYTES => {
                if session.input.is_finished() {
                    session.syntax(session.input.rest().len());
                    self.state = State::Start;
                }
                false
            }
            Found::Marker { at, .. } | Found::Open { at } => {
                let first_len = session.input.rest().chars().next().map_or(0, char::len_utf8);
                self.give_up(session, at.min(from.max(first_len)));
                true
            }
        }
    }

    /// Takes what looked like a header as content.
    fn give_up(&mut self, session: &mut Session, num_bytes: usize) {
        session.turn_to(Channel::Content);
        session.text(num_bytes);
        self.state = State::Body;
    }

    fn read_header(&mut self, session: &mut Session, message_at: usize) {
        let header = &session.input.rest()[..message_at];
        let word = |text: &str| {
            text.split(|letter: char| letter.is_whitespace() || letter == '<')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let channel = header.find(self.channel.text).map(|at| word(&header[at + self.channel.len()..]));
        let recipient = header.find(RECIPIENT).map(|at| word(&header[at + RECIPIENT.len()..]));
        let header_len = message_at + self.message.len();
        let called = recipient.as_deref().and_then(|recipient| match recipient.strip_prefix("functions.") {
            Some(name) => Some(name),
            None => session.tools.has(recipient).then_some(recipient),
        });
        if let Some(name) = called.filter(|name| is_name(name) && self.has_calls) {
            self.state = State::CallStart { name: name.to_owned(), header_len };
            return;
        }
        let is_reasoning =
            channel.as_deref() == Some("analysis") || (recipient.is_some() && called.is_none());
        session.turn_to(if is_reasoning { Channel::Reasoning } else { Channel::Content });
        session.syntax(header_len);
        self.state = State::Body;
    }

    fn body(&mut self, session: &mut Session) -> bool {
        match find(&session.input, 0, &[&self.borders]) {
            Found::Open { at } => {
                session.text(at);
                false
            }
            Found::Marker { index, at } => {
                session.text(at);
                // The first two begin the next message.
                session.turn_to(Channel::Content);
                session.syntax(if index < 2 { 0 } else { self.borders[index].len() });
                self.state = State::Start;
                true
            }
        }
    }

    fn begin_call(&mut self, session: &mut Session) -> bool {
        let State::CallStart { name, header_len } = &self.state else { return true };
        let (name, header_len) = (name.clone(), *header_len);
        let (at, next) = session.skip_whitespace(header_len);
        let end = self.ends.iter().map(|end| end.fit(&session.input, at)).find(|fit| *fit != Fit::No);
        match (next, end) {
            (Next::Byte(b'{'), _) => {
                session.begin(name, None, at);
                self.state = State::Arguments(JsonObject::new());
            }
            (_, Some(Fit::Whole)) => {
                session.begin(name, None, at);
                session.arguments_from("{}", 0);
                session.end(Outcome::Complete, 0);
                self.state = State::Start;
            }
            (Next::Wait, _) | (_, Some(Fit::Part)) => return false,
            (Next::End, _) => {
                session.syntax(at);
                self.state = State::Start;
            }
            (Next::Byte(_) | Next::Special, _) => self.give_up(session, header_len),
        }
        true
    }

    fn arguments(&mut self, session: &mut Session, progress: Progress) -> bool {
        self.state = match progress {
            Progress::Wait => return false,
            Progress::Truncated => State::Start,
            Progress::Broken => State::Broken,
            Progress::Done => {
                session.end(Outcome::Complete, 0);
                State::Start
            }
        };
        true
    }
}

const RECIPIENT: &str = "to=";
