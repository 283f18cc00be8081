//! Stop strings against the plainest possible model.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use streamcore_server::text::StopStrings;

/// Returns what the text before the first stop string is, and which one it is, found by looking at
/// every prefix.
fn model(stops: &[String], text: &str) -> (String, Option<usize>) {
    for end in (1..=text.len()).filter(|end| text.is_char_boundary(*end)) {
        for (index, stop) in stops.iter().enumerate() {
            if !stop.is_empty() && text[..end].ends_with(stop.as_str()) {
                return (text[..end - stop.len()].to_owned(), Some(index));
            }
        }
    }
    (text.to_owned(), None)
}

/// Returns the length of the longest suffix of `text` that is a proper prefix of a stop string.
fn may_become_a_stop(stops: &[String], text: &str) -> usize {
    let suffixes = (0..=text.len()).filter(|start| text.is_char_boundary(*start)).map(|start| &text[start..]);
    suffixes
        .filter(|suffix| stops.iter().any(|stop| stop.starts_with(suffix) && stop != suffix))
        .map(str::len)
        .max()
        .unwrap_or(0)
}

fn stream(stops: &[String], pieces: &[&str]) -> (String, Option<usize>) {
    let mut watch = StopStrings::new(stops.to_vec(), false);
    let mut out = String::new();
    let mut matched = None;
    for piece in pieces {
        matched = watch.push(piece, true, &mut out);
    }
    watch.finish(&mut out);
    (out, matched)
}

/// Few letters, so that stop strings overlap themselves, each other and the text; one of two bytes.
fn stops_and_text() -> impl Strategy<Value = (Vec<String>, String)> {
    (prop::collection::vec("[abé]{0,4}", 0..4), "[abé]{0,16}")
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, cases: 2000, ..Default::default() })]

    /// Text after a stop string would reach the client, or text before one would be lost.
    #[test]
    fn cut_anywhere_the_first_stop_string_wins((stops, text) in stops_and_text()) {
        let expected = model(&stops, &text);
        for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            let (before, after) = text.split_at(cut);
            prop_assert_eq!(stream(&stops, &[before, after]), expected.clone(), "cut at {}", cut);
        }
        let characters: Vec<&str> = text.split("").collect();
        prop_assert_eq!(stream(&stops, &characters), expected);
    }

    /// The stream would lag behind the model by text that can no longer become a stop string.
    #[test]
    fn nothing_is_held_back_without_need((stops, text) in stops_and_text()) {
        let mut watch = StopStrings::new(stops.clone(), false);
        let mut out = String::new();
        let mut seen = String::new();
        for character in text.chars() {
            seen.push(character);
            if watch.push(&character.to_string(), true, &mut out).is_some() {
                break;
            }
            prop_assert_eq!(out.len(), seen.len() - may_become_a_stop(&stops, &seen));
        }
    }
}

/// A stop string that completes inside another one would be reported as the longer one.
#[test]
fn ties_go_to_the_first_of_the_list() {
    let stops = |stops: &[&str]| stops.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(stream(&stops(&["b", "ab"]), &["xab"]), ("xa".to_owned(), Some(0)));
    assert_eq!(stream(&stops(&["ab", "b"]), &["xab"]), ("x".to_owned(), Some(0)));
    assert_eq!(stream(&stops(&["abc", "b"]), &["xabc"]), ("xa".to_owned(), Some(1)));
}

/// Text that the model had already sent in the same step would follow the stop string.
#[test]
fn nothing_follows_a_match() {
    let mut watch = StopStrings::new(vec!["\n\n".to_owned()], false);
    let mut out = String::new();
    assert_eq!(watch.push("one\n", true, &mut out), None);
    assert_eq!(out, "one");
    assert_eq!(watch.push("\ntwo", true, &mut out), Some(0));
    assert_eq!(watch.push("three", true, &mut out), Some(0));
    watch.finish(&mut out);
    assert_eq!(out, "one");
}

/// An answer that may not end yet would end, or one that may would run on past a stop string that
/// began before.
#[test]
fn a_match_counts_from_where_it_is_watched() {
    let mut watch = StopStrings::new(vec!["abab".to_owned()], false);
    let mut out = String::new();
    assert_eq!(watch.push("abab", false, &mut out), None);
    assert_eq!(out, "ab", "the rest may be the beginning of another");
    assert_eq!(watch.push("ab!", true, &mut out), Some(0));
    assert_eq!(out, "ab");
}

/// `include_stop_str_in_output` would lose the stop string, or hold text back that the client will
/// see anyway.
#[test]
fn a_match_can_be_part_of_the_output() {
    let mut watch = StopStrings::new(vec!["END".to_owned()], true);
    let mut out = String::new();
    assert_eq!(watch.push("one EN", true, &mut out), None);
    assert_eq!(out, "one EN");
    assert_eq!(watch.push("D two", true, &mut out), Some(0));
    assert_eq!(out, "one END");
}

/// The end token's text would be shown, or a stop string that has it in it would never stop.
#[test]
fn hidden_text_counts_for_those_that_mention_it() {
    let stream = |stops: &[&str], included: bool, pieces: &[(&str, bool)]| {
        let mut watch = StopStrings::new(stops.iter().map(ToString::to_string).collect(), included);
        let mut out = String::new();
        let mut matched = None;
        for (piece, is_hidden) in pieces {
            let push = if *is_hidden { StopStrings::push_hidden } else { StopStrings::push };
            matched = push(&mut watch, piece, true, &mut out);
        }
        watch.finish(&mut out);
        (out, matched)
    };
    let text = [("a", false), ("<e>", true), ("b", false), ("<e>", true), ("!", false), ("c", false)];
    let cases: [(&[&str], &str, Option<usize>, &str); 7] = [
        (&["<e>"], "a", Some(0), "a<e>"),
        (&["<e>!"], "ab", Some(0), "ab<e>!"),
        (&["ab!"], "", Some(0), "ab!"),
        (&[">", "e"], "ab!c", None, "ab!c"),
        (&["a<e>c", "b!c"], "a", Some(1), "ab!c"),
        (&["b<e>?", "!d"], "ab!c", None, "ab!c"),
        (&[">b<e>"], "a", Some(0), "a>b<e>"),
    ];
    for (stops, expected, matched, included) in cases {
        assert_eq!(stream(stops, false, &text), (expected.to_owned(), matched), "{stops:?}");
        assert_eq!(stream(stops, true, &text), (included.to_owned(), matched), "{stops:?}, included");
    }
}
