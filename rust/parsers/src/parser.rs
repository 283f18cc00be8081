//! The parser of an answer: reasoning first, then content and calls.
//!
//! ```text
//!            ┌─────────── a call begins ───────────┐
//!            │                                     ▼
//! start ─► reasoning ─ its end ─► content ─ an opening ─► Calls ─ over ─► content
//!   └──────── no beginning ──────────▲                      └─ no call: the opening is text
//! ```

use crate::calls::{Calls, Step};
use crate::event::{Event, Finish, Piece};
use crate::families::harmony::Harmony;
use crate::format::ToolFormat;
use crate::marker::{Fit, Found, Marker, find};
use crate::reasoning::{Limits, ReasoningFormat};
use crate::schema::{Tool, Tools};
use crate::session::{Channel, Next, Session};

/// The settings of a parser.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// The format of calls; none if what looks like a call is content, as with `tool_choice:
    /// "none"`.
    pub tools: Option<ToolFormat>,
    /// The format of reasoning; none if it is content.
    pub reasoning: Option<ReasoningFormat>,
    /// The prompt has opened the reasoning.
    pub starts_in_reasoning: bool,
    /// The tools of the request.
    pub declared: Vec<Tool>,
}

/// Reads one answer.
///
/// It holds back what may become a marker, the heads of calls until they are known to be calls,
/// values whose type is not text, and arguments that come before the name of their call: memory and
/// delay are bounded by these.
#[derive(Debug)]
pub struct Parser {
    session: Session,
    machine: Machine,
    special_tokens: Vec<&'static str>,
}

#[derive(Debug)]
enum Machine {
    Tags(Box<TagMachine>),
    Harmony(Box<Harmony>),
}

/// All formats but harmony.
#[derive(Debug)]
struct TagMachine {
    calls: Option<Box<dyn Calls>>,
    reasoning: Reasoning,
    /// The ends of reasoning, while it is open; then the openings of calls.
    begins: Vec<Vec<Marker>>,
    ends: Vec<Marker>,
    limits: Option<Limits>,
    in_call: bool,
    skips_newlines: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reasoning {
    /// Reasoning may begin here.
    Possible,
    /// The prompt has opened the reasoning, and the model may open it again.
    Opened,
    Open,
    Over,
}

impl Parser {
    /// Returns a parser for an answer. `is_special` says which texts are special tokens in this
    /// tokenizer: added tokens with an id of their own.
    #[must_use]
    pub fn new(setup: Setup, is_special: impl Fn(&str) -> bool) -> Self {
        let Setup { tools, reasoning, starts_in_reasoning, declared } = setup;
        let mut special_tokens = Vec::new();
        let mut marker = |text: &'static str| {
            let is_special = is_special(text);
            if is_special && !special_tokens.contains(&text) {
                special_tokens.push(text);
            }
            Marker { text, is_special }
        };
        let is_inside = starts_in_reasoning && reasoning.is_some();
        let is_harmony =
            tools == Some(ToolFormat::Openai) || reasoning == Some(ReasoningFormat::OpenaiGptoss);
        let machine = if is_harmony {
            Machine::Harmony(Box::new(Harmony::new(
                Harmony::MARKERS.map(&mut marker),
                tools.is_some(),
                is_inside,
            )))
        } else {
            let limits = reasoning.map(ReasoningFormat::limits);
            Machine::Tags(Box::new(TagMachine::new(tools, limits, starts_in_reasoning, &mut marker)))
        };
        let channel = if is_inside { Channel::Reasoning } else { Channel::Content };
        Self { session: Session::new(Tools::new(declared), channel), machine, special_tokens }
    }

    /// Returns the special tokens that the parser reads. Only these need to be pushed as special;
    /// any other is text.
    #[must_use]
    pub fn special_tokens(&self) -> &[&'static str] {
        &self.special_tokens
    }

    /// Takes a piece of the answer and appends what has become certain.
    pub fn push(&mut self, piece: Piece<'_>, events: &mut Vec<Event>) {
        let piece = match piece {
            Piece::Special(text) if !self.special_tokens.contains(&text) => Piece::Text(text),
            piece => piece,
        };
        self.session.input.push(piece);
        self.run(events);
    }

    /// Ends the answer and appends all that was held back. Nothing comes after it.
    pub fn finish(&mut self, finish: Finish, events: &mut Vec<Event>) {
        self.session.input.end(finish);
        self.run(events);
        debug_assert!(self.session.input.is_empty(), "an answer that is over is told to its end");
        self.session.flush();
        self.session.drain_into(events);
    }

    /// Returns the number of bytes that are held back.
    #[must_use]
    pub fn num_held_bytes(&self) -> usize {
        self.session.input.rest().len()
    }

    /// Returns whether what comes next is reasoning, unless it is a marker or a call.
    #[must_use]
    pub fn is_inside_reasoning(&self) -> bool {
        self.session.channel == Channel::Reasoning
    }

    fn run(&mut self, events: &mut Vec<Event>) {
        match &mut self.machine {
            Machine::Tags(machine) => machine.run(&mut self.session),
            Machine::Harmony(harmony) => harmony.run(&mut self.session),
        }
        self.session.drain_into(events);
    }
}

