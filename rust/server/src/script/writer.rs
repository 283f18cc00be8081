//! Writes answers as a model would: in the formats of the script, by the tokens of the demo model.

use serde_json::{Map, Value, json};
use streamcore_parsers::{
    Detected, EventKind, Finish, Outcome, Parser, Piece, ReasoningFormat, Setup, Tool, ToolFormat,
};

use super::file::{CallFile, ScriptError, ScriptFile};
use crate::text::{TextModel, reasoning_formats, tool_formats};

/// The default name of a parser.
const AUTO: &str = "auto";
/// The name that disables a parser.
const NONE: &str = "none";

/// Names of parsers, as `--tool-call-parser` and `--reasoning-parser` take them.
#[derive(Debug, Clone, Copy)]
pub struct ParserNames<'a> {
    /// The parser of calls.
    pub tools: &'a str,
    /// The parser of reasoning.
    pub reasoning: &'a str,
}

impl Default for ParserNames<'_> {
    fn default() -> Self {
        Self { tools: AUTO, reasoning: AUTO }
    }
}

/// Writes the answers of one script.
pub(super) struct Writer<'a> {
    text: &'a mut TextModel,
    /// The special tokens that the parsers of the answers look for.
    markers: Vec<(u32, &'static str)>,
}

/// The parts of an answer.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) reasoning: Option<String>,
    pub(super) text: Option<String>,
    pub(super) calls: Vec<CallFile>,
}

/// An answer as its parser reads it.
#[derive(Debug, Default, PartialEq)]
struct Read {
    reasoning: String,
    content: String,
    calls: Vec<(String, Value)>,
}

impl<'a> Writer<'a> {
    /// Creates a writer for a model, whose formats are those named, else the script's, else common
    /// ones if the script needs some.
    pub(super) fn new(
        text: &'a mut TextModel,
        names: ParserNames<'_>,
        file: &ScriptFile,
    ) -> Result<Self, ScriptError> {
        choose_formats(text, names, file)?;
        let markers = markers_of(text);
        let is_marker = |id: u32| markers.iter().any(|(marker, _)| *marker == id);
        // The demo model ends its answers with a token that gpt-oss has within them.
        if text.generation.eos_token_ids.iter().any(|id| is_marker(*id)) {
            let ids = 0..u32::try_from(text.tokenizer.vocab_size()).unwrap_or(u32::MAX);
            let free = ids.into_iter().find(|id| is_hidden(text, *id) && !is_marker(*id));
            text.generation.eos_token_ids = free.into_iter().collect();
        }
        Ok(Self { text, markers })
    }

    /// Leaves calls or reasoning in the text of answers if their parser is disabled.
    pub(super) fn end(self, names: ParserNames<'_>) {
        if names.tools == NONE {
            self.text.formats.tools = None;
        }
        if names.reasoning == NONE {
            self.text.formats.reasoning = None;
        }
    }

    /// Returns the token that ends an answer.
    pub(super) fn end_token(&self) -> Option<u32> {
        self.text.generation.eos_token_ids.first().copied()
    }

    /// Returns a token of its own for these bytes.
    pub(super) fn piece(&mut self, bytes: &[u8]) -> u32 {
        self.text.tokenizer.add_piece(bytes)
    }

    /// Returns the tokens of an answer, checked to decode to exactly its parts.
    pub(super) fn write(&self, place: &str, said: &Said) -> Result<Vec<u32>, ScriptError> {
        if said.reasoning.is_none() && said.calls.is_empty() {
            return self.encode(&format!("{place}.text"), said.text.as_deref().unwrap_or_default());
        }
        let Detected { tools, reasoning } = self.text.formats;
        if said.reasoning.is_some() && reasoning.is_none() {
            let message = "cannot be written, `reasoning_parser` is `none`";
            return Err(ScriptError::new(format!("{place}.reasoning"), message));
        }
        if !said.calls.is_empty() && tools.is_none() {
            let message = "cannot be written, `tool_call_parser` is `none`";
            return Err(ScriptError::new(format!("{place}.tool_calls"), message));
        }
        let is_harmony =
            tools == Some(ToolFormat::Openai) || reasoning == Some(ReasoningFormat::OpenaiGptoss);
        let written = if is_harmony { harmony(said) } else { self.tags(said) };
        self.check(place, said, &written)?;
        self.encode(place, &written)
    }

