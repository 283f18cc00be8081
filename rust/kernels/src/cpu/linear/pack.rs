//! From rows of a weight to tiles of pairs.

use std::ops::Range;

use super::{TILE, num_pairs};
use crate::cpu::Shared;
use crate::pool::parallel_for;

/// The arguments of [`pack_linear`].
#[derive(Clone, Copy, Debug)]
pub struct PackLinear {
    /// [`packed_len`] elements of the weight's type.
    pub packed: usize,
    /// \[num_outputs, num_inputs\], contiguous.
    pub weight: usize,
    /// Elements per row of `weight`.
    pub num_inputs: usize,
    /// Rows of `weight`.
    pub num_outputs: usize,
    /// Whether the weight is `f32`, not `bfloat16`.
    pub is_wide: bool,
}

/// Elements that the packed weight takes: whole tiles of whole pairs.
#[must_use]
pub fn packed_len(num_outputs: usize, num_inputs: usize, is_wide: bool) -> usize {
    num_outputs.next_multiple_of(TILE) * num_pairs(num_inputs, is_wide) * 2
}

/// Packs a weight for [`linear`](super::linear).
///
/// # Safety
/// The addresses are those of live memory of the sizes given, `packed` that nothing else writes.
pub unsafe fn pack_linear(args: &PackLinear) {
    let shared = Shared(*args);
    let num_tiles = args.num_outputs.div_ceil(TILE);
    // SAFETY: the caller's promise; ranges do not overlap.
    parallel_for(num_tiles, 1, &|tiles| unsafe { pack_tiles(shared.get(), tiles) });
}

unsafe fn pack_tiles(args: &PackLinear, tiles: Range<usize>) {
    let num_pairs = num_pairs(args.num_inputs, args.is_wide);
    for tile in tiles {
        for column in 0..TILE {
            for pair in 0..num_pairs {
                let (place, output) = (tile * num_pairs + pair, tile * TILE + column);
                // SAFETY: the packed tile has `TILE` lanes per pair, of one word or of two.
                unsafe {
                    let (first, second) = (bits(args, output, 2 * pair), bits(args, output, 2 * pair + 1));
                    let packed = args.packed as *mut u32;
                    if args.is_wide {
                        *packed.add(2 * place * TILE + column) = first;
                        *packed.add((2 * place + 1) * TILE + column) = second;
                    } else {
                        *packed.add(place * TILE + column) = first | second << 16;
                    }
                }
            }
        }
    }
}

/// Returns the bits of one weight, zero past the last output or input.
///
/// # Safety
/// The weight has the size given.
unsafe fn bits(args: &PackLinear, output: usize, input: usize) -> u32 {
    if output >= args.num_outputs || input >= args.num_inputs {
        return 0;
    }
    let place = output * args.num_inputs + input;
    // SAFETY: the caller's promise, and the bounds above.
    unsafe {
        if args.is_wide {
            *(args.weight as *const u32).add(place)
        } else {
            u32::from(*(args.weight as *const u16).add(place))
        }
    }
}
