//! What the processor can do, and what is best on it.

use std::sync::LazyLock;

use super::TILE;
#[cfg(target_arch = "x86_64")]
use super::tiles;

/// Returns whether [`linear`](super::linear()) is faster with `round_x` on this processor.
///
/// That is settled by what the processor is, and not by a measurement: the two round differently,
/// and a model must answer the same after a restart.
#[must_use]
pub fn prefers_rounding() -> bool {
    has_tiles() || multiplies_pairs() && !halves_pairs()
}

/// Returns whether the processor takes twice as long for a product of pairs as for one of `f32`:
/// the first that AMD made with that instruction, of its family 25, do.
///
/// It is asked once: where the processor is a virtual one, each question takes microseconds.
fn halves_pairs() -> bool {
    static HALVES_PAIRS: LazyLock<bool> = LazyLock::new(|| {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::__cpuid;
            let (vendor, signature) = (__cpuid(0), __cpuid(1).eax);
            let is_amd =
                [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes) == [*b"Auth", *b"enti", *b"cAMD"];
            is_amd && (signature >> 8 & 0xf) + (signature >> 20 & 0xff) == 25
        }
        #[cfg(not(target_arch = "x86_64"))]
        false
    });
    *HALVES_PAIRS
}

/// Returns whether the processor has tile registers (AMX) that this process may use.
#[must_use]
pub fn has_tiles() -> bool {
    #[cfg(target_arch = "x86_64")]
    return tiles::has_tiles();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Returns whether the processor has instructions for products of `bfloat16` pairs.
pub(in crate::cpu) fn multiplies_pairs() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = crate::simd::level() == crate::simd::Level::Avx512 && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}

/// Returns whether [`linear`](super::linear()) activates the product of a weight that is not in
/// groups at once, and needs no `gate_up`: gates and what they multiply are whole tiles.
#[must_use]
pub fn activates(num_outputs: usize) -> bool {
    num_outputs.is_multiple_of(2 * TILE)
}
