//! Random numbers that a seed names: the same on every machine.

/// The `SplitMix64` generator (Steele, Lea, Flood, 2014).
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..end`, of which there must be one.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // The bias is below 2^-32 for any length or count that a load has.
        self.next() % end
    }

    /// A fraction in `[0, 1)`.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The time to the next of events that come independently of each other, one in a mean time of 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.fraction()).ln()
    }

    /// This many token ids, each non-negative as a signed number.
    pub(crate) fn tokens(&mut self, count: usize) -> impl Iterator<Item = u32> {
        (0..count).map(|_| (self.next() >> 33) as u32)
    }
}
