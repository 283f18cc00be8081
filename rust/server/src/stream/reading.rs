//! One answer read by the parser of its model's family: text and tokens in, parts out.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use streamcore_parsers::{
    Event, EventKind, Finish as ParserFinish, Outcome, Parser, Piece, Setup, ToolFormat,
};

use super::delta::{Delta, ShownToken};
use super::output::MAX_TEXTLESS;
use super::part::{CallHead, CallId, Part, PartKind};
use crate::stream::finish::{Finish, FinishReason};
use crate::text::Tokenizer;

/// Parses the text that a choice releases.
///
/// A token goes with the event in which its text ends. Tokens of markers, which are not shown, wait
/// for the next event:
///
/// ```text
/// tokens   <think>   Hm   m.   </think>   A
/// events   syntax    reasoning  syntax    content
/// told               "Hmm." with 3 tokens "A" with 2
/// ```
#[derive(Debug)]
pub struct Reading {
    parser: Parser,
    /// The special tokens that the parser reads.
    markers: Vec<(u32, &'static str)>,
    call_id: CallId,
    /// In the order of the calls, if known beforehand.
    known_ids: Vec<Option<String>>,
    /// Unparsed text and tokens; kept for its capacity.
    pub raw: Delta,
    /// Bytes of text given to the parser.
    num_read: usize,
    /// Bytes of text whose events have come.
    num_known: usize,
    /// Tokens that end behind these, and their ends.
    unknown: VecDeque<(usize, ShownToken)>,
    /// Tokens of known text that are not reported yet.
    waiting: Vec<ShownToken>,
    /// Whether parts need their tokens.
    counts_tokens: bool,
    shows_reasoning: bool,
    num_calls: usize,
    has_complete_call: bool,
    /// `None` if reasoning is not parsed.
    num_reasoning_tokens: Option<usize>,
    /// Scratch space, kept for its capacity.
    events: Vec<Event>,
}

impl Reading {
    /// Creates a reader of answers in the formats of `setup`.
    #[must_use]
    pub fn new(setup: Setup, tokenizer: &Tokenizer, counts_tokens: bool, shows_reasoning: bool) -> Self {
        let call_id = if setup.tools == Some(ToolFormat::Mistral) { CallId::Short } else { CallId::Long };
        let num_reasoning_tokens = setup.reasoning.map(|_| 0);
        let parser = Parser::new(setup, |text| tokenizer.added_token_id(text).is_some());
        let marker = |text: &&'static str| Some((tokenizer.added_token_id(text)?, *text));
        Self {
            markers: parser.special_tokens().iter().filter_map(marker).collect(),
            parser,
            call_id,
            known_ids: Vec::new(),
            raw: Delta::default(),
            num_read: 0,
            num_known: 0,
            unknown: VecDeque::new(),
            waiting: Vec::new(),
            counts_tokens,
            shows_reasoning,
            num_calls: 0,
            has_complete_call: false,
            num_reasoning_tokens,
            events: Vec::new(),
        }
    }

    /// Sets the ids of some calls.
    #[must_use]
    pub fn with_call_ids(self, known_ids: Vec<Option<String>>) -> Self {
        Self { known_ids, ..self }
    }

    /// Returns the special tokens that must be part of the text.
    #[must_use]
    pub fn markers(&self) -> Arc<[u32]> {
        self.markers.iter().map(|(id, _)| *id).collect()
    }

    /// Returns the number of tokens so far whose text is reasoning, if any is looked for.
    #[must_use]
    pub fn num_reasoning_tokens(&self) -> Option<usize> {
        self.num_reasoning_tokens
    }

    /// Parses the text so far and appends the parts known.
    pub fn read(&mut self, delta: &mut Delta) {
        let mut raw = mem::take(&mut self.raw);
        let (before, mut start) = (self.num_read, 0);
        let mut tokens = raw.tokens.drain(..).peekable();
        while let Some(token) = tokens.next() {
            let (id, end) = (token.id, token.text_end);
            self.unknown.push_back((before + end, token));
            // Tokens that share text are complete before it is parsed.
            if tokens.peek().is_none_or(|next| next.text_end > end || next.is_textless) {
                self.push(&raw.text[start..end], Some(id), delta);
                start = end;
            }
        }
        drop(tokens);
        self.push(&raw.text[start..], None, delta);
        raw.text.clear();
        self.raw = raw;
    }

