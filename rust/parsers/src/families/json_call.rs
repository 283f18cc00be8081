//! A call as a JSON object: `{"name": …, "arguments": {…}}`.
//!
//! Keys come in any order; `parameters` is read for `arguments`. Arguments that come before the
//! name are held until the name is there. Arguments that are a JSON string with an object in it are
//! unwrapped; none, `null` and `""` are `{}`. The object is a call from the moment in which its
//! name is known and its arguments begin, or it ends; anything else, such as arguments that are a
//! list, is no call.

use super::json_arguments::{Inside, Read};
use super::json_object::{Progress, unfinished};
use crate::event::Outcome;
use crate::input::Behind;
use crate::json::{JsonScanner, Scan, StringDecoder};
use crate::session::Session;

/// Which objects are calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallRules {
    /// The format has no marker before a call: other objects may come, so only the tools of the
    /// request are called, and an object that has other keys is none.
    pub(crate) is_bare: bool,
    /// Calls have ids.
    pub(crate) has_ids: bool,
}

/// An object in progress. Takes nothing until it is known to be a call.
#[derive(Debug)]
pub(crate) struct JsonCall {
    rules: CallRules,
    /// Bytes that are read and not taken.
    at: usize,
    state: State,
    name: Option<String>,
    id: Option<String>,
    arguments: Arguments,
    has_begun: bool,
    /// Arguments that wait for the name.
    held: String,
}

