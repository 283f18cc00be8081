//! The products themselves, in tile registers.

use std::arch::asm;

use super::{Halves, SIDE, TILE_LEN};
use crate::cpu::tile_registers::{Place, ROW_BYTES, ROWS, Shapes, zero_sums};

/// Bytes of a whole register.
const TILE_BYTES: usize = ROWS * ROW_BYTES;

/// The shapes of the registers for up to 16 rows of a query; more have whole registers.
pub(super) fn shapes_of_few(num_rows: usize) -> Shapes {
    let row_bytes = num_rows * size_of::<f32>();
    let shapes = Shapes::new().rows([2, 3, 7], num_rows);
    [0, 1, 6].into_iter().fold(shapes, |shapes, register| shapes.row_bytes(register, row_bytes))
}

/// The scores of two times 16 keys with the rows of a query tile, [32, 16].
///
/// # Safety
/// The registers have [`shapes_of_few`], and all has the sizes given; likewise below.
pub(super) unsafe fn score_few(keys: Halves, query: *const u32, scores: *mut f32, num_steps: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "2:",
            "tileloadd tmm6, [{query} + {row}]",
            "tileloadd tmm4, [{first} + {step}]",
            "tileloadd tmm5, [{second} + {step}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm5, tmm6",
            "add {first}, 64",
            "add {second}, 64",
            "add {query}, {tile}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{scores} + {row}], tmm0",
            "tilestored [{scores} + {row} + {tile}], tmm1",
            query = inout(reg) query => _,
            first = inout(reg) keys.first => _,
            second = inout(reg) keys.second => _,
            steps = inout(reg) num_steps => _,
            step = in(reg) keys.step,
            scores = in(reg) scores,
            row = in(reg) ROW_BYTES,
            tile = const TILE_BYTES,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack)
        );
    }
}

/// The weighted sums of a tile of values, [rows, head_dim].
///
/// # Safety
/// As above; `head_dim` is a multiple of 32.
pub(super) unsafe fn weigh_few(weights: *const u32, values: *const u32, sums: *mut f32, head_dim: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tileloadd tmm7, [{weights} + {row}]",
            "2:",
            "tileloadd tmm4, [{values} + {row}]",
            "tileloadd tmm5, [{values} + {row} + {tile}]",
            "tilezero tmm2",
            "tilezero tmm3",
            "tdpbf16ps tmm2, tmm7, tmm4",
            "tdpbf16ps tmm3, tmm7, tmm5",
            "tilestored [{sums} + {step}], tmm2",
            "tilestored [{sums} + {step} + 64], tmm3",
            "add {values}, 2 * {tile}",
            "add {sums}, 128",
            "dec {steps}",
            "jnz 2b",
            weights = in(reg) weights,
            values = inout(reg) values => _,
            sums = inout(reg) sums => _,
            steps = inout(reg) head_dim / (2 * SIDE) => _,
            step = in(reg) head_dim * size_of::<f32>(),
            row = in(reg) ROW_BYTES,
            tile = const TILE_BYTES,
            out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm7") _,
            options(nostack)
        );
    }
}

/// The scores of two times 16 keys with the rows of two query tiles, [32, 32].
///
/// # Safety
/// The registers are whole, and all has the sizes given; likewise below.
pub(super) unsafe fn score_many(keys: Halves, query: *const u32, scores: *mut f32, num_steps: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        zero_sums();
        asm!(
            "2:",
            "tileloadd tmm6, [{query} + {row}]",
            "tileloadd tmm4, [{first} + {step}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{other} + {row}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{second} + {step}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {first}, 64",
            "add {second}, 64",
            "add {query}, {tile}",
            "add {other}, {tile}",
            "dec {steps}",
            "jnz 2b",
            query = inout(reg) query => _,
            other = inout(reg) query.add(num_steps * TILE_LEN) => _,
            first = inout(reg) keys.first => _,
            second = inout(reg) keys.second => _,
            steps = inout(reg) num_steps => _,
            step = in(reg) keys.step,
            row = in(reg) ROW_BYTES,
            tile = const TILE_BYTES,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly)
        );
        Place::stacked(scores.cast(), 2 * ROW_BYTES).store();
    }
}

/// The weighted sums of a tile of values, [head_dim, 32].
///
/// # Safety
/// As above; `head_dim` is a multiple of 32.
pub(super) unsafe fn weigh_many(values: *const u32, weights: *const u32, sums: *mut f32, head_dim: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tileloadd tmm6, [{weights} + {row}]",
            "tileloadd tmm7, [{weights} + {row} + {tile}]",
            weights = in(reg) weights,
            row = in(reg) ROW_BYTES,
            tile = const TILE_BYTES,
            out("tmm6") _, out("tmm7") _,
            options(nostack, readonly, preserves_flags)
        );
        for d in (0..head_dim).step_by(2 * SIDE) {
            zero_sums();
            asm!(
                "tileloadd tmm4, [{values} + {row}]",
                "tileloadd tmm5, [{values} + {row} + {tile}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                values = in(reg) values.add(d * SIDE),
                row = in(reg) ROW_BYTES,
                tile = const TILE_BYTES,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _,
                options(nostack, readonly, preserves_flags)
            );
            Place::stacked(sums.add(d * 2 * SIDE).cast(), 2 * ROW_BYTES).store();
        }
    }
}
