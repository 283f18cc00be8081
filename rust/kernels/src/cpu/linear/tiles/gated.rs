//! A block of rows with pairs of tiles, a gate and what it multiplies, whose activated products are
//! the outputs.
//!
//! Vectors activate the sums of a pair while the tile registers multiply the next one: the two take
//! about as long.

use std::ops::Range;

use super::Step;
use super::registers::{Sums, few_rows, first_rows, other_rows};
use crate::cpu::gated::activated;
use crate::cpu::linear::TILE;
use crate::cpu::tile_registers::{Place, ROWS, zero_sums};
use crate::simd::{Avx512, Vector};

/// Pairs that are multiplied one after another.
pub(super) struct Pairs<'a> {
    step: &'a Step,
    /// Sums of the gate and of what it multiplies, of the last pair and of the one before.
    sums: [[Sums; 2]; 2],
    /// Which of these are the last pair's.
    last: usize,
    /// Block and gate's tile of the last pair.
    place: Option<(usize, usize)>,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(step: &'a Step) -> Self {
        let sums = || [Sums::new(), Sums::new()];
        Self { step, sums: [sums(), sums()], last: 0, place: None }
    }

    /// Multiplies a block of rows with some tiles of the gate and their partners.
    ///
    /// # Safety
    /// As for [`multiply`](super::blocks::multiply); likewise below.
    pub(super) unsafe fn multiply(&mut self, block: usize, gates: Range<usize>) {
        let distance = self.step.linear.num_outputs / (2 * TILE);
        for gate in gates {
            self.step.claim(block, gate);
            // SAFETY: the caller's promise.
            unsafe {
                if self.step.num_rows <= ROWS {
                    self.few(block, [gate, gate + distance]);
                } else {
                    self.many(block, [gate, gate + distance]);
                }
            }
            (self.last, self.place) = (1 - self.last, Some((block, gate)));
        }
    }

    /// Activates the last pair.
    pub(super) unsafe fn finish(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.activate(0..self.step.num_rows, |_| ()) }
    }

    unsafe fn many(&mut self, block: usize, tiles: [usize; 2]) {
        let (step, half) = (self.step, self.step.num_rows / 2);
        // SAFETY: the caller's promise.
        unsafe {
            for (which, rows) in [0..half, half..step.num_rows].into_iter().enumerate() {
                let tile = tiles[which];
                zero_sums();
                if block == 0 {
                    self.activate(rows, |inputs| first_rows(step, block, tile, inputs));
                } else {
                    self.activate(rows, |inputs| other_rows(step, block, tile, inputs));
                }
                self.sums[1 - self.last][which].place().store();
            }
        }
    }

    unsafe fn few(&mut self, block: usize, tiles: [usize; 2]) {
        let step = self.step;
        // SAFETY: the caller's promise.
        unsafe {
            zero_sums();
            self.activate(0..step.num_rows, |inputs| few_rows(step, block, tiles, inputs));
            let [gate, up] = &mut self.sums[1 - self.last];
            Place { second: up.place().first, ..gate.place() }.store();
        }
    }

    /// Activates some rows of the last pair, each after its share of the inputs was multiplied.
    #[inline(always)]
    unsafe fn activate(&self, rows: Range<usize>, multiply: impl Fn(Range<usize>)) {
        let (num_steps, num_rows) = (self.step.num_steps, rows.len());
        let mut start = 0;
        for (turn, row) in rows.enumerate() {
            let end = (turn + 1) * num_steps / num_rows;
            multiply(start..end);
            start = end;
            if let Some((block, gate)) = self.place {
                // SAFETY: the caller's promise; the sums of the row were stored.
                unsafe { activate_row(self.step, block, gate, &self.sums[self.last], row) }
            }
        }
    }
}

/// Writes a row of 32 outputs.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn activate_row(step: &Step, block: usize, tile: usize, sums: &[Sums; 2], row: usize) {
    let args = &step.linear;
    let first = [tile * TILE, tile * TILE + args.num_outputs / 2];
    // SAFETY: the caller's promise: tiles of both are whole.
    unsafe {
        let target = step.output(block, row, tile);
        for column in (0..TILE).step_by(Avx512::LANES) {
            let [gate, up] = [0, 1].map(|which| {
                let sum = Avx512::load(sums[which].0[row].as_ptr().add(column));
                if args.bias == 0 {
                    return sum;
                }
                sum.add(Avx512::load((args.bias as *const f32).add(first[which] + column)))
            });
            activated(args.activation - 1, gate, up).store(target.add(column));
        }
    }
}
