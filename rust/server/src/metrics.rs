//! What is measured: one table of names, and where each value comes from.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use streamcore_engine::Stats;

/// How a request ended, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A stop token or a stop string.
    Stop,
    /// `max_tokens` or the context.
    Length,
    /// The client went away.
    Abort,
    /// The runner or the server failed it.
    Error,
}

const OUTCOMES: [(Outcome, &str); 4] = [
    (Outcome::Stop, "stop"),
    (Outcome::Length, "length"),
    (Outcome::Abort, "abort"),
    (Outcome::Error, "error"),
];

/// Upper bounds in seconds, from a token of a tiny model to the longest answer.
const BOUNDS_S: [f64; 18] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    1200.0,
];

/// A distribution of durations. Written by the engine thread, read by anyone.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_S.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS_S.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    fn write(&self, page: &mut String, name: &str) {
        let mut count = 0;
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS_S) {
            count += bucket.load(Relaxed);
            line(page, format_args!("{name}_bucket{{le=\"{bound}\"}}"), count);
        }
        count += self.buckets[BOUNDS_S.len()].load(Relaxed);
        line(page, format_args!("{name}_bucket{{le=\"+Inf\"}}"), count);
        line(
            page,
            format_args!("{name}_sum"),
            Duration::from_micros(self.sum_us.load(Relaxed)).as_secs_f64(),
        );
        line(page, format_args!("{name}_count"), count);
    }
}

/// What the driver counts beyond the engine's own [`Stats`].
#[derive(Debug, Default)]
pub struct Metrics {
    outcomes: [AtomicU64; OUTCOMES.len()],
    /// Requests that found the queue full.
    pub rejected: AtomicU64,
    /// Tokens of all accepted prompts.
    pub prompt_tokens: AtomicU64,
    /// From arrival to the first token.
    pub time_to_first_token: Histogram,
    /// Between two tokens of one request.
    pub inter_token_latency: Histogram,
    /// From arrival to the end.
    pub request_latency: Histogram,
    /// From arrival to the first step.
    pub queue_time: Histogram,
}

enum Source {
    Gauge(fn(&Stats) -> usize),
    EngineCounter(fn(&Stats) -> u64),
    Counter(fn(&Metrics) -> &AtomicU64),
    Outcomes,
    Histogram(fn(&Metrics) -> &Histogram),
}

struct Row {
    name: &'static str,
    /// vLLM's name of the same thing, for the dashboards that exist.
    alias: Option<&'static str>,
    help: &'static str,
    source: Source,
}

const fn row(name: &'static str, help: &'static str, source: Source) -> Row {
    Row { name, alias: None, help, source }
}

impl Row {
    const fn also(self, alias: &'static str) -> Self {
        Self { alias: Some(alias), ..self }
    }
}

/// Every metric, under this server's prefix and, where vLLM has the same one, under its name too.
const TABLE: [Row; 17] = [
    row("streamcore_num_requests_running", "Requests that hold a row", Source::Gauge(|s| s.num_running))
        .also("vllm:num_requests_running"),
    row("streamcore_num_requests_waiting", "Requests in the queue", Source::Gauge(|s| s.num_waiting))
        .also("vllm:num_requests_waiting"),
    row("streamcore_kv_blocks", "Blocks in the pool", Source::Gauge(|s| s.num_blocks)),
    row("streamcore_kv_blocks_free", "Blocks that no sequence holds", Source::Gauge(|s| s.num_free_blocks)),
    row("streamcore_steps_total", "Steps planned", Source::EngineCounter(|s| s.steps)),
    row(
        "streamcore_computed_tokens_total",
        "Tokens computed, recomputed ones included",
        Source::EngineCounter(|s| s.computed_tokens),
    ),
    row(
        "streamcore_prompt_tokens_total",
        "Tokens of accepted prompts",
        Source::Counter(|m| &m.prompt_tokens),
    )
    .also("vllm:prompt_tokens_total"),
    row(
        "streamcore_generation_tokens_total",
        "Tokens generated",
        Source::EngineCounter(|s| s.generated_tokens),
    )
    .also("vllm:generation_tokens_total"),
    row(
        "streamcore_num_preemptions_total",
        "Sequences that lost their blocks to another one",
        Source::EngineCounter(|s| s.preemptions),
    )
    .also("vllm:num_preemptions_total"),
    row(
        "streamcore_prefix_cache_queries_total",
        "Prompt tokens that were looked for in the KV cache",
        Source::EngineCounter(|s| s.prefix_cache_queries),
    )
    .also("vllm:prefix_cache_queries_total"),
    row(
        "streamcore_prefix_cache_hits_total",
        "Prompt tokens that were found there",
        Source::EngineCounter(|s| s.prefix_cache_hits),
    )
    .also("vllm:prefix_cache_hits_total"),
    row("streamcore_requests_total", "Requests ended, by reason", Source::Outcomes),
    row(
        "streamcore_requests_rejected_total",
        "Requests that found the queue full",
        Source::Counter(|m| &m.rejected),
    ),
    row(
        "streamcore_time_to_first_token_seconds",
        "From arrival to the first token",
        Source::Histogram(|m| &m.time_to_first_token),
    )
    .also("vllm:time_to_first_token_seconds"),
    row(
        "streamcore_inter_token_latency_seconds",
        "Between two tokens of one request",
        Source::Histogram(|m| &m.inter_token_latency),
    )
    .also("vllm:inter_token_latency_seconds"),
    row(
        "streamcore_e2e_request_latency_seconds",
        "From arrival to the end",
        Source::Histogram(|m| &m.request_latency),
    )
    .also("vllm:e2e_request_latency_seconds"),
    row(
        "streamcore_request_queue_time_seconds",
        "From arrival to the first step",
        Source::Histogram(|m| &m.queue_time),
    )
    .also("vllm:request_queue_time_seconds"),
];

