//! A model whose next token depends on every token before it and on every sampling parameter.

use streamcore_engine::{
    FinishReason, OwnedStepBuffers, ROW_PARAMETERS, Request, SamplingParams, TokenLogprobs, row_parameters,
};

/// Tokens are drawn below this; prompts use larger ones, so that no two contexts look alike by
/// chance.
pub(crate) const VOCABULARY: u64 = 50;

/// The parameters of a draw besides the context.
#[derive(Debug, Clone)]
pub(crate) struct Draw {
    /// The parameters of the row.
    pub(crate) parameters: Parameters,
    pub(crate) uniform: f32,
    /// For a sequence with penalties: its tokens, and which are of the output.
    pub(crate) counted: Vec<(i32, bool)>,
    pub(crate) biases: Vec<(i32, f32)>,
}

macro_rules! parameters {
    ({ $($(#[doc = $about:literal])* $name:ident: $type:ident = $neutral:expr, $range:ident;)* }) => {
        /// The numbers that a row keeps, in the order of the table.
        pub(crate) type Parameters = [f32; ROW_PARAMETERS.len()];

        /// Those of a request.
        pub(crate) fn parameters_of(sampling: &SamplingParams) -> Parameters {
            [$(sampling.$name as f32),*]
        }

        /// Those that a plan tells of a new row.
        pub(crate) fn told_parameters(columns: &OwnedStepBuffers, index: usize) -> Parameters {
            [$(columns.$name[index] as f32),*]
        }

        /// Fills their columns with a number that no request has.
        pub(crate) fn poison_parameters(columns: &mut OwnedStepBuffers) {
            $(columns.$name.fill(-7.0 as _);)*
        }
    };
}

row_parameters! { parameters! {} }

fn hash(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0xcbf2_9ce4_8422_2325, |hash: u64, word| {
        (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
    })
}

/// Returns the token after this context.
pub(crate) fn next_token(context: &[i32], draw: &Draw) -> i32 {
    let words = context.iter().map(|token| *token as u64);
    let words =
        words.chain(draw.parameters.iter().chain([&draw.uniform]).map(|number| u64::from(number.to_bits())));
    let words =
        words.chain(draw.counted.iter().map(|(token, is_output)| *token as u64 * 2 + u64::from(*is_output)));
    let words = words
        .chain(draw.biases.iter().flat_map(|(token, value)| [*token as u64, u64::from(value.to_bits())]));
    let first = hash(words);
    let tokens = (0..VOCABULARY).map(|offset| ((first.wrapping_add(offset)) % VOCABULARY) as i32);
    let is_forbidden = |token: &i32| draw.biases.contains(&(*token, f32::NEG_INFINITY));
    tokens.into_iter().find(|token| !is_forbidden(token)).expect("some token may be drawn")
}

/// Returns how likely the model finds a token after this context, and which ones it finds most
/// likely.
pub(crate) fn logprobs(context: &[i32], token: i32, num_top: usize) -> TokenLogprobs {
    let state = hash(context.iter().map(|token| *token as u64));
    let score = |token: u64| -((hash([state, token].into_iter()) % 1000) as f32);
    let top = (0..num_top as u64)
        .map(|rank| ((hash([state, rank, 7].into_iter()) % VOCABULARY) as u32, score(rank)));
    TokenLogprobs { logprob: score(token as u64), top: top.collect() }
}

/// Returns what a request must answer, worked out alone, with neither batch nor cache.
pub(crate) fn expected_output(request: &Request) -> (Vec<u32>, FinishReason) {
    let mut context: Vec<i32> = request.prompt.iter().map(|token| *token as i32).collect();
    let mut output = Vec::new();
    while output.len() < request.max_tokens {
        let token = next_token(&context, &expected_draw(request, &context));
        if request.stop_token_ids.contains(&(token as u32)) {
            return (output, FinishReason::Stop { token_id: token as u32 });
        }
        output.push(token as u32);
        context.push(token);
    }
    (output, FinishReason::Length)
}

fn expected_draw(request: &Request, context: &[i32]) -> Draw {
    let sampling = &request.sampling;
    let num_generated = context.len() - request.prompt.len();
    let is_output = |position| position >= request.prompt.len();
    let is_early = num_generated < request.min_tokens && !request.is_constrained;
    let forbidden = if is_early { request.stop_token_ids.as_slice() } else { &[] };
    let biases = sampling.logit_bias.iter().map(|(token, value)| (*token as i32, *value));
    let counted = context.iter().enumerate().map(|(position, token)| (*token, is_output(position)));
    Draw {
        parameters: parameters_of(sampling),
        uniform: sampling.uniform(num_generated),
        counted: if sampling.is_penalised() { counted.collect() } else { Vec::new() },
        biases: biases.chain(forbidden.iter().map(|token| (*token as i32, f32::NEG_INFINITY))).collect(),
    }
}

/// Returns what a request must be told of its prompt, of each token of this output, and of a stop
/// token that ended it.
pub(crate) fn expected_logprobs(
    request: &Request,
    output: &[u32],
    end: Option<FinishReason>,
) -> (Vec<TokenLogprobs>, Vec<TokenLogprobs>) {
    let stop_token = match &end {
        Some(FinishReason::Stop { token_id }) => Some(token_id),
        _ => None,
    };
    let tokens: Vec<i32> =
        request.prompt.iter().chain(output).chain(stop_token).map(|token| *token as i32).collect();
    let told = |positions: std::ops::Range<usize>, num_top: Option<u32>| match num_top {
        Some(num_top) => positions
            .map(|position| logprobs(&tokens[..position], tokens[position], num_top as usize))
            .collect(),
        None => Vec::new(),
    };
    let prompt_len = request.prompt.len();
    (told(1..prompt_len, request.prompt_logprobs), told(prompt_len..tokens.len(), request.logprobs))
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

    /// Returns a number in `low..=high`.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.next() as usize % (high - low + 1)
    }

    /// True `percent` times out of a hundred.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.between(0, 99) < percent
    }
}
