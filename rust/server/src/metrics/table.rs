//! The table of metrics: names, meanings, and the sources of their values. `docs/metrics.md` is
//! made from it.

use std::sync::atomic::AtomicU64;

use streamcore_engine::{EngineConfig, Stats};

use self::Source::{
    Counter, EngineCounter, Gauge, Histogram as Durations, Info, Labelled as By, LabelledGauge as GaugeBy,
};
use super::{Histogram, Metrics, State};

/// The values of a counter, one for each value of its label.
type Labelled = fn(&Metrics) -> Vec<(String, u64)>;

pub(super) enum Source {
    Gauge(fn(&Stats) -> f64),
    EngineCounter(fn(&Stats) -> u64),
    Counter(fn(&Metrics) -> &AtomicU64),
    Labelled(&'static str, Labelled),
    LabelledGauge(&'static str, fn(&State<'_>) -> Vec<(&'static str, usize)>),
    /// Always 1; its labels carry the information.
    Info(fn(&EngineConfig) -> Vec<(&'static str, String)>),
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
    /// Returns Prometheus's name of its type.
    pub(super) fn kind(&self) -> &'static str {
        match self.source {
            Gauge(_) | GaugeBy(..) | Info(_) => "gauge",
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
    "streamcore_num_requests_waiting_by_reason" = "vllm:num_requests_waiting_by_reason",
        "The same by reason: `capacity` in the queue, `deferred` while their prompts are made", GaugeBy("reason", waiting_by_reason);
    "streamcore_held",
        "What is held for clients, by pool: bytes of heads that are read, of bodies until their prompts are made, of answers until they are written, and of stored responses; prompts being made; requests and prompt tokens in the queue; stored responses", GaugeBy("pool", |s| s.held.iter().map(|(pool, held, _)| (*pool, *held)).collect());
    "streamcore_held_limit",
        "The most that all clients together may have of each pool", GaugeBy("pool", |s| s.held.iter().map(|(pool, _, limit)| (*pool, *limit)).collect());
    "streamcore_cache_config_info" = "vllm:cache_config_info",
        "Always 1; the labels say how the KV cache is laid out, under vLLM's names", Info(cache_config);
    "streamcore_kv_blocks",
        "Blocks in the pool", Gauge(|s| s.num_blocks as f64);
    "streamcore_kv_blocks_free",
        "Blocks that no sequence holds", Gauge(|s| s.num_free_blocks as f64);
    "streamcore_kv_usage_ratio" = "vllm:kv_cache_usage_perc",
        "Part of the blocks that sequences hold, 0 to 1", Gauge(kv_usage);
    "streamcore_steps_total",
        "Steps planned", EngineCounter(|s| s.steps);
    "streamcore_step_tokens" = "vllm:iteration_tokens_total",
        "Tokens computed in a step", Durations(|m| &m.step_tokens);
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
    "streamcore_request_inference_time_seconds" = "vllm:request_inference_time_seconds",
        "From the first step to the end", Durations(|m| &m.inference_time);
    "streamcore_request_params_n" = "vllm:request_params_n",
        "`n` of an accepted request, once for each of its prompts", Durations(|m| &m.request_params_n);
    "streamcore_request_params_max_tokens" = "vllm:request_params_max_tokens",
        "Tokens that an accepted choice may generate, asked for or by default", Durations(|m| &m.request_params_max_tokens);
    "streamcore_request_prompt_tokens" = "vllm:request_prompt_tokens",
        "Tokens of a prompt", Durations(|m| &m.request_prompt_tokens);
    "streamcore_request_generation_tokens" = "vllm:request_generation_tokens",
        "Tokens that a request generated", Durations(|m| &m.request_generation_tokens);
};

fn waiting_by_reason(state: &State<'_>) -> Vec<(&'static str, usize)> {
    let num_queued = state.stats.num_waiting.saturating_sub(state.num_preparing);
    vec![("capacity", num_queued), ("deferred", state.num_preparing)]
}

/// Formats values as Python does, like vLLM.
fn cache_config(config: &EngineConfig) -> Vec<(&'static str, String)> {
    let caches_prefixes = if config.enable_prefix_caching { "True" } else { "False" };
    vec![
        ("block_size", config.block_size.to_string()),
        ("num_gpu_blocks", config.num_blocks.to_string()),
        ("enable_prefix_caching", caches_prefixes.to_owned()),
    ]
}

fn kv_usage(stats: &Stats) -> f64 {
    let held = stats.num_blocks.saturating_sub(stats.num_free_blocks);
    if held == 0 { 0.0 } else { held as f64 / stats.num_blocks as f64 }
}
