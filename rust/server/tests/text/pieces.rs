//! Long texts are tokenised in pieces, and have the tokens of the whole.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use streamcore_server::text::{Tokenizer, encode_within};

use crate::fixtures::{byte_fallback, byte_level, metaspace, save};

/// More than a piece, of words, numbers, marks and white space, with accents that may be composed
/// and stretches that cannot be cut.
fn text(runner: &mut TestRunner) -> String {
    let word = prop_oneof![
        8 => "[a-zA-Z]{1,9}",
        2 => "[0-9]{1,7}",
        2 => select(vec!["naïve", "e\u{301}te\u{301}", "русский", "中文字符", "한국어", "हिन्दी", "'s", "don't", "été", "ﬁ", "²", "ß"])
            .prop_map(str::to_owned),
        1 => "[.,;:!?(){}<>|/=_-]{1,4}",
        1 => select(vec!["<|end|>", "<s>", "</s>", "<|im_end|>"]).prop_map(str::to_owned),
    ];
    let space =
        select(vec![" ", " ", " ", " ", "\n", "  ", "\n\n", "\r\n", "\t", "", " \n", "\u{a0}", "\u{3000}"]);
    let parts = prop::collection::vec((word, space), 2000).new_tree(runner).unwrap().current();
    let part: String = parts.iter().map(|(word, space)| format!("{word}{space}")).collect();
    part.repeat(1 + 200_000 / part.len())
}

/// A prompt would be computed from other tokens than the model was trained on, from some place in
/// the middle on.
fn check(tokenizer: &Tokenizer, name: &str) {
    let mut runner = TestRunner::deterministic();
    for _ in 0..3 {
        let text = text(&mut runner);
        for special in [false, true] {
            let whole = tokenizer.encode_with_ranges(&text, special).unwrap();
            let encode = |piece: &str, start: usize| {
                let moved = |range: std::ops::Range<usize>| match range.is_empty() {
                    true => range,
                    false => range.start + start..range.end + start,
                };
                let tokens = tokenizer.encode_with_ranges(piece, special)?;
                Ok(tokens.into_iter().map(|(id, range)| (id, moved(range))).collect())
            };
            let pieces = tokenizer.in_pieces(special);
            let in_pieces = encode_within(&text, None, pieces, encode).unwrap();
            let differ = whole.iter().zip(&in_pieces).position(|(one, other)| one != other);
            assert_eq!((differ, whole.len()), (None, in_pieces.len()), "{name}, special {special}");
        }
    }
}

#[test]
fn long_texts_have_the_tokens_of_the_whole() {
    for (name, json) in
        [("byte_level", byte_level()), ("metaspace", &metaspace()), ("byte_fallback", byte_fallback())]
    {
        let folder = save(&format!("pieces_{name}"), &[("tokenizer.json", json)]);
        check(&Tokenizer::load(&folder.join("tokenizer.json")).unwrap(), name);
    }
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../python/streamcore/demo_model/tokenizer.json");
    check(&Tokenizer::load(Path::new(demo)).unwrap(), "the demo model");
}

/// Where a real tokenizer can be cut nowhere, a text of megabytes is refused.
#[test]
fn long_texts_have_the_tokens_of_the_whole_with_real_tokenizers() {
    let Some(root) = std::env::var_os("STREAMCORE_TOKENIZERS") else {
        eprintln!("skipped: STREAMCORE_TOKENIZERS names no folder of tokenizers");
        return;
    };
    for entry in std::fs::read_dir(root).unwrap() {
        let folder = entry.unwrap().path();
        let tokenizer = Tokenizer::load(&folder.join("tokenizer.json")).unwrap();
        let name = folder.display().to_string();
        check(&tokenizer, &name);
    }
}
