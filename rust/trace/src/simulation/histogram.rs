//! Durations by the million in fixed memory.

use serde::Serialize;

/// Buckets per power of two: a duration is accurate to half of 1/128.
const PARTS: u64 = 128;
const PART_BITS: u32 = PARTS.trailing_zeros();

/// Counts of durations in buckets that grow with the durations, so that all are equally accurate.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Grows to the largest duration, so to at most 58 * 128 counts.
    counts: Vec<u64>,
    num_values: u64,
    max_ns: u64,
}

/// The percentiles of a histogram, in seconds; zeros if nothing was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Half of all are at most this.
    pub p50_s: f64,
    /// Nine of ten.
    pub p90_s: f64,
    /// 99 of 100.
    pub p99_s: f64,
    /// All.
    pub max_s: f64,
}

impl Histogram {
    pub(crate) fn add(&mut self, value_ns: u64) {
        let bucket = bucket(value_ns);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.num_values += 1;
        self.max_ns = self.max_ns.max(value_ns);
    }

    pub(crate) fn summary(&self) -> Summary {
        let seconds = |value_ns: u64| value_ns as f64 / 1e9;
        Summary {
            p50_s: seconds(self.percentile(50)),
            p90_s: seconds(self.percentile(90)),
            p99_s: seconds(self.percentile(99)),
            max_s: seconds(self.max_ns),
        }
    }

    /// Returns the middle of the bucket that contains this percentile.
    fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.num_values * percent).div_ceil(100);
        let mut num_below = 0;
        let found = self.counts.iter().position(|count| {
            num_below += count;
            num_below >= rank
        });
        found.map_or(0, |bucket| middle(bucket).min(self.max_ns))
    }
}

/// Returns a value's bucket: one each below 128, then 128 for each power of two.
fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(PART_BITS + 1);
    (u64::from(shift) * PARTS + (value >> shift)) as usize
}

fn middle(bucket: usize) -> u64 {
    let (bucket, shift) = (bucket as u64, (bucket as u64 / PARTS).saturating_sub(1));
    let first = (bucket - shift * PARTS) << shift;
    first + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_known_to_half_a_percent() {
        // A wrong percentile is a wrong machine bought.
        for exponent in 0..60 {
            for value in [1_u64 << exponent, (1 << exponent) + (1 << exponent) / 3, (2 << exponent) - 1] {
                let known = middle(bucket(value));
                assert!(known.abs_diff(value) <= value / 200, "{value} is told as {known}");
            }
        }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        // Off by one rank, the largest of a hundred values would be reported as their 99th
        // percentile.
        let mut histogram = Histogram::default();
        assert_eq!(histogram.summary(), Summary::default());
        (1..=100).rev().for_each(|value| histogram.add(value));
        let nanoseconds = |seconds: f64| (seconds * 1e9).round();
        let Summary { p50_s, p90_s, p99_s, max_s } = histogram.summary();
        assert_eq!([p50_s, p90_s, p99_s, max_s].map(nanoseconds), [50.0, 90.0, 99.0, 100.0]);
    }
}
