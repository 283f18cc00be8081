//! What a plan says, in a few numbers: to see whether two engines have made the same one, and where it differs.

use crate::kv::fold;
use crate::step::StepPlan;

/// What hashes start from: any odd number without a pattern.
const SEED: u64 = 0xd6e8_feb8_9e6c_63b5;

/// An element of a column, as bits.
pub(crate) trait Element: Copy {
    fn bits(self) -> u64;
}

impl Element for i32 {
    fn bits(self) -> u64 {
        u64::from(self.cast_unsigned())
    }
}

impl Element for i64 {
    fn bits(self) -> u64 {
        self.cast_unsigned()
    }
}

impl Element for f32 {
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

/// The same on every machine and in every build; 0 for nothing.
pub(crate) fn hash<T: Element>(column: &[T]) -> u32 {
    if column.is_empty() {
        return 0;
    }
    let (pairs, rest) = column.as_chunks::<2>();
    let whole = pairs.iter().fold(column.len() as u64, |hash, [first, second]| {
        fold(hash ^ first.bits() ^ SEED, second.bits() ^ SEED.rotate_left(32))
    });
    let hash = rest.iter().fold(whole, |hash, last| fold(hash ^ last.bits() ^ SEED, SEED));
    (hash ^ (hash >> 32)) as u32
}

macro_rules! sizes {
    ($($name:ident,)*) => {
        impl StepPlan {
            /// The names of [`StepPlan::sizes`].
            pub const SIZE_NAMES: [&'static str; [$(stringify!($name)),*].len()] = [$(stringify!($name)),*];

            /// Every number of the plan but its name.
            #[must_use]
            pub fn sizes(&self) -> [usize; Self::SIZE_NAMES.len()] {
                // A field that is missing below does not compile.
                let Self { id: _, $($name),* } = *self;
                [$($name),*]
            }
        }
    };
}

sizes! {
    num_tokens,
    num_seqs,
    num_padding,
    num_samples,
    num_device_tokens,
    num_block_updates,
    num_new_rows,
    num_counted_tokens,
    num_penalised_samples,
    num_masked_samples,
    num_biases,
    num_scored_samples,
    num_scored_tokens,
    max_top_logprobs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_same_everywhere_and_tells_small_differences() {
        // A trace of one machine would not replay on another, or a swapped pair of blocks would go unnoticed.
        assert_eq!(
            [hash(&[1_i32, 2, 3]), hash(&[1_i64, 2, 3]), hash::<f32>(&[])],
            [41_998_866, 41_998_866, 0]
        );
        let columns: [&[i32]; 7] = [&[1, 2], &[2, 1], &[1, 2, 0], &[1, 2, 0, 0], &[0], &[-1], &[1, 3]];
        let mut hashes = columns.map(hash);
        hashes.sort_unstable();
        assert!(hashes.windows(2).all(|pair| pair[0] != pair[1]), "{hashes:?}");
        assert_ne!(hash(&[0.0_f32]), hash(&[-0.0_f32]));
    }
}
