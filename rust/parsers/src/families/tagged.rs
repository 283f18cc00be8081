//! Calls with a tag for each parameter, whose values have no quotes: their types are the schema's.
//!
//! ```text
//! qwen3_xml, qwen3_coder            glm45, glm47
//! <tool_call>                       <tool_call>NAME
//! <function=NAME>                   <arg_key>KEY</arg_key>
//! <parameter=KEY>                   <arg_value>VALUE</arg_value>
//! VALUE                             </tool_call>
//! </parameter>
//! </function>
//! </tool_call>
//! ```
//!
//! A call begins when its name and the tag behind it are there. A string streams; any other value
//! is held until its tag closes. Qwen's values are without the newline behind their opening tag and
//! the one before their closing tag; GLM's are as they stand. A value ends at its closing tag and
//! at nothing else: other tags, and special tokens, are text in it. Whitespace between tags is
//! syntax; other text there is a mistake. GLM's names stand alone between tags: only the tools of
//! the request are called, if there are any. Qwen's outer tag may be missing, and so may
//! `</function>` where the outer tag closes or the model has ended its answer.

use crate::calls::{Calls, MAX_NAME_BYTES, Step, is_name};
use crate::event::{Finish, Outcome};
use crate::json::escape;
use crate::marker::{Fit, Found, Marker, end_of_letters, find};
use crate::schema::Types;
use crate::session::{Next, Session};

/// The tags of such a format.
#[derive(Debug)]
pub(crate) struct Tags {
    pub(crate) outer: [Marker; 2],
    /// Around the name, inside the outer tag; none if the name is just there.
    pub(crate) name: Option<[Marker; 2]>,
    pub(crate) key: [Marker; 2],
    /// Before a value, if there is a tag of its own.
    pub(crate) value: Option<Marker>,
    pub(crate) value_end: Marker,
    /// The same behind the newline that is not part of the value.
    pub(crate) value_end_on_new_line: Option<Marker>,
    /// Behind the parameters, if that is not the outer tag's end.
    pub(crate) call_end: Option<Marker>,
}

/// One of these formats.
#[derive(Debug)]
pub(crate) struct Tagged {
    tags: Tags,
    openings: Vec<Marker>,
    value_ends: Vec<Marker>,
    state: State,
    tool: String,
    has_parameters: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Opening,
    Parameters,
    /// The newline before a value may be next.
    ValueStart(Types),
    String,
    /// A value that is held, and how much of it has no closing tag.
    Value {
        types: Types,
        num_searched: usize,
    },
    /// Behind a call: the outer tag's end, or another call.
    Behind,
    Broken,
}

impl Tagged {
    pub(crate) fn new(tags: Tags) -> Self {
        let inner = tags.name.iter().map(|[opening, _]| *opening);
        let openings = [tags.outer[0]].into_iter().chain(inner).collect();
        let value_ends = tags.value_end_on_new_line.into_iter().chain([tags.value_end]).collect();
        Self { tags, openings, value_ends, state: State::Opening, tool: String::new(), has_parameters: false }
    }

    /// Reads the head of a call: its name, and the position of the tag behind it.
    fn head(&self, session: &Session, at: usize) -> Result<(String, usize), Step> {
        let input = &session.input;
        let ends = [self.tags.key[0], self.tags.outer[1]];
        let (name_at, found, closing_len) = match &self.tags.name {
            Some([opening, closing]) => {
                let (at, _) = session.skip_whitespace(at);
                match opening.fit(input, at) {
                    Fit::Whole => {}
                    Fit::Part => return Err(Step::Wait),
                    Fit::No => return Err(Step::NoCall(0)),
                }
                let name_at = at + opening.len();
                (name_at, find(input, name_at, &[&[*closing]]), closing.len())
            }
            None => (at, find(input, at, &[&ends]), 0),
        };
        let (Found::Marker { at: name_end, .. } | Found::Open { at: name_end }) = found;
        let name = input.rest()[name_at..name_end].trim();
        let is_known = self.tags.name.is_some() || session.tools.is_empty() || session.tools.has(name);
        let is_unfinished = name.is_empty() && name_end - name_at <= MAX_NAME_BYTES;
        match found {
            Found::Open { .. } if (is_name(name) || is_unfinished) && !input.is_finished() => Err(Step::Wait),
            Found::Marker { .. } if is_name(name) && is_known => {
                self.confirm(session, name_end + closing_len).map(|at| (name.to_owned(), at))
            }
            Found::Marker { .. } | Found::Open { .. } => Err(Step::NoCall(0)),
        }
    }

