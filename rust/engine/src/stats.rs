//! Plain counters, copied out after a step.

/// A copy of the engine's gauges and counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests in the waiting queue.
    pub num_waiting: usize,
    /// Requests that hold a row.
    pub num_running: usize,
    /// Blocks in the pool.
    pub num_blocks: usize,
    /// Blocks that no sequence holds.
    pub num_free_blocks: usize,
    /// Maximum prefill tokens in a step with decodes, as
    /// [`target_itl`](crate::EngineConfig::target_itl) sets it now.
    pub max_prefill_tokens: usize,
    /// Plans handed out so far.
    pub steps: u64,
    /// Tokens computed so far, recomputed ones included.
    pub computed_tokens: u64,
    /// Tokens sampled and kept so far.
    pub generated_tokens: u64,
    /// Sequences that lost their blocks to another one so far.
    pub preemptions: u64,
    /// Prompt tokens of requests that have left the waiting queue, without those that must compute
    /// their whole prompt.
    pub prefix_cache_queries: u64,
    /// Those of them that were in the KV cache already.
    pub prefix_cache_hits: u64,
}