    /// Writes an answer in any format but harmony.
    fn tags(&self, said: &Said) -> String {
        let mut written = String::new();
        if let (Some(format), Some(thought)) = (self.text.formats.reasoning, &said.reasoning) {
            written.extend([&format.begin_text(), thought, format.end_text()]);
        }
        let content = said.text.as_deref().unwrap_or_default();
        written.push_str(content);
        if let Some(format) = self.text.formats.tools.filter(|_| !said.calls.is_empty()) {
            let syntax = format.call_syntax(|marker| self.text.tokenizer.token_id(marker).is_some());
            // Where calls need no marker, they are only looked for at the beginning.
            let [before, behind] = match format {
                ToolFormat::Llama3Json if !content.is_empty() => ["<|python_tag|>", ""],
                ToolFormat::Llama4Pythonic if !content.is_empty() => ["<|python_start|>", "<|python_end|>"],
                _ => ["", ""],
            };
            written.extend([before, &syntax.write(calls_of(said)), behind]);
        }
        written
    }

    /// Checks that the parser reads the script's parts: a text may contain a marker, or stand where
    /// the format has no place for it.
    fn check(&self, place: &str, said: &Said, written: &str) -> Result<(), ScriptError> {
        let expected = Read {
            reasoning: said.reasoning.clone().unwrap_or_default(),
            content: said.text.clone().unwrap_or_default(),
            calls: calls_of(said)
                .map(|(name, arguments)| (name.to_owned(), Value::from(arguments.clone())))
                .collect(),
        };
        let read = self.read(said, written);
        let name = match (read.reasoning == expected.reasoning, read.calls == expected.calls) {
            (true, true) if read.content == expected.content => return Ok(()),
            (true, true) => "text",
            (true, false) => "tool_calls",
            (false, _) => "reasoning",
        };
        let Detected { tools, reasoning } = self.text.formats;
        let names = [tools.map(ToolFormat::name), reasoning.map(ReasoningFormat::name)];
        let names: Vec<_> = names.into_iter().flatten().map(|name| format!("`{name}`")).collect();
        let message = format!("is read otherwise by {}, however it is written", names.join(" and "));
        Err(ScriptError::new(format!("{place}.{name}"), message))
    }

    fn read(&self, said: &Said, written: &str) -> Read {
        // Formats without types read them from the schema.
        let parameters = |arguments: &Map<String, Value>| {
            let constants = arguments.iter().map(|(key, value)| (key.clone(), json!({ "const": value })));
            json!({ "type": "object", "properties": constants.collect::<Map<_, _>>() })
        };
        let declared = calls_of(said)
            .map(|(name, arguments)| Tool { name: name.to_owned(), parameters: Some(parameters(arguments)) });
        let mut events = Vec::new();
        let mut parser = parser(self.text, declared.collect());
        for piece in pieces(written, &self.markers) {
            parser.push(piece, &mut events);
        }
        parser.finish(Finish::Stop, &mut events);
        let (mut read, mut arguments) = (Read::default(), String::new());
        for event in events {
            match event.kind {
                EventKind::Reasoning(text) => read.reasoning += &text,
                EventKind::Content(text) => read.content += &text,
                EventKind::CallBegin { name, .. } => read.calls.push((name, Value::Null)),
                EventKind::Arguments(text) => arguments += &text,
                EventKind::CallEnd(outcome) => {
                    let value =
                        serde_json::from_str(&arguments).ok().filter(|_| outcome == Outcome::Complete);
                    arguments.clear();
                    if let Some((_, arguments)) = read.calls.last_mut() {
                        *arguments = value.unwrap_or_default();
                    }
                }
                EventKind::Syntax => {}
            }
        }
        read
    }

