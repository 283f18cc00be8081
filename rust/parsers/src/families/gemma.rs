//! Gemma: `call:NAME{key:value,…}` between two markers, strings between two of a third.
//!
//! | format | looks like |
//! |---|---|
//! | `gemma4` | `<\|tool_call>call:NAME{key:<\|"\|>text<\|"\|>,n:42}<tool_call\|>` |
//! | `functiongemma` | the same with `<start_function_call>`, `<end_function_call>`, `<escape>` |
//!
//! Keys have no quotes (or a string's), strings no escapes. Lists and objects nest. A word that
//! stands without quotes is a number, `true`, `false` or `null`, or else a string; where a
//! parameter itself is such a word, its schema decides, if it has one. A call begins with its
//! brace. Whitespace between the parts is syntax. A closing marker that is missing is not missed.

use crate::calls::{Calls, MAX_NAME_BYTES, Step, is_name};
use crate::event::Outcome;
use crate::input::Behind;
use crate::json::escape;
use crate::marker::{Fit, Found, Marker, end_of_letters, find};
use crate::session::{Next, Session};

/// One of these formats.
#[derive(Debug)]
pub(crate) struct Gemma {
    openings: [Marker; 1],
    closing: [Marker; 1],
    /// Around strings.
    quote: Marker,
    state: State,
    tool: String,
    /// The key of the parameter that is read.
    parameter: String,
    /// Of each container that is open, whether it is an object, and whether it has anything.
    open: Vec<(bool, bool)>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Opening,
    /// A key, or the end of an empty object.
    Key,
    Value,
    String,
    /// A comma, or the end of the container.
    Comma,
    /// Behind the call: the closing marker.
    Behind,
    Broken,
}

const PREFIX: &str = "call:";

/// Longest value without quotes.
const MAX_WORD_BYTES: usize = 4096;

impl Gemma {
    pub(crate) fn new(opening: Marker, closing: Marker, quote: Marker) -> Self {
        Self {
            openings: [opening],
            closing: [closing],
            quote,
            state: State::Opening,
            tool: String::new(),
            parameter: String::new(),
            open: Vec::new(),
        }
    }

    fn start(&mut self, session: &mut Session) -> Option<Step> {
        let no_call = Some(Step::NoCall(self.openings[0].len()));
        let (at, _) = session.skip_whitespace(self.openings[0].len());
        let (letters, behind) = session.input.letters(at);
        let Some(letters) = letters.strip_prefix(PREFIX) else {
            return if behind == Behind::Open && PREFIX.starts_with(letters) {
                Some(Step::Wait)
            } else {
                no_call
            };
        };
        let brace = letters.find('{');
        let name = letters[..brace.unwrap_or(letters.len())].trim();
        let may_be_name = is_name(name) || (name.is_empty() && letters.len() <= MAX_NAME_BYTES);
        match brace {
            Some(brace) if is_name(name) => {
                self.tool = name.to_owned();
                session.begin(name.to_owned(), None, at + PREFIX.len() + brace + 1);
                session.arguments_from("{", 0);
                (self.open, self.state) = (vec![(true, false)], State::Key);
                None
            }
            None if behind == Behind::Open && may_be_name => Some(Step::Wait),
            _ => no_call,
        }
    }

    fn fail(&mut self) -> Option<Step> {
        self.state = State::Broken;
        None
    }

    /// Waits for more text; at the end of the answer, ends the call.
    fn wait(session: &mut Session) -> Option<Step> {
        if !session.input.is_finished() {
            return Some(Step::Wait);
        }
        session.end(Outcome::Truncated, session.input.rest().len());
        Some(Step::Done)
    }

    fn key(&mut self, session: &mut Session) -> Option<Step> {
        session.skip_space_in_arguments();
        let (at, next) = session.skip_whitespace(0);
        if next == Next::Byte(b'}') {
            return self.close(session, at + 1, true);
        }
        let (key_at, end, separator_at) = match self.quote.fit(&session.input, at) {
            Fit::Part => return Self::wait(session),
            Fit::Whole => {
                let key_at = at + self.quote.len();
                match find(&session.input, key_at, &[&[self.quote]]) {
                    Found::Marker { at: end, .. } => (key_at, end, end + self.quote.len()),
                    Found::Open { .. } => return Self::wait(session),
                }
            }
            Fit::No => {
                let (letters, behind) = session.input.letters(at);
                match letters.find([':', ',', '{', '}', '[', ']']) {
                    Some(end) => (at, at + end, at + end),
                    None if behind == Behind::Special || letters.len() > MAX_NAME_BYTES => {
                        return self.fail();
                    }
                    None => return Self::wait(session),
                }
            }
        };
        let key = session.input.rest()[key_at..end].to_owned();
        let key = if separator_at == end { key.trim().to_owned() } else { key };
        match session.skip_whitespace(separator_at) {
            (_, Next::Wait | Next::End) => return Self::wait(session),
            (at, Next::Byte(b':')) if !key.is_empty() => {
                let mut json = self.comma();
                json.push('"');
                escape(&key, &mut json);
                json.push_str("\":");
                session.arguments_from(&json, at + 1);
            }
            _ => return self.fail(),
        }
        if self.open.len() == 1 {
            self.parameter = key;
        }
        self.state = State::Value;
        None
    }

    /// Returns the separator before a new entry of the container.
    fn comma(&mut self) -> String {
        let has_entries =
            self.open.last_mut().is_some_and(|(_, has_entries)| std::mem::replace(has_entries, true));
        if has_entries { ",".to_owned() } else { String::new() }
    }

