//! The hash that names everything from a sequence's first token to the end of one of its blocks.

/// 128 bits over a salt and all tokens up to the end of a block: equal for equal prefixes, and for
/// others by a rare accident, which [`PrefixCache`](super::PrefixCache) finds out.
///
/// Two lanes of 64 bits take in four tokens at a time. Each round multiplies two 64-bit numbers,
/// one of which depends on all that came before, and folds the upper half of the product onto the
/// lower: the mixing step of Wang Yi's *wyhash* (2019). The salt is the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PrefixHash(pub(super) [u64; 2]);

/// Odd numbers without a pattern. The upper bit of each half is set, so that no two token ids below
/// 2^31 make a factor zero.
const MULTIPLIERS: [u64; 4] =
    [0xa076_1d65_e703_7ed1, 0xe703_7ed1_a0b4_28db, 0x8ebc_6af1_89d4_4a6b, 0xd6e8_feb8_9e6c_63b5];

/// Multiplies to 128 bits and folds the upper half onto the lower.
pub(crate) fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product as u64) ^ (product >> 64) as u64
}

impl PrefixHash {
    /// Starts from a salt alone: equal tokens under different salts have different hashes.
    #[must_use]
    pub fn root(salt: u64) -> Self {
        let [first, second, third, fourth] = MULTIPLIERS;
        Self([fold(salt ^ first, second), fold(salt ^ third, fourth)])
    }

    /// Returns the hash of this prefix and one block more. All blocks of a cache have the same
    /// number of tokens.
    #[must_use]
    pub fn then(self, block: &[u32]) -> Self {
        let (quads, rest) = block.as_chunks::<4>();
        let whole = quads.iter().fold(self, |hash, quad| hash.absorb(*quad));
        if rest.is_empty() {
            return whole;
        }
        let mut padded = [0; 4];
        padded[..rest.len()].copy_from_slice(rest);
        whole.absorb(padded)
    }

    fn absorb(self, tokens: [u32; 4]) -> Self {
        let [a, b, c, d] = tokens.map(u64::from);
        let (left, right) = (a | b << 32, c | d << 32);
        let [first, second] = self.0;
        Self([fold(first ^ left, right ^ MULTIPLIERS[0]), fold(second ^ right, left ^ MULTIPLIERS[2])])
    }

    /// Returns the bits that choose a bucket.
    pub(super) fn low_bits(self) -> u64 {
        self.0[0]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn small_differences_give_hashes_that_differ_in_each_half() {
        // Token ids are small and alike. A hash that maps many of them to few values would make
        // every lookup a search.
        let root = PrefixHash::root(0);
        let mut halves = [HashSet::new(), HashSet::new()];
        let mut num_hashes = 0;
        let mut see = |hash: PrefixHash| {
            halves[0].insert(hash.0[0]);
            halves[1].insert(hash.0[1]);
            num_hashes += 1;
        };
        for first in 0..40 {
            for second in 0..40 {
                see(root.then(&[first, second]).then(&[0, 0]));
                see(root.then(&[0, 0]).then(&[first, second + 1]));
                see(root.then(&[7, 7, 7, 7, 7, 7, first, second + 1]));
                see(PrefixHash::root(u64::from(first) + 1).then(&[second, 0]));
            }
        }
        assert_eq!(halves.map(|half| half.len()), [num_hashes; 2]);
    }

    #[test]
    fn buckets_fill_evenly() {
        // The lowest bits choose the bucket: if they were poor, long chains would make lookups slow
        // with the size of the cache.
        let mut counts = vec![0_u32; 1 << 10];
        for first in 0..1 << 12 {
            let hash = PrefixHash::root(3).then(&[first, 0, 0, 0]);
            counts[hash.low_bits() as usize % (1 << 10)] += 1;
        }
        let longest = counts.iter().max();
        assert!(longest < Some(&16), "4 per bucket were expected, one has {longest:?}");
    }
}
