//! Draws by every instruction set and in every batch; `tests/kernels/test_sampling.py` compares
//! them with their definitions.

#![allow(clippy::unwrap_used)]

use std::ops::Range;

use super::{Sample, rows, sample};
use crate::simd::Portable;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512, Level, level};

const NOT_FINITE: i32 = -2;
const VOCAB_SIZE: usize = 2345;
const NUM_ROWS: usize = 60;

/// Rows of one vocabulary with parameters of each kind.
struct Rows {
    logits: Vec<f32>,
    sample_rows: Vec<i32>,
    temperature: Vec<f32>,
    top_k: Vec<i32>,
    top_p: Vec<f32>,
    min_p: Vec<f32>,
    top_n_sigma: Vec<f32>,
    uniform: Vec<f32>,
    /// Rows and tokens that have a bias, and the bias.
    biases: (Vec<i32>, Vec<i32>, Vec<f32>),
}

/// A sequence of numbers in \[0, 1) (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[(self.throw() * values.len() as f32) as usize]
    }

    fn picks<T: Copy>(&mut self, values: &[T]) -> Vec<T> {
        (0..NUM_ROWS).map(|_| self.pick(values)).collect()
    }
}

impl Rows {
    fn random() -> Self {
        let mut dice = Dice(5);
        let mut logits = Vec::new();
        for _ in 0..NUM_ROWS {
            let spread = dice.pick(&[0.01, 3.0, 40.0]);
            logits.extend((0..VOCAB_SIZE).map(|_| (dice.throw() - 0.5) * (dice.throw() - 0.5) * spread));
        }
        Self {
            logits,
            sample_rows: (0..NUM_ROWS as i32).collect(),
            temperature: dice.picks(&[0.0, 0.3, 1.0, 2.0]),
            top_k: dice.picks(&[0, 0, 1, 5, 50, 1500, 9000]),
            top_p: dice.picks(&[0.0, 0.1, 0.5, 0.95, 1.0, 1.0]),
            min_p: dice.picks(&[0.0, 0.0, 0.05]),
            top_n_sigma: dice.picks(&[-1.0, 0.0, 0.0, 1.5]),
            uniform: (0..NUM_ROWS).map(|_| dice.throw()).collect(),
            biases: Default::default(),
        }
    }

    /// What `run` draws for some of the rows.
    fn draw(&self, range: Range<usize>, run: unsafe fn(&Sample, Range<usize>)) -> Vec<i32> {
        let (mut tokens, mut results) = (vec![-7; range.len()], vec![-7; range.len()]);
        let args = Sample {
            tokens: tokens.as_mut_ptr() as usize,
            results: results.as_mut_ptr() as usize,
            logits: self.logits[range.start * VOCAB_SIZE..].as_ptr() as usize,
            sample_rows: self.sample_rows[range.start..].as_ptr() as usize,
            temperature: self.temperature.as_ptr() as usize,
            top_k: self.top_k.as_ptr() as usize,
            top_p: self.top_p.as_ptr() as usize,
            min_p: self.min_p.as_ptr() as usize,
            top_n_sigma: self.top_n_sigma.as_ptr() as usize,
            uniform: self.uniform[range.start..].as_ptr() as usize,
            bias_samples: self.biases.0.as_ptr() as usize,
            bias_tokens: self.biases.1.as_ptr() as usize,
            bias_values: self.biases.2.as_ptr() as usize,
            num_biases: self.biases.0.len(),
            num_rows: range.len(),
            vocab_size: VOCAB_SIZE,
            logits_stride: VOCAB_SIZE,
            not_finite: NOT_FINITE as u32,
            ..Sample::default()
        };
        // SAFETY: the arrays live until the end of the function.
        unsafe { run(&args, 0..range.len()) };
        results
    }
}

unsafe fn on_all_threads(args: &Sample, _: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { sample(args) }.unwrap();
}

#[test]
fn every_instruction_set_draws_the_same() {
    // A seeded answer that another machine would not give cannot be repeated.
    let random = Rows::random();
    let expected = random.draw(0..NUM_ROWS, rows::<Portable>);
    assert!(expected.iter().all(|token| (0..VOCAB_SIZE as i32).contains(token)));
    #[cfg(target_arch = "x86_64")]
    {
        if level() != Level::Portable {
            assert_eq!(random.draw(0..NUM_ROWS, rows::<Avx2>), expected);
        }
        if level() == Level::Avx512 {
            assert_eq!(random.draw(0..NUM_ROWS, rows::<Avx512>), expected);
        }
    }
}

#[test]
fn a_row_draws_the_same_in_every_batch() {
    // The same request must be answered with the same tokens alone and among others, on one thread
    // and on several.
    let random = Rows::random();
    let together = random.draw(0..NUM_ROWS, on_all_threads);
    for row in 0..NUM_ROWS {
        assert_eq!(random.draw(row..row + 1, on_all_threads), together[row..=row]);
    }
}

#[test]
fn a_row_that_is_not_finite_is_told() {
    // A model that has gone wrong must end the request, not draw from nothing.
    let mut random = Rows::random();
    for (row, logit) in [(2, f32::NAN), (3, f32::INFINITY), (5, f32::NEG_INFINITY)] {
        random.logits[row * VOCAB_SIZE + VOCAB_SIZE - 1] = logit;
    }
    let results = random.draw(0..NUM_ROWS, on_all_threads);
    let told: Vec<usize> = (0..NUM_ROWS).filter(|row| results[*row] == NOT_FINITE).collect();
    assert_eq!(told, [2, 3, 5]);
}

#[test]
fn a_row_whose_changes_are_too_large_is_told() {
    // Logits at the end of the range of numbers and a bias must not end the process.
    let mut random = Rows::random();
    random.logits[7 * VOCAB_SIZE + 1] = f32::MAX;
    random.biases = (vec![7], vec![1], vec![f32::MAX]);
    random.temperature[7] = 1.0;
    assert_eq!(random.draw(0..NUM_ROWS, on_all_threads)[7], NOT_FINITE);
}