impl TagMachine {
    fn new(
        tools: Option<ToolFormat>,
        limits: Option<Limits>,
        starts_in_reasoning: bool,
        marker: &mut impl FnMut(&'static str) -> Marker,
    ) -> Self {
        let reasoning = match (limits, starts_in_reasoning) {
            (None, _) => Reasoning::Over,
            (Some(_), true) => Reasoning::Opened,
            (Some(_), false) => Reasoning::Possible,
        };
        let (begins, ends) = limits.map_or((&[][..], &[][..]), |limits| (limits.begins, limits.ends));
        Self {
            reasoning,
            begins: begins.iter().map(|begin| begin.iter().map(|text| marker(text)).collect()).collect(),
            ends: ends.iter().map(|text| marker(text)).collect(),
            calls: tools.and_then(|tools| tools.calls(marker)),
            limits,
            in_call: false,
            skips_newlines: limits.is_some_and(|limits| starts_in_reasoning && limits.skips_newlines_inside),
        }
    }

    fn run(&mut self, session: &mut Session) {
        while self.in_call || !session.input.is_empty() {
            let goes_on = if self.in_call { self.call(session) } else { self.text(session) };
            if !goes_on {
                break;
            }
        }
    }

    /// Returns whether parsing goes on, here and below.
    fn call(&mut self, session: &mut Session) -> bool {
        let Some(calls) = &mut self.calls else { return false };
        match calls.step(session) {
            Step::Wait => return false,
            Step::NoCall(num_bytes) => {
                session.text(num_bytes);
                // A bare opening that was no call is not tried again, even if it is only space.
                session.has_text = true;
            }
            Step::Done => {}
        }
        self.in_call = false;
        if session.channel == Channel::Content {
            self.reasoning = Reasoning::Over;
        }
        true
    }

    fn text(&mut self, session: &mut Session) -> bool {
        if self.skips_newlines && !self.skip_newlines(session) {
            return false;
        }
        if !session.has_text
            && let Some(goes_on) = self.start(session)
        {
            return goes_on;
        }
        let ends = if session.channel == Channel::Reasoning { &self.ends[..] } else { &[] };
        let openings = self.calls.as_ref().map_or(&[][..], |calls| calls.openings());
        match find(&session.input, 0, &[ends, openings]) {
            Found::Open { at } => {
                session.text(at);
                false
            }
            Found::Marker { index, at } => {
                let end_len = ends.get(index).map(Marker::len);
                session.text(at);
                match end_len {
                    Some(len) => self.end_reasoning(session, len),
                    None => self.in_call = true,
                }
                true
            }
        }
    }

    fn end_reasoning(&mut self, session: &mut Session, num_bytes: usize) {
        session.turn_to(Channel::Content);
        session.syntax(num_bytes);
        self.reasoning = Reasoning::Over;
        self.skips_newlines = self.limits.is_some_and(|limits| limits.skips_newlines_behind);
    }

    /// Decides at the start of text whether reasoning or a call without a marker begins. `None` if
    /// it is text; else whether parsing goes on.
    fn start(&mut self, session: &mut Session) -> Option<bool> {
        let (at, next) = session.next();
        if next == Next::Wait {
            session.text(at);
            return Some(false);
        }
        if matches!(self.reasoning, Reasoning::Possible | Reasoning::Opened) {
            match self.begin_len(session, at) {
                Ok(num_bytes) => {
                    session.turn_to(Channel::Reasoning);
                    session.syntax(num_bytes);
                    self.reasoning = Reasoning::Open;
                    self.skips_newlines = self.limits.is_some_and(|limits| limits.skips_newlines_inside);
                    return Some(true);
                }
                Err(Fit::Part) => return Some(false),
                Err(_) if self.reasoning == Reasoning::Opened => self.reasoning = Reasoning::Open,
                Err(_) => self.reasoning = Reasoning::Over,
            }
        }
        let bare = self.calls.as_ref().and_then(|calls| calls.bare_opening());
        let is_bare =
            session.channel == Channel::Content && bare.is_some_and(|byte| next == Next::Byte(byte));
        if is_bare {
            session.text(at);
            self.in_call = true;
        }
        is_bare.then_some(true)
    }

    /// Returns the bytes up to the end of what begins reasoning, at a position.
    fn begin_len(&self, session: &Session, at: usize) -> Result<usize, Fit> {
        let mut best = Fit::No;
        for begin in &self.begins {
            let mut end = at;
            let fit = begin.iter().map(|marker| {
                let fit = marker.fit(&session.input, end);
                end += marker.len();
                fit
            });
            match fit.into_iter().find(|fit| *fit != Fit::Whole) {
                None => return Ok(end),
                Some(Fit::Part) => best = Fit::Part,
                Some(_) => {}
            }
        }
        Err(best)
    }

    /// Returns whether all that were next are taken.
    fn skip_newlines(&mut self, session: &mut Session) -> bool {
        let (letters, _) = session.input.letters(0);
        let num_bytes = letters.len() - letters.trim_start_matches('\n').len();
        let is_over = num_bytes < session.input.rest().len() || session.input.is_finished();
        session.syntax(num_bytes);
        self.skips_newlines = !is_over;
        is_over
    }
}
