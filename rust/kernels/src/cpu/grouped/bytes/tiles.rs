//! Sums of products of bytes by the tile registers of the processor (AMX).
//!
//! A tile of up to 16 rows of codes meets two of 16 outputs each, whose bytes are read as they lie.
//! Registers 0 and 1 are sums, 4 codes, 6 and 7 weights.

use std::arch::asm;
use std::ops::Range;

use super::dot::{QUAD, Vnni512};
use super::multiply::{Multiply, Sums};
use super::{Call, ROWS};
use crate::cpu::linear;
use crate::cpu::tile_registers::{ROW_BYTES, Shapes};

/// Returns whether the processor has tile registers for bytes that this process may use.
pub(super) fn has_tiles() -> bool {
    const BYTES: u32 = 1 << 25;
    linear::has_tiles() && std::arch::x86_64::__cpuid_count(7, 0).edx & BYTES != 0
}

/// The shapes of the registers for a call.
pub(super) fn shapes(call: &Call) -> Shapes {
    let inputs = step_inputs(call);
    let rows = ROWS.min(call.linear.num_rows);
    Shapes::new().rows(0..6, rows).row_bytes(4, inputs).rows([6, 7], inputs / 4)
}

/// Inputs of an instruction, of which a group is a multiple.
fn step_inputs(call: &Call) -> usize {
    let size = call.grid.group_size;
    [ROW_BYTES, ROW_BYTES / 2].into_iter().find(|inputs| size.is_multiple_of(*inputs)).unwrap_or(size)
}

/// The tile registers, shaped for the call.
pub(super) struct Tiles;

impl Multiply for Tiles {
    type Dot = Vnni512;

    /// Rows behind the last one are there, and what comes out for them is not used.
    #[inline(always)]
    unsafe fn add_up(call: &Call, rows: Range<usize>, group: usize, weights: *const u8, sums: &mut Sums) {
        let inputs = step_inputs(call);
        // SAFETY: the caller's promise; the registers have the shapes of the call.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "2:",
                "tileloadd tmm4, [{codes} + {row}]",
                "tileloadd tmm6, [{weights} + {quad}]",
                "tileloadd tmm7, [{weights} + {quad} + 64]",
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm1, tmm4, tmm7",
                "add {codes}, {inputs}",
                "add {weights}, {weights_step}",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{sums} + {quad}], tmm0",
                "tilestored [{sums} + {quad} + 64], tmm1",
                codes = inout(reg) call.codes(rows.start, group) => _,
                weights = inout(reg) weights => _,
                steps = inout(reg) call.grid.group_size / inputs => _,
                sums = in(reg) sums.as_mut_ptr(),
                row = in(reg) call.row_bytes,
                quad = in(reg) QUAD,
                inputs = in(reg) inputs,
                weights_step = in(reg) inputs / 4 * QUAD,
                out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
        }
    }
}
