//! What a plan says, in a few numbers: to see whether two engines have made the same one, and where it differs.

use crate::kv::fold;
use crate::step::{StepBuffers, StepPlan};

/// What hashes start from: any odd number without a pattern.
const SEED: u64 = 0xd6e8_feb8_9e6c_63b5;

/// An element of a column, as bits.
trait Element: Copy {
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
fn hash<T: Element>(column: &[T]) -> u32 {
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

macro_rules! used_columns {
    ($plan:ident; $($name:ident [$len:expr],)*) => {
        impl StepPlan {
            /// The names of the columns, in the order of [`StepPlan::column_hashes`].
            pub const COLUMN_NAMES: [&'static str; [$(stringify!($name)),*].len()] = [$(stringify!($name)),*];

            /// A hash of what this plan uses of each column; 0 where it uses nothing. It is the same on every machine and in every
            /// build. The columns must be as [`Engine::schedule`](crate::Engine::schedule) has left them.
            #[must_use]
            pub fn column_hashes(&self, columns: &StepBuffers<'_>) -> [u32; Self::COLUMN_NAMES.len()] {
                // A column that is missing below does not compile.
                let (StepBuffers { $($name),* }, $plan) = (columns, self);
                [$(hash(&$name[..$len])),*]
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
    num_biases,
    num_scored_samples,
    num_scored_tokens,
    max_top_logprobs,
}

used_columns! { plan;
    token_ids [plan.num_tokens + plan.num_padding],
    positions [plan.num_tokens + plan.num_padding],
    slot_mapping [plan.num_tokens + plan.num_padding],
    query_starts [plan.num_seqs + plan.num_padding + 1],
    context_lens [plan.num_seqs + plan.num_padding],
    seq_rows [plan.num_seqs + plan.num_padding],
    block_places [plan.num_block_updates],
    block_ids [plan.num_block_updates],
    logits_indices [plan.num_samples],
    sample_rows [plan.num_samples],
    new_rows [plan.num_new_rows],
    temperature [plan.num_new_rows],
    top_p [plan.num_new_rows],
    top_k [plan.num_new_rows],
    min_p [plan.num_new_rows],
    repetition_penalty [plan.num_new_rows],
    frequency_penalty [plan.num_new_rows],
    presence_penalty [plan.num_new_rows],
    uniform [plan.num_samples],
    device_token_indices [plan.num_device_tokens],
    device_token_rows [plan.num_device_tokens],
    counted_indices [plan.num_counted_tokens],
    counted_rows [plan.num_counted_tokens],
    counted_as_output [plan.num_counted_tokens],
    penalised_samples [plan.num_penalised_samples],
    bias_samples [plan.num_biases],
    bias_tokens [plan.num_biases],
    bias_values [plan.num_biases],
    scored_samples [plan.num_scored_samples],
    scored_indices [plan.num_scored_tokens],
    scored_targets [plan.num_scored_tokens],
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
