//! Template source to tokens: text, tags, and their content.

use super::error::{Error, Result};
use super::scan::{is_space, number, string, word};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// Text outside of tags, with white space already stripped.
    Data(String),
    /// `{{`
    PrintStart,
    PrintEnd,
    /// `{%`
    TagStart,
    TagEnd,
    Word(String),
    Text(String),
    Int(i128),
    Float(f64),
    Operator(&'static str),
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) line: usize,
}

/// Longer ones first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
    "=", ".", ":", "|", ",", ";",
];

/// Reads a whole template as `transformers` sets jinja2 up: a newline behind a tag goes, and so
/// does white space before a tag that begins its line.
pub(super) fn tokenize(source: &str) -> Result<Vec<Token>> {
    let mut lexer = Lexer { source, position: 0, line: 1, at_line_start: true, tokens: Vec::new() };
    while lexer.position < source.len() {
        lexer.text_and_tag().map_err(|error| error.at(lexer.line))?;
    }
    let line = lexer.line;
    lexer.tokens.push(Token { kind: TokenKind::End, line });
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    position: usize,
    line: usize,
    /// Whether the last text read ended a line.
    at_line_start: bool,
    tokens: Vec<Token>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.position..]
    }

    fn push(&mut self, kind: TokenKind) {
        self.tokens.push(Token { kind, line: self.line });
    }

    /// Goes on by `len` bytes.
    fn advance(&mut self, len: usize) {
        let passed = &self.rest()[..len];
        self.line += passed.matches('\n').count();
        if len > 0 {
            self.at_line_start = passed.ends_with('\n');
        }
        self.position += len;
    }

    /// Reads text up to the next tag, and that tag.
    fn text_and_tag(&mut self) -> Result<()> {
        let rest = self.rest();
        let start = rest
            .match_indices('{')
            .map(|(index, _)| index)
            .find(|index| matches!(rest.as_bytes().get(index + 1), Some(b'{' | b'%' | b'#')));
        let Some(start) = start else {
            self.data(rest);
            self.advance(rest.len());
            return Ok(());
        };
        let (text, tag) = rest.split_at(start);
        let (opening, sign) = (&tag[..2], tag[2..].chars().next().filter(|sign| matches!(sign, '-' | '+')));
        self.data(self.left_stripped(text, opening, sign));
        self.advance(start);
        let inner_start = 2 + usize::from(sign.is_some());
        if opening == "{%"
            && let Some(len) = raw_tag(&tag[inner_start..], "raw", false)
        {
            self.advance(inner_start + len);
            return self.raw();
        }
        self.advance(inner_start);
        match opening {
            "{#" => self.comment(),
            "{{" => {
                self.push(TokenKind::PrintStart);
                self.inside(TokenKind::PrintEnd)
            }
            _ => {
                self.push(TokenKind::TagStart);
                self.inside(TokenKind::TagEnd)
            }
        }
    }

    fn data(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(TokenKind::Data(text.to_owned()));
        }
    }

    /// Returns `text` without the white space that the tag behind it strips.
    fn left_stripped<'t>(&self, text: &'t str, opening: &str, sign: Option<char>) -> &'t str {
        match sign {
            Some('-') => text.trim_end_matches(is_space),
            None if opening != "{{" => {
                let line_start = text.rfind('\n').map_or(0, |index| index + 1);
                let is_first_in_line = line_start > 0 || self.at_line_start;
                if is_first_in_line && text[line_start..].chars().all(is_space) {
                    &text[..line_start]
                } else {
                    text
                }
            }
            _ => text,
        }
    }

    fn comment(&mut self) -> Result<()> {
        let rest = self.rest();
        let Some(end) = rest.find("#}") else { return Err(Error::new("a comment is not closed")) };
        let sign = rest[..end].chars().next_back().filter(|sign| matches!(sign, '-' | '+'));
        let len = end + 2 + space_behind(&rest[end + 2..], sign);
        self.advance(len);
        Ok(())
    }

    /// Reads the text between `raw` and `endraw`, as it is.
    fn raw(&mut self) -> Result<()> {
        let rest = self.rest();
        for (start, _) in rest.match_indices("{%") {
            let sign = rest[start + 2..].chars().next().filter(|sign| matches!(sign, '-' | '+'));
            let inner = start + 2 + usize::from(sign.is_some());
            if let Some(len) = raw_tag(&rest[inner..], "endraw", true) {
                self.data(self.left_stripped(&rest[..start], "{%", sign));
                self.advance(inner + len);
                return Ok(());
            }
        }
        Err(Error::new("`raw` is not closed, `endraw` is missing"))
    }

    /// Reads the content of a tag, up to and with its end.
    fn inside(&mut self, end: TokenKind) -> Result<()> {
        let closing = if end == TokenKind::PrintEnd { "}}" } else { "%}" };
        let mut open = Vec::new();
        loop {
            let rest = self.rest();
            let Some(first) = rest.chars().next() else {
                return Err(Error::new(format!("a tag is not closed, `{closing}` is missing")));
            };
            if open.is_empty()
                && let Some(len) = tag_end(rest, closing)
            {
                self.push(end);
                self.advance(len);
                return Ok(());
            }
            if is_space(first) {
                self.advance(first.len_utf8());
            } else {
                let len = self.token(rest, first, &mut open)?;
                self.advance(len);
            }
        }
    }

    /// Reads one token; returns its length.
    fn token(&mut self, rest: &str, first: char, open: &mut Vec<char>) -> Result<usize> {
        let follows_dot = self.source[..self.position].ends_with('.');
        if first.is_ascii_digit() {
            let (kind, len) = number(rest, follows_dot)?;
            self.push(kind);
            return Ok(len);
        }
        if let Some(len) = word(rest) {
            self.push(TokenKind::Word(rest[..len].to_owned()));
            return Ok(len);
        }
        if matches!(first, '"' | '\'') {
            let (text, len) = string(rest, first)?;
            self.push(TokenKind::Text(text));
            return Ok(len);
        }
        let Some(operator) = OPERATORS.into_iter().find(|operator| rest.starts_with(operator)) else {
            return Err(Error::new(format!("unexpected character `{first}`")));
        };
        balance(operator, open)?;
        self.push(TokenKind::Operator(operator));
        Ok(operator.len())
    }
}

