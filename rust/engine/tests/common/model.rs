//! A model whose next token depends on every token before it and on every sampling parameter.

use streamcore_engine::{FinishReason, Request};

/// Tokens are drawn below this; prompts use larger ones, so that no two contexts look alike by chance.
pub(crate) const VOCABULARY: u64 = 50;

/// The sampling columns of one sample, as bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    pub(crate) temperature: f32,
    pub(crate) top_p: f32,
    pub(crate) top_k: i32,
    pub(crate) uniform: f32,
}

/// The token after this context.
pub(crate) fn next_token(context: &[i32], draw: Draw) -> i32 {
    let bits = [draw.temperature.to_bits(), draw.top_p.to_bits(), draw.top_k as u32, draw.uniform.to_bits()];
    let words = context.iter().map(|token| *token as u64).chain(bits.into_iter().map(u64::from));
    let hash = words.fold(0xcbf2_9ce4_8422_2325, |hash: u64, word| {
        (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
    });
    (hash % VOCABULARY) as i32
}

/// What a request must answer, worked out alone, with neither batch nor cache.
pub(crate) fn expected_output(request: &Request) -> (Vec<u32>, FinishReason) {
    let sampling = &request.sampling;
    let mut context: Vec<i32> = request.prompt.iter().map(|token| *token as i32).collect();
    let mut output = Vec::new();
    while output.len() < request.max_tokens {
        let draw = Draw {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k as i32,
            uniform: sampling.uniform(output.len()),
        };
        let token = next_token(&context, draw);
        if request.stop_token_ids.contains(&(token as u32)) {
            return (output, FinishReason::Stop { token_id: token as u32 });
        }
        output.push(token as u32);
        context.push(token);
    }
    (output, FinishReason::Length)
}

/// A small deterministic generator (xorshift*), so that a seed names a whole simulation.
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9_7f4a_7c15);
        rng.next();
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number in `low..=high`.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.next() as usize % (high - low + 1)
    }

    /// True `percent` times out of a hundred.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.between(0, 99) < percent
    }
}
