//! Keyword arguments of a Python call, as a JSON object: `city="Paris", days=[1, 2])` becomes
//! `{"city":"Paris","days":[1,2]}`.
//!
//! Strings with any of Python's quotes, prefixes and escapes; numbers with underscores, signs,
//! leading zeros and other bases; `True`, `False`, `None` and JSON's names for them; lists, dicts
//! (other keys than strings become strings, as in `json.dumps`) and tuples, which are lists, also
//! those of one. Strings stream; a line may break within them. A set, a positional argument, an
//! expression, or anything else, is a mistake.

use super::json_object::{Progress, unfinished};
use crate::calls::MAX_NAME_BYTES;
use crate::event::Outcome;
use crate::input::Behind;
use crate::json::escape;
use crate::session::{Next, Session};

/// The arguments of one call, behind its opening bracket. The closing bracket is part of them.
#[derive(Debug)]
pub(crate) struct PythonArguments {
    state: State,
    /// The containers that are open, and whether they have anything.
    open: Vec<(Container, bool)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Call,
    List,
    Tuple,
    Dict,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// A keyword, a key or an element, or the end of the container.
    Entry,
    /// The value of a keyword or a key.
    Value,
    String(Quotes),
    /// Behind the key of a dict.
    Colon,
    Comma,
}

#[derive(Debug, Clone, Copy)]
struct Quotes {
    quote: char,
    is_triple: bool,
    is_raw: bool,
    is_key: bool,
}

/// The outcome of an attempt to read a part.
type Attempt = Result<(), Progress>;

/// Longest number or name that is waited for.
const MAX_WORD_BYTES: usize = 4096;

impl PythonArguments {
    pub(crate) fn new() -> Self {
        Self { state: State::Entry, open: vec![(Container::Call, false)] }
    }

    /// Emits the arguments read so far.
    pub(crate) fn step(&mut self, session: &mut Session) -> Progress {
        loop {
            let attempt = match self.state {
                State::Entry => self.entry(session),
                State::Value => self.value(session, false),
                State::String(quotes) => self.string(session, quotes),
                State::Colon => self.expect(session, b':', State::Value),
                State::Comma => self.comma(session),
            };
            match attempt {
                Ok(()) if self.open.is_empty() => return Progress::Done,
                Ok(()) => {}
                Err(Progress::Truncated) => {
                    session.end(Outcome::Truncated, session.input.rest().len());
                    return Progress::Truncated;
                }
                Err(progress) => return progress,
            }
        }
    }

    fn container(&self) -> Container {
        self.open.last().map_or(Container::Call, |(container, _)| *container)
    }

    fn entry(&mut self, session: &mut Session) -> Attempt {
        session.skip_space_in_arguments();
        let (at, next) = session.skip_whitespace(0);
        let byte = byte(next)?;
        let container = self.container();
        if byte == container.closing() {
            return self.close(session, at + 1);
        }
        match container {
            Container::Call => self.keyword(session, at),
            Container::List | Container::Tuple => self.value(session, false),
            Container::Dict => self.value(session, true),
        }
    }

    fn keyword(&mut self, session: &mut Session, at: usize) -> Attempt {
        let (letters, behind) = session.input.letters(at);
        let end = letters
            .find(|letter: char| !(letter.is_alphanumeric() || letter == '_'))
            .unwrap_or(letters.len());
        let keyword = letters[..end].to_owned();
        if keyword.len() > MAX_NAME_BYTES || keyword.is_empty() {
            return Err(Progress::Broken);
        }
        if end == letters.len() {
            return Err(unfinished(behind));
        }
        let (equals, next) = session.skip_whitespace(at + end);
        if byte(next)? != b'=' {
            return Err(Progress::Broken);
        }
        let json = self.before_entry() + "\"" + &keyword + "\":";
        session.arguments_from(&json, equals + 1);
        self.state = State::Value;
        Ok(())
    }

    /// Returns the separator before a new entry of the container.
    fn before_entry(&mut self) -> String {
        let has_entries =
            self.open.last_mut().is_some_and(|(_, has_entries)| std::mem::replace(has_entries, true));
        if has_entries { ",".to_owned() } else { String::new() }
    }

