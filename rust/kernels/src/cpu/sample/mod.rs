//! Draws one token for each row of logits: penalties, biases, masks, temperature, `top_n_sigma`,
//! `min_p`, `top_k`, `top_p`, then the inverse of the cumulative distribution in the order of the
//! vocabulary.
//!
//! A threshold on the logits decides which are kept, so that equal ones are kept together. Masses
//! are whole numbers: a row's draw depends on that row alone, on any processor and any number of
//! threads. Where the likeliest tokens suffice for the thresholds and the draw, only those are
//! looked at, which cannot change the result either.

mod changes;
mod draw;
mod mass;
mod notes;
mod peak;
mod score;
mod select;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::ops::Range;

pub use score::{Score, score};

use self::changes::Changes;
use self::draw::{Draw, Work};
use self::peak::Peak;
use super::{Shared, rows_per_chunk};
use crate::ops::{OpError, arguments};
use crate::pool::parallel_for;
use crate::simd::{Vector, multiversioned};

/// What a drawn row costs, against one that takes the most likely token.
const COST_OF_DRAW: usize = 8;

arguments! {
    /// The arguments of sampling, on every device.
    pub struct Sample, rows num_rows {
        /// \[num_rows\] `i32`, what was drawn.
        tokens: usize,
        /// \[num_rows\] `i32`, the same, or `not_finite` for a row with a logit that is no finite
        /// number.
        results: usize,
        /// \[num_rows, vocab_size\] `f32`.
        logits: usize,
        /// \[num_rows\] `i32`: which of the parameters are whose.
        sample_rows: usize,
        /// `f32`; 0 takes the most likely token.
        temperature: usize,
        /// `i32`; 0 keeps all.
        top_k: usize,
        /// `f32`; 1 keeps all.
        top_p: usize,
        /// `f32`; 0 keeps all.
        min_p: usize,
        /// `f32`; 0 and below keep all.
        top_n_sigma: usize,
        /// \[num_rows\] `f32` in \[0, 1).
        uniform: usize,
        /// `f32`; 1 is none.
        repetition_penalty: usize,
        /// `f32`; 0 is none.
        frequency_penalty: usize,
        /// `f32`; 0 is none.
        presence_penalty: usize,
        /// \[*, vocab_size\] `u8`, by `sample_rows`: which tokens the sequence has; 0: no
        /// penalties.
        is_there: usize,
        /// As `is_there`, `i32`: how often the output has them.
        counts: usize,
        /// \[num_biases\] `i32`, ascending: the row of each bias; on CUDA at most 640 of one row.
        bias_samples: usize,
        /// \[num_biases\] `i32`; those beyond the vocabulary are passed over.
        bias_tokens: usize,
        /// \[num_biases\] `f32`, added to the logits after the penalties.
        bias_values: usize,
        /// \[num_masked\] `i32`, ascending: rows that have a mask.
        masked_samples: usize,
        /// \[num_masked, mask_stride\] `u32`: token `t` may be drawn if bit `t % 32` of word
        /// `t / 32` is set.
        mask_words: usize,
        /// Rows.
        num_rows: usize,
        /// Elements per row; on CUDA at most 524288.
        vocab_size: usize,
        /// Elements from one row of the logits to the next.
        logits_stride: usize,
        /// Biases.
        num_biases: usize,
        /// Rows with a mask.
        num_masked: usize,
        /// Words from one mask to the next.
        mask_stride: usize,
        /// The result of a row that is not finite.
        not_finite: u32,
    }
}

/// Draws one token for each row; the logits stay as they are.
///
/// # Errors
/// None.
///
/// # Safety
/// The addresses are those of live arrays with the shapes given, that nothing else writes;
/// parameters and tables have a row for each of `sample_rows`.
pub unsafe fn sample(args: &Sample) -> Result<(), OpError> {
    // SAFETY: the caller's promise.
    let is_drawn = (0..args.num_rows).any(|row| unsafe { Rule::of(args, row) }.temperature > 0.0);
    let cost = args.vocab_size * if is_drawn { COST_OF_DRAW } else { 1 };
    let shared = Shared(*args);
    // SAFETY: the caller's promise; ranges do not overlap.
    parallel_for(args.num_rows, rows_per_chunk(cost), &|rows| unsafe {
        run(shared.get(), rows);
    });
    Ok(())
}

