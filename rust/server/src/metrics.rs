//! Metrics: counters that the driver and the routes write, and the page that shows them.

mod account;
mod histogram;
mod reasons;
mod table;

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use streamcore_engine::{EngineConfig, Stats};

pub use self::account::Account;
pub use self::histogram::Histogram;
pub use self::reasons::Reasons;
use self::reasons::reasons;
use self::table::{Row, Source, TABLE};

reasons! {
    /// How a request ended, as it is counted.
    Outcome {
        /// A stop token or a stop string.
        Stop = "stop",
        /// `max_tokens` or the context.
        Length = "length",
        /// The client went away.
        Abort = "abort",
        /// The runner or the server failed it.
        Error = "error",
        /// Its client does not wait any longer.
        Deadline = "deadline",
    }
}

reasons! {
    /// Where a request was when its client left.
    AbortPhase {
        /// Its body was read or made into tokens.
        BeforeQueue = "before_queue",
        /// It waited for its first step.
        Queued = "queued",
        /// Its prompt was computed.
        Prefill = "prefill",
        /// Tokens were generated.
        Decode = "decode",
    }
}

reasons! {
    /// Why a request was not queued.
    RefusalReason {
        /// Too many requests wait.
        QueueRequests = "queue_requests",
        /// Too many tokens wait.
        QueueTokens = "queue_tokens",
        /// Too many bytes of bodies are read or made into prompts.
        BodyBytes = "body_bytes",
        /// Too many bytes of answers are made or not read yet.
        AnswerBytes = "answer_bytes",
        /// Too many responses are stored, or too many bytes of them.
        Stored = "stored",
        /// The server is going away.
        Draining = "draining",
        /// The runner died or hangs.
        Failed = "failed",
    }
}

/// State that is read when the page is made.
#[derive(Debug)]
pub struct State<'a> {
    /// The engine's gauges and counters, requests that have not reached it among those that wait.
    pub stats: Stats,
    /// Those of them that wait for their prompts to be made.
    pub num_preparing: usize,
    /// Each pool of the ledger, what is held of it, and its limit.
    pub held: Vec<(&'static str, usize, usize)>,
    /// The limits of the engine.
    pub config: &'a EngineConfig,
}

/// Metrics beyond the engine's own [`Stats`].
#[derive(Debug)]
pub struct Metrics {
    outcomes: Reasons<{ Outcome::LABELS.len() }>,
    aborts: Reasons<{ AbortPhase::LABELS.len() }>,
    refusals: Reasons<{ RefusalReason::LABELS.len() }>,
    /// Responses by status, from 100 on.
    statuses: [AtomicU64; 500],
    /// Tokens of all accepted prompts.
    pub prompt_tokens: AtomicU64,
    /// Tokens that were generated for clients that had left.
    pub wasted_tokens: AtomicU64,
    /// Requests that ended since a logit was NaN or infinite.
    pub logits_not_finite: AtomicU64,
    /// From arrival to the first token.
    pub time_to_first_token: Histogram,
    /// Between two tokens of one request.
    pub inter_token_latency: Histogram,
    /// From arrival to the end.
    pub request_latency: Histogram,
    /// From arrival to the first step.
    pub queue_time: Histogram,
    /// From the first step to the first token.
    pub prefill_time: Histogram,
    /// From the first token to the end.
    pub decode_time: Histogram,
    /// From the first step to the end.
    pub inference_time: Histogram,
    /// Tokens of a step.
    pub step_tokens: Histogram,
    /// Choices that were asked for.
    pub request_params_n: Histogram,
    /// Tokens that were asked for.
    pub request_params_max_tokens: Histogram,
    /// Lengths of the prompts that were answered.
    pub request_prompt_tokens: Histogram,
    /// Lengths of their answers.
    pub request_generation_tokens: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            outcomes: Reasons::new(Outcome::LABELS),
            aborts: Reasons::new(AbortPhase::LABELS),
            refusals: Reasons::new(RefusalReason::LABELS),
            statuses: [const { AtomicU64::new(0) }; 500],
            prompt_tokens: AtomicU64::new(0),
            wasted_tokens: AtomicU64::new(0),
            logits_not_finite: AtomicU64::new(0),
            time_to_first_token: Histogram::of_seconds(),
            inter_token_latency: Histogram::of_seconds(),
            request_latency: Histogram::of_seconds(),
            queue_time: Histogram::of_seconds(),
            prefill_time: Histogram::of_seconds(),
            decode_time: Histogram::of_seconds(),
            inference_time: Histogram::of_seconds(),
            step_tokens: Histogram::of_step_tokens(),
            request_params_n: Histogram::of_choices(),
            request_params_max_tokens: Histogram::of_tokens(),
            request_prompt_tokens: Histogram::of_tokens(),
            request_generation_tokens: Histogram::of_tokens(),
        }
    }
}

