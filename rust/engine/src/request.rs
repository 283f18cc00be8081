//! What a client asks of the engine, in tokens.

/// Names a request from its acceptance to its last event. Chosen by the caller, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// How the next token is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// Keeps the smallest set of tokens whose probability reaches this; 1 keeps all.
    pub top_p: f32,
    /// Keeps this many of the most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Decides every draw, together with the position: the same seed gives the same tokens in any batch.
    pub seed: u64,
}

impl SamplingParams {
    /// The number in `[0, 1)` that decides the draw of the output token at this position, 0 for the first.
    ///
    /// It is a pure function, so that neither the batch, nor a preemption, nor the number of steps in flight changes an answer:
    /// output `position` of the `SplitMix64` generator (Steele, Lea, Flood, 2014) that starts from `seed`, of which the upper
    /// 24 bits, all that single precision holds, are the fraction.
    #[must_use]
    pub fn uniform(&self, position: usize) -> f32 {
        unit_interval(split_mix_64(self.seed, position as u64))
    }
}

/// The upper 24 bits as a fraction: exact in single precision, and never rounded up to 1.
fn unit_interval(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1_u32 << 24) as f32
}

/// The generator's state grows by a constant per output, so output number `index` needs none of those before it.
fn split_mix_64(seed: u64, index: u64) -> u64 {
    let state = seed.wrapping_add((index.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A request as the engine sees it: tokens in, tokens out.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// The prompt, at least one token.
    pub prompt: Vec<u32>,
    /// Most tokens to generate, at least one.
    pub max_tokens: usize,
    /// Tokens that end the output: the model's end-of-sequence tokens and those the client added.
    pub stop_token_ids: Vec<u32>,
    /// How tokens are drawn.
    pub sampling: SamplingParams,
    /// Only requests with the same number share blocks of the KV cache.
    pub cache_salt: u64,
    /// Lower numbers run first and are preempted last; among equals the order of arrival decides.
    pub priority: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_the_published_numbers() {
        // A silent change of the generator changes every seeded answer that somebody has recorded.
        let outputs: Vec<u64> = (0..4).map(|index| split_mix_64(1_234_567, index)).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
        ];
        assert_eq!(outputs, published);
    }

    #[test]
    fn a_draw_is_below_one_and_fills_the_range() {
        // A draw of exactly 1 lies beyond every cumulative probability: the sampler would pick past the vocabulary.
        let sampling = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, seed: u64::MAX };
        let draws: Vec<f32> = (0..10_000).map(|position| sampling.uniform(position)).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        let mean = draws.iter().sum::<f32>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "mean of the draws is {mean}");
        assert!(draws.iter().any(|draw| *draw < 0.001) && draws.iter().any(|draw| *draw > 0.999));
        assert!(unit_interval(u64::MAX) < 1.0);
    }
}
