//! Any JSON is a schema that is compiled or refused, and a compiled one is followed, never with a
//! panic.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use streamcore_grammar::{Grammar, GrammarCache, MatchError, Token, Vocabulary};

static CACHE: LazyLock<GrammarCache> = LazyLock::new(|| {
    let bytes: Vec<u8> = (0..=254).collect();
    let tokens = bytes.chunks(1).map(Token::Text).chain([Token::Special("<end>")]);
    GrammarCache::new(Arc::new(Vocabulary::new(tokens, &[255], 256).expect("a byte is a token")))
});

fuzz_target!(|body: &[u8]| {
    let Ok(schema) = serde_json::from_slice::<Value>(body) else { return };
    let Ok(compiled) = CACHE.compile(&Grammar::json_schema(schema)) else { return };
    let mut matcher = compiled.matcher();
    let mut mask = [0; 8];
    // The choice of the tokens comes from the input, so that each input has one answer.
    for step in body.iter().chain(body).take(100) {
        if matcher.is_finished() || matcher.mask(&mut mask).is_err() {
            return;
        }
        let allowed: Vec<u32> = (0..256).filter(|id| mask[*id as usize / 32] >> (id % 32) & 1 == 1).collect();
        let token = allowed[usize::from(*step) % allowed.len()];
        match matcher.accept(token) {
            Ok(()) => {}
            Err(MatchError::Failed(_)) => return,
            Err(error) => panic!("{error}, which the mask allowed"),
        }
    }
});
