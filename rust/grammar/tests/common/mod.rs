//! A small vocabulary, and models that draw at random from it.
#![allow(dead_code, unreachable_pub)]

use std::sync::{Arc, OnceLock};

use streamcore_grammar::{
    Compiled, Grammar, GrammarCache, GrammarError, MatchError, Matcher, Token, Vocabulary,
};

/// Pieces that a tokenizer would have merged: across tokens of JSON, within characters, and with
/// markers spelled in letters.
const MERGED: [&[u8]; 30] = [
    b"{\"",
    b"\":",
    b"\": ",
    b"\",\"",
    b"\", \"",
    b"\"}",
    b"}}",
    b"]}",
    b"[]",
    b"{}",
    b"tr",
    b"ue",
    b"true",
    b"null",
    b"12",
    b"345",
    b"\n  ",
    b"  ",
    b"\\n",
    b"\\\"",
    "é".as_bytes(),
    b"\xC3",
    b"\xA9\"",
    b"\xF0\x9F",
    b"\x98\x80",
    b"name",
    b"</",
    b"tool>",
    b"<to",
    b"-1",
];

pub const END: u32 = 300;
pub const OTHER_END: u32 = 301;
pub const MARKER: u32 = 302;
pub const END_MARKER: u32 = 303;
/// Bigger than the tokens, as padded models have it.
pub const VOCAB_SIZE: usize = 320;

pub fn tokens() -> Vec<Vec<u8>> {
    let mut tokens: Vec<Vec<u8>> = (0..=254).map(|byte| vec![byte]).collect();
    tokens.push(Vec::new());
    tokens.extend(MERGED.iter().map(|bytes| bytes.to_vec()));
    // A second token of the same bytes, as tokenizers with byte fallback have.
    tokens.push(b"\n".to_vec());
    tokens.resize(300, Vec::new());
    tokens
}

pub fn cache() -> &'static GrammarCache {
    static CACHE: OnceLock<GrammarCache> = OnceLock::new();
    CACHE.get_or_init(|| {
        let tokens = tokens();
        let text =
            tokens.iter().map(|bytes| if bytes.is_empty() { Token::Unused } else { Token::Text(bytes) });
        let special = ["<end>", "<other_end>", "<marker>", "<end_marker>"].map(Token::Special);
        let vocabulary = Vocabulary::new(text.chain(special), &[END, OTHER_END], VOCAB_SIZE).unwrap();
        GrammarCache::new(Arc::new(vocabulary))
    })
}

pub fn compile(grammar: &Grammar) -> Result<Arc<Compiled>, GrammarError> {
    cache().compile(grammar)
}

/// Returns whether a text can be said, byte by byte, and the answer can end behind it.
pub fn can_say(compiled: &Compiled, text: &str) -> bool {
    let mut matcher = compiled.matcher();
    text.bytes().all(|byte| matcher.accept(byte.into()).is_ok()) && matcher.can_end().unwrap()
}

/// Whether each bit of the mask is what following the token says.
pub fn assert_mask_is_true(matcher: &mut Matcher) {
    let mut mask = vec![0; VOCAB_SIZE.div_ceil(32)];
    matcher.mask(&mut mask).unwrap();
    for token in 0..VOCAB_SIZE as u32 {
        let allowed = mask[token as usize / 32] >> (token % 32) & 1 == 1;
        let followed = matcher.clone().accept(token);
        assert_eq!(allowed, followed.is_ok(), "token {token}: {followed:?}");
    }
}

/// xorshift64*
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Draws tokens at random until the answer ends; none if it is longer than `max_tokens`.
///
/// The longer the answer, the more the model is drawn to what closes strings, arrays and objects,
/// and to the end.
pub fn random_answer(
    compiled: &Compiled,
    random: &mut Random,
    max_tokens: usize,
) -> Result<Option<Vec<u8>>, MatchError> {
    let tokens = tokens();
    let mut matcher = compiled.matcher();
    let mut mask = vec![0u32; VOCAB_SIZE.div_ceil(32)];
    let mut answer = Vec::new();
    for drawn in 0..max_tokens {
        matcher.mask(&mut mask)?;
        let allowed: Vec<u32> = (0..VOCAB_SIZE as u32)
            .filter(|token| mask[*token as usize / 32] >> (token % 32) & 1 == 1)
            .collect();
        if allowed.contains(&END) && (allowed.len() <= 2 || random.one_in(3) || drawn > max_tokens / 3) {
            matcher.accept(END)?;
            return Ok(Some(answer));
        }
        let hurry = drawn > max_tokens / 3 || random.one_in(4);
        let closing: Vec<u32> =
            b"\"}],:".iter().map(|byte| u32::from(*byte)).filter(|byte| allowed.contains(byte)).collect();
        let many_digits = answer.iter().rev().take(9).filter(|byte| u8::is_ascii_digit(byte)).count() == 9;
        let other: Vec<u32> = allowed
            .iter()
            .copied()
            .filter(|id| {
                !tokens.get(*id as usize).is_some_and(|token| token.first().is_some_and(u8::is_ascii_digit))
            })
            .collect();
        let token = match () {
            () if hurry && !closing.is_empty() => *random.pick(&closing),
            () if many_digits && !other.is_empty() => *random.pick(&other),
            () => *random.pick(&allowed),
        };
        matcher.accept(token)?;
        if let Some(bytes) = tokens.get(token as usize) {
            answer.extend_from_slice(bytes);
        }
    }
    Ok(None)
}