    /// Returns the separator before a value; in an object, its key wrote it.
    fn before_value(&mut self) -> String {
        if self.open.last().is_some_and(|(is_object, _)| *is_object) { String::new() } else { self.comma() }
    }

    fn value(&mut self, session: &mut Session) -> Option<Step> {
        session.skip_space_in_arguments();
        let (at, next) = session.skip_whitespace(0);
        match self.quote.fit(&session.input, at) {
            Fit::Part => return Self::wait(session),
            Fit::Whole => {
                let json = self.before_value() + "\"";
                session.arguments_from(&json, at + self.quote.len());
                self.state = State::String;
                return None;
            }
            Fit::No => {}
        }
        match next {
            Next::Byte(byte @ (b'{' | b'[')) => {
                let is_object = byte == b'{';
                let json = self.before_value() + if is_object { "{" } else { "[" };
                session.arguments_from(&json, at + 1);
                self.open.push((is_object, false));
                self.state = if is_object { State::Key } else { State::Value };
                None
            }
            Next::Byte(b']') if self.open.last() == Some(&(false, false)) => {
                self.close(session, at + 1, false)
            }
            Next::Byte(_) => self.word(session, at),
            Next::Special => self.fail(),
            Next::Wait | Next::End => Self::wait(session),
        }
    }

    /// Reads a value without quotes, up to what ends it.
    fn word(&mut self, session: &mut Session, at: usize) -> Option<Step> {
        let (letters, behind) = session.input.letters(at);
        let Some(end) = letters.find([',', '}', ']', '{', '[']) else {
            let is_wrong = behind == Behind::Special || letters.len() > MAX_WORD_BYTES;
            return if is_wrong { self.fail() } else { Self::wait(session) };
        };
        let word = letters[..end].trim_end();
        if word.is_empty() || letters[end..].starts_with(['{', '[']) {
            return self.fail();
        }
        let is_parameter = self.open.len() == 1;
        let types = is_parameter.then(|| session.tools.known_types(&self.tool, &self.parameter)).flatten();
        let value = types.map_or_else(|| plain_value(word), |types| types.json(word));
        let json = self.before_value() + &value;
        session.arguments_from(&json, at + end);
        self.state = State::Comma;
        None
    }

    fn string(&mut self, session: &mut Session) -> Option<Step> {
        let (at, is_over) = match find(&session.input, 0, &[&[self.quote]]) {
            Found::Marker { at, .. } => (at, true),
            Found::Open { .. } if session.input.is_finished() => {
                (end_of_letters(&session.input, 0, &[self.quote]), false)
            }
            Found::Open { at } => (at, false),
        };
        let mut json = String::new();
        escape(&session.input.rest()[..at], &mut json);
        if !is_over {
            session.arguments_from(&json, at);
            return Self::wait(session);
        }
        json.push('"');
        session.arguments_from(&json, at + self.quote.len());
        self.state = State::Comma;
        None
    }

    fn after_value(&mut self, session: &mut Session) -> Option<Step> {
        session.skip_space_in_arguments();
        let (at, next) = session.skip_whitespace(0);
        let is_object = self.open.last().is_some_and(|(is_object, _)| *is_object);
        match next {
            Next::Byte(b',') => {
                session.arguments_from("", at + 1);
                self.state = if is_object { State::Key } else { State::Value };
                None
            }
            Next::Byte(b'}') if is_object => self.close(session, at + 1, true),
            Next::Byte(b']') if !is_object => self.close(session, at + 1, false),
            Next::Wait | Next::End => Self::wait(session),
            Next::Byte(_) | Next::Special => self.fail(),
        }
    }

    fn close(&mut self, session: &mut Session, num_bytes: usize, is_object: bool) -> Option<Step> {
        session.arguments_from(if is_object { "}" } else { "]" }, num_bytes);
        self.open.pop();
        self.state = State::Comma;
        if self.open.is_empty() {
            session.end(Outcome::Complete, 0);
            self.state = State::Behind;
        }
        None
    }

    fn behind(&self, session: &mut Session) -> Option<Step> {
        session.set_space_aside();
        let (at, _) = session.skip_whitespace(0);
        let closing = self.closing[0];
        match closing.fit(&session.input, at) {
            Fit::Whole => session.syntax(at + closing.len()),
            Fit::Part => return Some(Step::Wait),
            Fit::No if closing.is_cut_off(&session.input, at) => session.syntax(session.input.rest().len()),
            Fit::No => {}
        }
        Some(Step::Done)
    }
}

/// Reads a word without quotes, where no schema says what it is.
fn plain_value(word: &str) -> String {
    match word {
        "True" => return "true".to_owned(),
        "False" => return "false".to_owned(),
        "None" => return "null".to_owned(),
        _ => {}
    }
    match serde_json::from_str(word) {
        Ok(serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_)) => {
            word.to_owned()
        }
        _ => serde_json::Value::from(word).to_string(),
    }
}

impl Calls for Gemma {
    fn openings(&self) -> &[Marker] {
        &self.openings
    }

    fn step(&mut self, session: &mut Session) -> Step {
        loop {
            let step = match self.state {
                State::Opening => self.start(session),
                State::Key => self.key(session),
                State::Value => self.value(session),
                State::String => self.string(session),
                State::Comma => self.after_value(session),
                State::Behind => self.behind(session),
                State::Broken => Some(if session.pass_rest(&self.closing) { Step::Done } else { Step::Wait }),
            };
            match step {
                None => {}
                Some(Step::Wait) => return Step::Wait,
                Some(step) => {
                    self.state = State::Opening;
                    return step;
                }
            }
        }
    }
}