multiversioned!(run, rows, Sample);

/// What drawing takes, kept per thread so that no step allocates.
#[derive(Debug, Default)]
struct Memory {
    changed: Vec<f32>,
    work: Work,
}

thread_local! {
    static MEMORY: Cell<Memory> = Cell::default();
}

#[inline(always)]
unsafe fn rows<V: Vector>(args: &Sample, range: Range<usize>) {
    let mut memory = MEMORY.take();
    for row in range {
        // SAFETY: the caller of `sample` vouches for the arrays.
        unsafe {
            let drawn = draw_row::<V>(args, row, &mut memory);
            *(args.tokens as *mut i32).add(row) = drawn.unwrap_or(0) as i32;
            *(args.results as *mut i32).add(row) = drawn.map_or(args.not_finite as i32, |token| token as i32);
        }
    }
    MEMORY.set(memory);
}

/// Returns the token of a row; `None` if a logit is no finite number.
#[inline(always)]
unsafe fn draw_row<V: Vector>(args: &Sample, row: usize, memory: &mut Memory) -> Option<usize> {
    // SAFETY: the caller of `sample` vouches for the arrays.
    unsafe {
        let mut logits: &[f32] =
            slice(args.logits + size_of::<f32>() * row * args.logits_stride, args.vocab_size);
        let mut peak = Peak::of::<V>(logits, &mut memory.work.maxima);
        if !peak.is_finite {
            return None;
        }
        let rule = Rule::of(args, row);
        let changes = Changes::of(args, row, rule.parameters);
        if !changes.is_none() {
            changes.apply(logits, &mut memory.changed);
            logits = &memory.changed;
            peak = Peak::of::<V>(logits, &mut memory.work.maxima);
            // Masses are counted from the greatest logit, which a change may have made infinite.
            if peak.greatest == f32::INFINITY {
                return None;
            }
        }
        if rule.temperature == 0.0 || peak.greatest == f32::NEG_INFINITY {
            return Some(peak.place);
        }
        let draw = Draw::new(rule, peak.greatest, at(args.uniform, row));
        Some(draw.token::<V>(logits, &mut memory.work))
    }
}

/// How a row is drawn.
#[derive(Clone, Copy, Debug)]
struct Rule {
    parameters: usize,
    temperature: f32,
    /// 0 where it keeps all.
    top_k: usize,
    top_p: f32,
    min_p: f32,
    top_n_sigma: f32,
}

impl Rule {
    /// # Safety
    /// As [`sample`].
    #[inline(always)]
    unsafe fn of(args: &Sample, row: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let parameters = at::<i32>(args.sample_rows, row) as usize;
            let top_k = usize::try_from(at::<i32>(args.top_k, parameters)).unwrap_or(0);
            Self {
                parameters,
                temperature: at(args.temperature, parameters),
                top_k: if top_k < args.vocab_size { top_k } else { 0 },
                top_p: at(args.top_p, parameters),
                min_p: at(args.min_p, parameters),
                top_n_sigma: at(args.top_n_sigma, parameters),
            }
        }
    }
}

/// Reads an element of an array.
///
/// # Safety
/// The address is that of a live array of `T` with this many elements.
#[inline(always)]
unsafe fn at<T: Copy>(address: usize, index: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { *(address as *const T).add(index) }
}

/// Returns an array of `len` elements, which needs no address if there are none.
///
/// # Safety
/// As [`at`]; nothing writes to it meanwhile.
#[inline(always)]
unsafe fn slice<'a, T>(address: usize, len: usize) -> &'a [T] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(address as *const T, len) }
}
