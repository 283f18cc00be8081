//! Calls that are a name and a JSON object, with markers between.
//!
//! | format | a call looks like |
//! |---|---|
//! | `deepseek_v31` | `<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{…}<｜tool▁call▁end｜>` |
//! | `mistral`, from version 11 | `[TOOL_CALLS]NAME[ARGS]{…}` |
//!
//! DeepSeek's calls are between `<｜tool▁calls▁begin｜>` and `<｜tool▁calls▁end｜>`. In Mistral's,
//! `[CALL_ID]ID` may stand before `[ARGS]`, and `[ARGS]` may be missing.
//!
//! A call begins with its first brace. Whitespace around names, arguments and markers is syntax.

use super::json_object::{JsonObject, Progress};
use crate::calls::{Calls, MAX_NAME_BYTES, Step, is_name};
use crate::event::Outcome;
use crate::marker::{Fit, Found, Marker, end_of_letters, find};
use crate::session::{Next, Session};

/// The markers of such a format.
#[derive(Debug)]
pub(crate) struct NamedMarkers {
    /// Before the first call and behind the last.
    pub(crate) section: Option<[Marker; 2]>,
    pub(crate) opening: Marker,
    /// Between name and arguments.
    pub(crate) separator: Marker,
    pub(crate) id: Option<Marker>,
    pub(crate) closing: Option<Marker>,
    /// A brace may stand directly behind the name.
    pub(crate) may_lack_separator: bool,
}

/// One of these formats.
#[derive(Debug)]
pub(crate) struct NamedJson {
    markers: NamedMarkers,
    openings: Vec<Marker>,
    closing: Vec<Marker>,
    state: State,
}

#[derive(Debug)]
enum State {
    Opening,
    Arguments(JsonObject),
    /// Behind arguments: what closes the call is next.
    Behind,
    /// Between the calls of a section.
    Between,
    Broken,
}

/// The text before arguments.
enum Head {
    Wait,
    NoCall,
    Call { name: String, id: Option<String>, arguments_at: usize, is_empty: bool },
}

impl NamedJson {
    pub(crate) fn new(markers: NamedMarkers) -> Self {
        let section = markers.section.iter().map(|[opening, _]| *opening);
        let openings = section.chain([markers.opening]).collect();
        // Where calls have no end, broken arguments end at the next call.
        let closing = vec![markers.closing.unwrap_or(markers.opening)];
        Self { markers, openings, closing, state: State::Opening }
    }

    /// Reads the head of a call that begins at a position, up to its arguments.
    fn head(&self, session: &Session, at: usize) -> Head {
        let NamedMarkers { separator, id, may_lack_separator, .. } = &self.markers;
        let input = &session.input;
        let (name_end, found) = match find(input, at, &[&[*separator], id.as_slice()]) {
            Found::Marker { index, at } => (at, Some(index)),
            Found::Open { at } => (at, None),
        };
        let (letters, _) = input.letters(at);
        let brace = letters.find('{').filter(|_| *may_lack_separator).map(|offset| at + offset);
        if let Some(brace) = brace.filter(|brace| *brace < name_end) {
            return Self::call(session, (at, brace), None, (brace, false));
        }
        let Some(index) = found else { return Self::wait(session, at, name_end) };
        let (mut end, mut call_id) = (name_end + separator.len(), None);
        if let (1, Some(marker)) = (index, id) {
            let id_at = name_end + marker.len();
            match find(input, id_at, &[&[*separator]]) {
                Found::Open { at } => return Self::wait(session, id_at, at),
                Found::Marker { at, .. } => {
                    call_id = Some(input.rest()[id_at..at].trim().to_owned());
                    end = at + separator.len();
                }
            }
        }
        let (start, next) = session.skip_whitespace(end);
        let closing = self.markers.closing.map_or(Fit::No, |closing| closing.fit(input, start));
        match next {
            Next::Wait => Head::Wait,
            Next::Byte(b'{') => Self::call(session, (at, name_end), call_id, (start, false)),
            _ if closing == Fit::Whole => Self::call(session, (at, name_end), call_id, (start, true)),
            _ if closing == Fit::Part => Head::Wait,
            Next::Byte(_) | Next::Special | Next::End => Head::NoCall,
        }
    }

    /// Waits for the end of a word, as long as it may still be one.
    fn wait(session: &Session, at: usize, end: usize) -> Head {
        let word = session.input.rest()[at..end].trim();
        let may_be_name = word.is_empty() && end - at <= MAX_NAME_BYTES || is_name(word);
        if may_be_name && !session.input.is_finished() { Head::Wait } else { Head::NoCall }
    }

    fn call(session: &Session, name: (usize, usize), id: Option<String>, arguments: (usize, bool)) -> Head {
        let name = session.input.rest()[name.0..name.1].trim();
        if !is_name(name) || id.as_deref().is_some_and(|id| !is_name(id)) {
            return Head::NoCall;
        }
        Head::Call { name: name.to_owned(), id, arguments_at: arguments.0, is_empty: arguments.1 }
    }