impl Metrics {
    /// Counts the end of a request.
    pub fn count_end(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
    }

    /// The page that Prometheus reads.
    #[must_use]
    pub fn render(&self, stats: &Stats) -> String {
        let mut page = String::with_capacity(16 << 10);
        for row in &TABLE {
            [Some(row.name), row.alias]
                .into_iter()
                .flatten()
                .for_each(|name| self.write_row(&mut page, name, row, stats));
        }
        page
    }

    fn write_row(&self, page: &mut String, name: &str, Row { help, source, .. }: &Row, stats: &Stats) {
        let kind = match source {
            Source::Gauge(_) => "gauge",
            Source::Histogram(_) => "histogram",
            Source::EngineCounter(_) | Source::Counter(_) | Source::Outcomes => "counter",
        };
        write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n").expect("a string takes every byte");
        match source {
            Source::Gauge(read) => line(page, format_args!("{name}"), read(stats)),
            Source::EngineCounter(read) => line(page, format_args!("{name}"), read(stats)),
            Source::Counter(read) => line(page, format_args!("{name}"), read(self).load(Relaxed)),
            Source::Outcomes => self.write_outcomes(page, name),
            Source::Histogram(read) => read(self).write(page, name),
        }
    }

    fn write_outcomes(&self, page: &mut String, name: &str) {
        for (outcome, label) in OUTCOMES {
            let count = self.outcomes[outcome as usize].load(Relaxed);
            line(page, format_args!("{name}{{finish_reason=\"{label}\"}}"), count);
        }
    }
}

fn line(page: &mut String, name: std::fmt::Arguments<'_>, value: impl std::fmt::Display) {
    writeln!(page, "{name} {value}").expect("a string takes every byte");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dashboard reads quantiles from cumulative buckets: one that is not cumulative shows nonsense latencies.
    #[test]
    fn buckets_are_cumulative_and_bounds_belong_to_their_bucket() {
        let histogram = Histogram::default();
        for duration_ms in [1, 3, 3, 5_000_000] {
            histogram.observe(Duration::from_millis(duration_ms));
        }
        let mut page = String::new();
        histogram.write(&mut page, "t");
        for expected in ["t_bucket{le=\"0.001\"} 1", "t_bucket{le=\"0.0025\"} 1", "t_bucket{le=\"0.005\"} 3"]
        {
            assert!(page.contains(expected), "{page}");
        }
        assert!(page.ends_with("t_bucket{le=\"+Inf\"} 4\nt_sum 5000.007\nt_count 4\n"), "{page}");
    }

    /// A metric without a type or with a value from another row misleads whoever is woken by it.
    #[test]
    fn every_metric_has_help_type_and_value() {
        let metrics = Metrics::default();
        metrics.count_end(Outcome::Length);
        let page = metrics.render(&Stats { num_running: 3, num_free_blocks: 7, ..Stats::default() });
        for Row { name, alias, .. } in &TABLE {
            for name in [Some(name), alias.as_ref()].into_iter().flatten() {
                assert_eq!(page.matches(&format!("# TYPE {name} ")).count(), 1, "{name}");
            }
        }
        assert!(page.contains("streamcore_num_requests_running 3\n"));
        assert!(page.contains("streamcore_kv_blocks_free 7\n"));
        assert!(page.contains("streamcore_requests_total{finish_reason=\"length\"} 1\n"));
    }

    /// A dashboard or an autoscaler that was made for vLLM must find what it reads, with the same numbers.
    #[test]
    fn dashboards_for_vllm_find_their_names() {
        let metrics = Metrics::default();
        metrics.prompt_tokens.fetch_add(5, Relaxed);
        metrics.time_to_first_token.observe(Duration::from_millis(3));
        let page = metrics.render(&Stats { num_running: 3, num_waiting: 2, ..Stats::default() });
        for expected in [
            "vllm:num_requests_running 3",
            "vllm:num_requests_waiting 2",
            "vllm:prompt_tokens_total 5",
            "vllm:generation_tokens_total 0",
            "vllm:num_preemptions_total 0",
            "vllm:prefix_cache_queries_total 0",
            "vllm:prefix_cache_hits_total 0",
            "vllm:time_to_first_token_seconds_bucket{le=\"0.005\"} 1",
            "vllm:inter_token_latency_seconds_count 0",
            "vllm:e2e_request_latency_seconds_count 0",
            "vllm:request_queue_time_seconds_count 0",
        ] {
            assert!(page.lines().any(|line| line == expected), "{expected}");
        }
    }
}