impl Metrics {
    /// Counts the end of a request.
    pub fn count_end(&self, outcome: Outcome) {
        self.outcomes.add(outcome as usize);
    }

    /// Counts a client that has left.
    pub fn count_abort(&self, phase: AbortPhase) {
        self.aborts.add(phase as usize);
    }

    /// Counts a request that was not queued.
    pub fn count_refusal(&self, reason: RefusalReason) {
        self.refusals.add(reason as usize);
    }

    /// Counts a response.
    pub fn count_status(&self, status: u16) {
        if let Some(count) = usize::from(status).checked_sub(100).and_then(|index| self.statuses.get(index)) {
            count.fetch_add(1, Relaxed);
        }
    }

    fn statuses(&self) -> Vec<(String, u64)> {
        let counts = self.statuses.iter().map(|count| count.load(Relaxed)).zip(100..);
        counts.filter(|(count, _)| *count > 0).map(|(count, status)| (status.to_string(), count)).collect()
    }

    /// Renders the page that Prometheus reads. vLLM's names carry the name of the model, as
    /// dashboards for it expect.
    #[must_use]
    pub fn render(&self, state: &State<'_>, model_name: &str) -> String {
        let escaped = model_name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let model = format!("model_name=\"{escaped}\"");
        let mut page = String::with_capacity(32 << 10);
        for row in TABLE {
            self.write_row(&mut page, row, row.name, "", state);
            if let Some(alias) = row.alias {
                self.write_row(&mut page, row, alias, &model, state);
            }
        }
        page
    }

    fn write_row(&self, page: &mut String, row: &Row, name: &str, labels: &str, state: &State<'_>) {
        let _ = writeln!(page, "# HELP {name} {}\n# TYPE {name} {}", row.help, row.kind());
        let mut line = |labels: &str, value: &dyn std::fmt::Display| {
            let _ = match labels {
                "" => writeln!(page, "{name} {value}"),
                _ => writeln!(page, "{name}{{{labels}}} {value}"),
            };
        };
        match row.source {
            Source::Gauge(read) => line(labels, &read(&state.stats)),
            Source::EngineCounter(read) => line(labels, &read(&state.stats)),
            Source::Counter(read) => line(labels, &read(self).load(Relaxed)),
            Source::Labelled(label, read) => {
                // The one label that the two call differently.
                let label = if name == "vllm:request_success_total" { "finished_reason" } else { label };
                for (value, count) in read(self) {
                    line(&with_label(labels, label, &value), &count);
                }
            }
            Source::LabelledGauge(label, read) => {
                for (value, count) in read(state) {
                    line(&with_label(labels, label, value), &count);
                }
            }
            Source::Info(read) => {
                let all = read(state.config).into_iter();
                line(
                    &all.fold(labels.to_owned(), |labels, (name, value)| with_label(&labels, name, &value)),
                    &1,
                );
            }
            Source::Histogram(read) => read(self).write(page, name, labels),
        }
    }
}

fn with_label(labels: &str, name: &str, value: &str) -> String {
    let separator = if labels.is_empty() { "" } else { "," };
    format!("{labels}{separator}{name}=\"{value}\"")
}

