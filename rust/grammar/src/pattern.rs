//! Regular expressions of schemas and clients, in the dialect of ECMA-262, as llguidance takes
//! them.

mod class;
mod dialect;

use llguidance::derivre::{RegexAst, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind};

use crate::limits::MAX_DEPTH;

/// Returns a pattern for the text of a JSON string, as one that matches only what can be said
/// within quotes in exactly one way.
///
/// # Errors
/// Says what is wrong with the pattern, or what in it cannot be enforced.
pub(crate) fn in_json_string(pattern: &str) -> Result<String, String> {
    let mut sayable = ClassUnicode::new([ClassUnicodeRange::new('\0', char::MAX)]);
    sayable.difference(&unsayable());
    Ok(simplify(&parse(pattern)?, Some(&sayable)).to_string())
}

/// Returns a pattern for a whole text.
///
/// # Errors
/// Says what is wrong with the pattern, or what in it cannot be enforced.
pub(crate) fn whole_text(pattern: &str) -> Result<String, String> {
    Ok(simplify(&parse(pattern)?, None).to_string())
}

/// Refuses patterns of which two match the same text somewhere.
///
/// # Errors
/// There are too many patterns, two have a text in common, or it takes too long to find out.
pub(crate) fn check_disjoint(patterns: &[&str]) -> Result<(), String> {
    if patterns.len() > MAX_NAME_PATTERNS {
        return Err(format!("it has {} patterns, limit is {MAX_NAME_PATTERNS}", patterns.len()));
    }
    let mut builder = RegexBuilder::new();
    let search = |pattern: &&str| builder.mk(&RegexAst::SearchRegex((*pattern).to_owned()));
    let parsed: Vec<_> =
        patterns.iter().map(search).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    for (index, one) in parsed.iter().enumerate() {
        for other in &parsed[..index] {
            let both = builder.mk(&RegexAst::And(vec![RegexAst::ExprRef(*one), RegexAst::ExprRef(*other)]));
            let both = both.and_then(|both| builder.to_regex_limited(both, DISJOINT_FUEL));
            if !both.is_ok_and(|mut both| both.always_empty()) {
                return Err("two of its patterns may match the same name".to_owned());
            }
        }
    }
    Ok(())
}

/// Returns whether a character of a JSON string can be said: as itself, or by an escape of one
/// letter.
pub(crate) fn is_sayable(char: char) -> bool {
    !matches!(char, '\0'..='\x07' | '\x0B' | '\x0E'..='\x1F' | '\x7F')
}

/// Patterns for the names of one object; each is held against each.
const MAX_NAME_PATTERNS: usize = 16;
/// The budget of comparing two patterns, as in llguidance.
const DISJOINT_FUEL: u64 = 10_000;

fn unsayable() -> ClassUnicode {
    let ranges = [('\0', '\x07'), ('\x0B', '\x0B'), ('\x0E', '\x1F'), ('\x7F', '\x7F')];
    ClassUnicode::new(ranges.map(|(first, last)| ClassUnicodeRange::new(first, last)))
}

fn parse(pattern: &str) -> Result<Hir, String> {
    let translated = dialect::to_rust(pattern)?;
    let parsed = ParserBuilder::new().nest_limit(MAX_DEPTH as u32).build().parse(&translated);
    parsed.map_err(|error| {
        let message = error.to_string();
        let last = message.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        last.trim().trim_start_matches("error: ").to_owned()
    })
}

/// Takes groups away, whose names llguidance gives a meaning of its own, and characters outside of
/// `sayable`.
fn simplify(hir: &Hir, sayable: Option<&ClassUnicode>) -> Hir {
    match hir.kind() {
        HirKind::Capture(capture) => simplify(&capture.sub, sayable),
        HirKind::Repetition(repetition) => {
            let sub = simplify(&repetition.sub, sayable);
            Hir::repetition(repetition.with(sub))
        }
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(|part| simplify(part, sayable)).collect()),
        HirKind::Alternation(parts) => {
            Hir::alternation(parts.iter().map(|part| simplify(part, sayable)).collect())
        }
        HirKind::Class(Class::Unicode(class)) => {
            let mut class = class.clone();
            if let Some(sayable) = sayable {
                class.intersect(sayable);
            }
            Hir::class(Class::Unicode(class))
        }
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).unwrap_or_default();
            let said = sayable.is_none() || text.chars().all(is_sayable);
            if said { hir.clone() } else { Hir::fail() }
        }
        HirKind::Class(Class::Bytes(_)) | HirKind::Empty | HirKind::Look(_) => hir.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Features that no automaton has are refused by name, never ignored.
    #[test]
    fn what_cannot_be_enforced_is_refused() {
        for (pattern, part) in [
            ("(?=a)b", "lookahead"),
            ("(?!a)b", "lookahead"),
            ("(?<=a)b", "lookbehind"),
            ("(?<!a)b", "lookbehind"),
            (r"(a)\1", "backreference"),
            (r"(?<x>a)\k<x>", "backreference"),
            (r"\bword\b", "word boundary"),
            (r"a\Bb", "word boundary"),
            ("a{,3}", "{,"),
            (r"\ud800", "surrogate"),
            ("(?x)a b", "flag"),
            ("(a", "unclosed"),
            ("[a", "unclosed"),
            ("a\\", "end"),
        ] {
            let error = whole_text(pattern).expect_err(pattern);
            assert!(error.contains(part), "{pattern}: {error}");
        }
    }

    /// A pattern means to the model what it means to the client that wrote it in JavaScript.
    #[test]
    fn the_dialect_is_that_of_ecma() {
        for (pattern, yes, no) in [
            (r"^\d$", "7", "٣"),
            (r"^\w$", "_", "é"),
            (r"^\W$", "é", "a"),
            (r"^[^\d]$", "٣", "3"),
            (r"^[\w-.]$", "-", "+"),
            (r"^[a-]$", "-", "b"),
            (r"^[\]\[&~]$", "&", "!"),
            (r"^[[]$", "[", "a"),
            (r"^[a&&b]$", "&", "c"),
            (r"^\/\<\-$", "/<-", "/"),
            (r"^\u0041\x42\cJ$", "AB\n", "AB"),
            (r"^\u{1F600}\ud83d\ude00$", "😀😀", "😀"),
            (r"^.$", "é", "\r"),
            (r"^\s$", "\u{FEFF}", "\u{85}"),
            (r"^\p{Lu}$", "É", "é"),
            (r"^(?<year>a)(?:b)$", "ab", "a"),
            (r"^[\b\0]$", "\0", "b"),
            (r"^(?i)ab$", "aB", "b"),
        ] {
            let regex = regex::Regex::new(&whole_text(pattern).expect(pattern)).expect(pattern);
            assert!(regex.is_match(yes), "{pattern} {yes:?}");
            assert!(!regex.is_match(no), "{pattern} {no:?}");
        }
    }

    /// A control character has two escapes or none in JSON: where a key could be spelled twice, a
    /// schema would have a hole.
    #[test]
    fn a_json_string_leaves_out_what_cannot_be_said() {
        let regex =
            regex::Regex::new(&in_json_string(r"^[\0-\x1f]$").expect("a pattern")).expect("a pattern");
        let said: Vec<char> = ('\0'..='\x1f').filter(|char| regex.is_match(&char.to_string())).collect();
        assert_eq!(said, ['\x08', '\t', '\n', '\x0C', '\r']);
    }
}
