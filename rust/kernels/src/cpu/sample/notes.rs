//! The likeliest tokens of a row: mostly they are all that its thresholds and its draw need.

/// Tokens that are noted, at most; a row with more is read again instead.
const MAX_NOTES: usize = 1024;
/// Logits that are looked at together: few such chunks have a likely token.
const CHUNK: usize = 32;

/// The logits and tokens of a row from a border on, in their order.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) logits: Vec<f32>,
    pub(super) tokens: Vec<usize>,
}

impl Notes {
    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.logits.clear();
        self.tokens.clear();
    }

    /// Returns whether some tokens may be missing.
    pub(super) fn is_full(&self) -> bool {
        self.logits.len() > MAX_NOTES
    }

    /// Notes the logits that are not below `border`; `first` is the token of the first.
    #[inline(always)]
    pub(super) fn take(&mut self, logits: &[f32], first: usize, border: f32) {
        for (number, chunk) in logits.chunks(CHUNK).enumerate() {
            if !chunk.iter().fold(false, |is_any, logit| is_any | (*logit >= border)) {
                continue;
            }
            for (place, logit) in chunk.iter().enumerate().filter(|(_, logit)| **logit >= border) {
                self.logits.push(*logit);
                self.tokens.push(first + number * CHUNK + place);
            }
            if self.is_full() {
                return;
            }
        }
    }
}
