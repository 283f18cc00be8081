//! Activations in eight bits: codes, the steps that they are counted in, and their sums.

use std::ops::Range;

use super::Call;
use crate::element::Element;
use crate::simd::{Decode, multiversioned};

/// Smaller numbers are as good as 0, and 127 divided by them would be infinite.
pub(super) const LEAST: f32 = 1e-30;

/// Where the codes of sixteen inputs go, so that a word's worth lies as the weights do.
const ORDERS: [[u8; 16]; 2] = [
    [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15],
    [0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15],
];

multiversioned!(run_rows, round_rows, Call);

#[inline(always)]
unsafe fn round_rows<V: Decode>(call: &Call, rows: Range<usize>) {
    for row in rows {
        for stretch in 0..call.num_stretches() {
            // SAFETY: the caller vouches for the row, and the memory is large enough.
            unsafe { round_stretch::<V>(call, row, stretch) }
        }
    }
}

#[inline(always)]
unsafe fn round_stretch<V: Decode>(call: &Call, row: usize, stretch: usize) {
    let (args, size) = (&call.linear, call.grid.group_size);
    // SAFETY: the caller's promise; a group is whole vectors.
    unsafe {
        let x = (args.x as *const f32).add(row * args.x_stride);
        let vector = |i: usize| f32::load_up_to::<V>(x.wrapping_add(i), args.num_inputs.saturating_sub(i));
        let groups = call.groups(stretch);
        let zero = V::splat(0.0);
        let (mut greatest, mut faults) = (zero, zero);
        for i in (groups.start * size..groups.end * size).step_by(V::LANES) {
            let x = vector(i);
            greatest = greatest.max(x.max(zero.sub(x)));
            // NaN where a number is not finite.
            faults = faults.add(x.sub(x));
        }
        let (greatest, faults) = (greatest.greatest(), faults.sum());
        let is_zero = greatest < LEAST;
        *call.step(row, stretch) = if is_zero { 0.0 } else { greatest / 127.0 } + faults;
        let inverse = V::splat(if is_zero { 0.0 } else { 127.0 / greatest });
        let order = &ORDERS[usize::from(call.grid.form.bits == 8)];
        for group in groups {
            let mut lanes = zero;
            for i in (0..size).step_by(V::LANES) {
                let codes = vector(group * size + i).mul(inverse).round();
                codes.store_i8(order, call.codes(row, group).add(i).cast());
                lanes = lanes.add(codes);
            }
            let sum = lanes.sum();
            *call.sum(row, group) = sum;
            *call.start(row, group) = -128 * sum as i32;
        }
    }
}

/// Rounds some rows.
///
/// # Safety
/// The caller of `linear` vouches for the rows, and the memory of the call is large enough.
pub(super) unsafe fn run(call: &Call, rows: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { run_rows(call, rows) }
}