/// Keeps the brackets that are open, so that `}}` inside of them is no end of a tag.
fn balance(operator: &str, open: &mut Vec<char>) -> Result<()> {
    match operator {
        "(" => open.push(')'),
        "[" => open.push(']'),
        "{" => open.push('}'),
        ")" | "]" | "}" => {
            let expected = open.pop();
            if expected.map(String::from).as_deref() != Some(operator) {
                let expected = expected.map_or_else(String::new, |bracket| format!(", expected `{bracket}`"));
                return Err(Error::new(format!("unexpected `{operator}`{expected}")));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Returns the length of a tag's end with the white space that it strips, if it is here.
fn tag_end(rest: &str, closing: &str) -> Option<usize> {
    let sign = rest.chars().next().filter(|sign| *sign == '-' || (*sign == '+' && closing == "%}"));
    let len = usize::from(sign.is_some()) + closing.len();
    let is_end = rest[len - closing.len()..].starts_with(closing);
    // A newline behind a printed value stays.
    let behind = |rest| if closing == "}}" && sign.is_none() { 0 } else { space_behind(rest, sign) };
    is_end.then(|| len + behind(&rest[len..]))
}

/// Returns how much white space an end with this sign strips: all, nothing, or one newline.
fn space_behind(rest: &str, sign: Option<char>) -> usize {
    match sign {
        Some('-') => rest.len() - rest.trim_start_matches(is_space).len(),
        Some(_) => 0,
        None => usize::from(rest.starts_with('\n')),
    }
}

/// Returns the length of ` name %}` with the white space that its end strips; `raw` itself keeps
/// the newline that follows.
fn raw_tag(inner: &str, name: &str, trims: bool) -> Option<usize> {
    let rest = inner.trim_start_matches(is_space).strip_prefix(name)?.trim_start_matches(is_space);
    let sign = rest.chars().next().filter(|sign| *sign == '-' || (*sign == '+' && trims));
    let behind = rest[usize::from(sign.is_some())..].strip_prefix("%}")?;
    let space = if sign.is_some() || trims { space_behind(behind, sign) } else { 0 };
    Some(inner.len() - behind.len() + space)
}