    fn value(&mut self, session: &mut Session, is_key: bool) -> Attempt {
        session.skip_space_in_arguments();
        let (at, next) = session.skip_whitespace(0);
        let first = byte(next)?;
        let is_element = is_key || !matches!(self.state, State::Value);
        let container = match first {
            b'[' => Container::List,
            b'(' => Container::Tuple,
            b'{' => Container::Dict,
            _ => return self.word(session, at, is_key, is_element),
        };
        if is_key {
            return Err(Progress::Broken);
        }
        let before = if is_element { self.before_entry() } else { String::new() };
        session.arguments_from(&(before + if container == Container::Dict { "{" } else { "[" }), at + 1);
        self.open.push((container, false));
        self.state = State::Entry;
        Ok(())
    }

    /// Reads a string's beginning, a number or a name.
    fn word(&mut self, session: &mut Session, at: usize, is_key: bool, is_element: bool) -> Attempt {
        let (letters, behind) = session.input.letters(at);
        let is_end = |letter: char| letter.is_whitespace() || ",)]}:([{'\"=#".contains(letter);
        let Some(end) = letters.find(is_end) else {
            return Err(if letters.len() > MAX_WORD_BYTES { Progress::Broken } else { unfinished(behind) });
        };
        let (word, rest) = letters.split_at(end);
        if let Some(quote @ ('"' | '\'')) = rest.chars().next() {
            let prefix = word.to_ascii_lowercase();
            if !matches!(prefix.as_str(), "" | "r" | "u" | "b" | "f" | "rb" | "br" | "rf" | "fr") {
                return Err(Progress::Broken);
            }
            let quotes = rest.len() - rest.trim_start_matches(quote).len();
            if quotes < 3 && quotes == rest.len() && behind == Behind::Open {
                return Err(Progress::Wait);
            }
            let is_triple = quotes >= 3;
            let num_bytes = at + end + if is_triple { 3 } else { 1 };
            let json = if is_element { self.before_entry() } else { String::new() } + "\"";
            session.arguments_from(&json, num_bytes);
            self.state = State::String(Quotes { quote, is_triple, is_raw: prefix.contains('r'), is_key });
            return Ok(());
        }
        let value = literal(word).ok_or(Progress::Broken)?;
        let value = if is_key { format!("\"{value}\":") } else { value };
        let json = if is_element { self.before_entry() } else { String::new() } + &value;
        session.arguments_from(&json, at + end);
        self.state = if is_key { State::Colon } else { State::Comma };
        Ok(())
    }

    fn string(&mut self, session: &mut Session, quotes: Quotes) -> Attempt {
        let mut json = String::new();
        let (num_bytes, is_over) = quotes.read(session.input.rest(), &mut json);
        if is_over {
            json.push_str(if quotes.is_key { "\":" } else { "\"" });
            self.state = if quotes.is_key { State::Colon } else { State::Comma };
        }
        session.arguments_from(&json, num_bytes);
        match is_over {
            true => Ok(()),
            false if session.input.is_finished() => Err(Progress::Truncated),
            false => Err(Progress::Wait),
        }
    }

    fn expect(&mut self, session: &mut Session, expected: u8, state: State) -> Attempt {
        session.skip_space_in_arguments();
        let (at, next) = session.skip_whitespace(0);
        if byte(next)? != expected {
            return Err(Progress::Broken);
        }
        session.arguments_from("", at + 1);
        self.state = state;
        Ok(())
    }

    fn comma(&mut self, session: &mut Session) -> Attempt {
        session.skip_space_in_arguments();
        let (at, next) = session.skip_whitespace(0);
        if byte(next)? == self.container().closing() {
            return self.close(session, at + 1);
        }
        self.expect(session, b',', State::Entry)
    }

    fn close(&mut self, session: &mut Session, num_bytes: usize) -> Attempt {
        let json = if matches!(self.container(), Container::Call | Container::Dict) { "}" } else { "]" };
        session.arguments_from(json, num_bytes);
        self.open.pop();
        self.state = State::Comma;
        Ok(())
    }
}

impl Container {
    fn closing(self) -> u8 {
        match self {
            Self::Call | Self::Tuple => b')',
            Self::List => b']',
            Self::Dict => b'}',
        }
    }
}

fn byte(next: Next) -> Result<u8, Progress> {
    match next {
        Next::Byte(byte) => Ok(byte),
        Next::Special => Err(Progress::Broken),
        Next::Wait => Err(Progress::Wait),
        Next::End => Err(Progress::Truncated),
    }
}

