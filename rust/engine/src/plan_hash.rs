//! Hashes of a plan's columns, to see whether two engines made the same plan and where plans
//! differ.

use crate::kv::fold;
use crate::step::{ColumnSlice, ColumnType};

/// The start of a hash: any odd number without a pattern.
const SEED: u64 = 0xd6e8_feb8_9e6c_63b5;

/// An element of a column.
pub(crate) trait Element: Copy {
    const COLUMN_TYPE: ColumnType;

    fn bits(self) -> u64;
    /// Returns a column of this type.
    fn of(column: ColumnSlice<'_>) -> Option<&mut [Self]>;
}

macro_rules! element {
    ($type:ty, $column_type:ident, $value:ident => $bits:expr) => {
        impl Element for $type {
            const COLUMN_TYPE: ColumnType = ColumnType::$column_type;

            fn bits(self) -> u64 {
                let $value = self;
                $bits
            }

            fn of(column: ColumnSlice<'_>) -> Option<&mut [Self]> {
                if let ColumnSlice::$column_type(column) = column { Some(column) } else { None }
            }
        }
    };
}

element! { i32, Int32, value => u64::from(value.cast_unsigned()) }
element! { i64, Int64, value => value.cast_unsigned() }
element! { f32, Float32, value => u64::from(value.to_bits()) }

/// Hashes a column, equally on every machine and in every build; 0 if it is empty.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_same_everywhere_and_tells_small_differences() {
        // A trace of one machine would not replay on another, or a swapped pair of blocks would go
        // unnoticed.
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