    /// Ends the answer and appends the rest. `stop` is the token that ended it, unless it is part
    /// of the text.
    pub fn finish(&mut self, finish: Finish, stop: Option<u32>, delta: &mut Delta) -> Finish {
        if let Some(marker) = stop.and_then(|stop| self.marker(stop)) {
            self.push(marker, stop, delta);
        }
        let is_cut_off = finish.finish_reason == FinishReason::Length;
        let parser_finish = if is_cut_off { ParserFinish::Length } else { ParserFinish::Stop };
        self.parser.finish(parser_finish, &mut self.events);
        self.take_events(delta);
        if self.counts_tokens {
            let left = self.unknown.drain(..).map(|(_, token)| token);
            delta.tail.extend(self.waiting.drain(..).chain(left).chain(self.raw.tail.drain(..)));
            delta.shorten_tail();
        }
        let calls_tools = self.has_complete_call && finish.finish_reason == FinishReason::Stop;
        let finish_reason = if calls_tools { FinishReason::ToolCalls } else { finish.finish_reason };
        Finish { finish_reason, ..finish }
    }

    fn marker(&self, token: u32) -> Option<&'static str> {
        self.markers.iter().find_map(|(id, text)| (*id == token).then_some(*text))
    }

    /// Reads a text, which ends with that of this token.
    fn push(&mut self, text: &str, token: Option<u32>, delta: &mut Delta) {
        // A partial marker is text: a stop string has cut it off.
        let marker = token.and_then(|token| self.marker(token)).filter(|marker| text.ends_with(marker));
        let (letters, marker) = match marker {
            Some(marker) => text.split_at(text.len() - marker.len()),
            None => (text, ""),
        };
        if !letters.is_empty() {
            self.parser.push(Piece::Text(letters), &mut self.events);
        }
        if !marker.is_empty() {
            self.parser.push(Piece::Special(marker), &mut self.events);
        }
        self.num_read += text.len();
        self.take_events(delta);
    }

    fn take_events(&mut self, delta: &mut Delta) {
        let mut events = mem::take(&mut self.events);
        for Event { kind, num_bytes } in events.drain(..) {
            let is_reasoning = matches!(kind, EventKind::Reasoning(_));
            let told = self.told(kind);
            let is_literal = told.as_ref().is_some_and(|(_, text)| text.len() == num_bytes);
            self.take_tokens(num_bytes, is_literal, is_reasoning);
            if let Some((kind, text)) = told {
                self.tell(kind, &text, delta);
            }
        }
        self.events = events;
        if self.waiting.len() > MAX_TEXTLESS {
            let kind = delta.parts.last().map_or(PartKind::Content, |part| part.kind.clone());
            self.tell(kind, "", delta);
        }
    }

    /// Returns the part for an event, unless it is hidden.
    fn told(&mut self, kind: EventKind) -> Option<(PartKind, String)> {
        match kind {
            EventKind::Content(text) => Some((PartKind::Content, text)),
            EventKind::Reasoning(text) => self.shows_reasoning.then_some((PartKind::Reasoning, text)),
            EventKind::CallBegin { name, id } => {
                let id = id.or_else(|| self.known_ids.get(self.num_calls).cloned().flatten());
                let id = id.map_or_else(|| self.call_id.clone(), CallId::Given);
                let head = CallHead { index: self.num_calls, name, id };
                self.num_calls += 1;
                Some((PartKind::CallBegin(head), String::new()))
            }
            EventKind::Arguments(text) => {
                let call = self.num_calls.saturating_sub(1);
                (!text.is_empty()).then_some((PartKind::Arguments { call }, text))
            }
            EventKind::CallEnd(outcome) => {
                self.has_complete_call |= outcome == Outcome::Complete;
                None
            }
            EventKind::Syntax => None,
        }
    }

    /// Takes the tokens that end in the next `num_bytes`. In literal text, each stays beside its
    /// own.
    fn take_tokens(&mut self, num_bytes: usize, is_literal: bool, is_reasoning: bool) {
        let start = self.num_known;
        self.num_known += num_bytes;
        while self.unknown.front().is_some_and(|(end, _)| *end <= self.num_known) {
            let Some((end, token)) = self.unknown.pop_front() else { break };
            if let Some(num_reasoning_tokens) = &mut self.num_reasoning_tokens {
                *num_reasoning_tokens += usize::from(is_reasoning);
            }
            if self.counts_tokens {
                let text_end = if is_literal { end.saturating_sub(start) } else { 0 };
                let is_textless = token.is_textless || !is_literal;
                self.waiting.push(ShownToken { text_end, is_textless, is_reasoning, ..token });
            }
        }
    }

