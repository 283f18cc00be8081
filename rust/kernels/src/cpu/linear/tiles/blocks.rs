//! One block of rows with one or two tiles of outputs, over all inputs, in tile registers.

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;

use super::Step;
use crate::cpu::linear::{TILE, store_columns};
use crate::cpu::tile_registers::{ROW_BYTES, ROWS};

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

/// Empties the registers of sums.
macro_rules! zero_sums {
    () => {
        "tilezero tmm0\ntilezero tmm1\ntilezero tmm2\ntilezero tmm3"
    };
}

/// Writes the registers of sums to their [`Place`].
macro_rules! store_sums {
    () => {
        concat!(
            "tilestored [{first} + {sums_step}], tmm0\n",
            "tilestored [{first} + {sums_step} + 64], tmm1\n",
            "tilestored [{second} + {sums_step}], tmm2\n",
            "tilestored [{second} + {sums_step} + 64], tmm3"
        )
    };
}

/// Defines a function for a block of more than 16 rows with one tile of outputs.
macro_rules! many_rows {
    ($(#[$doc:meta])* $name:ident, $load:literal, $fetch:expr) => {
        $(#[$doc])*
        pub(super) unsafe fn $name(step: &Step, block: usize, tile: usize, sums: &mut Sums) {
            let place = Place::of(step, block, tile, sums).rows();
            // SAFETY: the caller's promise; the tiles are as long as `num_steps` says.
            unsafe {
                claim(step, block, tile);
                asm!(
                    zero_sums!(),
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
                    store_sums!(),
                    weights = inout(reg) step.weights(tile) => _,
                    x = inout(reg) step.block(block) => _,
                    steps = inout(reg) step.num_steps => _,
                    first = in(reg) place.first,
                    second = in(reg) place.second,
                    sums_step = in(reg) place.step,
                    pair = in(reg) 4 * TILE,
                    row = in(reg) ROW_BYTES,
                    x_step = in(reg) step.num_rows * ROW_BYTES,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack)
                );
                if !place.is_output {
                    store(step, block, tile, &sums.0);
                }
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

/// A block of up to 16 rows with the first two of some tiles of outputs, or the only one.
pub(super) unsafe fn few_rows(step: &Step, block: usize, tiles: Range<usize>, sums: &mut Sums) {
    let tile = tiles.start;
    let next = (tile + 1).min(tiles.end - 1);
    let place = Place::of(step, block, next, sums).outputs(next - tile);
    // SAFETY: the caller's promise; the tiles are as long as `num_steps` says.
    unsafe {
        claim(step, block, tile);
        asm!(
            zero_sums!(),
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
            store_sums!(),
            weights = inout(reg) step.weights(tile) => _,
            next = inout(reg) step.weights(next) => _,
            x = inout(reg) step.block(block) => _,
            steps = inout(reg) step.num_steps => _,
            first = in(reg) place.first,
            second = in(reg) place.second,
            sums_step = in(reg) place.step,
            pair = in(reg) 4 * TILE,
            row = in(reg) ROW_BYTES,
            x_step = in(reg) step.num_rows * ROW_BYTES,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
        if place.is_output {
            return;
        }
        store(step, block, tile, &sums.0);
        if next > tile {
            store(step, block, next, &sums.0[ROWS..]);
        }
    }
}

/// Asks for the cache lines that the sums of a block will be written to, so that they are there by
/// then.
fn claim(step: &Step, block: usize, tile: usize) {
    let args = &step.linear;
    for row in 0..step.num_rows {
        let place = (step.first_row(block) + row) * args.num_outputs + tile * TILE;
        let target = (args.output as *const f32).wrapping_add(place);
        // SAFETY: the instructions write nothing, and any address will do.
        unsafe {
            asm!(
                "prefetchw [{target}]", "prefetchw [{target} + 64]",
                target = in(reg) target,
                options(nostack, preserves_flags)
            );
        }
    }
}

/// Sums of two tiles of rows with a tile of outputs, or of one with two.
#[repr(C, align(64))]
pub(super) struct Sums([[f32; TILE]; 2 * ROWS]);

impl Sums {
    pub(super) fn new() -> Self {
        Self([[0.0; TILE]; 2 * ROWS])
    }
}

/// Where the sums of four registers go.
struct Place {
    first: *mut u8,
    second: *mut u8,
    /// Bytes from one row to the next.
    step: usize,
    /// Whether it is the output itself: without a bias, a whole tile needs nothing more.
    is_output: bool,
}

impl Place {
    /// The place of a block's sums with a tile of outputs, the last that are written.
    fn of(step: &Step, block: usize, tile: usize, sums: &mut Sums) -> Self {
        let args = &step.linear;
        if args.bias != 0 || (tile + 1) * TILE > args.num_outputs {
            let first = (&raw mut *sums).cast();
            return Self { first, second: first, step: TILE * size_of::<f32>(), is_output: false };
        }
        let offset = step.first_row(block) * args.num_outputs + tile * TILE;
        let first = (args.output as *mut f32).wrapping_add(offset).cast();
        Self { first, second: first, step: args.num_outputs * size_of::<f32>(), is_output: true }
    }

    /// The same for two tiles of rows.
    fn rows(self) -> Self {
        Self { second: self.first.wrapping_add(ROWS * self.step), ..self }
    }

    /// The same for two tiles of outputs, the second of which it is, if there are two.
    fn outputs(self, num_before: usize) -> Self {
        match self.is_output {
            true => {
                let bytes = num_before * TILE * size_of::<f32>();
                Self { first: self.first.wrapping_sub(bytes), ..self }
            }
            false => self.rows(),
        }
    }
}

/// Writes the sums of a block's rows, with the bias.
#[target_feature(enable = "avx512f")]
unsafe fn store(step: &Step, block: usize, tile: usize, sums: &[[f32; TILE]]) {
    let args = &step.linear;
    let column = tile * TILE;
    let len = TILE.min(args.num_outputs - column);
    for (row, sums) in sums[..step.num_rows].iter().enumerate() {
        let row = step.first_row(block) + row;
        // SAFETY: the caller's promise: the row has `len` more outputs.
        unsafe {
            if len < TILE {
                store_columns(args, row, column, &sums[..len]);
                continue;
            }
            let target = (args.output as *mut f32).add(row * args.num_outputs + column);
            for half in [0, ROWS] {
                let mut sum = _mm512_load_ps(sums.as_ptr().add(half));
                if args.bias != 0 {
                    sum = _mm512_add_ps(sum, _mm512_loadu_ps((args.bias as *const f32).add(column + half)));
                }
                _mm512_storeu_ps(target.add(half), sum);
            }
        }
    }
}
