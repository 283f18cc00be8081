//! Shared by the integration tests: a fake device with a KV memory, and the model that runs on it.
#![allow(clippy::unwrap_used, dead_code)] // Each test program uses its own part.

pub(crate) mod device;
pub(crate) mod load;
pub(crate) mod model;
pub(crate) mod story;
pub(crate) mod world;

use streamcore_engine::{EngineConfig, Request, RequestId, SamplingParams};

/// Limits that never get in the way; a test names those that it is about.
pub(crate) fn config() -> EngineConfig {
    EngineConfig {
        block_size: 4,
        num_blocks: 64,
        max_num_batched_tokens: 64,
        max_num_seqs: 8,
        max_model_len: 64,
        max_steps_in_flight: 1,
        enable_prefix_caching: true,
        capture_sizes: vec![],
        target_itl: None,
        min_prefill_share: 0,
        num_mask_words: 0,
    }
}

/// Returns a request with a prompt of its own and no stop tokens.
pub(crate) fn request(id: u64, prompt_len: usize, max_tokens: usize) -> Request {
    let prompt = (0..prompt_len as u32).map(|position| 1000 + 100 * id as u32 + position).collect();
    let sampling = SamplingParams { temperature: 1.0, seed: id, ..SamplingParams::greedy() };
    Request { sampling, ..Request::new(RequestId(id), prompt, max_tokens) }
}
