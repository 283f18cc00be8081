//! Attention against a reference in `f64`, and against itself in other steps.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::cpu::linear::rounded;
use crate::{Dtype, simd};

/// Numbers between -1 and 1.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Sequences whose keys are all in the cache, exact in `bfloat16`.
#[derive(Clone)]
struct Cache {
    num_heads: usize,
    num_kv_heads: usize,
    head_dim: usize,
    block_size: usize,
    window: usize,
    /// Of each sequence.
    lens: Vec<usize>,
    /// [sequences, blocks of the longest], the blocks of all in reverse order.
    tables: Vec<i32>,
    keys: Vec<u16>,
    values: Vec<u16>,
    /// Of every token of every sequence, [len, num_heads, head_dim].
    queries: Vec<Vec<f32>>,
}

impl Cache {
    fn new(
        [num_heads, num_kv_heads, head_dim]: [usize; 3],
        block_size: usize,
        window: usize,
        lens: &[usize],
    ) -> Self {
        let mut numbers = Numbers((num_heads * 1009 + head_dim * 31 + lens.len()) as u64);
        let blocks = lens.iter().max().unwrap().div_ceil(block_size);
        let num_blocks = blocks * lens.len();
        let len = num_blocks * block_size * num_kv_heads * head_dim;
        let mut narrow = |len: usize| (0..len).map(|_| (numbers.next().to_bits() >> 16) as u16).collect();
        let (keys, values) = (narrow(len), narrow(len));
        let queries =
            lens.iter().map(|len| (0..len * num_heads * head_dim).map(|_| numbers.next()).collect());
        Self {
            num_heads,
            num_kv_heads,
            head_dim,
            block_size,
            window,
            lens: lens.to_vec(),
            tables: (0..num_blocks as i32).rev().collect(),
            keys,
            values,
            queries: queries.collect(),
        }
    }

    /// The same with values of which many are too small to be normal.
    fn least(&self) -> Self {
        let scaled = |bits: &u16| (rounded(widened(*bits) * 2f32.powi(-122)).to_bits() >> 16) as u16;
        Self { values: self.values.iter().map(scaled).collect(), ..self.clone() }
    }

