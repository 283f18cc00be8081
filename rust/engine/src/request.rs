//! What a client asks of the engine, in tokens.

use std::time::Duration;

use crate::error::EngineError;

/// Names a request from its acceptance to its last event. Chosen by the caller, never used twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RequestId(pub u64);

/// Most entries of [`SamplingParams::logit_bias`].
pub const MAX_LOGIT_BIAS: usize = 300;
/// Most entries of [`Request::stop_token_ids`].
pub const MAX_STOP_TOKEN_IDS: usize = 256;
/// Most of the likeliest tokens that can be asked for at one position.
pub const MAX_LOGPROBS: u32 = 20;

/// How the next token is drawn. What is below applies from top to bottom, where not said otherwise.
///
/// Start from [`SamplingParams::greedy`] and change what matters: fields may be added.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SamplingParams {
    /// Logits of tokens in the prompt or the output are divided by this if positive, multiplied otherwise; 1 changes nothing.
    pub repetition_penalty: f32,
    /// Subtracted from a token's logit once for each time it is in the output; 0 changes nothing.
    pub frequency_penalty: f32,
    /// Subtracted from a token's logit if it is in the output; 0 changes nothing.
    pub presence_penalty: f32,
    /// Tokens, each at most once, and what is added to their logits; at most [`MAX_LOGIT_BIAS`].
    pub logit_bias: Vec<(u32, f32)>,
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f32,
    /// Keeps tokens that are at least this fraction as likely as the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Keeps this many of the most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the smallest set of tokens whose probability reaches this; 1 keeps all.
    pub top_p: f32,
    /// Decides every draw, together with the position: the same seed gives the same tokens in any batch.
    pub seed: u64,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self::greedy()
    }
}

impl SamplingParams {
    /// Takes the most likely token, and changes no logits.
    #[must_use]
    pub fn greedy() -> Self {
        Self {
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            temperature: 0.0,
            min_p: 0.0,
            top_k: 0,
            top_p: 1.0,
            seed: 0,
        }
    }

    /// Checks that a runner can work with every number.
    ///
    /// # Errors
    /// [`EngineError::OutOfRange`].
    fn check_ranges(&self) -> Result<(), EngineError> {
        const NOT_NEGATIVE: &str = "a number that is not negative";
        const POSITIVE: &str = "a number above 0";
        const FINITE: &str = "a number";
        const FRACTION: &str = "from 0 to 1";
        let is_fraction = |value: f32| (0.0..=1.0).contains(&value);
        let Self {
            repetition_penalty, frequency_penalty, presence_penalty, temperature, min_p, top_p, ..
        } = *self;
        let checked = [
            ("temperature", temperature, temperature.is_finite() && temperature >= 0.0, NOT_NEGATIVE),
            ("top_p", top_p, is_fraction(top_p), FRACTION),
            ("min_p", min_p, is_fraction(min_p), FRACTION),
            (
                "repetition_penalty",
                repetition_penalty,
                repetition_penalty.is_finite() && repetition_penalty > 0.0,
                POSITIVE,
            ),
            ("frequency_penalty", frequency_penalty, frequency_penalty.is_finite(), FINITE),
            ("presence_penalty", presence_penalty, presence_penalty.is_finite(), FINITE),
        ];
        // Negative infinity forbids a token.
        let biases =
            self.logit_bias.iter().map(|(_, bias)| ("logit_bias", *bias, *bias < f32::INFINITY, FINITE));
        match checked.into_iter().chain(biases).find(|(_, _, is_right, _)| !is_right) {
            Some((field, value, _, range)) => {
                Err(EngineError::OutOfRange { field, value: value.to_string(), range })
            }
            None => Ok(()),
        }
    }

    /// Whether the tokens of the sequence change the logits.
    #[must_use]
    pub fn is_penalised(&self) -> bool {
        self.repetition_penalty != 1.0 || self.frequency_penalty != 0.0 || self.presence_penalty != 0.0
    }

    /// The number in `[0, 1)` that decides the draw of the output token at this position, 0 for the first.
    ///
    /// It is a pure function, so that neither the batch, nor a preemption, nor the number of steps in flight changes an answer:
    /// of [`split_mix_64`] the upper 24 bits, all that single precision holds, are the fraction.
    #[must_use]
    pub fn uniform(&self, position: usize) -> f32 {
        unit_interval(split_mix_64(self.seed, position as u64))
    }
}

/// The upper 24 bits as a fraction: exact in single precision, and never rounded up to 1.
fn unit_interval(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1_u32 << 24) as f32
}

