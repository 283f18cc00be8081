//! The operations on the CPU. Each takes a struct of addresses, sizes and strides, computes in
//! `f32`, and shares its rows out over the pool.

mod attention;
mod experts;
mod gated;
mod grouped;
mod linear;
mod rms_norm;
mod rope;
mod rounded;
mod rows;
mod sample;
mod scratch;
#[cfg(target_arch = "x86_64")]
mod tile_registers;

pub use attention::{PagedAttention, attention_rounds, paged_attention};
pub use experts::{Experts, experts};
pub use gated::{Gated, gated};
pub use grouped::Form;
pub use linear::{
    Linear, PackLinear, activates, has_tiles, linear, pack_linear, packed_len, prefers_rounding,
};
pub(crate) use rms_norm::norm_arguments;
pub use rms_norm::{RmsNorm, rms_norm};
pub(crate) use rope::rope_arguments;
pub use rope::{RopeAndStore, rope_and_store_kv};
pub(crate) use rounded::round_early;
pub use rows::{AddInto, Embed, Put, Scale, SoftCap, Take, add_into, embed, put, scale, soft_cap, take};
pub use sample::{Sample, Score, sample, score};

use crate::ops::{Operation, operation};

/// Every operation, at the place of its number.
pub const OPERATIONS: &[Operation] = &[
    operation!(Embed, embed),
    operation!(Take, take),
    operation!(AddInto, add_into),
    operation!(Scale, scale),
    operation!(SoftCap, soft_cap),
    operation!(RmsNorm, rms_norm),
    operation!(Gated, gated),
    operation!(Linear, linear),
    operation!(RopeAndStore, rope_and_store_kv),
    operation!(PagedAttention, paged_attention),
    operation!(Experts, experts),
    operation!(Sample, sample),
    operation!(Score, score),
    operation!(Put, put),
];

/// Elements that one thread should have to work on before another is woken: some ten microseconds'
/// worth.
const ELEMENTS_PER_CHUNK: usize = 64 * 1024;

/// A struct of pointers that a loop's threads share.
///
/// Its fields are read only through [`Shared::get`], so that a closure captures the whole.
struct Shared<T>(T);

// SAFETY: the threads of a loop work on ranges that do not overlap, and read the rest.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn get(&self) -> &T {
        &self.0
    }
}

/// Calls `$kernel::<E>(args)` for the element type of a [`Dtype`](crate::Dtype): here, so that the
/// kernels are compiled with this crate's optimisation, whatever that of the crate that calls them.
macro_rules! by_dtype {
    ($kernel:ident, $dtype:expr, $args:expr) => {
        match $dtype {
            crate::Dtype::F32 => $kernel::<f32>($args),
            crate::Dtype::Bf16 => $kernel::<crate::element::Bf16>($args),
            crate::Dtype::F16 => $kernel::<crate::element::F16>($args),
        }
    };
}
use by_dtype;

/// As `by_dtype`, for the element types `$kernel::<E, C>` of tensors and cache.
macro_rules! by_kv_dtypes {
    ($kernel:ident, $dtypes:expr, $($args:expr),+) => {{
        use crate::e4m3::E4m3;
        use crate::element::{Bf16, F16};
        use crate::{Dtype, KvDtypes};
        match $dtypes {
            KvDtypes::Same(Dtype::F32) => $kernel::<f32, f32>($($args),+),
            KvDtypes::Same(Dtype::Bf16) => $kernel::<Bf16, Bf16>($($args),+),
            KvDtypes::Same(Dtype::F16) => $kernel::<F16, F16>($($args),+),
            KvDtypes::F32OverBf16 => $kernel::<f32, Bf16>($($args),+),
            KvDtypes::F32OverE4m3 => $kernel::<f32, E4m3>($($args),+),
        }
    }};
}
use by_kv_dtypes;

/// Returns the rows that make a chunk worth a thread.
fn rows_per_chunk(row_len: usize) -> usize {
    ELEMENTS_PER_CHUNK.div_ceil(row_len.max(1))
}
