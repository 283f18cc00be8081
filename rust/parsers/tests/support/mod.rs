//! Answers, cut in every way, and what has to be true of their events however they are cut.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::fs::OpenOptions;
use std::io::Write;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use streamcore_parsers::{
    Event, EventKind, Finish, Outcome, Parser, Piece, ReasoningFormat, Setup, Tool, ToolFormat,
};

/// An answer on its way into a parser.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) tools: Option<ToolFormat>,
    pub(crate) reasoning: Option<ReasoningFormat>,
    pub(crate) starts_in_reasoning: bool,
    pub(crate) declared: Vec<Tool>,
    /// Texts that are special tokens.
    pub(crate) specials: Vec<String>,
    pub(crate) finish: Finish,
}

/// A piece that owns its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    Special(String),
}

impl Part {
    fn text(&self) -> &str {
        let (Self::Text(text) | Self::Special(text)) = self;
        text
    }

    fn piece(&self) -> Piece<'_> {
        match self {
            Self::Text(text) => Piece::Text(text),
            Self::Special(text) => Piece::Special(text),
        }
    }
}

impl Answer {
    pub(crate) fn new(tools: Option<ToolFormat>, reasoning: Option<ReasoningFormat>) -> Self {
        let (starts_in_reasoning, declared, specials) = (false, Vec::new(), Vec::new());
        Self { tools, reasoning, starts_in_reasoning, declared, specials, finish: Finish::Stop }
    }

    pub(crate) fn of(tools: ToolFormat) -> Self {
        Self::new(Some(tools), None)
    }

    pub(crate) fn inside(self) -> Self {
        Self { starts_in_reasoning: true, ..self }
    }

    pub(crate) fn declares(self, name: &str, parameters: Value) -> Self {
        let mut declared = self.declared;
        declared.push(Tool { name: name.to_owned(), parameters: Some(parameters) });
        Self { declared, ..self }
    }

    pub(crate) fn ends(self, finish: Finish) -> Self {
        Self { finish, ..self }
    }

    /// Returns the same with every marker a special token.
    pub(crate) fn special(self) -> Self {
        let parser = self.parser(|text| !text.starts_with('\n') && text != ">" && text != "thought");
        let mut specials: Vec<_> = parser.special_tokens().iter().map(|text| (*text).to_owned()).collect();
        // Of two that begin alike, the longer is found first.
        specials.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self { specials, ..self }
    }

    pub(crate) fn parser(&self, is_special: impl Fn(&str) -> bool) -> Parser {
        let Self { tools, reasoning, starts_in_reasoning, declared, .. } = self.clone();
        Parser::new(Setup { tools, reasoning, starts_in_reasoning, declared }, is_special)
    }

    /// Returns the text as a tokenizer has it: markers that are special tokens are one piece.
    pub(crate) fn parts(&self, text: &str) -> Vec<Part> {
        let (mut parts, mut rest, mut letters) = (Vec::new(), text, String::new());
        while let Some(first) = rest.chars().next() {
            if let Some(special) = self.specials.iter().find(|special| rest.starts_with(special.as_str())) {
                if !letters.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut letters)));
                }
                parts.push(Part::Special(special.clone()));
                rest = &rest[special.len()..];
            } else {
                letters.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        if !letters.is_empty() {
            parts.push(Part::Text(letters));
        }
        parts
    }

    /// Returns the events of these pieces.
    pub(crate) fn events(&self, parts: &[Part]) -> Vec<Event> {
        let mut parser = self.parser(|text| self.specials.iter().any(|special| special == text));
        let mut events = Vec::new();
        parts.iter().for_each(|part| parser.push(part.piece(), &mut events));
        parser.finish(self.finish, &mut events);
        merged(events)
    }

    /// Returns the events of an answer, after a look at every way in which it can come.
    pub(crate) fn read(&self, parts: &[Part]) -> Vec<Event> {
        let events = self.events(parts);
        let text: String = parts.iter().map(Part::text).collect();
        check(&events, &text);
        assert_eq!(self.events(&cut(parts, |_| true)), events, "letter by letter: {text:?}");
        let num_letters = text.chars().count();
        for at in 0..num_letters {
            assert_eq!(self.events(&cut(parts, |letter| letter == at)), events, "cut at {at}: {text:?}");
        }
        for step in 2..6 {
            let pieces = cut(parts, |letter| letter * 7 % 11 % step == 0);
            assert_eq!(self.events(&pieces), events, "pieces, {step}: {text:?}");
        }
        events
    }

    /// Returns what a text says, a line for each thing. Appends it to the file
    /// `STREAMCORE_ANSWERS`, if that is set: other parsers can be compared by it.
    pub(crate) fn says(&self, text: &str) -> Vec<String> {
        let said = lines(&self.read(&self.parts(text)));
        if let Ok(path) = std::env::var("STREAMCORE_ANSWERS") {
            self.append(&path, text, &said);
        }
        said
    }

    fn append(&self, path: &str, text: &str, said: &[String]) {
        let tool = |tool: &Tool| json!({ "name": tool.name, "parameters": tool.parameters });
        let line = json!({
            "tools": self.tools.map(ToolFormat::name),
            "reasoning": self.reasoning.map(ReasoningFormat::name),
            "starts_in_reasoning": self.starts_in_reasoning,
            "has_special_tokens": !self.specials.is_empty(),
            "declared": self.declared.iter().map(tool).collect::<Vec<_>>(),
            "text": text,
            "said": said,
        });
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("it can be written");
        file.write_all(format!("{line}\n").as_bytes()).expect("it can be written");
    }
}

