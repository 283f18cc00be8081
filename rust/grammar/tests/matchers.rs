//! Tokens, ends, twins, padding, clones and the way back.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{
    END, END_MARKER, MARKER, OTHER_END, Random, VOCAB_SIZE, assert_mask_is_true, cache, compile,
    random_answer,
};
use serde_json::json;
use streamcore_grammar::{
    Grammar, GrammarCache, MatchError, Matcher, Node, Piece, Tag, Token, Vocabulary, VocabularyError,
    Whitespace,
};

fn allowed(matcher: &mut Matcher) -> Vec<u32> {
    let mut mask = vec![0; VOCAB_SIZE.div_ceil(32)];
    matcher.mask(&mut mask).unwrap();
    (0..VOCAB_SIZE as u32).filter(|id| mask[*id as usize / 32] >> (id % 32) & 1 == 1).collect()
}

fn follow(matcher: &mut Matcher, text: &str) {
    for byte in text.bytes() {
        matcher.accept(byte.into()).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    }
}

/// An answer ends in the middle of its JSON, or never.
#[test]
fn the_end_is_allowed_exactly_where_the_grammar_may_end() {
    let compiled = compile(&Grammar::regex("ab?")).unwrap();
    let mut matcher = compiled.matcher();
    assert_eq!(allowed(&mut matcher), [u32::from(b'a')]);
    assert_eq!(matcher.accept(END), Err(MatchError::NotAllowed(END)));
    follow(&mut matcher, "a");
    assert_eq!(allowed(&mut matcher), [u32::from(b'b'), END, OTHER_END]);
    let mut other = matcher.clone();
    follow(&mut matcher, "b");
    assert!(matcher.is_finished());
    assert_eq!(allowed(&mut matcher), [END, OTHER_END]);
    other.accept(OTHER_END).unwrap();
    assert!(other.is_finished());
    assert_eq!(other.accept(u32::from(b'b')), Err(MatchError::NotAllowed(u32::from(b'b'))));
    assert_eq!(allowed(&mut other), [END, OTHER_END]);
}

/// Each bit of a mask is what accepting the token says, at every place of a JSON text, with tokens
/// that cross places.
#[test]
fn masks_say_what_can_be_accepted() {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 4}, "é": {"type": "integer"}},
        "required": ["name"], "additionalProperties": {"type": "null"}});
    let mut matcher = compile(&Grammar::json_schema(schema)).unwrap().matcher();
    assert_mask_is_true(&mut matcher);
    for byte in "{\"name\": \"aé\\n\", \"é\":12 ,\"x\":null}".bytes() {
        matcher.accept(byte.into()).unwrap();
        assert_mask_is_true(&mut matcher);
    }
}

/// A character comes in two tokens, and what is between them is no character yet.
#[test]
fn a_character_may_be_split_over_tokens() {
    let mut matcher = compile(&Grammar::json_schema(json!({"enum": ["é", "😀", "x"]}))).unwrap().matcher();
    let id = |bytes: &[u8]| common::tokens().iter().position(|token| token == bytes).unwrap() as u32;
    matcher.accept(u32::from(b'"')).unwrap();
    assert!(matcher.clone().accept(id("é".as_bytes())).is_ok());
    matcher.accept(id(b"\xC3")).unwrap();
    assert_eq!(allowed(&mut matcher), [0xA9, id(b"\xA9\"")]);
    matcher.accept(id(b"\xA9\"")).unwrap();
    assert!(matcher.can_end().unwrap());
}

/// A tokenizer has two tokens for a line end; a model that knows one of them only is held up.
#[test]
fn tokens_of_the_same_bytes_are_allowed_together() {
    let tokens = common::tokens();
    let twins: Vec<u32> = (0..tokens.len() as u32).filter(|id| tokens[*id as usize] == b"\n").collect();
    assert_eq!(twins.len(), 2);
    for twin in &twins {
        let mut matcher = compile(&Grammar::regex(r"\n[ab]")).unwrap().matcher();
        assert_eq!(allowed(&mut matcher), twins);
        matcher.accept(*twin).unwrap();
        follow(&mut matcher, "a");
    }
}

