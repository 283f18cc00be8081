//! Every metric on one screen: its names, what it says, and where its value comes from. `docs/metrics.md` is made from it.

use std::sync::atomic::AtomicU64;

use streamcore_engine::Stats;

use self::Source::{Counter, EngineCounter, Gauge, Histogram as Durations, Labelled as By};
use super::{Histogram, Metrics};

/// The values of a counter, one for each value of its label.
type Labelled = fn(&Metrics) -> Vec<(String, u64)>;

pub(super) enum Source {
    Gauge(fn(&Stats) -> f64),
    EngineCounter(fn(&Stats) -> u64),
    Counter(fn(&Metrics) -> &AtomicU64),
    Labelled(&'static str, Labelled),
    Histogram(fn(&Metrics) -> &Histogram),
}

pub(super) struct Row {
    pub(super) name: &'static str,
    /// vLLM's name of the same thing, for the dashboards that exist.
    pub(super) alias: Option<&'static str>,
    pub(super) help: &'static str,
    pub(super) source: Source,
}

impl Row {
    /// What Prometheus calls its type.
    pub(super) fn kind(&self) -> &'static str {
        match self.source {
            Gauge(_) => "gauge",
            Durations(_) => "histogram",
            EngineCounter(_) | Counter(_) | By(..) => "counter",
        }
    }
}

macro_rules! table {
    ($($name:literal $(= $alias:literal)?, $help:literal, $source:expr;)*) => {
        &[$(Row { name: $name, alias: table!(@alias $($alias)?), help: $help, source: $source }),*]
    };
    (@alias) => { None };
    (@alias $alias:literal) => { Some($alias) };
}

#[rustfmt::skip]
pub(super) const TABLE: &[Row] = table! {
    "streamcore_num_requests_running" = "vllm:num_requests_running",
        "Requests that hold a row", Gauge(|s| s.num_running as f64);
    "streamcore_num_requests_waiting" = "vllm:num_requests_waiting",
        "Requests in the queue, and those whose prompts are being made", Gauge(|s| s.num_waiting as f64);
    "streamcore_kv_blocks",
        "Blocks in the pool", Gauge(|s| s.num_blocks as f64);
    "streamcore_kv_blocks_free",
        "Blocks that no sequence holds", Gauge(|s| s.num_free_blocks as f64);
    "streamcore_kv_usage_ratio" = "vllm:kv_cache_usage_perc",
        "Part of the blocks that sequences hold, 0 to 1", Gauge(kv_usage);
    "streamcore_steps_total",
        "Steps planned", EngineCounter(|s| s.steps);
    "streamcore_computed_tokens_total",
        "Tokens computed, recomputed ones included", EngineCounter(|s| s.computed_tokens);
    "streamcore_prompt_tokens_total" = "vllm:prompt_tokens_total",
        "Tokens of accepted prompts", Counter(|m| &m.prompt_tokens);
    "streamcore_generation_tokens_total" = "vllm:generation_tokens_total",
        "Tokens generated", EngineCounter(|s| s.generated_tokens);
    "streamcore_wasted_tokens_total",
        "Tokens generated after the client had left", Counter(|m| &m.wasted_tokens);
    "streamcore_logits_not_finite_total",
        "Requests that ended with an error since the model computed a logit that is NaN or infinite", Counter(|m| &m.logits_not_finite);
    "streamcore_num_preemptions_total" = "vllm:num_preemptions_total",
        "Sequences that lost their blocks to another one", EngineCounter(|s| s.preemptions);
    "streamcore_prefix_cache_queries_total" = "vllm:prefix_cache_queries_total",
        "Prompt tokens that were looked for in the KV cache", EngineCounter(|s| s.prefix_cache_queries);
    "streamcore_prefix_cache_hits_total" = "vllm:prefix_cache_hits_total",
        "Prompt tokens that were found there", EngineCounter(|s| s.prefix_cache_hits);
    "streamcore_requests_total" = "vllm:request_success_total",
        "Requests ended, by reason; vLLM's label is `finished_reason`", By("finish_reason", |m| m.outcomes.values());
    "streamcore_aborts_total",
        "Requests whose client left: before they were queued, in the queue, before the first token, after it", By("phase", |m| m.aborts.values());
    "streamcore_refusals_total",
        "Requests that were not queued, by reason", By("reason", |m| m.refusals.values());
    "streamcore_http_responses_total",
        "Responses begun, by status", By("status", Metrics::statuses);
    "streamcore_time_to_first_token_seconds" = "vllm:time_to_first_token_seconds",
        "From arrival to the first token", Durations(|m| &m.time_to_first_token);
    "streamcore_inter_token_latency_seconds" = "vllm:inter_token_latency_seconds",
        "Between two tokens of one request", Durations(|m| &m.inter_token_latency);
    "streamcore_e2e_request_latency_seconds" = "vllm:e2e_request_latency_seconds",
        "From arrival to the end", Durations(|m| &m.request_latency);
    "streamcore_request_queue_time_seconds" = "vllm:request_queue_time_seconds",
        "From arrival to the first step", Durations(|m| &m.queue_time);
    "streamcore_request_prefill_time_seconds" = "vllm:request_prefill_time_seconds",
        "From the first step to the first token", Durations(|m| &m.prefill_time);
    "streamcore_request_decode_time_seconds" = "vllm:request_decode_time_seconds",
        "From the first token to the end", Durations(|m| &m.decode_time);
    "streamcore_request_prompt_tokens" = "vllm:request_prompt_tokens",
        "Tokens of a prompt", Durations(|m| &m.request_prompt_tokens);
    "streamcore_request_generation_tokens" = "vllm:request_generation_tokens",
        "Tokens that a request generated", Durations(|m| &m.request_generation_tokens);
};

fn kv_usage(stats: &Stats) -> f64 {
    let held = stats.num_blocks.saturating_sub(stats.num_free_blocks);
    if held == 0 { 0.0 } else { held as f64 / stats.num_blocks as f64 }
}
