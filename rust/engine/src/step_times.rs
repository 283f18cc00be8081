//! Estimates step durations from the caller's measurements, and limits the prefill tokens of a step
//! with decodes.
//!
//! ```text
//! expected = decode_s + prefill tokens * prefill_s / prefill_tokens
//! ```
//!
//! `decode_s` is what a step takes that computes decodes only; the quotient is what prefill tokens
//! have added to that, weighted towards the last steps and the long chunks. Where time is not a
//! straight line the quotient is the slope of the chord to the chunks of late, so the chunk settles
//! where the chord meets the target. See `docs/decisions/0013-prefill-beside-decodes.md`.

use std::time::Duration;

use crate::sequence::ScheduledTokens;

/// The weight of a new measurement in the estimate.
const GAIN: f64 = 0.25;
/// A measurement counts as at most this multiple of the estimate, so that a page fault or a stopped
/// process changes little.
const MOST_SURPRISE: f64 = 2.0;
/// A chunk is at most this many times as long as the longest recent one: measurements of short
/// chunks predict little about long ones.
const MOST_GROWTH: f64 = 2.0;
/// What the longest recent chunk loses with each that is shorter: a few requests in a row are often
/// short, and a long one behind them is nothing new.
const FADING: f64 = 1.0 / 32.0;
/// Prefills may lengthen a step at least by this fraction whatever the target is, or they would
/// stall where decodes alone reach it.
const LEAST_SHARE: f64 = 0.125;
/// After this many mixed steps, one has decodes only, to measure which of the two became slower.
const MIXED_STEPS_IN_A_ROW: u32 = 16;

/// The work of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) has_decodes: bool,
    pub(crate) num_prefill_tokens: usize,
}

/// A model of the device, fitted to the durations of its steps.
#[derive(Debug, Default)]
pub(crate) struct StepTimes {
    /// What decodes take alone; `None` before the first step of theirs.
    decode_s: Option<f64>,
    prefill_s: f64,
    prefill_tokens: f64,
    /// Relative deviation from the estimate, of steps with decodes and prefills.
    deviation: f64,
    /// Tokens of the longest recent chunk.
    longest: f64,
    /// Mixed steps planned since the last with decodes only. Counted in plans: with two steps in
    /// flight measurements come one plan late.
    num_mixed_steps: u32,
}

impl Work {
    pub(crate) fn of(scheduled: &[ScheduledTokens]) -> Self {
        let prefills = scheduled.iter().filter(|part| !part.is_decode());
        Self {
            has_decodes: scheduled.iter().any(ScheduledTokens::is_decode),
            num_prefill_tokens: prefills.map(|part| part.len).sum(),
        }
    }
}

impl StepTimes {
    pub(crate) fn plan(&mut self, work: Work) {
        let is_mixed = work.has_decodes && work.num_prefill_tokens > 0;
        self.num_mixed_steps = if is_mixed { self.num_mixed_steps + 1 } else { 0 };
    }

    pub(crate) fn observe(&mut self, work: Work, elapsed: Duration) {
        let Work { has_decodes, num_prefill_tokens } = work;
        let decode_s = if has_decodes { self.decode_s() } else { 0.0 };
        let expected = decode_s + self.added_by(num_prefill_tokens);
        let most = if expected > 0.0 { expected * MOST_SURPRISE } else { f64::MAX };
        let took = elapsed.as_secs_f64().min(most);
        if has_decodes && num_prefill_tokens > 0 && expected > 0.0 {
            self.deviation += GAIN * ((took - expected).abs() / expected - self.deviation);
        }
        // Decodes alone take no longer than with prefills beside them.
        if has_decodes && (num_prefill_tokens == 0 || took < decode_s) {
            let gain = if decode_s > 0.0 { 2.0 * GAIN } else { 1.0 };
            self.decode_s = Some(decode_s + gain * (took - decode_s));
        }
        if num_prefill_tokens > 0 {
            let num_tokens = num_prefill_tokens as f64;
            self.prefill_s += took - decode_s - GAIN * self.prefill_s;
            self.prefill_tokens += num_tokens - GAIN * self.prefill_tokens;
            self.longest = num_tokens.max(self.longest * (1.0 - FADING));
        }
    }

    /// Returns how many prefill tokens, of `most`, keep a step with decodes within the target, or
    /// add `min_share` of what decodes take to it if that is longer: at least one, now and then
    /// none to measure decodes alone, and all before any prefill was measured.
    pub(crate) fn max_prefill_tokens(&self, target: Duration, min_share: u32, most: usize) -> usize {
        let left = target.as_secs_f64() / (1.0 + self.deviation) - self.decode_s();
        let left = left.max(LEAST_SHARE.max(f64::from(min_share)) * self.decode_s());
        let known = MOST_GROWTH * self.longest;
        let fitting = if self.prefill_s > 0.0 { left * self.prefill_tokens / self.prefill_s } else { known };
        // Rounds down.
        let fitting = (fitting.min(known) as usize).max(1);
        if self.longest == 0.0 || fitting >= most {
            most
        } else if self.num_mixed_steps >= MIXED_STEPS_IN_A_ROW || self.decode_s.is_none() {
            0
        } else {
            fitting
        }
    }

    fn decode_s(&self) -> f64 {
        self.decode_s.unwrap_or(0.0)
    }

    fn added_by(&self, num_prefill_tokens: usize) -> f64 {
        if self.prefill_s > 0.0 {
            num_prefill_tokens as f64 * self.prefill_s / self.prefill_tokens
        } else {
            0.0
        }
    }
}
