//! Watches that the step loop makes progress. A step's duration varies by factors of thousands with
//! model, machine and tokens, so it is measured. See
//! `docs/decisions/0010-when-the-step-loop-hangs.md`.

use std::time::{Duration, Instant};

/// How often the loop is checked. Silence is counted in checks, not by a clock: while a debugger or
/// its machine stops the whole process, no check runs, and nothing hangs.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// A loop is weak after this silence, however short its steps are.
const MIN_WEAK_AFTER: Duration = Duration::from_millis(1500);
/// A loop is given up after this silence.
const MIN_GONE_AFTER: Duration = Duration::from_secs(10);
/// A step may take this many times the longest expected: others use the machine, contexts grow.
const PATIENCE: u32 = 8;
/// A weak loop is given up after this many times its limit.
const GONE_FACTOR: u32 = 4;
/// Limit for the first step, if nothing has been measured.
const FIRST_STEP: Duration = Duration::from_secs(60);
/// Each shorter step lowers the longest duration by this fraction.
const FORGETTING: u32 = 64;
/// Steps are grouped by the power of two of their tokens.
const NUM_SIZES: usize = 32;

/// The measured progress of the step loop.
#[derive(Debug)]
pub(super) struct Pulse {
    last_beat: Instant,
    /// Tokens of the largest step in flight since then; 0 if there is none.
    num_tokens: usize,
    has_beaten: bool,
    silence: Duration,
    longest: [Duration; NUM_SIZES],
}

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last_beat: now,
            num_tokens: 0,
            has_beaten: true,
            silence: Duration::ZERO,
            longest: [Duration::ZERO; NUM_SIZES],
        }
    }

    /// Records progress; the largest step now in flight has `num_tokens`.
    pub(super) fn beat(&mut self, now: Instant, num_tokens: usize) {
        if self.num_tokens > 0 {
            self.learn(self.num_tokens, now.saturating_duration_since(self.last_beat));
        }
        self.last_beat = now;
        self.num_tokens = num_tokens;
        self.has_beaten = true;
        self.silence = Duration::ZERO;
    }

    /// Records the duration of a step of `num_tokens`.
    pub(super) fn learn(&mut self, num_tokens: usize, took: Duration) {
        let longest = &mut self.longest[size_of(num_tokens)];
        let forgotten = longest.saturating_sub(took) / FORGETTING;
        *longest = took.max(*longest - forgotten);
    }

    /// Counts one check; call it every [`LOOK_INTERVAL`].
    pub(super) fn look(&mut self, has_work: bool) {
        let is_alive = std::mem::replace(&mut self.has_beaten, false) || !has_work;
        self.silence = if is_alive { Duration::ZERO } else { self.silence + LOOK_INTERVAL };
    }

    /// Returns how long a weak loop has been silent.
    pub(super) fn weak_for(&self) -> Option<Duration> {
        (self.silence >= self.weak_after()).then_some(self.silence)
    }

    /// Returns whether the loop is to be given up.
    pub(super) fn is_gone(&self) -> bool {
        self.silence >= MIN_GONE_AFTER.max(self.weak_after() * GONE_FACTOR)
    }

    fn weak_after(&self) -> Duration {
        let expected = if self.num_tokens == 0 { Duration::ZERO } else { self.expected() };
        MIN_WEAK_AFTER.max(expected * PATIENCE)
    }

    /// Returns the expected duration of the step in flight: a larger one takes longer, at most in
    /// proportion to its tokens.
    fn expected(&self) -> Duration {
        let size = size_of(self.num_tokens);
        let bound = |(measured, longest): (usize, &Duration)| match size.checked_sub(measured) {
            Some(power @ 1..) => longest.saturating_mul(1 << power.min(31)),
            _ => *longest,
        };
        let known = self.longest.iter().enumerate().filter(|(_, longest)| !longest.is_zero());
        match self.longest[size] {
            Duration::ZERO => known.map(bound).min().unwrap_or(FIRST_STEP),
            longest => longest,
        }
    }
}

fn size_of(num_tokens: usize) -> usize {
    (usize::BITS - num_tokens.leading_zeros()) as usize % NUM_SIZES
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks until `is_reached`; returns how long that took.
    fn time_until(pulse: &mut Pulse, is_reached: impl Fn(&Pulse) -> bool) -> Duration {
        let mut waited = Duration::ZERO;
        pulse.look(true);
        while !is_reached(pulse) {
            pulse.look(true);
            waited += LOOK_INTERVAL;
            assert!(waited < Duration::from_secs(3600), "never");
        }
        waited
    }

    fn pulse_after(steps: &[(usize, u64)], num_tokens: usize) -> Pulse {
        let mut now = Instant::now();
        let mut pulse = Pulse::new(now);
        for (num_tokens, took_ms) in steps {
            pulse.beat(now, *num_tokens);
            now += Duration::from_millis(*took_ms);
        }
        pulse.beat(now, num_tokens);
        pulse
    }

    /// A hung runner behind a healthy `/health` is never restarted, and its streams hang with it.
    #[test]
    fn a_loop_of_short_steps_is_weak_within_two_seconds_and_gone_after_ten() {
        let steps = [(1, 20); 5];
        for num_tokens in [0, 1] {
            let mut pulse = pulse_after(&steps, num_tokens);
            assert!(time_until(&mut pulse, |pulse| pulse.weak_for().is_some()) < Duration::from_secs(2));
            let mut pulse = pulse_after(&steps, num_tokens);
            assert_eq!(time_until(&mut pulse, Pulse::is_gone), MIN_GONE_AFTER);
        }
    }

    /// A prefill on a slow machine takes a minute; a watchdog that takes it for a hang ends good
    /// streams.
    #[test]
    fn a_long_step_has_the_time_that_such_steps_take() {
        let weak = |pulse: &Pulse| pulse.weak_for().is_some();
        let seconds = Duration::from_secs;
        let mut as_measured = pulse_after(&[(1, 20), (2048, 9000), (1, 20)], 2048);
        assert_eq!(time_until(&mut as_measured, weak), seconds(72));
        let mut never_measured = pulse_after(&[(1, 20)], 2048);
        assert!(time_until(&mut never_measured, weak) >= seconds(8 * 40), "in proportion to its tokens");
        let mut smaller_than_measured = pulse_after(&[(2048, 9000)], 16);
        assert_eq!(time_until(&mut smaller_than_measured, weak), seconds(72));
        let mut first = pulse_after(&[], 1);
        assert_eq!(time_until(&mut first, weak), FIRST_STEP * PATIENCE);
    }

    /// An orchestrator that kills at the first hiccup must see that it was one.
    #[test]
    fn a_late_step_makes_it_well_again_and_is_forgotten_in_time() {
        let mut pulse = pulse_after(&[(1, 20), (1, 20)], 1);
        time_until(&mut pulse, |pulse| pulse.weak_for().is_some());
        let mut now = pulse.last_beat + Duration::from_secs(4);
        pulse.beat(now, 1);
        assert!(pulse.weak_for().is_none());
        assert_eq!(pulse.weak_after(), Duration::from_secs(32));
        for _ in 0..500 {
            now += Duration::from_millis(20);
            pulse.beat(now, 1);
        }
        assert_eq!(pulse.weak_after(), MIN_WEAK_AFTER);
    }

    /// Silence without work is no hang.
    #[test]
    fn an_idle_loop_is_well() {
        let mut pulse = pulse_after(&[(1, 20)], 0);
        for _ in 0..1000 {
            pulse.look(false);
        }
        assert!(pulse.weak_for().is_none() && !pulse.is_gone());
    }
}
