//! Distributions, written by the engine thread and read by anyone.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds in seconds, from a token of a tiny model to the longest answer.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    1200.0,
];
/// Upper bounds in tokens of one step: vLLM's own.
const STEP_TOKENS: &[f64] =
    &[1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16_384.0];
/// Upper bounds in choices: vLLM's own.
const CHOICES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];
/// Upper bounds in tokens.
const TOKENS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 20_000.0,
    50_000.0, 100_000.0,
];

/// The counts of values by range, and their sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// The value of one unit of `sum`.
    unit: f64,
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Creates a histogram of durations.
    #[must_use]
    pub fn of_seconds() -> Self {
        Self::new(SECONDS, 1e-6)
    }

    /// Creates a histogram of numbers of tokens.
    #[must_use]
    pub fn of_tokens() -> Self {
        Self::new(TOKENS, 1.0)
    }

    /// Creates a histogram of numbers of tokens in a step.
    #[must_use]
    pub fn of_step_tokens() -> Self {
        Self::new(STEP_TOKENS, 1.0)
    }

    /// Creates a histogram of numbers of choices.
    #[must_use]
    pub fn of_choices() -> Self {
        Self::new(CHOICES, 1.0)
    }

    fn new(bounds: &'static [f64], unit: f64) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, unit, buckets, sum: AtomicU64::new(0) }
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        self.add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts one number of things.
    pub fn observe_count(&self, count: usize) {
        self.add(count as u64);
    }

    fn add(&self, units: u64) {
        let value = units as f64 * self.unit;
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(units, Relaxed);
    }

    /// Appends its lines; `labels` go before the bound.
    pub(super) fn write(&self, page: &mut String, name: &str, labels: &str) {
        let separator = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        let bounds = self.bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (bucket, bound) in self.buckets.iter().zip(bounds) {
            count += bucket.load(Relaxed);
            let _ = writeln!(page, "{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {count}");
        }
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let sum = self.sum.load(Relaxed) as f64 * self.unit;
        let _ = writeln!(page, "{name}_sum{labels} {sum}\n{name}_count{labels} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dashboard reads quantiles from cumulative buckets: one that is not cumulative shows
    /// nonsense latencies.
    #[test]
    fn buckets_are_cumulative_and_bounds_belong_to_their_bucket() {
        let histogram = Histogram::of_seconds();
        for duration_ms in [1, 3, 3, 5_000_000] {
            histogram.observe(Duration::from_millis(duration_ms));
        }
        let mut page = String::new();
        histogram.write(&mut page, "t", "a=\"b\"");
        for expected in ["le=\"0.001\"} 1", "le=\"0.0025\"} 1", "le=\"0.005\"} 3"] {
            assert!(page.contains(&format!("t_bucket{{a=\"b\",{expected}\n")), "{page}");
        }
        let end = "t_bucket{a=\"b\",le=\"+Inf\"} 4\nt_sum{a=\"b\"} 5000.007\nt_count{a=\"b\"} 4\n";
        assert!(page.ends_with(end), "{page}");
    }
}