/// Cuts the texts before some of their letters, by the letter's number in the answer.
pub(crate) fn cut(parts: &[Part], is_cut: impl Fn(usize) -> bool) -> Vec<Part> {
    let (mut pieces, mut num_letters) = (Vec::new(), 0);
    for part in parts {
        let Part::Text(text) = part else {
            num_letters += part.text().chars().count();
            pieces.push(part.clone());
            continue;
        };
        let mut piece = String::new();
        for letter in text.chars() {
            if is_cut(num_letters) && !piece.is_empty() {
                pieces.push(Part::Text(std::mem::take(&mut piece)));
            }
            piece.push(letter);
            num_letters += 1;
        }
        pieces.push(Part::Text(piece));
    }
    pieces
}

/// Returns the events, those of one kind in a row as one.
fn merged(events: Vec<Event>) -> Vec<Event> {
    let mut merged: Vec<Event> = Vec::new();
    for event in events {
        if let Some(last) = merged.last_mut() {
            let is_joined = match (&mut last.kind, &event.kind) {
                (EventKind::Reasoning(text), EventKind::Reasoning(more))
                | (EventKind::Content(text), EventKind::Content(more))
                | (EventKind::Arguments(text), EventKind::Arguments(more)) => {
                    text.push_str(more);
                    true
                }
                (EventKind::Syntax, EventKind::Syntax) => true,
                _ => false,
            };
            if is_joined {
                last.num_bytes += event.num_bytes;
                continue;
            }
        }
        merged.push(event);
    }
    merged
}

/// What is true of every answer: each byte belongs to one event, text is what it stands for, calls
/// do not overlap, complete ones have an object.
pub(crate) fn check(events: &[Event], text: &str) {
    let mut at = 0;
    let mut call: Option<String> = None;
    for event in events {
        let slice = &text[at..at + event.num_bytes];
        at += event.num_bytes;
        match &event.kind {
            EventKind::Reasoning(told) | EventKind::Content(told) => {
                assert_eq!(told, slice);
                assert!(call.is_none(), "text within a call: {text:?}");
            }
            EventKind::CallBegin { name, .. } => {
                assert!(!name.is_empty() && call.is_none(), "{text:?}");
                call = Some(String::new());
            }
            EventKind::Arguments(json) => call.as_mut().expect("arguments are in a call").push_str(json),
            EventKind::CallEnd(outcome) => {
                let json = call.take().expect("a call has begun");
                // Numbers and escapes that are JSON, but no number and no character, are the
                // model's own.
                let is_object = json.starts_with('{') && serde_json::from_str::<&RawValue>(&json).is_ok();
                assert!(is_object || *outcome != Outcome::Complete, "{json} of {text:?}");
            }
            EventKind::Syntax => {}
        }
    }
    assert_eq!(at, text.len(), "bytes are left of {text:?}");
    assert!(call.is_none(), "a call goes on behind the end of {text:?}");
}

/// Returns the events, a line for each thing that a client sees.
pub(crate) fn lines(events: &[Event]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for event in events {
        match &event.kind {
            EventKind::Reasoning(text) => lines.push(format!("reasoning {text}")),
            EventKind::Content(text) => lines.push(format!("content {text}")),
            EventKind::CallBegin { name, id: None } => lines.push(format!("call {name} ")),
            EventKind::CallBegin { name, id: Some(id) } => lines.push(format!("call {name} #{id} ")),
            EventKind::Arguments(json) => lines.last_mut().expect("a call has begun").push_str(json),
            EventKind::CallEnd(Outcome::Complete) | EventKind::Syntax => {}
            EventKind::CallEnd(outcome) => {
                let outcome = format!(" {outcome:?}").to_lowercase();
                lines.last_mut().expect("a call has begun").push_str(&outcome);
            }
        }
    }
    lines
}