    fn begin(&mut self, session: &mut Session, head: Head) -> Option<Head> {
        let Head::Call { name, id, arguments_at, is_empty } = head else { return Some(head) };
        session.begin(name, id, arguments_at);
        self.state = State::Arguments(JsonObject::new());
        if is_empty {
            session.arguments_from("{}", 0);
            self.end(session);
        }
        None
    }

    fn end(&mut self, session: &mut Session) {
        session.end(Outcome::Complete, 0);
        self.state = State::Behind;
    }

    fn open(&mut self, session: &mut Session) -> Option<Step> {
        let is_next = |marker: &Marker| marker.fit(&session.input, 0) == Fit::Whole;
        let opening_len = self.openings.iter().find(|marker| is_next(marker)).map_or(1, Marker::len);
        let mut at = opening_len;
        if self.markers.section.is_some_and(|[section, _]| is_next(&section)) {
            (at, _) = session.skip_whitespace(at);
            match self.markers.opening.fit(&session.input, at) {
                Fit::Whole => at += self.markers.opening.len(),
                Fit::Part => return Some(Step::Wait),
                Fit::No => return Some(Step::NoCall(opening_len)),
            }
        }
        let head = self.head(session, at);
        match self.begin(session, head)? {
            Head::Wait => Some(Step::Wait),
            _ => Some(Step::NoCall(opening_len)),
        }
    }

    fn close(&mut self, session: &mut Session) -> Option<Step> {
        session.set_space_aside();
        let (at, _) = session.skip_whitespace(0);
        if let Some(closing) = self.markers.closing {
            match closing.fit(&session.input, at) {
                Fit::Whole => session.syntax(at + closing.len()),
                Fit::Part => return Some(Step::Wait),
                Fit::No if closing.is_cut_off(&session.input, at) => {
                    session.syntax(session.input.rest().len());
                }
                Fit::No => {}
            }
        }
        self.state = State::Between;
        None
    }

    fn go_on(&mut self, session: &mut Session) -> Option<Step> {
        let Some([_, section_end]) = self.markers.section else { return Some(Step::Done) };
        session.set_space_aside();
        let (at, _) = session.skip_whitespace(0);
        match section_end.fit(&session.input, at) {
            Fit::Whole => {
                session.syntax(at + section_end.len());
                return Some(Step::Done);
            }
            Fit::No if section_end.is_cut_off(&session.input, at) => {
                session.syntax(session.input.rest().len());
                return Some(Step::Done);
            }
            Fit::Part | Fit::No => {}
        }
        let section_may_end = section_end.fit(&session.input, at) == Fit::Part;
        match self.markers.opening.fit(&session.input, at) {
            Fit::Whole => {
                let head = self.head(session, at + self.markers.opening.len());
                match self.begin(session, head)? {
                    Head::Wait => Some(Step::Wait),
                    _ => Some(Step::Done),
                }
            }
            Fit::Part => Some(Step::Wait),
            Fit::No if section_may_end => Some(Step::Wait),
            Fit::No => Some(Step::Done),
        }
    }
}

impl Calls for NamedJson {
    fn openings(&self) -> &[Marker] {
        &self.openings
    }

    fn step(&mut self, session: &mut Session) -> Step {
        loop {
            let step = match &mut self.state {
                State::Opening => self.open(session),
                State::Arguments(object) => match object.step(session) {
                    Progress::Wait => Some(Step::Wait),
                    Progress::Truncated => Some(Step::Done),
                    Progress::Done => {
                        self.end(session);
                        None
                    }
                    Progress::Broken => {
                        self.state = State::Broken;
                        None
                    }
                },
                State::Behind => self.close(session),
                State::Between => self.go_on(session),
                State::Broken => self.pass(session),
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

impl NamedJson {
    /// Passes broken arguments on. The opening of the next call ends them and is not theirs.
    fn pass(&mut self, session: &mut Session) -> Option<Step> {
        if self.markers.closing.is_some() {
            let is_over = session.pass_rest(&self.closing);
            self.state = if is_over { State::Between } else { State::Broken };
            return (!is_over).then_some(Step::Wait);
        }
        match find(&session.input, 0, &[&self.closing]) {
            Found::Marker { at, .. } => {
                session.arguments(at);
                session.end(Outcome::Malformed, 0);
            }
            Found::Open { .. } if session.input.is_finished() => {
                session.arguments(end_of_letters(&session.input, 0, &self.closing));
                session.end(Outcome::Malformed, session.input.rest().len());
            }
            Found::Open { at } => {
                session.arguments(at);
                return Some(Step::Wait);
            }
        }
        Some(Step::Done)
    }
}