/// Returns the reference of each metric: name, type, vLLM's name (or nothing) and meaning.
pub fn reference() -> impl Iterator<Item = [&'static str; 4]> {
    TABLE.iter().map(|row| [row.name, row.kind(), row.alias.unwrap_or(""), row.help])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn render(metrics: &Metrics, stats: Stats, model_name: &str) -> String {
        let config = EngineConfig {
            block_size: 16,
            num_blocks: 8,
            max_num_batched_tokens: 8,
            max_num_seqs: 2,
            max_model_len: 16,
            max_steps_in_flight: 1,
            enable_prefix_caching: true,
            capture_sizes: vec![],
            target_itl: None,
            min_prefill_share: 0,
            num_mask_words: 0,
        };
        let held = vec![("answer_bytes", 5, 7)];
        metrics.render(&State { stats, num_preparing: 1, held, config: &config }, model_name)
    }

    /// A metric without a type, or with another row's value, misleads the engineer whom it wakes.
    #[test]
    fn every_metric_has_help_type_and_value() {
        let metrics = Metrics::default();
        metrics.count_end(Outcome::Length);
        metrics.count_abort(AbortPhase::Prefill);
        metrics.count_refusal(RefusalReason::QueueTokens);
        metrics.count_status(429);
        let stats = Stats { num_running: 3, num_free_blocks: 6, num_blocks: 8, ..Stats::default() };
        let page = render(&metrics, stats, "toy");
        for Row { name, alias, .. } in TABLE {
            for name in [Some(name), alias.as_ref()].into_iter().flatten() {
                assert_eq!(page.matches(&format!("# TYPE {name} ")).count(), 1, "{name}");
            }
        }
        for expected in [
            "streamcore_num_requests_running 3",
            "streamcore_kv_blocks_free 6",
            "streamcore_kv_usage_ratio 0.25",
            "streamcore_held{pool=\"answer_bytes\"} 5",
            "streamcore_held_limit{pool=\"answer_bytes\"} 7",
            "streamcore_requests_total{finish_reason=\"length\"} 1",
            "streamcore_aborts_total{phase=\"prefill\"} 1",
            "streamcore_refusals_total{reason=\"queue_tokens\"} 1",
            "streamcore_http_responses_total{status=\"429\"} 1",
        ] {
            assert!(page.lines().any(|line| line == expected), "{expected}");
        }
    }

    /// A dashboard or an autoscaler that was made for vLLM must find what it reads, with the same
    /// numbers.
    #[test]
    fn dashboards_for_vllm_find_their_names() {
        let metrics = Metrics::default();
        metrics.prompt_tokens.fetch_add(5, Relaxed);
        metrics.time_to_first_token.observe(Duration::from_millis(3));
        metrics.count_end(Outcome::Stop);
        metrics.step_tokens.observe_count(9);
        metrics.request_params_n.observe_count(2);
        metrics.request_params_max_tokens.observe_count(16);
        metrics.inference_time.observe(Duration::from_millis(3));
        let stats = Stats { num_running: 3, num_waiting: 2, ..Stats::default() };
        let page = render(&metrics, stats, "a\"b");
        for expected in [
            "vllm:num_requests_running{model_name=\"a\\\"b\"} 3",
            "vllm:num_requests_waiting{model_name=\"a\\\"b\"} 2",
            "vllm:kv_cache_usage_perc{model_name=\"a\\\"b\"} 0",
            "vllm:prompt_tokens_total{model_name=\"a\\\"b\"} 5",
            "vllm:generation_tokens_total{model_name=\"a\\\"b\"} 0",
            "vllm:num_preemptions_total{model_name=\"a\\\"b\"} 0",
            "vllm:prefix_cache_queries_total{model_name=\"a\\\"b\"} 0",
            "vllm:prefix_cache_hits_total{model_name=\"a\\\"b\"} 0",
            "vllm:request_success_total{model_name=\"a\\\"b\",finished_reason=\"stop\"} 1",
            "vllm:time_to_first_token_seconds_bucket{model_name=\"a\\\"b\",le=\"0.005\"} 1",
            "vllm:inter_token_latency_seconds_count{model_name=\"a\\\"b\"} 0",
            "vllm:e2e_request_latency_seconds_count{model_name=\"a\\\"b\"} 0",
            "vllm:request_queue_time_seconds_count{model_name=\"a\\\"b\"} 0",
            "vllm:iteration_tokens_total_bucket{model_name=\"a\\\"b\",le=\"8\"} 0",
            "vllm:iteration_tokens_total_bucket{model_name=\"a\\\"b\",le=\"16\"} 1",
            "vllm:request_params_n_bucket{model_name=\"a\\\"b\",le=\"2\"} 1",
            "vllm:request_params_max_tokens_sum{model_name=\"a\\\"b\"} 16",
            "vllm:request_inference_time_seconds_count{model_name=\"a\\\"b\"} 1",
            "vllm:num_requests_waiting_by_reason{model_name=\"a\\\"b\",reason=\"capacity\"} 1",
            "vllm:num_requests_waiting_by_reason{model_name=\"a\\\"b\",reason=\"deferred\"} 1",
            "vllm:cache_config_info{model_name=\"a\\\"b\",block_size=\"16\",num_gpu_blocks=\"8\",\
             enable_prefix_caching=\"True\"} 1",
        ] {
            assert!(page.lines().any(|line| line == expected), "{expected}");
        }
    }
}
