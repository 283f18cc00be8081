//! The ids of calls, to which results refer.

use std::borrow::Cow;

use super::part::{CallHead, CallId};

impl CallHead {
    /// Returns the model's own id, or one derived from the answer's id and the call's position, so
    /// that a repeated request of one id gets the same.
    #[must_use]
    pub fn id_in(&self, answer: &str, choice: usize) -> Cow<'_, str> {
        let made = |len| letters_and_digits(&format!("{answer} {choice} {}", self.index), len);
        match &self.id {
            CallId::Given(id) => id.into(),
            CallId::Long => format!("call_{}", made(24)).into(),
            CallId::Short => made(9).into(),
        }
    }
}

/// This many characters, from a seed by FNV-1a, and `SplitMix64` from there on: the same on every
/// machine.
fn letters_and_digits(seed: &str, len: usize) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut state = seed.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let letter = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        char::from(ALPHABET[((mixed ^ (mixed >> 31)) % 62) as usize])
    };
    std::iter::repeat_with(letter).take(len).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn id(answer: &str, choice: usize, index: usize, id: CallId) -> String {
        CallHead { index, name: "f".to_owned(), id }.id_in(answer, choice).into_owned()
    }

    /// Results are matched to calls by these, and Mistral's templates refuse ids of another shape.
    #[test]
    fn ids_are_different_and_of_the_shape_that_clients_know() {
        let mut ids = BTreeSet::new();
        for answer in ["chatcmpl-1", "chatcmpl-2", ""] {
            for (choice, index) in (0..40).flat_map(|choice| (0..40).map(move |index| (choice, index))) {
                let long = id(answer, choice, index, CallId::Long);
                let short = id(answer, choice, index, CallId::Short);
                let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
                let rest = long.strip_prefix("call_");
                assert!(rest.is_some_and(|rest| rest.len() == 24 && is_plain(rest)), "{long}");
                assert!(short.len() == 9 && is_plain(&short), "{short}");
                assert!(ids.insert(long) && ids.insert(short));
            }
        }
        assert_eq!(id("chatcmpl-1", 0, 0, CallId::Long), id("chatcmpl-1", 0, 0, CallId::Long));
        assert_eq!(id("chatcmpl-1", 0, 0, CallId::Given("a-b".to_owned())), "a-b");
    }
}