    /// Returns the position of the tag behind a name. Without a possible tag there, this is no
    /// call.
    fn confirm(&self, session: &Session, at: usize) -> Result<usize, Step> {
        let (at, _) = session.skip_whitespace(at);
        let ends = [Some(self.tags.key[0]), Some(self.tags.outer[1]), self.tags.call_end];
        let fits = ends.into_iter().flatten().map(|tag| tag.fit(&session.input, at));
        match fits.max_by_key(|fit| match fit {
            Fit::Whole => 2,
            Fit::Part => 1,
            Fit::No => 0,
        }) {
            Some(Fit::Whole) => Ok(at),
            Some(Fit::Part) => Err(Step::Wait),
            Some(Fit::No) | None => Err(Step::NoCall(0)),
        }
    }

    fn begin(&mut self, session: &mut Session, at: usize) -> Option<Step> {
        match self.head(session, at) {
            Ok((name, at)) => {
                session.begin(name.clone(), None, at);
                session.arguments_from("{", 0);
                (self.tool, self.has_parameters, self.state) = (name, false, State::Parameters);
                None
            }
            Err(step) => Some(step),
        }
    }

    fn open(&mut self, session: &mut Session) -> Option<Step> {
        let outer_len = self.tags.outer[0].len();
        let has_outer = self.tags.outer[0].fit(&session.input, 0) == Fit::Whole;
        match self.begin(session, if has_outer { outer_len } else { 0 })? {
            Step::NoCall(_) if has_outer => Some(Step::NoCall(outer_len)),
            Step::NoCall(_) => Some(Step::NoCall(self.tags.name.map_or(1, |[opening, _]| opening.len()))),
            step => Some(step),
        }
    }

    /// Reads the next parameter, or the end.
    fn parameters(&mut self, session: &mut Session) -> Option<Step> {
        session.skip_space_in_arguments();
        let (at, next) = session.skip_whitespace(0);
        if next == Next::End {
            return Some(self.end_answer(session));
        }
        let ends = [self.tags.call_end, Some(self.tags.outer[1])];
        let mut is_open = false;
        for end in ends.into_iter().flatten() {
            match end.fit(&session.input, at) {
                Fit::Whole => return self.end_call(session, end, at),
                Fit::Part => is_open = true,
                Fit::No if end.is_cut_off(&session.input, at) => return Some(self.end_answer(session)),
                Fit::No => {}
            }
        }
        match self.tags.key[0].fit(&session.input, at) {
            Fit::Whole => self.key(session, at + self.tags.key[0].len()),
            Fit::No if self.tags.key[0].is_cut_off(&session.input, at) => Some(self.end_answer(session)),
            Fit::Part => Some(Step::Wait),
            Fit::No if is_open => Some(Step::Wait),
            Fit::No => self.fail(),
        }
    }

    fn fail(&mut self) -> Option<Step> {
        self.state = State::Broken;
        None
    }

    /// Ends a call between parameters. A model that ended its answer there meant the call.
    fn end_answer(&mut self, session: &mut Session) -> Step {
        let is_whole = session.input.finish() == Some(Finish::Stop);
        session.arguments_from(if is_whole { "}" } else { "" }, 0);
        let outcome = if is_whole { Outcome::Complete } else { Outcome::Truncated };
        session.end(outcome, session.input.rest().len());
        Step::Done
    }

    fn end_call(&mut self, session: &mut Session, end: Marker, at: usize) -> Option<Step> {
        let is_outer = end.text == self.tags.outer[1].text;
        session.arguments_from("}", 0);
        session.end(Outcome::Complete, at + end.len());
        self.state = State::Behind;
        is_outer.then_some(Step::Done)
    }

