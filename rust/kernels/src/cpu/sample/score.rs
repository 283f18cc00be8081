//! Log-probabilities of one token of each row of logits, and of the likeliest ones:
//! `x - max(x) - log(sum(exp(x - max(x))))`, at least `least`.
//!
//! They are those of the model's logits as they are. The sum is one of whole numbers, as in
//! sampling, so a row's results depend on that row alone.

use std::ops::Range;

use super::super::{Shared, rows_per_chunk};
use super::mass::{BLOCK, Block, Masses, Weight};
use super::peak::Peak;
use super::{at, slice};
use crate::ops::{OpError, arguments};
use crate::pool::parallel_for;
use crate::simd::{Vector, multiversioned};

/// What a row costs, against a pass over its elements.
const COST: usize = 4;
/// Logits that are compared with the least of the likeliest together.
const CHUNK: usize = 32;

arguments! {
    /// The arguments of log-probabilities, on every device.
    pub struct Score, rows num_rows {
        /// \[num_rows\] `f32`, of the targets.
        logprobs: usize,
        /// \[num_rows, num_top\] `i32`, the likeliest first, equal ones by their ids.
        top_ids: usize,
        /// As `top_ids`, `f32`.
        top_logprobs: usize,
        /// \[*, vocab_size\] `f32`.
        logits: usize,
        /// \[num_rows\] `i32`: which rows of the logits; 0 for all in their order.
        samples: usize,
        /// `i32`, one for each row of the logits.
        targets: usize,
        /// Rows.
        num_rows: usize,
        /// Elements per row; on CUDA at most 524288.
        vocab_size: usize,
        /// Elements from one row of the logits to the next.
        logits_stride: usize,
        /// Likeliest tokens of each row, at most 64 and `vocab_size`.
        num_top: usize,
        /// What a log-probability is at least.
        least: f32,
    }
}

/// Scores one token of each row; the logits stay as they are.
///
/// # Errors
/// A target is no token; nothing was written then.
///
/// # Safety
/// The addresses are those of live arrays with the shapes given, that nothing else writes;
/// `samples` are rows of the logits.
pub unsafe fn score(args: &Score) -> Result<(), OpError> {
    for row in 0..args.num_rows {
        // SAFETY: the caller's promise.
        let target: i32 = unsafe { at(args.targets, place_of(args, row)) };
        if !usize::try_from(target).is_ok_and(|target| target < args.vocab_size) {
            return Err(OpError::OutOfRange { what: "target", value: target.into(), limit: args.vocab_size });
        }
    }
    let shared = Shared(*args);
    // SAFETY: the caller's promise; ranges do not overlap.
    parallel_for(args.num_rows, rows_per_chunk(args.vocab_size * COST), &|rows| unsafe {
        run(shared.get(), rows);
    });
    Ok(())
}

multiversioned!(run, rows, Score);

/// Returns the row of the logits that a scored row is of.
///
/// # Safety
/// As [`score`].
unsafe fn place_of(args: &Score, row: usize) -> usize {
    if args.samples == 0 {
        return row;
    }
    // SAFETY: the caller's promise.
    unsafe { at::<i32>(args.samples, row) as usize }
}

#[inline(always)]
unsafe fn rows<V: Vector>(args: &Score, range: Range<usize>) {
    let (mut block, mut maxima) = (Block::default(), Vec::new());
    let mut likeliest = Likeliest::new(args.num_top);
    for row in range {
        // SAFETY: the caller of `score` vouches for the arrays.
        unsafe {
            let place = place_of(args, row);
            let logits: &[f32] =
                slice(args.logits + size_of::<f32>() * place * args.logits_stride, args.vocab_size);
            let logprobs = LogProbs::of::<V>(logits, args.least, &mut block, &mut maxima);
            let target = at::<i32>(args.targets, place) as usize;
            *(args.logprobs as *mut f32).add(row) = logprobs.of_logit(logits[target]);
            likeliest.find(logits);
            for (rank, (logit, token)) in likeliest.found.iter().enumerate() {
                let index = row * args.num_top + rank;
                *(args.top_ids as *mut i32).add(index) = *token as i32;
                *(args.top_logprobs as *mut f32).add(index) = logprobs.of_logit(*logit);
            }
        }
    }
}

/// The log-probabilities of a row.
struct LogProbs {
    greatest: f32,
    log_sum: f32,
    least: f32,
}

impl LogProbs {
    #[inline(always)]
    unsafe fn of<V: Vector>(logits: &[f32], least: f32, block: &mut Block, maxima: &mut Vec<f32>) -> Self {
        // SAFETY: `multiversioned` has checked the processor.
        let peak = unsafe { Peak::of::<V>(logits, maxima) };
        let greatest = peak.greatest;
        if !peak.is_finite && (greatest.is_infinite() || logits.iter().any(|logit| logit.is_nan())) {
            return Self { greatest, log_sum: f32::NAN, least };
        }
        let weight = Weight::Mass(Masses::new(greatest, 1.0));
        let mut total = 0;
        for logits in logits.chunks(BLOCK) {
            // SAFETY: likewise.
            total += unsafe { weight.total::<V>(logits, f32::NEG_INFINITY, block) };
        }
        Self { greatest, log_sum: Masses::ratio(total).ln() as f32, least }
    }

    /// Returns that of a token with this logit; the least where there is none.
    fn of_logit(&self, logit: f32) -> f32 {
        // `max` of a number and none is the number.
        (logit - self.greatest - self.log_sum).max(self.least)
    }
}

/// The likeliest tokens of a row, the first of equal ones first.
struct Likeliest {
    found: Vec<(f32, usize)>,
    wanted: usize,
}

impl Likeliest {
    fn new(wanted: usize) -> Self {
        Self { found: Vec::with_capacity(wanted), wanted }
    }

    #[inline(always)]
    fn find(&mut self, logits: &[f32]) {
        self.found.clear();
        let (first, others) = logits.split_at(self.wanted);
        for (token, logit) in first.iter().enumerate() {
            self.insert(*logit, token);
        }
        if first.is_empty() {
            return;
        }
        for (number, chunk) in others.chunks(CHUNK).enumerate() {
            let least = self.least();
            if !chunk.iter().fold(false, |is_any, logit| is_any | (*logit > least)) {
                continue;
            }
            for (place, logit) in chunk.iter().enumerate() {
                if *logit > self.least() {
                    self.found.pop();
                    self.insert(*logit, first.len() + number * CHUNK + place);
                }
            }
        }
    }

    /// Returns the least logit among them.
    fn least(&self) -> f32 {
        self.found[self.found.len() - 1].0
    }

    fn insert(&mut self, logit: f32, token: usize) {
        let place = self.found.partition_point(|(other, _)| *other >= logit);
        self.found.insert(place, (logit, token));
    }
}