    /// Returns the tokens of a text, checked to decode to exactly that text.
    fn encode(&self, place: &str, written: &str) -> Result<Vec<u32>, ScriptError> {
        let tokenizer = &self.text.tokenizer;
        let refused = |error| ScriptError::new(place, format!("cannot be tokenised: {error}"));
        let tokens = tokenizer.encode(written, false).map_err(refused)?;
        // Markers of the parsers are written as special tokens.
        let is_marker = |id: u32| self.markers.iter().any(|(marker, _)| *marker == id);
        if tokens.iter().any(|id| is_hidden(self.text, *id) && !is_marker(*id))
            || tokenizer.decode(&tokens, false).map_err(refused)? != written
        {
            let message = "has a special token in it; write it as `pieces` to have it as text";
            return Err(ScriptError::new(place, message));
        }
        Ok(tokens)
    }
}

fn choose_formats(
    text: &mut TextModel,
    names: ParserNames<'_>,
    file: &ScriptFile,
) -> Result<(), ScriptError> {
    let chosen = |field, given, own: &Option<String>, known: Vec<&str>| {
        // Answers without a parser still need a format.
        let name = if [AUTO, NONE].contains(&given) { own.as_deref().unwrap_or(AUTO) } else { given };
        if known.contains(&name) {
            return Ok(name.to_owned());
        }
        let message = format!("is `{name}`, it must be one of {}", known.join(", "));
        Err(ScriptError::new(field, message))
    };
    let tools = chosen("tool_call_parser", names.tools, &file.tool_call_parser, tool_formats().collect())?;
    let reasoning =
        chosen("reasoning_parser", names.reasoning, &file.reasoning_parser, reasoning_formats().collect())?;
    text.choose_formats(&tools, &reasoning).map_err(|name| ScriptError::new("script", name))?;
    let formats = &mut text.formats;
    if tools == AUTO && file.answers().any(|answer| answer.tool_calls.is_some()) {
        formats.tools.get_or_insert(ToolFormat::Hermes);
    }
    if reasoning == AUTO && file.answers().any(|answer| answer.reasoning.is_some()) {
        formats.reasoning.get_or_insert(ReasoningFormat::Qwen3);
    }
    Ok(())
}

fn parser(text: &TextModel, declared: Vec<Tool>) -> Parser {
    let Detected { tools, reasoning } = text.formats;
    let setup = Setup { tools, reasoning, declared, ..Setup::default() };
    Parser::new(setup, |marker| text.tokenizer.added_token_id(marker).is_some())
}

fn markers_of(text: &TextModel) -> Vec<(u32, &'static str)> {
    let parser = parser(text, Vec::new());
    let id_of = |marker: &&'static str| Some((text.tokenizer.added_token_id(marker)?, *marker));
    parser.special_tokens().iter().filter_map(id_of).collect()
}

/// Returns whether a token is left out of the text of an answer.
fn is_hidden(text: &TextModel, id: u32) -> bool {
    let decoded = |skips| text.tokenizer.decode(&[id], skips).unwrap_or_default();
    decoded(true).is_empty() && !decoded(false).is_empty()
}

fn calls_of(said: &Said) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
    said.calls.iter().map(|call| (call.name.as_str(), &call.arguments))
}

/// Writes messages to their channels.
fn harmony(said: &Said) -> String {
    let thoughts = said.reasoning.iter().map(|text| format!("<|channel|>analysis<|message|>{text}<|end|>"));
    let channel = if said.calls.is_empty() { "final" } else { "commentary" };
    let texts = said.text.iter().map(|text| format!("<|channel|>{channel}<|message|>{text}<|end|>"));
    let syntax = ToolFormat::Openai.call_syntax(|_| true);
    let calls = calls_of(said).map(|call| syntax.write([call]));
    thoughts.chain(texts).chain(calls).collect::<Vec<_>>().join("<|start|>assistant")
}

/// Returns a text, cut at its markers.
fn pieces<'t>(text: &'t str, markers: &[(u32, &'static str)]) -> Vec<Piece<'t>> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    let first_of = |rest: &str| {
        let found = markers.iter().filter_map(|(_, marker)| Some((rest.find(marker)?, marker.len())));
        // Of two that begin alike, the longer is the token.
        found.min_by_key(|(at, len)| (*at, usize::MAX - len))
    };
    while let Some((at, len)) = first_of(rest) {
        pieces.extend([Piece::Text(&rest[..at]), Piece::Special(&rest[at..at + len])]);
        rest = &rest[at + len..];
    }
    pieces.push(Piece::Text(rest));
    pieces
}
