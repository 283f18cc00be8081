//! Calls that are written as Python calls.
//!
//! | format | looks like |
//! |---|---|
//! | `pythonic` | `[f(x=1), g(y="a")]`, the whole of the content |
//! | `llama4_pythonic` | the same, maybe between `<\|python_start\|>` and `<\|python_end\|>` |
//! | `lfm2` | `<\|tool_call_start\|>[f(x="a")]<\|tool_call_end\|>` |
//! | `olmo3` | `<function_calls>\nf(x=1)\ng(y="a")\n</function_calls>` |
//!
//! Between markers the list's brackets may be missing. A call begins when its first keyword and `=`
//! are there, or its closing bracket. Without markers, calls are where content begins, and only to
//! tools of the request, if there are any. Whitespace and commas between calls are syntax.

use super::json_object::Progress;
use super::python_arguments::PythonArguments;
use crate::calls::{Calls, MAX_NAME_BYTES, Step, is_name};
use crate::event::Outcome;
use crate::input::Behind;
use crate::marker::{Fit, Marker};
use crate::session::{Next, Session};

/// One of these formats.
#[derive(Debug)]
pub(crate) struct Pythonic {
    openings: Vec<Marker>,
    closing: Vec<Marker>,
    is_bare: bool,
    state: State,
    in_list: bool,
}

#[derive(Debug)]
enum State {
    Opening,
    Arguments(PythonArguments),
    Between,
    /// Behind the list: the closing marker.
    Behind,
    Broken,
}

impl Pythonic {
    /// Calls between markers, or without, or both.
    pub(crate) fn new(markers: Option<[Marker; 2]>, is_bare: bool) -> Self {
        let [openings, closing] = [0, 1].map(|index| markers.iter().map(|markers| markers[index]).collect());
        Self { openings, closing, is_bare, state: State::Opening, in_list: false }
    }

    /// Reads the head of a call at a position: its name, and where its arguments begin.
    fn head(&self, session: &Session, at: usize) -> Result<(String, usize), Step> {
        let no_call = Err(Step::NoCall(0));
        let (at, _) = session.skip_whitespace(at);
        let (letters, behind) = session.input.letters(at);
        let wait_if = |may_go_on: bool| {
            if may_go_on && behind == Behind::Open { Err(Step::Wait) } else { Err(Step::NoCall(0)) }
        };
        let Some(bracket) = letters.find('(') else {
            let name = letters.trim_end();
            return wait_if(letters.len() <= MAX_NAME_BYTES && (name.is_empty() || is_name(name)));
        };
        let name = letters[..bracket].trim_end();
        let is_known = !self.is_bare || session.tools.is_empty() || session.tools.has(name);
        if !is_name(name) || name.starts_with(|first: char| first.is_numeric()) || !is_known {
            return no_call;
        }
        let inside = letters[bracket + 1..].trim_start();
        let keyword = inside.trim_start_matches(|letter: char| letter.is_alphanumeric() || letter == '_');
        let has_keyword = keyword.len() < inside.len();
        let rest = keyword.trim_start().as_bytes();
        match rest {
            [] => wait_if(inside.len() <= MAX_NAME_BYTES),
            [b')', ..] if !has_keyword => Ok((name.to_owned(), at + bracket + 1)),
            [b'='] if has_keyword => wait_if(true),
            [b'=', second, ..] if has_keyword && *second != b'=' => Ok((name.to_owned(), at + bracket + 1)),
            _ => no_call,
        }
    }

    fn begin(&mut self, session: &mut Session, at: usize) -> Option<Step> {
        match self.head(session, at) {
            Ok((name, at)) => {
                session.begin(name, None, at);
                session.arguments_from("{", 0);
                self.state = State::Arguments(PythonArguments::new());
                None
            }
            Err(step) => Some(step),
        }
    }

    fn open(&mut self, session: &mut Session) -> Option<Step> {
        let opening = self.openings.iter().find(|opening| opening.fit(&session.input, 0) == Fit::Whole);
        let opening_len = opening.map_or(0, Marker::len);
        let (at, next) = session.skip_whitespace(opening_len);
        if next == Next::Wait {
            return Some(Step::Wait);
        }
        self.in_list = next == Next::Byte(b'[');
        match self.begin(session, at + usize::from(self.in_list))? {
            Step::Wait => Some(Step::Wait),
            Step::NoCall(_) | Step::Done => Some(Step::NoCall(opening_len.max(1))),
        }
    }

    fn go_on(&mut self, session: &mut Session) -> Option<Step> {
        session.set_space_aside();
        let (mut at, next) = session.skip_whitespace(0);
        match next {
            Next::Wait => return Some(Step::Wait),
            Next::Byte(b']') if self.in_list => {
                session.syntax(at + 1);
                self.state = State::Behind;
                return None;
            }
            Next::Byte(b',' | b';') => at += 1,
            _ if self.in_list => {
                self.state = State::Behind;
                return None;
            }
            Next::Byte(_) | Next::Special | Next::End => {}
        }
        if !self.in_list
            && let Some(step) = self.close(session)
        {
            return Some(step);
        }
        match self.begin(session, at)? {
            Step::Wait => Some(Step::Wait),
            Step::NoCall(_) | Step::Done => Some(Step::Done),
        }
    }

    /// Takes the closing marker, if it is there or may come.
    fn close(&self, session: &mut Session) -> Option<Step> {
        let closing = self.closing.first()?;
        session.set_space_aside();
        let (at, _) = session.skip_whitespace(0);
        match closing.fit(&session.input, at) {
            Fit::Whole => session.syntax(at + closing.len()),
            Fit::Part => return Some(Step::Wait),
            Fit::No if closing.is_cut_off(&session.input, at) => session.syntax(session.input.rest().len()),
            Fit::No => return None,
        }
        Some(Step::Done)
    }
}

impl Calls for Pythonic {
    fn openings(&self) -> &[Marker] {
        &self.openings
    }

    fn bare_opening(&self) -> Option<u8> {
        self.is_bare.then_some(b'[')
    }

    fn step(&mut self, session: &mut Session) -> Step {
        loop {
            let step = match &mut self.state {
                State::Opening => self.open(session),
                State::Arguments(arguments) => match arguments.step(session) {
                    Progress::Wait => Some(Step::Wait),
                    Progress::Truncated => Some(Step::Done),
                    Progress::Done => {
                        session.end(Outcome::Complete, 0);
                        self.state = State::Between;
                        None
                    }
                    Progress::Broken => {
                        self.state = State::Broken;
                        None
                    }
                },
                State::Between => self.go_on(session),
                State::Behind => Some(self.close(session).unwrap_or(Step::Done)),
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