    /// The outputs of some tokens of each sequence, whose keys end with them, over a cache of
    /// `dtype`.
    fn attend(&self, tokens: &[Range<usize>], dtype: Dtype) -> Vec<f32> {
        let wide = |cache: &[u16]| -> Vec<f32> { cache.iter().map(|bits| widened(*bits)).collect() };
        let (wide_keys, wide_values) = (wide(&self.keys), wide(&self.values));
        let (keys, values) = match dtype {
            Dtype::F32 => (wide_keys.as_ptr() as usize, wide_values.as_ptr() as usize),
            _ => (self.keys.as_ptr() as usize, self.values.as_ptr() as usize),
        };
        let width = self.num_heads * self.head_dim;
        let mut query = Vec::new();
        let mut starts = vec![0];
        for (queries, tokens) in self.queries.iter().zip(tokens) {
            query.extend_from_slice(&queries[tokens.start * width..tokens.end * width]);
            starts.push((query.len() / width) as i32);
        }
        let mut output = vec![f32::NAN; query.len()];
        let rows: Vec<i32> = (0..self.lens.len() as i32).collect();
        let context_lens: Vec<i32> = tokens.iter().map(|tokens| tokens.end as i32).collect();
        let stride = self.tables.len() / self.lens.len();
        let args = PagedAttention {
            output: output.as_mut_ptr() as usize,
            query: query.as_ptr() as usize,
            key_cache: keys,
            value_cache: values,
            block_tables: self.tables.as_ptr() as usize,
            rows: rows.as_ptr() as usize,
            context_lens: context_lens.as_ptr() as usize,
            query_starts: starts.as_ptr() as usize,
            num_seqs: self.lens.len(),
            num_tokens: query.len() / width,
            num_table_rows: self.lens.len(),
            num_blocks: self.tables.len(),
            num_heads: self.num_heads,
            num_kv_heads: self.num_kv_heads,
            head_dim: self.head_dim,
            block_size: self.block_size,
            block_stride: self.block_size * self.num_kv_heads * self.head_dim,
            query_stride: width,
            block_table_stride: stride,
            scale: self.scale(),
            window: self.window,
            dtype: Dtype::F32 as u32,
            cache_dtype: dtype as u32,
            ..PagedAttention::default()
        };
        // SAFETY: the vectors have the sizes given.
        unsafe { paged_attention(&args) }.unwrap();
        output
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// A number of the cache.
    fn number(&self, cache: &[u16], seq: usize, key: usize, kv_head: usize, d: usize) -> f64 {
        let stride = self.tables.len() / self.lens.len();
        let block = self.tables[seq * stride + key / self.block_size] as usize;
        let slot = block * self.block_size + key % self.block_size;
        let place = (slot * self.num_kv_heads + kv_head) * self.head_dim + d;
        f64::from(widened(cache[place]))
    }

    /// One row of the output, of a query that is rounded or not.
    fn expected(&self, seq: usize, token: usize, head: usize, rounds: bool) -> Vec<f64> {
        let kv_head = head * self.num_kv_heads / self.num_heads;
        let query = &self.queries[seq][(token * self.num_heads + head) * self.head_dim..][..self.head_dim];
        let scaled = query.iter().map(|x| x * self.scale());
        let query: Vec<f32> = scaled.map(|x| if rounds { rounded(x) } else { x }).collect();
        let first = if self.window == 0 { 0 } else { (token + 1).saturating_sub(self.window) };
        let score = |key: usize| -> f64 {
            let products = (0..self.head_dim)
                .map(|d| f64::from(query[d]) * self.number(&self.keys, seq, key, kv_head, d));
            products.sum::<f64>().exp()
        };
        let weights: Vec<f64> = (first..=token).map(score).collect();
        let total: f64 = weights.iter().sum();
        let value = |d: usize| -> f64 {
            let weighted = weights
                .iter()
                .enumerate()
                .map(|(i, weight)| weight * self.number(&self.values, seq, first + i, kv_head, d));
            weighted.sum::<f64>() / total
        };
        (0..self.head_dim).map(value).collect()
    }
}

pub(super) fn widened(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

fn caches() -> impl Iterator<Item = Cache> {
    let shapes = [
        [4, 2, 32],
        [3, 3, 64],
        [8, 2, 16],
        [5, 1, 20],
        [6, 2, 80],
        [14, 2, 64],
        [10, 5, 64],
        [16, 1, 96],
        [20, 1, 32],
        [70, 1, 32],
        [4, 1, 256],
    ];
    shapes.into_iter().enumerate().map(|(number, shape)| {
        Cache::new(shape, [16, 1, 5, 32][number % 4], [0, 7, 40][number % 3], &[1 + number, 33, 64, 70])
    })
}

#[test]
fn outputs_are_those_of_the_formula() {
    // A key that is read from another slot, or weighed wrongly, changes what a model says.
    for (cache, dtype) in caches().flat_map(|cache| [(cache.clone(), Dtype::F32), (cache, Dtype::Bf16)]) {
        let rounds = dtype == Dtype::Bf16 && attention_rounds(cache.head_dim);
        // No value is beyond 1, so half a unit in the last of eight places of each weight is the
        // most that rounding them can change.
        let bound = if rounds { 1.0 / 512.0 + 2e-6 } else { 2e-6 };
        let tokens: Vec<_> = cache.lens.iter().map(|len| len.saturating_sub(9)..*len).collect();
        let mut actual = cache.attend(&tokens, dtype).into_iter();
        for (seq, tokens) in tokens.into_iter().enumerate() {
            for (token, head) in tokens.flat_map(|token| (0..cache.num_heads).map(move |head| (token, head)))
            {
                for expected in cache.expected(seq, token, head, rounds) {
                    let difference = f64::from(actual.next().unwrap()) - expected;
                    assert!(difference.abs() < bound, "{difference} in {seq}, {token}, {head}, {dtype:?}");
                }
            }
        }
    }
}

#[test]
fn a_token_is_the_same_in_steps_of_any_length() {
    // A second turn of a chat, whose first answer is in its prompt, would be answered differently.
    let all = caches().flat_map(|cache| [cache.least(), cache]);
    for (cache, dtype) in all.flat_map(|cache| [(cache.clone(), Dtype::F32), (cache, Dtype::Bf16)]) {
        let width = cache.num_heads * cache.head_dim;
        let whole: Vec<_> = cache.lens.iter().map(|len| 0..*len).collect();
        let prompts = cache.attend(&whole, dtype);
        for most in [1, 2, 5, 9, 33] {
            let last: Vec<_> = cache.lens.iter().map(|len| len - most.min(*len)..*len).collect();
            let decoded = cache.attend(&last, dtype);
            let (mut end, mut start) = (0, 0);
            for (seq, len) in cache.lens.iter().enumerate() {
                end += len * width;
                let num_last = most.min(*len) * width;
                assert!(
                    decoded[start..][..num_last] == prompts[end - num_last..end],
                    "the last {most} of sequence {seq}, {dtype:?}, {}",
                    simd::cpu_features()
                );
                start += num_last;
            }
        }
    }
}