/// Output number `index`, from 0, of the `SplitMix64` generator (Steele, Lea, Flood, 2014) that starts from `seed`. Its state grows by a
/// constant per output, so it needs none of those before it.
#[must_use]
pub fn split_mix_64(seed: u64, index: u64) -> u64 {
    let state = seed.wrapping_add((index.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A request as the engine sees it: tokens in, tokens out.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// The prompt, at least one token.
    pub prompt: Vec<u32>,
    /// Most tokens to generate; with 0 only the prompt is computed, for its
    /// log-probabilities.
    pub max_tokens: usize,
    /// No stop token is drawn before this many tokens have been generated.
    pub min_tokens: usize,
    /// Tokens that end the output: the model's end-of-sequence tokens and those the client added; at most [`MAX_STOP_TOKEN_IDS`].
    pub stop_token_ids: Vec<u32>,
    /// How tokens are drawn.
    pub sampling: SamplingParams,
    /// Tell the log-probability of each generated token, and of this many most likely ones, at most [`MAX_LOGPROBS`].
    pub logprobs: Option<u32>,
    /// The same of each prompt token but the first.
    pub prompt_logprobs: Option<u32>,
    /// Only requests with the same number share blocks of the KV cache.
    pub cache_salt: u64,
    /// Lower numbers run first and are preempted last.
    pub priority: i32,
    /// Whose request it is; 0 is nobody's. Within a priority each key gets an equal part of the engine, and among the requests of one
    /// key the order of arrival decides.
    pub key: u32,
    /// A mask says which tokens may be drawn. It follows from the tokens before, so a step draws a token of the request only once
    /// [`Engine::resume`](crate::Engine::resume) has said that the mask for it is there. That for the first token is there from the
    /// beginning. Stop tokens before `min_tokens` are for the masks to forbid.
    #[cfg_attr(feature = "serde", serde(default))]
    pub is_constrained: bool,
    /// When nobody waits for it any longer, on the clock of [`Engine::expire`](crate::Engine::expire).
    pub deadline: Option<Duration>,
}

impl Request {
    /// A greedy request without stop tokens that asks for nothing else. Start from it and change what matters: fields may be added.
    #[must_use]
    pub fn new(id: RequestId, prompt: Vec<u32>, max_tokens: usize) -> Self {
        Self {
            id,
            prompt,
            max_tokens,
            min_tokens: 0,
            stop_token_ids: Vec::new(),
            sampling: SamplingParams::greedy(),
            logprobs: None,
            prompt_logprobs: None,
            cache_salt: 0,
            priority: 0,
            key: 0,
            is_constrained: false,
            deadline: None,
        }
    }

    /// Whether every prompt token must be computed for this request, be its keys and values known or not: its tokens are counted on
    /// their way through the steps, or their likelihoods are asked for.
    #[must_use]
    pub fn needs_whole_prompt(&self) -> bool {
        self.sampling.is_penalised() || self.prompt_logprobs.is_some()
    }

    /// Checks that no list and no number is beyond what the columns of a step hold, or what a runner can work with.
    ///
    /// # Errors
    /// [`EngineError::TooManyEntries`], [`EngineError::TooManyLogprobs`] or [`EngineError::OutOfRange`].
    pub fn check_limits(&self) -> Result<(), EngineError> {
        let lists = [
            ("logit_bias", self.sampling.logit_bias.len(), MAX_LOGIT_BIAS),
            ("stop_token_ids", self.stop_token_ids.len(), MAX_STOP_TOKEN_IDS),
        ];
        if let Some((field, len, limit)) = lists.into_iter().find(|(_, len, limit)| len > limit) {
            return Err(EngineError::TooManyEntries { field, len, limit });
        }
        let counts = [("logprobs", self.logprobs), ("prompt_logprobs", self.prompt_logprobs)];
        match counts.into_iter().find(|(_, asked)| asked.is_some_and(|asked| asked > MAX_LOGPROBS)) {
            Some((field, Some(asked))) => Err(EngineError::TooManyLogprobs { field, asked }),
            _ => self.sampling.check_ranges(),
        }
    }
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
        let sampling = SamplingParams { seed: u64::MAX, ..SamplingParams::greedy() };
        let draws: Vec<f32> = (0..10_000).map(|position| sampling.uniform(position)).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        let mean = draws.iter().sum::<f32>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "mean of the draws is {mean}");
        assert!(draws.iter().any(|draw| *draw < 0.001) && draws.iter().any(|draw| *draw > 0.999));
        assert!(unit_interval(u64::MAX) < 1.0);
    }
}
