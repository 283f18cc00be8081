//! The report of a simulation.

use std::collections::BTreeMap;

use serde::Serialize;
use streamcore_engine::{Stats, StepPlan};

use super::histogram::{Histogram, Summary};

/// The result of a simulation; times are those of the simulated device and its clients.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Seconds from the beginning of the load to the last token; the load of a trace begins with
    /// its first request.
    pub duration_s: f64,
    /// Requests that were answered.
    pub num_requests: u64,
    /// Requests that were refused, because too many were waiting.
    pub num_refused: u64,
    /// Requests of a trace that have no answer there.
    pub num_left_out: u64,
    /// Tokens of the prompts that the engine was given: those of refused requests and of requests
    /// left out are not counted.
    pub num_prompt_tokens: u64,
    /// Tokens of the answers.
    pub num_output_tokens: u64,
    /// Answers in a second.
    pub requests_per_s: f64,
    /// Tokens of answers in a second.
    pub output_tokens_per_s: f64,
    /// From the arrival to the first token.
    pub ttft: Summary,
    /// From a token to the next of the same request.
    pub itl: Summary,
    /// From the arrival to the last token.
    pub latency: Summary,
    /// From the arrival to the first step.
    pub queue_time: Summary,
    /// The same by key.
    pub queue_time_by_key: BTreeMap<u32, Summary>,
    /// Steps.
    pub num_steps: u64,
    /// Sequences in a step, on average.
    pub mean_seqs: f64,
    /// The part of the time in which the device was at work.
    pub device_busy: f64,
    /// Sequences that lost their blocks to another one.
    pub num_preemptions: u64,
    /// The part of the prompt tokens that was in the KV cache already.
    pub prefix_hit_rate: f64,
    /// The largest part of the blocks that sequences held at once.
    pub peak_kv_usage: f64,
    /// Maximum requests that waited at once.
    pub peak_waiting: usize,
}

/// Accounts for all events, in memory that does not grow with the requests.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) num_refused: u64,
    pub(super) num_left_out: u64,
    pub(super) num_prompt_tokens: u64,
    num_ended: u64,
    num_tokens: u64,
    num_seqs: u64,
    busy_ns: u64,
    peak_blocks: usize,
    peak_waiting: usize,
    ttft: Histogram,
    itl: Histogram,
    latency: Histogram,
    queue: Histogram,
    queue_by_key: BTreeMap<u32, Histogram>,
}

impl Account {
    pub(super) fn see_waiting(&mut self, num_waiting: usize) {
        self.peak_waiting = self.peak_waiting.max(num_waiting);
    }

    pub(super) fn see_step(&mut self, plan: &StepPlan, step_ns: u64, stats: &Stats) {
        self.num_seqs += plan.num_seqs as u64;
        self.busy_ns = self.busy_ns.saturating_add(step_ns);
        self.peak_blocks = self.peak_blocks.max(stats.num_blocks - stats.num_free_blocks);
    }

    pub(super) fn queue(&mut self, key: u32, waited_ns: u64) {
        self.queue.add(waited_ns);
        self.queue_by_key.entry(key).or_default().add(waited_ns);
    }

    pub(super) fn first_token(&mut self, waited_ns: u64) {
        self.num_tokens += 1;
        self.ttft.add(waited_ns);
    }

    pub(super) fn inter_token(&mut self, gap_ns: u64) {
        self.num_tokens += 1;
        self.itl.add(gap_ns);
    }

    pub(super) fn end(&mut self, took_ns: u64) {
        self.num_ended += 1;
        self.latency.add(took_ns);
    }

    pub(super) fn report(&self, now_ns: u64, stats: &Stats) -> Report {
        let duration_s = now_ns as f64 / 1e9;
        // No request, no division by zero.
        let part = |part: f64, of: f64| if of > 0.0 { part / of } else { 0.0 };
        Report {
            duration_s,
            num_requests: self.num_ended,
            num_refused: self.num_refused,
            num_left_out: self.num_left_out,
            num_prompt_tokens: self.num_prompt_tokens,
            num_output_tokens: self.num_tokens,
            requests_per_s: part(self.num_ended as f64, duration_s),
            output_tokens_per_s: part(self.num_tokens as f64, duration_s),
            ttft: self.ttft.summary(),
            itl: self.itl.summary(),
            latency: self.latency.summary(),
            queue_time: self.queue.summary(),
            queue_time_by_key: self.queue_by_key.iter().map(|(key, times)| (*key, times.summary())).collect(),
            num_steps: stats.steps,
            mean_seqs: part(self.num_seqs as f64, stats.steps as f64),
            device_busy: part(self.busy_ns as f64, now_ns as f64),
            num_preemptions: stats.preemptions,
            prefix_hit_rate: part(stats.prefix_cache_hits as f64, stats.prefix_cache_queries as f64),
            peak_kv_usage: part(self.peak_blocks as f64, stats.num_blocks as f64),
            peak_waiting: self.peak_waiting,
        }
    }
}