    /// Reads a key that begins at a position, and what stands before its value.
    fn key(&mut self, session: &mut Session, at: usize) -> Option<Step> {
        let input = &session.input;
        let end = match find(input, at, &[&[self.tags.key[1]]]) {
            Found::Marker { at: end, .. } if end - at <= MAX_NAME_BYTES => end,
            Found::Open { at: end } if end - at <= MAX_NAME_BYTES => {
                return if input.is_finished() { Some(self.truncate(session)) } else { Some(Step::Wait) };
            }
            Found::Marker { .. } | Found::Open { .. } => return self.fail(),
        };
        let key = input.rest()[at..end].trim();
        let mut value_at = end + self.tags.key[1].len();
        if let Some(value) = &self.tags.value {
            let (at, next) = session.skip_whitespace(value_at);
            match value.fit(input, at) {
                Fit::Whole => value_at = at + value.len(),
                Fit::Part => return Some(Step::Wait),
                Fit::No if next == Next::End || value.is_cut_off(input, at) => {
                    return Some(self.truncate(session));
                }
                Fit::No => return self.fail(),
            }
        }
        let types = session.tools.types(&self.tool, key);
        let mut json = String::from(if self.has_parameters { ",\"" } else { "\"" });
        escape(key, &mut json);
        json.push_str(if types == Types::STRING { "\":\"" } else { "\":" });
        session.arguments_from(&json, value_at);
        self.has_parameters = true;
        self.state = State::ValueStart(types);
        None
    }

    /// Ends an answer within a tag.
    fn truncate(&mut self, session: &mut Session) -> Step {
        session.end(Outcome::Truncated, session.input.rest().len());
        Step::Done
    }

    fn value_start(&mut self, session: &mut Session, types: Types) -> Option<Step> {
        if self.tags.value_end_on_new_line.is_some() {
            match session.input.rest().as_bytes().first() {
                None if !session.input.is_finished() => return Some(Step::Wait),
                // An empty value has one newline, which belongs to both tags.
                Some(b'\n') => session.syntax(1),
                _ => {}
            }
        }
        self.state =
            if types == Types::STRING { State::String } else { State::Value { types, num_searched: 0 } };
        None
    }

    fn string(&mut self, session: &mut Session) -> Option<Step> {
        let mut json = String::new();
        let (at, end_len) = match find(&session.input, 0, &[&self.value_ends]) {
            Found::Marker { index, at } => (at, self.value_ends[index].len()),
            Found::Open { .. } if session.input.is_finished() => {
                (end_of_letters(&session.input, 0, &self.value_ends), 0)
            }
            Found::Open { at } => (at, 0),
        };
        escape(&session.input.rest()[..at], &mut json);
        if end_len > 0 {
            json.push('"');
            session.arguments_from(&json, at + end_len);
            self.state = State::Parameters;
            return None;
        }
        session.arguments_from(&json, at);
        let is_finished = session.input.is_finished();
        Some(if is_finished { self.truncate(session) } else { Step::Wait })
    }

    fn value(&mut self, session: &mut Session, types: Types, num_searched: usize) -> Option<Step> {
        match find(&session.input, num_searched, &[&self.value_ends]) {
            Found::Marker { index, at } => {
                let json = types.json(&session.input.rest()[..at]);
                session.arguments_from(&json, at + self.value_ends[index].len());
                self.state = State::Parameters;
                None
            }
            Found::Open { .. } if session.input.is_finished() => Some(self.truncate(session)),
            Found::Open { at } => {
                self.state = State::Value { types, num_searched: at };
                Some(Step::Wait)
            }
        }
    }

    /// Continues behind a call: another in the same outer tag, its end, or neither.
    fn go_on(&mut self, session: &mut Session) -> Option<Step> {
        session.set_space_aside();
        let (at, _) = session.skip_whitespace(0);
        let outer_end = self.tags.outer[1];
        match outer_end.fit(&session.input, at) {
            Fit::Whole => {
                session.syntax(at + outer_end.len());
                return Some(Step::Done);
            }
            Fit::Part => return Some(Step::Wait),
            Fit::No if outer_end.is_cut_off(&session.input, at) => {
                session.syntax(session.input.rest().len());
                return Some(Step::Done);
            }
            Fit::No => {}
        }
        match self.begin(session, 0)? {
            Step::Wait => Some(Step::Wait),
            Step::NoCall(_) | Step::Done => Some(Step::Done),
        }
    }
}

impl Calls for Tagged {
    fn openings(&self) -> &[Marker] {
        &self.openings
    }

    fn step(&mut self, session: &mut Session) -> Step {
        loop {
            let step = match self.state {
                State::Opening => self.open(session),
                State::Parameters => self.parameters(session),
                State::ValueStart(types) => self.value_start(session, types),
                State::String => self.string(session),
                State::Value { types, num_searched } => self.value(session, types, num_searched),
                State::Behind => self.go_on(session),
                State::Broken => {
                    let is_over = session.pass_rest(&self.tags.outer[1..]);
                    Some(if is_over { Step::Done } else { Step::Wait })
                }
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