/// Padding, unused ids, and markers that the grammar does not name are no text.
#[test]
fn what_is_no_text_is_never_allowed() {
    let mut matcher = compile(&Grammar::regex("(?:.|\\n|\\r)*")).unwrap().matcher();
    let allowed = allowed(&mut matcher);
    assert!(allowed.contains(&END) && !allowed.contains(&255) && !allowed.contains(&MARKER));
    assert!(allowed.iter().all(|id| *id < MARKER), "{allowed:?}");
    for id in [255, MARKER, 310, VOCAB_SIZE as u32, u32::MAX] {
        assert_eq!(matcher.accept(id), Err(MatchError::NotAllowed(id)));
    }
    assert!(allowed.contains(&u32::from(b'a')));
}

/// A marker is its token: the letters of its name are text.
#[test]
fn a_marker_is_matched_as_its_token() {
    let call = Node::Sequence(vec![Node::json(json!({"type": "object"})), Node::Token(END_MARKER)]);
    let node =
        Node::Free { tags: vec![Tag { trigger: Piece::Token(MARKER), rest: call }], min: 1, max: None };
    let mut matcher = compile(&Grammar(node)).unwrap().matcher();
    follow(&mut matcher, "so <marker>{ it is");
    assert!(!matcher.can_end().unwrap());
    matcher.accept(MARKER).unwrap();
    assert_eq!(matcher.accept(u32::from(b'x')), Err(MatchError::NotAllowed(u32::from(b'x'))));
    follow(&mut matcher, "{\"a\":1}");
    assert!(matcher.accept(MARKER).is_err());
    assert_mask_is_true(&mut matcher);
    matcher.accept(END_MARKER).unwrap();
    assert!(matcher.can_end().unwrap());
    follow(&mut matcher, " done");
    assert!(matcher.can_end().unwrap());

    let error = compile(&Grammar(Node::Token(65))).unwrap_err();
    assert_eq!(error.to_string(), "`token` is not valid: token 65 is not a special token");
}

/// A refused token leaves the sequence where it was; the way back is the way there.
#[test]
fn going_back_is_as_if_never_gone() {
    let compiled =
        compile(&Grammar::json_schema(json!({"type": "array", "items": {"type": "integer"}}))).unwrap();
    for seed in 1..=50 {
        let mut random = Random(seed);
        let (mut matcher, mut masks) = (compiled.matcher(), Vec::new());
        for _ in 0..12 {
            let choices = allowed(&mut matcher);
            let token = *random.pick(&choices);
            masks.push(choices);
            assert!(matcher.accept(MARKER).is_err());
            matcher.accept(token).unwrap();
            if matcher.is_finished() {
                break;
            }
        }
        let mut left = masks.len();
        while left > 0 {
            let steps = 1 + random.below(left);
            matcher.rollback(steps).unwrap();
            left -= steps;
            assert_eq!(allowed(&mut matcher), masks[left]);
        }
        assert!(matcher.rollback(1).is_err());
        assert_eq!(allowed(&mut matcher), masks[0]);
    }
}

/// Of `n` answers each goes its own way.
#[test]
fn clones_do_not_disturb_each_other() {
    let compiled = compile(&Grammar::choice(["red", "rose", "green"])).unwrap();
    let mut first = compiled.matcher();
    follow(&mut first, "r");
    let mut second = first.clone();
    follow(&mut first, "ed");
    follow(&mut second, "ose");
    assert!(first.is_finished() && second.is_finished());
    assert_eq!(allowed(&mut compiled.matcher()), [u32::from(b'g'), u32::from(b'r')]);
}