impl Quotes {
    /// Reads quoted text into JSON. Returns the bytes read, and whether the closing quotes are
    /// among them.
    fn read(self, text: &str, json: &mut String) -> (usize, bool) {
        let mut at = 0;
        loop {
            let rest = &text[at..];
            let plain = rest.find([self.quote, '\\']).unwrap_or(rest.len());
            escape(&rest[..plain], json);
            at += plain;
            let rest = &text[at..];
            if rest.is_empty() {
                return (at, false);
            }
            let part_len =
                if rest.starts_with('\\') { self.escaped(rest, json) } else { self.quoted(rest, json) };
            match part_len {
                Part::Text(len) => at += len,
                Part::End(len) => return (at + len, true),
                // The rest at the end of the answer is half an escape, or half the closing quotes.
                Part::Open => return (at, false),
            }
        }
    }

    fn quoted(self, rest: &str, json: &mut String) -> Part {
        let num_quotes = rest.chars().take(3).take_while(|letter| *letter == self.quote).count();
        match (self.is_triple, num_quotes) {
            (false, _) => Part::End(1),
            (true, 3) => Part::End(3),
            (true, _) if num_quotes == rest.len() => Part::Open,
            (true, _) => {
                escape(&rest[..1], json);
                Part::Text(1)
            }
        }
    }

    /// Reads a backslash and what it stands for. Unknown escapes stay as they are, as in Python.
    fn escaped(self, rest: &str, json: &mut String) -> Part {
        let Some(letter) = rest[1..].chars().next() else { return Part::Open };
        let len = 1 + letter.len_utf8();
        let (text, digits) = match letter {
            _ if self.is_raw => (&rest[..len], 0),
            '\n' => ("", 0),
            '\\' | '\'' | '"' => (&rest[1..len], 0),
            'n' => ("\n", 0),
            't' => ("\t", 0),
            'r' => ("\r", 0),
            'a' => ("\x07", 0),
            'b' => ("\x08", 0),
            'f' => ("\x0c", 0),
            'v' => ("\x0b", 0),
            'x' => ("", 2),
            'u' => ("", 4),
            'U' => ("", 8),
            '0'..='7' => return octal(rest, json),
            _ => (&rest[..len], 0),
        };
        if digits == 0 {
            escape(text, json);
            return Part::Text(len);
        }
        let hex =
            rest[2..].find(|letter: char| !letter.is_ascii_hexdigit()).unwrap_or(rest.len() - 2).min(digits);
        if hex < digits && hex == rest.len() - 2 {
            return Part::Open;
        }
        let code = u32::from_str_radix(&rest[2..2 + hex], 16).ok().filter(|_| hex == digits);
        match code.map(|code| (code, char::from_u32(code))) {
            Some((_, Some(letter))) => escape(letter.encode_utf8(&mut [0; 4]), json),
            // Half of a pair, which JSON writes the same way.
            Some((code @ 0xd800..0xe000, None)) => json.push_str(&format!("\\u{code:04x}")),
            Some(_) | None => {
                escape(&rest[..2], json);
                return Part::Text(2);
            }
        }
        Part::Text(2 + digits)
    }
}

/// A part of a string.
enum Part {
    Text(usize),
    End(usize),
    /// It depends on what follows.
    Open,
}

/// Reads a backslash and up to three octal digits.
fn octal(rest: &str, json: &mut String) -> Part {
    let digits = rest[1..].bytes().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    if digits < 3 && 1 + digits == rest.len() {
        return Part::Open;
    }
    let letter = u32::from_str_radix(&rest[1..=digits], 8).ok().and_then(char::from_u32).unwrap_or_default();
    escape(letter.encode_utf8(&mut [0; 4]), json);
    Part::Text(1 + digits)
}

/// Reads a name or a number as JSON.
fn literal(word: &str) -> Option<String> {
    match word {
        "True" | "true" => return Some("true".to_owned()),
        "False" | "false" => return Some("false".to_owned()),
        "None" | "null" => return Some("null".to_owned()),
        _ => {}
    }
    let word = word.replace('_', "").to_ascii_lowercase();
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", word.strip_prefix('+').unwrap_or(&word)),
    };
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = digits.strip_prefix(prefix) {
            return Some(format!("{sign}{}", u64::from_str_radix(digits, radix).ok()?));
        }
    }
    let (mantissa, exponent) = digits.split_at(digits.find('e').unwrap_or(digits.len()));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = Some(whole.trim_start_matches('0')).filter(|whole| !whole.is_empty()).unwrap_or("0");
    let fraction = if mantissa.contains('.') {
        format!(".{}", if fraction.is_empty() { "0" } else { fraction })
    } else {
        String::new()
    };
    let number = format!("{sign}{whole}{fraction}{exponent}");
    matches!(serde_json::from_str(&number), Ok(serde_json::Value::Number(_))).then_some(number)
}