#[derive(Debug)]
enum State {
    Open,
    KeyOrClose,
    Key { scanner: JsonScanner, start: usize },
    Colon(Key),
    ValueStart(Key),
    Value { key: Key, scanner: JsonScanner, start: usize },
    Arguments(Inside),
    Comma,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Name,
    Arguments,
    Id,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arguments {
    None,
    Open,
    Complete,
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallStep {
    Wait,
    /// The object is not a call. Nothing has been taken.
    NoCall,
    /// It has ended, and its last byte is taken.
    Done,
    /// It has begun, and left the format.
    Broken,
}

impl JsonCall {
    /// Reads an object that begins at a position.
    pub(crate) fn new(at: usize, rules: CallRules) -> Self {
        Self {
            rules,
            at,
            state: State::Open,
            name: None,
            id: None,
            arguments: Arguments::None,
            has_begun: false,
            held: String::new(),
        }
    }

    /// Reads what there is.
    pub(crate) fn step(&mut self, session: &mut Session) -> CallStep {
        loop {
            if let State::Arguments(inside) = &mut self.state {
                let (letters, behind) = session.input.stretch(self.at, inside.is_in_string());
                let Read { num_bytes, num_certain, text, end } = inside.read(letters);
                let goes_on =
                    num_bytes < letters.len() || (behind == Behind::Special && inside.is_in_string());
                self.tell_arguments(session, num_bytes, num_certain, &text);
                match end {
                    Some(Progress::Done) => {
                        self.arguments = Arguments::Complete;
                        self.state = State::Comma;
                        continue;
                    }
                    Some(_) => return self.fail(session),
                    None if goes_on => continue,
                    None => return self.pause(session, unfinished(behind)),
                }
            }
            let byte = match session.input.byte(self.at, self.is_in_string()) {
                Ok(byte) => byte,
                Err(behind) => return self.pause(session, unfinished(behind)),
            };
            match self.read(byte, session) {
                Some(true) => return self.close(session),
                Some(false) => {}
                None => return self.fail(session),
            }
        }
    }

    fn is_in_string(&self) -> bool {
        match &self.state {
            State::Key { scanner, .. } | State::Value { scanner, .. } => scanner.is_in_string(),
            _ => false,
        }
    }

    /// Takes a byte outside the arguments. Returns whether the object ends with it; `None` if it is
    /// invalid here.
    fn read(&mut self, byte: u8, session: &mut Session) -> Option<bool> {
        let is_whitespace = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match &mut self.state {
            State::Key { scanner, start } => {
                let (scan, start) = (scanner.push(byte), *start);
                self.at += 1;
                if scan == Scan::Invalid {
                    return None;
                }
                if scan == Scan::Done {
                    let key = serde_json::from_str::<String>(&session.input.rest()[start..self.at]).ok()?;
                    self.state = State::Colon(self.key(&key)?);
                }
            }
            State::Value { key, scanner, start } => {
                let (key, scan, start) = (*key, scanner.push(byte), *start);
                self.at += usize::from(scan != Scan::DoneBefore);
                match scan {
                    Scan::More => {}
                    Scan::Invalid => return None,
                    Scan::Done | Scan::DoneBefore => self.value(key, start, session)?,
                }
            }
            _ if is_whitespace => self.at += 1,
            State::Open if byte == b'{' => self.next(State::KeyOrClose),
            State::KeyOrClose if byte == b'"' => {
                let mut scanner = JsonScanner::new();
                scanner.push(byte);
                let start = self.at;
                self.next(State::Key { scanner, start });
            }
            State::Colon(key) if byte == b':' => {
                let key = *key;
                self.next(State::ValueStart(key));
            }
            State::ValueStart(key) => {
                let key = *key;
                self.value_start(key, byte, session)?;
            }
            State::Comma if byte == b',' => self.next(State::KeyOrClose),
            State::KeyOrClose | State::Comma if byte == b'}' => {
                self.at += 1;
                return Some(true);
            }
            _ => return None,
        }
        Some(false)
    }

    fn next(&mut self, state: State) {
        self.at += 1;
        self.state = state;
    }

    /// Returns the meaning of a key. A second name, and second arguments, have none.
    fn key(&self, key: &str) -> Option<Key> {
        match key {
            "name" if self.name.is_none() => Some(Key::Name),
            "arguments" | "parameters" if self.arguments == Arguments::None => Some(Key::Arguments),
            "id" if self.rules.has_ids => Some(Key::Id),
            "type" | "id" => Some(Key::Other),
            _ => (self.has_begun || !self.rules.is_bare).then_some(Key::Other),
        }
    }

    fn value_start(&mut self, key: Key, byte: u8, session: &mut Session) -> Option<()> {
        let string = match (key, byte) {
            (Key::Arguments, b'{') => None,
            (Key::Arguments, b'"') => Some(StringDecoder::default()),
            (Key::Arguments, b'n') | (Key::Id | Key::Other, _) | (Key::Name, b'"') => {
                // The byte is read again as the value's first.
                self.state = State::Value { key, scanner: JsonScanner::new(), start: self.at };
                return Some(());
            }
            (Key::Arguments | Key::Name, _) => return None,
        };
        self.at += usize::from(string.is_some());
        self.arguments = Arguments::Open;
        self.state = State::Arguments(Inside { scanner: JsonScanner::new(), string, is_over: false });
        // The first byte of an object in the text is certain; what is in a string is not yet.
        if byte == b'{' { self.begin_if_named(session) } else { Some(()) }
    }

    fn value(&mut self, key: Key, start: usize, session: &mut Session) -> Option<()> {
        self.state = State::Comma;
        let text = &session.input.rest()[start..self.at];
        match key {
            Key::Name => {
                let name = serde_json::from_str::<String>(text).ok()?;
                if name.is_empty()
                    || (self.rules.is_bare && !session.tools.is_empty() && !session.tools.has(&name))
                {
                    return None;
                }
                self.name = Some(name);
                if self.arguments == Arguments::Complete {
                    self.begin_if_named(session)?;
                }
            }
            Key::Id => self.id = serde_json::from_str(text).ok(),
            // `null`
            Key::Arguments => {
                self.arguments = Arguments::Complete;
                self.held.push_str("{}");
                self.begin_if_named(session)?;
            }
            Key::Other if self.has_begun => self.take(session),
            Key::Other => {}
        }
        Some(())
    }

    fn begin_if_named(&mut self, session: &mut Session) -> Option<()> {
        let Some(name) = &self.name else { return Some(()) };
        session.begin(name.clone(), self.id.take(), self.at);
        (self.at, self.has_begun) = (0, true);
        session.arguments_from(&self.held, 0);
        self.held.clear();
        Some(())
    }

    fn take(&mut self, session: &mut Session) {
        session.syntax(self.at);
        self.at = 0;
    }

    fn tell_arguments(&mut self, session: &mut Session, num_bytes: usize, num_certain: usize, text: &str) {
        if !self.has_begun {
            self.held.push_str(text);
            if self.name.is_none() || self.held.is_empty() {
                self.at += num_bytes;
                return;
            }
            self.at += num_certain;
            let _ = self.begin_if_named(session);
            self.at = num_bytes - num_certain;
        } else if text.is_empty() {
            self.at += num_bytes;
        } else {
            session.arguments_from(text, self.at + num_certain);
            self.at = num_bytes - num_certain;
        }
    }

    fn close(&mut self, session: &mut Session) -> CallStep {
        if !self.has_begun {
            // A bare object that names no tool of the request, and has no arguments, is an object.
            let is_certain =
                self.arguments == Arguments::Complete || !self.rules.is_bare || !session.tools.is_empty();
            if self.name.is_none() || !is_certain {
                return CallStep::NoCall;
            }
            let _ = self.begin_if_named(session);
        }
        if self.arguments == Arguments::None {
            session.arguments_from("{}", 0);
        }
        session.end(Outcome::Complete, self.at);
        CallStep::Done
    }

    /// Handles the end of the text, for now or for good.
    fn pause(&mut self, session: &mut Session, progress: Progress) -> CallStep {
        match progress {
            Progress::Wait => CallStep::Wait,
            Progress::Truncated if self.has_begun && self.arguments == Arguments::Open => {
                session.arguments_from("", self.at);
                session.end(Outcome::Truncated, 0);
                CallStep::Done
            }
            Progress::Truncated | Progress::Broken | Progress::Done => self.fail(session),
        }
    }

    /// Handles an invalid byte. A call whose arguments are complete has ended before it.
    fn fail(&mut self, session: &mut Session) -> CallStep {
        match (self.has_begun, self.arguments) {
            (false, _) => CallStep::NoCall,
            (true, Arguments::Complete | Arguments::None) => {
                session.end(Outcome::Complete, 0);
                CallStep::Done
            }
            (true, Arguments::Open) => CallStep::Broken,
        }
    }
}