/// Masks are computed on other threads, while the step of the other rows runs.
#[test]
fn matchers_go_to_other_threads() {
    let compiled = compile(&Grammar::json_object()).unwrap();
    let threads: Vec<_> = (1..=4)
        .map(|seed| {
            let compiled = Arc::clone(&compiled);
            std::thread::spawn(move || random_answer(&compiled, &mut Random(seed), 300).unwrap())
        })
        .collect();
    for (seed, thread) in (1..=4).zip(threads) {
        assert_eq!(thread.join().unwrap(), random_answer(&compiled, &mut Random(seed), 300).unwrap());
    }
}

/// What can be said in one way only need not be asked of the model, and nothing more is taken than
/// that.
#[test]
fn forced_tokens_are_those_without_a_choice() {
    let schema = Node::Json { schema: json!({"const": {"x": [1, 2]}}), whitespace: Whitespace::Compact };
    let compiled = compile(&Grammar(schema)).unwrap();
    let mut matcher = compiled.matcher();
    let mut mask = vec![0; cache().vocabulary().num_mask_words()];
    // `{` and `{"` may both come first.
    assert_eq!(matcher.fast_forward(9, &mut mask).unwrap(), Vec::<u32>::new());
    matcher.accept(u32::from(b'{')).unwrap();
    let forced = matcher.fast_forward(2, &mut mask).unwrap();
    assert_eq!(forced, [u32::from(b'"'), u32::from(b'x')]);
    for seed in 1..=20 {
        let answer = random_answer(&compiled, &mut Random(seed), 50).unwrap().unwrap();
        assert_eq!(answer, b"{\"x\":[1,2]}");
    }
    let mut end = compile(&Grammar::regex("q")).unwrap().matcher();
    assert_eq!(end.fast_forward(9, &mut mask).unwrap(), [u32::from(b'q')]);
    assert!(end.is_finished());
}

/// A broken folder is an error at the start, not a wrong mask later.
#[test]
fn a_vocabulary_that_does_not_fit_the_model_is_refused() {
    let tokens = || [Token::Text(b"a"), Token::Text(b"b")];
    let new = |end_ids: &[u32], vocab_size| Vocabulary::new(tokens(), end_ids, vocab_size).map(|_| ());
    assert_eq!(new(&[2], 2), Err(VocabularyError::EndId { id: 2, vocab_size: 2 }));
    assert_eq!(new(&[], 1), Err(VocabularyError::TooManyTokens { num_tokens: 2, vocab_size: 1 }));
    assert_eq!(new(&[], 2), Ok(()));
    // An end id that the tokenizer does not know, as folders with a larger model have.
    let cache = GrammarCache::new(Arc::new(Vocabulary::new(tokens(), &[40], 64).unwrap()));
    let mut matcher = cache.compile(&Grammar::regex("a?")).unwrap().matcher();
    let mut mask = [0; 2];
    matcher.mask(&mut mask).unwrap();
    assert_eq!(mask, [1, 1 << 8]);
}

/// A service with one schema compiles it once; one with a schema for each request does not grow
/// without end.
#[test]
fn the_cache_is_bounded_and_keeps_what_was_used_last() {
    let cache = GrammarCache::new(Arc::clone(cache().vocabulary()));
    let grammar = |index: usize| Grammar::regex(format!("a{{{index}}}"));
    let first = cache.compile(&grammar(1)).unwrap();
    for index in 1..200 {
        cache.compile(&grammar(index)).unwrap();
        cache.compile(&grammar(1)).unwrap();
    }
    assert!(cache.len() <= 64);
    assert!(Arc::ptr_eq(&first, &cache.compile(&grammar(1)).unwrap()));
    assert!(!cache.is_empty());
    // The order of properties is part of the grammar.
    let order = |names: [&str; 2]| {
        let properties: serde_json::Map<_, _> =
            names.map(|name| (name.to_owned(), json!(true))).into_iter().collect();
        Grammar::json_schema(json!({"properties": properties}))
    };
    assert!(!Arc::ptr_eq(
        &cache.compile(&order(["a", "b"])).unwrap(),
        &cache.compile(&order(["b", "a"])).unwrap()
    ));
}
