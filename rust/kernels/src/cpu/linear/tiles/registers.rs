//! What the tile registers add up of a block of rows and one or two tiles of outputs: the products
//! of some inputs after others.

use std::arch::asm;
use std::ops::Range;

use super::Step;
use crate::cpu::linear::{TILE, TILE_INPUTS as INPUTS};
use crate::cpu::tile_registers::{Place, ROW_BYTES, ROWS};

/// Bytes of the weights of a tile that an instruction's inputs are.
const WEIGHT_BYTES: usize = INPUTS * TILE * 2;

/// Asks for the cache lines of the weights one instruction's inputs ahead of a register: tile loads
/// alone do not keep the memory busy.
macro_rules! fetch {
    ($register:literal) => {
        fetch!($register:
            2048 2112 2176 2240 2304 2368 2432 2496 2560 2624 2688 2752 2816 2880 2944 3008
            3072 3136 3200 3264 3328 3392 3456 3520 3584 3648 3712 3776 3840 3904 3968 4032)
    };
    ($register:literal: $($offset:literal)+) => {
        concat!($("prefetcht0 [{", $register, "} + ", $offset, "]\n"),+)
    };
}

/// Defines a function that adds the products of some of the inputs, in instructions, of a block of
/// more than 16 rows with one tile of outputs.
macro_rules! many_rows {
    ($(#[$doc:meta])* $name:ident, $load:literal, $fetch:expr) => {
        $(#[$doc])*
        #[inline(always)]
        pub(super) unsafe fn $name(step: &Step, block: usize, tile: usize, inputs: Range<usize>) {
            if inputs.is_empty() {
                return;
            }
            // SAFETY: the caller's promise; the tiles are as long as `num_steps` says.
            unsafe {
                asm!(
                    "2:",
                    concat!($load, " tmm6, [{weights} + {pair}]"),
                    "tileloadd tmm4, [{x} + {row}]",
                    concat!($load, " tmm7, [{weights} + {pair} + 64]"),
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{x} + {row} + 1024]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    $fetch,
                    "add {weights}, 2048",
                    "add {x}, {x_step}",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "dec {steps}",
                    "jnz 2b",
                    weights = inout(reg) step.weights(tile).add(inputs.start * WEIGHT_BYTES) => _,
                    x = inout(reg) step.block(block).add(inputs.start * step.num_rows * ROW_BYTES) => _,
                    steps = inout(reg) inputs.len() => _,
                    pair = in(reg) 4 * TILE,
                    row = in(reg) ROW_BYTES,
                    x_step = in(reg) step.num_rows * ROW_BYTES,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, readonly)
                );
            }
        }
    };
}

many_rows! {
    /// The first block of a group of weights, which come from afar.
    first_rows, "tileloadd", fetch!("weights")
}
many_rows! {
    /// Another block: the weights are in the second cache, and are loaded past the first, where the
    /// activations stay.
    other_rows, "tileloaddt1", ""
}

/// The same for a block of up to 16 rows with two tiles of outputs, which may be one twice.
#[inline(always)]
pub(super) unsafe fn few_rows(step: &Step, block: usize, tiles: [usize; 2], inputs: Range<usize>) {
    if inputs.is_empty() {
        return;
    }
    // SAFETY: the caller's promise; the tiles are as long as `num_steps` says.
    unsafe {
        let [weights, next] = tiles.map(|tile| step.weights(tile).add(inputs.start * WEIGHT_BYTES));
        asm!(
            "2:",
            "tileloadd tmm4, [{x} + {row}]",
            "tileloadd tmm6, [{weights} + {pair}]",
            "tileloadd tmm7, [{weights} + {pair} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            fetch!("weights"),
            fetch!("next"),
            "tileloadd tmm6, [{next} + {pair}]",
            "tileloadd tmm7, [{next} + {pair} + 64]",
            "tdpbf16ps tmm2, tmm4, tmm6",
            "tdpbf16ps tmm3, tmm4, tmm7",
            "add {weights}, 2048",
            "add {next}, 2048",
            "add {x}, {x_step}",
            "dec {steps}",
            "jnz 2b",
            weights = inout(reg) weights => _,
            next = inout(reg) next => _,
            x = inout(reg) step.block(block).add(inputs.start * step.num_rows * ROW_BYTES) => _,
            steps = inout(reg) inputs.len() => _,
            pair = in(reg) 4 * TILE,
            row = in(reg) ROW_BYTES,
            x_step = in(reg) step.num_rows * ROW_BYTES,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly)
        );
    }
}

/// Sums of two tiles of rows with a tile of outputs, or of one with two.
#[repr(C, align(64))]
pub(super) struct Sums(pub(super) [[f32; TILE]; 2 * ROWS]);

impl Sums {
    pub(super) fn new() -> Self {
        Self([[0.0; TILE]; 2 * ROWS])
    }

    /// Their own place.
    pub(super) fn place(&mut self) -> Place {
        Place::stacked((&raw mut *self).cast(), TILE * size_of::<f32>())
    }
}
