//! Any answer is passed on to its last byte in every format, and reads the same in one piece and
//! letter by letter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streamcore_parsers::{Event, EventKind, Finish, Parser, Piece, ReasoningFormat, Setup, ToolFormat};

fuzz_target!(|input: (u8, u8, bool, bool, &str)| {
    let (tools, reasoning, starts_in_reasoning, is_special, text) = input;
    let tools = ToolFormat::ALL.get(usize::from(tools)).map(|(_, format)| *format);
    let reasoning = ReasoningFormat::ALL.get(usize::from(reasoning)).map(|(_, format)| *format);
    let setup = Setup { tools, reasoning, starts_in_reasoning, declared: Vec::new() };
    let read = |pieces: &[Piece<'_>]| {
        let mut parser = Parser::new(setup.clone(), |text| is_special && text.starts_with(['<', '[']));
        let mut events = Vec::new();
        pieces.iter().for_each(|piece| parser.push(*piece, &mut events));
        parser.finish(Finish::Stop, &mut events);
        events
    };
    let whole = read(&pieces(text, false));
    assert_eq!(whole.iter().map(|event| event.num_bytes).sum::<usize>(), text.len());
    assert_eq!(told(&whole), told(&read(&pieces(text, true))));
});

/// Returns a text whose words in brackets are special tokens, if the parser knows them.
fn pieces(text: &str, is_letters: bool) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    for part in text.split_inclusive(['>', ']']) {
        let (letters, token) = part.split_at(part.rfind(['<', '[']).unwrap_or(part.len()));
        if is_letters {
            pieces.extend(letters.char_indices().map(|(at, letter)| Piece::Text(&letters[at..at + letter.len_utf8()])));
        } else {
            pieces.push(Piece::Text(letters));
        }
        pieces.push(Piece::Special(token));
    }
    pieces
}

/// Returns what a client sees, each kind of it in one.
fn told(events: &[Event]) -> [String; 3] {
    let mut told = [const { String::new() }; 3];
    for event in events {
        match &event.kind {
            EventKind::Reasoning(text) => told[0].push_str(text),
            EventKind::Content(text) => told[1].push_str(text),
            EventKind::CallBegin { name, .. } => told[2].push_str(name),
            EventKind::Arguments(json) => told[2].push_str(json),
            EventKind::CallEnd(outcome) => told[2].push_str(&format!("{outcome:?}")),
            EventKind::Syntax => {}
        }
    }
    told
}
