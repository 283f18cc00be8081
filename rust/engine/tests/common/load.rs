//! Random limits and requests: prompts that begin alike, conversations that go on, several answers
//! to one prompt.

use std::time::Duration;

use streamcore_engine::{EngineConfig, Request, RequestId, SamplingParams};

use super::model::Rng;

pub(crate) fn random_config(rng: &mut Rng, depth: usize) -> EngineConfig {
    let block_size = [1, 2, 3, 4, 8][rng.between(0, 4)];
    let max_model_len = rng.between(2, 48);
    // From half of the longest sequence to twice that: blocks are short more often than not.
    let max_blocks: usize = max_model_len.div_ceil(block_size);
    let max_num_batched_tokens = [1, 2, 3, 7, 16, 64][rng.between(0, 5)];
    let max_num_seqs = rng.between(1, 8);
    // Dice of their own: the worlds of known seeds stay as they are.
    let mut dice = Rng::new((max_model_len * max_num_seqs) as u64);
    let capture_sizes = (1..=max_num_seqs.min(max_num_batched_tokens)).filter(|_| dice.chance(30)).collect();
    EngineConfig {
        block_size,
        num_blocks: rng.between(max_blocks.div_ceil(2), max_blocks * 2),
        max_num_batched_tokens,
        max_num_seqs,
        max_model_len,
        max_steps_in_flight: depth,
        enable_prefix_caching: rng.chance(85),
        capture_sizes,
        target_itl: rng.chance(50).then(|| Duration::from_millis(rng.between(1, 60) as u64)),
        min_prefill_share: dice.between(0, 3) as u32,
        num_mask_words: 2,
    }
}

/// The time between two events.
pub(crate) const TURN: Duration = Duration::from_millis(10);

/// Where requests come from. They are numbered as they arrive.
#[derive(Debug)]
pub(crate) struct Load {
    num_left: usize,
    next_id: u64,
    /// Some prompts begin like one of these.
    documents: Vec<Vec<u32>>,
    fresh_percent: usize,
    num_salts: usize,
    max_priority: i32,
    num_keys: usize,
    deadline_percent: usize,
}

impl Load {
    pub(crate) fn new(rng: &mut Rng, config: &EngineConfig) -> Self {
        let document = |rng: &mut Rng| (0..config.max_seq_len()).map(|_| prompt_token(rng)).collect();
        Self {
            num_left: if config.max_seq_len() < 2 { 0 } else { rng.between(1, 16) },
            next_id: 0,
            documents: (0..rng.between(1, 2)).map(|_| document(rng)).collect(),
            fresh_percent: [0, 10, 30, 100][rng.between(0, 3)],
            num_salts: rng.between(1, 2),
            max_priority: rng.between(0, 2) as i32,
            num_keys: rng.between(1, 3),
            deadline_percent: [0, 0, 30, 100][rng.between(0, 3)],
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.num_left == 0
    }

    /// One request or several answers to one prompt, at this time; `texts` are those that clients
    /// have seen so far.
    pub(crate) fn next(
        &mut self,
        rng: &mut Rng,
        config: &EngineConfig,
        texts: &[Vec<u32>],
        now: Duration,
    ) -> Vec<Request> {
        let num_answers = if rng.chance(20) { rng.between(2, 3) } else { 1 }.min(self.num_left);
        self.num_left -= num_answers;
        let prompt = self.prompt(rng, config, texts);
        let cache_salt = rng.between(1, self.num_salts) as u64;
        let max_tokens = rng.between(1, config.max_seq_len() - prompt.len());
        // Dice of their own, for the same reason.
        let is_constrained = Rng::new(self.next_id ^ now.as_micros() as u64).chance(25);
        let precedence =
            Rng::new(self.next_id.wrapping_mul(31) ^ now.as_micros() as u64).between(0, 2) as i32;
        let request = Request {
            is_constrained,
            precedence,
            stop_token_ids: (0..rng.between(0, 3)).map(|_| rng.between(0, 49) as u32).collect(),
            min_tokens: rng.between(0, 8).saturating_sub(4).min(max_tokens),
            sampling: random_sampling(rng),
            logprobs: rng.chance(20).then(|| rng.between(0, 20) as u32),
            prompt_logprobs: rng.chance(8).then(|| rng.between(0, 20) as u32),
            cache_salt,
            priority: rng.between(0, self.max_priority as usize) as i32,
            key: rng.between(1, self.num_keys) as u32,
            deadline: rng.chance(self.deadline_percent).then(|| now + TURN * rng.between(0, 200) as u32),
            ..Request::new(RequestId(0), prompt, max_tokens)
        };
        (0..num_answers).map(|_| self.answer(rng, &request)).collect()
    }

    fn answer(&mut self, rng: &mut Rng, request: &Request) -> Request {
        let mut answer = request.clone();
        answer.id = RequestId(self.next_id);
        answer.sampling.seed = rng.next();
        self.next_id += 1;
        answer
    }

    fn prompt(&self, rng: &mut Rng, config: &EngineConfig, texts: &[Vec<u32>]) -> Vec<u32> {
        let longest = (config.max_seq_len() * 3 / 4).max(1);
        let (beginning, goes_on): (&[u32], bool) = if rng.chance(self.fresh_percent) {
            (&[], false)
        } else if !texts.is_empty() && rng.chance(70) {
            (&texts[rng.between(0, texts.len() - 1)], rng.chance(50))
        } else {
            (&self.documents[rng.between(0, self.documents.len() - 1)], false)
        };
        // The next turn of a conversation brings the whole text back.
        let len = if goes_on { longest.min(beginning.len() + 2) } else { rng.between(1, longest) };
        let most_shared = beginning.len().min(len);
        let num_shared = if goes_on || rng.chance(60) { most_shared } else { rng.between(0, most_shared) };
        let mut prompt = beginning[..num_shared].to_vec();
        // Half of those that begin alike are alike to their end.
        if prompt.is_empty() || rng.chance(50) {
            prompt.extend((num_shared..len).map(|_| prompt_token(rng)));
        }
        prompt
    }
}

/// Never one that the model draws, so that no two contexts look alike by chance.
fn prompt_token(rng: &mut Rng) -> u32 {
    rng.between(100, 9999) as u32
}

fn random_sampling(rng: &mut Rng) -> SamplingParams {
    let seed = rng.next();
    SamplingParams {
        temperature: rng.between(0, 3) as f32 / 2.0,
        top_p: rng.between(1, 4) as f32 / 4.0,
        top_k: rng.between(0, 3) as u32,
        seed,
        top_n_sigma: (seed % 3) as f32,
        min_p: rng.between(0, 1) as f32 / 8.0,
        logit_bias: (0..rng.between(0, 3).saturating_sub(1)).map(|token| (token as u32, 1.5)).collect(),
        frequency_penalty: if rng.chance(4) { 0.5 } else { 0.0 },
        presence_penalty: if rng.chance(4) { -0.5 } else { 0.0 },
        repetition_penalty: if rng.chance(4) { 1.25 } else { 1.0 },
    }
}
