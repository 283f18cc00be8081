//! Python's classes of characters.

use std::sync::LazyLock;

use regex::Regex;

use super::repr::is_printable;
use super::scan::is_space;

fn class(pattern: &str) -> Regex {
    Regex::new(&format!("^[{pattern}]+$")).expect("the classes below are valid")
}

static ALPHA: LazyLock<Regex> = LazyLock::new(|| class(r"\p{L}"));
static DECIMAL: LazyLock<Regex> = LazyLock::new(|| class(r"\p{Nd}"));
const DIGIT_CLASS: &str = r"\p{Nd}\u{b2}\u{b3}\u{b9}\u{1369}-\u{1371}\u{19da}\u{2070}\u{2074}-\u{2079}\u{2080}-\u{2089}\u{2460}-\u{2468}\u{2474}-\u{247c}\u{2488}-\u{2490}\u{24ea}\u{24f5}-\u{24fd}\u{24ff}\u{2776}-\u{277e}\u{2780}-\u{2788}\u{278a}-\u{2792}";
static DIGIT: LazyLock<Regex> = LazyLock::new(|| class(DIGIT_CLASS));
/// Ideographs that are numbers besides what Unicode calls numbers.
const NUMERIC_CLASS: &str =
    r"\p{N}一二三四五六七八九十百千万億亿兆零壱壹弐贰貳参叁參肆伍陆陸柒捌玖拾佰仟两廿卅";
static NUMERIC: LazyLock<Regex> = LazyLock::new(|| class(NUMERIC_CLASS));
static ALNUM: LazyLock<Regex> = LazyLock::new(|| class(&format!(r"\p{{L}}{NUMERIC_CLASS}")));
static IDENTIFIER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[_\p{XID_Start}]\p{XID_Continue}*$").expect("the pattern is valid"));

pub(super) fn is_cased(char: char) -> bool {
    char.is_lowercase() || char.is_uppercase() || is_titlecase(char)
}

/// Returns whether a letter is a capital and a small one, such as `ǅ`.
fn is_titlecase(char: char) -> bool {
    matches!(char, '\u{1c5}' | '\u{1c8}' | '\u{1cb}' | '\u{1f2}' | '\u{1f88}'..='\u{1f8f}' | '\u{1f98}'..='\u{1f9f}'
        | '\u{1fa8}'..='\u{1faf}' | '\u{1fbc}' | '\u{1fcc}' | '\u{1ffc}')
}

/// Returns the result of `str.is...`, or `None` if there is no such method.
pub(super) fn is_of(text: &str, method: &str) -> Option<bool> {
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    Some(match method {
        "isalpha" => ALPHA.is_match(text),
        "isdecimal" => DECIMAL.is_match(text),
        "isdigit" => DIGIT.is_match(text),
        "isnumeric" => NUMERIC.is_match(text),
        "isalnum" => ALNUM.is_match(text),
        "isidentifier" => IDENTIFIER.is_match(text),
        "isascii" => text.is_ascii(),
        "isspace" => all(is_space),
        "isprintable" => text.chars().all(is_printable),
        "islower" => has_only(text, char::is_lowercase),
        "isupper" => has_only(text, char::is_uppercase),
        "istitle" => is_title(text),
        _ => return None,
    })
}

/// Returns whether there are letters with a case and all have this one.
fn has_only(text: &str, is_right: fn(char) -> bool) -> bool {
    let mut cased = text.chars().filter(|char| is_cased(*char)).peekable();
    cased.peek().is_some() && cased.all(is_right)
}

fn is_title(text: &str) -> bool {
    let (mut is_inside, mut has_word) = (false, false);
    for char in text.chars() {
        if char.is_uppercase() || is_titlecase(char) {
            if is_inside {
                return false;
            }
            (is_inside, has_word) = (true, true);
        } else if char.is_lowercase() {
            if !is_inside {
                return false;
            }
        } else {
            is_inside = false;
        }
    }
    has_word
}

/// Returns the words with a capital at their beginning.
pub(super) fn title(text: &str) -> String {
    let (lower, mut out, mut is_inside) = (Lowered::new(text), String::with_capacity(text.len()), false);
    for (char, lower) in text.chars().zip(lower) {
        if is_inside {
            out.push_str(&lower);
        } else {
            out.push_str(&titlecased(char));
        }
        is_inside = is_cased(char);
    }
    out
}

/// Returns a capital and the rest in small letters.
pub(super) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return String::new() };
    titlecased(first) + &Lowered::new(text).skip(1).collect::<String>()
}

/// Each character in small letters, by its place in the text: a sigma at the end of a word has a
/// form of its own.
struct Lowered<'t> {
    chars: std::str::Chars<'t>,
    lower: std::vec::IntoIter<char>,
}

impl<'t> Lowered<'t> {
    fn new(text: &'t str) -> Self {
        Self { chars: text.chars(), lower: text.to_lowercase().chars().collect::<Vec<_>>().into_iter() }
    }
}

impl Iterator for Lowered<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let len = self.chars.next()?.to_lowercase().count();
        Some(self.lower.by_ref().take(len).collect())
    }
}

fn titlecased(char: char) -> String {
    match char {
        '\u{1c4}'..='\u{1c6}' => "\u{1c5}".to_owned(),
        '\u{1c7}'..='\u{1c9}' => "\u{1c8}".to_owned(),
        '\u{1ca}'..='\u{1cc}' => "\u{1cb}".to_owned(),
        '\u{1f1}'..='\u{1f3}' => "\u{1f2}".to_owned(),
        _ => {
            let mut upper = char.to_uppercase();
            let first = upper.next().map(String::from).unwrap_or_default();
            first + &upper.collect::<String>().to_lowercase()
        }
    }
}

pub(super) fn swapped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (char, lower) in text.chars().zip(Lowered::new(text)) {
        if char.is_uppercase() {
            out.push_str(&lower);
        } else {
            out.extend(char.to_uppercase());
        }
    }
    out
}

/// `str.casefold`: for comparison without regard to case.
pub(super) fn folded(text: &str) -> String {
    let fold = |char: char| match char {
        'ı' => "ı".to_owned(),
        _ => char.to_uppercase().flat_map(char::to_lowercase).collect::<String>(),
    };
    text.chars().map(fold).collect()
}