    /// Appends a text with all waiting tokens.
    fn tell(&mut self, kind: PartKind, text: &str, delta: &mut Delta) {
        if delta.parts.last().is_none_or(|part| part.kind != kind) {
            delta.parts.push(Part { kind, text: String::new(), tokens: Vec::new() });
        }
        let Some(part) = delta.parts.last_mut() else { return };
        let start = part.text.len();
        part.text.push_str(text);
        let num_before = part.tokens.len();
        let behind = |token: ShownToken| ShownToken { text_end: start + token.text_end, ..token };
        part.tokens.extend(self.waiting.drain(..).map(behind));
        // The last token takes all the text, so that they stay in one event.
        if let Some(last) = part.tokens[num_before..].last_mut()
            && !text.is_empty()
        {
            *last = ShownToken { text_end: part.text.len(), is_textless: false, ..mem::take(last) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use streamcore_parsers::ReasoningFormat;

    use super::*;
    use crate::stream::Said;

    /// Each event with its tokens.
    type Told = Vec<(String, Vec<u32>)>;

    /// Returns the parts of an answer whose tokens have these texts, and its last tokens.
    fn told(texts: &[&str], shows_reasoning: bool) -> (Told, Vec<u32>, Option<usize>) {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../python/streamcore/demo_model/tokenizer.json");
        let tokenizer = Tokenizer::load(Path::new(file)).expect("the demo model is part of the repository");
        let (tools, reasoning) = (Some(ToolFormat::Hermes), Some(ReasoningFormat::Qwen3));
        let setup = Setup { tools, reasoning, ..Setup::default() };
        let mut reading = Reading::new(setup, &tokenizer, true, shows_reasoning);
        let mut told = Vec::new();
        let mut tail = Vec::new();
        for (id, text) in (0..).zip(texts) {
            reading.raw.text.push_str(text);
            let text_end = reading.raw.text.len();
            reading.raw.tokens.push(ShownToken { id, text_end, ..ShownToken::default() });
            let mut delta = Delta::default();
            reading.read(&mut delta);
            if id as usize + 1 == texts.len() {
                let finish = Finish { finish_reason: FinishReason::Stop, stop_reason: None };
                reading.finish(finish, None, &mut delta);
                tail = delta.tail.iter().map(|token| token.id).collect();
            }
            for (said, tokens) in delta.parts.iter().flat_map(Part::pieces) {
                let text = match said {
                    Said::Content(text) | Said::Arguments { text, .. } => text.to_owned(),
                    Said::Reasoning(text) => format!("({text})"),
                    Said::CallBegin(head) => format!("{}:", head.name),
                };
                told.push((text, tokens.iter().map(|token| token.id).collect()));
            }
        }
        (told, tail, reading.num_reasoning_tokens())
    }

    /// A client that aligns tokens with text must find each beside its own, and those of markers
    /// nowhere twice.
    #[test]
    fn tokens_come_with_their_text_and_those_of_markers_with_the_next() {
        let call = ["<tool_call>", "{\"name\":\"f\",", "\"arguments\":{", "}", "}", "</tool_call>"];
        let (told, tail, num_reasoning) =
            told(&[&["<think>", "a", "b</think>", "c"], &call[..]].concat(), true);
        let expected: [(&str, &[u32]); 6] =
            [("(a)", &[0, 1]), ("(b)", &[]), ("c", &[2, 3]), ("f:", &[4, 5]), ("{", &[6]), ("}", &[7])];
        assert_eq!(told, expected.map(|(text, ids)| (text.to_owned(), ids.to_vec())));
        assert_eq!(tail, [8, 9]);
        assert_eq!(num_reasoning, Some(1), "the end of `b</think>` is no reasoning");
    }

    /// Thoughts that a client does not want must not reach it, but it pays for their tokens and may
    /// ask for them.
    #[test]
    fn reasoning_that_is_not_shown_is_counted_and_its_tokens_are_told() {
        let thoughts = ["x"; 40];
        let (told, tail, num_reasoning) =
            told(&[&["<think>"], &thoughts[..], &["</think>", "c"]].concat(), false);
        let text: String = told.iter().map(|(text, _)| text.as_str()).collect();
        let tokens: Vec<_> = told.into_iter().flat_map(|(_, tokens)| tokens).chain(tail).collect();
        assert_eq!(text, "c");
        assert_eq!(tokens, (0..43).collect::<Vec<_>>());
        assert_eq!(num_reasoning, Some(40));
    }
}
