//! What changes a row of logits before it is drawn from: penalties, then biases, then the mask.

use super::{Sample, at, slice};

/// The penalties, biases and mask of one row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changes<'a> {
    penalties: Option<Penalties<'a>>,
    bias_tokens: &'a [i32],
    bias_values: &'a [f32],
    mask: Option<&'a [u32]>,
}

#[derive(Clone, Copy, Debug)]
struct Penalties<'a> {
    repetition: f32,
    frequency: f32,
    presence: f32,
    is_there: &'a [u8],
    counts: &'a [i32],
}

impl<'a> Changes<'a> {
    /// Returns those of a row, whose parameters are at another one.
    ///
    /// # Safety
    /// The addresses of `args` are those of live arrays, as `sample` says.
    pub(super) unsafe fn of(args: &'a Sample, row: usize, parameters: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let biased = places(slice(args.bias_samples, args.num_biases), row);
            let masked = places(slice(args.masked_samples, args.num_masked), row);
            let words = args.mask_words + size_of::<u32>() * masked.start * args.mask_stride;
            Self {
                penalties: Penalties::of(args, parameters),
                bias_tokens: &slice(args.bias_tokens, args.num_biases)[biased.clone()],
                bias_values: &slice(args.bias_values, args.num_biases)[biased],
                mask: (!masked.is_empty()).then(|| slice(words, args.vocab_size.div_ceil(32))),
            }
        }
    }

    /// Returns whether the row stays as it is.
    pub(super) fn is_none(&self) -> bool {
        self.penalties.is_none() && self.bias_tokens.is_empty() && self.mask.is_none()
    }

    /// Writes the changed row.
    pub(super) fn apply(&self, logits: &[f32], changed: &mut Vec<f32>) {
        changed.clear();
        changed.extend_from_slice(logits);
        if let Some(penalties) = &self.penalties {
            penalties.apply(changed);
        }
        for (token, value) in self.bias_tokens.iter().zip(self.bias_values) {
            // Which tokens a request stops at is not the model's to limit.
            if let Some(logit) = usize::try_from(*token).ok().and_then(|token| changed.get_mut(token)) {
                *logit += value;
            }
        }
        if let Some(mask) = self.mask {
            for (logits, word) in changed.chunks_mut(32).zip(mask) {
                forbid(logits, *word);
            }
        }
    }
}

impl<'a> Penalties<'a> {
    /// # Safety
    /// As [`Changes::of`].
    unsafe fn of(args: &'a Sample, parameters: usize) -> Option<Self> {
        if args.is_there == 0 {
            return None;
        }
        let first = parameters * args.vocab_size;
        // SAFETY: the caller's promise.
        let penalties = unsafe {
            Self {
                repetition: at(args.repetition_penalty, parameters),
                frequency: at(args.frequency_penalty, parameters),
                presence: at(args.presence_penalty, parameters),
                is_there: slice(args.is_there + first, args.vocab_size),
                counts: slice(args.counts + size_of::<i32>() * first, args.vocab_size),
            }
        };
        let is_any = penalties.repetition != 1.0 || penalties.frequency != 0.0 || penalties.presence != 0.0;
        is_any.then_some(penalties)
    }

    fn apply(&self, logits: &mut [f32]) {
        const EIGHT: usize = 8;
        let tables = self.is_there.chunks(EIGHT).zip(self.counts.chunks(EIGHT));
        for (logits, (is_there, counts)) in logits.chunks_mut(EIGHT).zip(tables) {
            // Few tokens of a vocabulary are in a sequence.
            if is_there.iter().all(|is_there| *is_there == 0) {
                continue;
            }
            for (logit, (is_there, count)) in logits.iter_mut().zip(is_there.iter().zip(counts)) {
                if *is_there != 0 {
                    *logit = self.of_token(*logit, *count);
                }
            }
        }
    }

    fn of_token(&self, logit: f32, count: i32) -> f32 {
        let logit = if logit > 0.0 { logit / self.repetition } else { logit * self.repetition };
        let logit = logit - self.frequency * count as f32;
        if count > 0 { logit - self.presence } else { logit }
    }
}

/// Returns where a row is in ascending rows.
fn places(rows: &[i32], row: usize) -> std::ops::Range<usize> {
    let first = rows.partition_point(|other| (*other as usize) < row);
    first..first + rows[first..].partition_point(|other| *other as usize == row)
}

/// Rules out the tokens whose bit is not set, the lowest bit first.
fn forbid(logits: &mut [f32], word: u32) {
    if word == u32::MAX {
        return;
    }
    for (bit, logit) in logits.iter_mut().enumerate() {
        if word >> bit & 1 == 0 {
            *logit = f32::NEG_INFINITY;
        }
    }
}
