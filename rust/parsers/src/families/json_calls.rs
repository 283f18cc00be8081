//! Calls that are JSON objects between markers, or in a list, or alone.
//!
//! | format | looks like |
//! |---|---|
//! | `hermes`, `granite4` | `<tool_call>\n{"name": …, "arguments": …}\n</tool_call>` |
//! | `granite` | `<\|tool_call\|>[{…}, {…}]`, the marker may be `<tool_call>` |
//! | `llama3_json` | `{"name": …, "parameters": …}; …`, maybe behind `<\|python_tag\|>` |
//! | `phi4_mini_json` | `functools[{…}, {…}]`, or in `<\|tool_call\|>` and `<\|/tool_call\|>` |
//! | `mistral`, before version 11 | `[TOOL_CALLS] [{…, "id": …}]` |
//!
//! Each may have a list where it has one object, and several objects in a row. Whitespace between
//! calls, and between calls and their markers, is syntax. A closing marker that is missing is not
//! missed; one that was cut off at the end of the answer is not content.

use super::json_call::{CallRules, CallStep, JsonCall};
use crate::calls::{Calls, Step};
use crate::marker::{Fit, Marker};
use crate::session::{Next, Session};

/// One of these formats.
#[derive(Debug)]
pub(crate) struct JsonCalls {
    openings: Vec<Marker>,
    closing: Vec<Marker>,
    /// The optional byte between two calls.
    separator: Option<u8>,
    /// The calls are in a list, always.
    is_list: bool,
    rules: CallRules,
    state: State,
    /// Whether a list is open.
    in_list: bool,
}

#[derive(Debug)]
enum State {
    /// Before the first call: its opening is next.
    Opening,
    /// In an object. Whether it is the first.
    Call {
        call: Box<JsonCall>,
        is_first: bool,
    },
    Between,
    Broken,
}

impl JsonCalls {
    pub(crate) fn new(openings: Vec<Marker>, closing: Option<Marker>, rules: CallRules) -> Self {
        let closing = closing.into_iter().collect();
        let state = State::Opening;
        Self { openings, closing, separator: None, is_list: false, rules, state, in_list: false }
    }

    /// Requires the calls to be in a list.
    pub(crate) fn in_list(self) -> Self {
        Self { is_list: true, ..self }
    }

    /// Sets the separator between calls outside a list.
    pub(crate) fn separated_by(self, separator: u8) -> Self {
        Self { separator: Some(separator), ..self }
    }

    /// Returns the bytes of the opening that is next; none if a call begins without.
    fn opening_len(&self, session: &Session) -> usize {
        let opening = self.openings.iter().find(|opening| opening.fit(&session.input, 0) == Fit::Whole);
        opening.map_or(0, Marker::len)
    }

    fn open(&mut self, session: &Session) -> Option<Step> {
        let opening_len = self.opening_len(session);
        let no_call = Some(Step::NoCall(opening_len.max(1)));
        let (mut at, mut next) = session.skip_whitespace(opening_len);
        self.in_list = next == Next::Byte(b'[') && opening_len > 0;
        if self.in_list {
            (at, next) = session.skip_whitespace(at + 1);
        }
        match next {
            Next::Wait => Some(Step::Wait),
            Next::Byte(b'{') if self.in_list || !self.is_list => {
                self.state = State::Call { call: Box::new(JsonCall::new(at, self.rules)), is_first: true };
                None
            }
            Next::Byte(_) | Next::Special | Next::End => no_call,
        }
    }

    /// Behind a call: another one, the closing marker, or neither.
    fn go_on(&mut self, session: &mut Session) -> Option<Step> {
        session.set_space_aside();
        let (mut at, mut next) = session.skip_whitespace(0);
        let separator = if self.in_list { Some(b',') } else { self.separator };
        if self.in_list && next == Next::Byte(b']') {
            session.syntax(at + 1);
            self.in_list = false;
            return None;
        }
        let (end_of_space, is_separated) =
            (at, next == separator.map_or(Next::End, Next::Byte) && separator.is_some());
        if is_separated {
            (at, next) = session.skip_whitespace(at + 1);
        }
        let may_follow = if self.in_list || self.rules.is_bare { is_separated } else { !self.is_list };
        if next == Next::Byte(b'{') && may_follow {
            self.state = State::Call { call: Box::new(JsonCall::new(at, self.rules)), is_first: false };
            return None;
        }
        if is_separated {
            return Some(if next == Next::Wait { Step::Wait } else { Step::Done });
        }
        let Some(closing) = self.closing.first() else {
            return Some(if next == Next::Wait { Step::Wait } else { Step::Done });
        };
        match closing.fit(&session.input, end_of_space) {
            Fit::Whole => session.syntax(end_of_space + closing.len()),
            Fit::Part => return Some(Step::Wait),
            Fit::No if closing.is_cut_off(&session.input, end_of_space) => {
                session.syntax(session.input.rest().len());
            }
            Fit::No => {}
        }
        Some(Step::Done)
    }
}

impl Calls for JsonCalls {
    fn openings(&self) -> &[Marker] {
        &self.openings
    }

    fn bare_opening(&self) -> Option<u8> {
        self.rules.is_bare.then_some(b'{')
    }

    fn step(&mut self, session: &mut Session) -> Step {
        loop {
            let step = match &mut self.state {
                State::Opening => self.open(session),
                State::Call { call, is_first } => match (call.step(session), *is_first) {
                    (CallStep::Wait, _) => Some(Step::Wait),
                    (CallStep::NoCall, true) => Some(Step::NoCall(self.opening_len(session).max(1))),
                    (CallStep::NoCall, false) => Some(Step::Done),
                    (CallStep::Done, _) => {
                        self.state = State::Between;
                        None
                    }
                    (CallStep::Broken, _) => {
                        self.state = State::Broken;
                        None
                    }
                },
                State::Between => self.go_on(session),
                State::Broken => Some(if session.pass_rest(&self.closing) { Step::Done } else { Step::Wait }),
            };
            match step {
                None => {}
                Some(Step::Wait) => return Step::Wait,
                Some(step) => {
                    (self.state, self.in_list) = (State::Opening, false);
                    return step;
                }
            }
        }
    }
}
