//! Random numbers from a seed, the same on every machine.

use streamcore_engine::split_mix_64;

/// The outputs of [`split_mix_64`], one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Rng {
    seed: u64,
    num_drawn: u64,
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, num_drawn: 0 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        let drawn = split_mix_64(self.seed, self.num_drawn);
        self.num_drawn += 1;
        drawn
    }

    /// Returns a number in `0..end`, of which there must be one.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // The bias is below 2^-32 for any length or count that a load has.
        self.next() % end
    }

    /// Returns a fraction in `[0, 1)`.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns the time to the next of independent events, with a mean of 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.fraction()).ln()
    }

    /// Returns `count` token ids, each non-negative as a signed number.
    pub(crate) fn tokens(&mut self, count: usize) -> impl Iterator<Item = u32> {
        (0..count).map(|_| (self.next() >> 33) as u32)
    }
}
