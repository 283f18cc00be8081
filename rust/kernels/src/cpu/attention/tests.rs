//! Attention against a reference in `f64`, and against itself in other steps.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::{Dtype, simd};

/// Numbers between -1 and 1.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Sequences whose keys are all in the cache, in `bfloat16`.
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

    /// The outputs of some tokens of each sequence, whose keys end with them.
    fn attend(&self, tokens: &[Range<usize>]) -> Vec<f32> {
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
            key_cache: self.keys.as_ptr() as usize,
            value_cache: self.values.as_ptr() as usize,
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
            query_stride: width,
            block_table_stride: stride,
            scale: self.scale(),
            window: self.window,
            dtype: Dtype::F32 as u32,
            cache_dtype: Dtype::Bf16 as u32,
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
        f64::from(f32::from_bits(u32::from(cache[place]) << 16))
    }

    /// One row of the output.
    fn expected(&self, seq: usize, token: usize, head: usize) -> Vec<f64> {
        let kv_head = head * self.num_kv_heads / self.num_heads;
        let query = &self.queries[seq][(token * self.num_heads + head) * self.head_dim..][..self.head_dim];
        let first = if self.window == 0 { 0 } else { (token + 1).saturating_sub(self.window) };
        let score = |key: usize| -> f64 {
            let products = (0..self.head_dim)
                .map(|d| f64::from(query[d]) * self.number(&self.keys, seq, key, kv_head, d));
            (products.sum::<f64>() * f64::from(self.scale())).exp()
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

fn caches() -> impl Iterator<Item = Cache> {
    let shapes = [[4, 2, 32], [3, 3, 64], [8, 2, 16], [5, 1, 20], [6, 2, 80]];
    shapes.into_iter().enumerate().map(|(number, shape)| {
        Cache::new(shape, [16, 1, 5][number % 3], [0, 7, 40][number % 3], &[1 + number, 33, 64, 70])
    })
}

#[test]
fn outputs_are_those_of_the_formula() {
    // A key that is read from another slot, or weighed wrongly, changes what a model says.
    for cache in caches() {
        let tokens: Vec<_> = cache.lens.iter().map(|len| len.saturating_sub(9)..*len).collect();
        let mut actual = cache.attend(&tokens).into_iter();
        for (seq, tokens) in tokens.into_iter().enumerate() {
            for (token, head) in tokens.flat_map(|token| (0..cache.num_heads).map(move |head| (token, head)))
            {
                for expected in cache.expected(seq, token, head) {
                    let difference = f64::from(actual.next().unwrap()) - expected;
                    assert!(difference.abs() < 2e-6, "{difference} in {seq}, {token}, {head}");
                }
            }
        }
    }
}

#[test]
fn a_decoded_token_is_the_last_of_its_prompt() {
    // A second turn of a chat, whose first answer is in its prompt, would be answered differently.
    for cache in caches() {
        let width = cache.num_heads * cache.head_dim;
        let whole: Vec<_> = cache.lens.iter().map(|len| 0..*len).collect();
        let last: Vec<_> = cache.lens.iter().map(|len| len - 1..*len).collect();
        let decoded = cache.attend(&last);
        let prompts = cache.attend(&whole);
        let mut end = 0;
        for (seq, len) in cache.lens.iter().enumerate() {
            end += len * width;
            let expected = &prompts[end - width..end];
            assert!(
                decoded[seq * width..][..width] == *expected,
                "sequence {seq} of {}",
                simd::cpu_features()
            );
        }
    }
}
