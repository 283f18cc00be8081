//! Regular expressions against the `regex` crate.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Random, assert_mask_is_true, can_say, compile, random_answer};
use streamcore_grammar::{Grammar, GrammarError};

const PATTERNS: [&str; 24] = [
    "[a-z]+",
    "(ab|a)(bc|c)?",
    "a*b*c*",
    "(a|b){2,5}",
    "[^a-z]{1,3}",
    r"\d{3}-\d{4}",
    r"\w+@\w+\.(com|org)",
    "^anchored$",
    "^(a|bc)|d$",
    "x?y+z{0,2}",
    "é+|😀",
    r"[\u0041-\u0043]+",
    r"\s?\S",
    "(|a)(b|)",
    "(a(b(c)?)?)?",
    "yes|no|maybe",
    r"-?\d+(\.\d+)?",
    "[[]{2}",
    r"a\/b",
    ".{0,4}",
    "(aa|aaa)+",
    "[a&&b]+",
    r"\x41\t?",
    "a{0}b",
];

fn reference(pattern: &str) -> regex::Regex {
    let pattern = pattern
        .replace("[[]", r"[\[]")
        .replace("[a&&b]", "[a&b]")
        .replace(r"\d", "[0-9]")
        .replace(r"\w", "[0-9A-Za-z_]");
    regex::Regex::new(&format!("^(?:{})$", pattern.replace(".{0,4}", r"[^\n\r\u2028\u2029]{0,4}"))).unwrap()
}

/// A code that a form expects in one shape comes in another.
#[test]
fn a_random_model_says_what_matches() {
    let mut num_answers = 0;
    for pattern in PATTERNS {
        let compiled = compile(&Grammar::regex(pattern)).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        let reference = reference(pattern);
        for seed in 1..=40 {
            let Some(answer) = random_answer(&compiled, &mut Random(seed), 200).unwrap() else { continue };
            let text = String::from_utf8(answer).unwrap();
            assert!(reference.is_match(&text), "{pattern}: {text:?}");
            num_answers += 1;
        }
    }
    assert!(num_answers > 800, "{num_answers}");
}

/// What matches can be said, and what does not cannot.
#[test]
fn texts_can_be_said_exactly_if_they_match() {
    let letters: Vec<char> = "aabbcdxyz01-@.é😀 [&/\t\nAB_".chars().collect();
    let mut num_matches = 0;
    for (index, pattern) in PATTERNS.into_iter().enumerate() {
        let compiled = compile(&Grammar::regex(pattern)).unwrap();
        let reference = reference(pattern);
        let mut random = Random(index as u64 + 1);
        for _ in 0..400 {
            let text: String = (0..random.below(6)).map(|_| *random.pick(&letters)).collect();
            assert_eq!(can_say(&compiled, &text), reference.is_match(&text), "{pattern}: {text:?}");
            num_matches += usize::from(reference.is_match(&text));
        }
    }
    assert!(num_matches > 200, "{num_matches}");
}

/// A mask and what can be accepted are two answers to one question.
#[test]
fn masks_say_what_can_be_accepted() {
    for pattern in PATTERNS {
        let compiled = compile(&Grammar::regex(pattern)).unwrap();
        let mut matcher = compiled.matcher();
        assert_mask_is_true(&mut matcher);
        for byte in "ab".bytes() {
            if matcher.accept(byte.into()).is_ok() {
                assert_mask_is_true(&mut matcher);
            }
        }
    }
}

/// What an automaton cannot do is said before the answer begins.
#[test]
fn what_is_no_regular_expression_is_refused() {
    for pattern in ["(?=a)", r"(a)\1", "(", "a{2,1}", r"\b", r"\ud800"] {
        let error = compile(&Grammar::regex(pattern)).unwrap_err();
        assert!(
            matches!(&error, GrammarError::Invalid { path, .. } if path == "regex"),
            "{pattern}: {error}"
        );
    }
    for pattern in ["a[^\\s\\S]", "a$b"] {
        assert!(compile(&Grammar::regex(pattern)).is_err(), "{pattern}");
    }
}
