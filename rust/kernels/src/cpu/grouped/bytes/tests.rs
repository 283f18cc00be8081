//! Every instruction against the rule, written out, and the rule against products in `f64`.

#![allow(clippy::unwrap_used)]

use super::super::form::Form;
use super::*;
use crate::Dtype;
use crate::cpu::linear::TILE;
use crate::cpu::scratch;
use crate::simd::{Portable, Vector};

struct Numbers(u64);

impl Numbers {
    fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    fn below(&mut self, limit: usize) -> usize {
        self.bits() as usize % limit
    }

    /// Numbers of very different sizes, so that each order of summation has its own bits.
    fn next(&mut self) -> f32 {
        let size = 2f32.powi(self.below(16) as i32 - 8);
        ((self.bits() & 0xfffff) as f32 / (1u64 << 19) as f32 - 1.0) * size
    }
}

static SIGNED: [f32; 16] =
    [-8.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
static FP4: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

fn form(bits: u32, group_size: u32, offsets: u32, is_nested: u32) -> Form {
    let table = if group_size == 32 { &FP4 } else { &SIGNED };
    Form { bits, group_size, dtype: Dtype::F16 as u32, offsets, is_nested, table: table.as_ptr() as usize }
}

fn forms() -> Vec<Form> {
    let mut forms = Vec::new();
    for bits in [4, 8] {
        for group_size in [16, 32, 64, 96, 128] {
            forms.extend((0..3).map(|offsets| form(bits, group_size, offsets, 0)));
        }
        for group_size in [16, 32, 64] {
            forms.extend([0, 2].map(|offsets| form(bits, group_size, offsets, 1)));
        }
    }
    forms
}

/// A product with a weight of random words, and scales that are small and positive.
struct Problem {
    sizes: [usize; 3],
    x: Vec<f32>,
    bias: Vec<f32>,
    packed: Vec<u32>,
    form: Form,
}

impl Problem {
    fn new(form: Form, sizes: [usize; 3]) -> Self {
        let [num_rows, num_inputs, num_outputs] = sizes;
        let mut numbers = Numbers((num_rows * 1_000_003 + num_inputs * 1009 + num_outputs) as u64);
        let num_tiles = num_outputs.div_ceil(TILE);
        let len = Grid::of(form, 0, num_inputs).unwrap().span(num_tiles, 0) as usize / 4;
        let mut small = || (0..4).fold(0, |word, _| word << 8 | numbers.below(60) as u32);
        let mut packed: Vec<u32> = (0..len).map(|_| small()).collect();
        let grid = Grid::of(form, packed.as_mut_ptr() as usize, num_inputs).unwrap();
        for tile in 0..num_tiles {
            for group in 0..grid.num_groups {
                for word in 0..grid.group_size * form.bits as usize * TILE / 32 {
                    // SAFETY: the memory has these words, and nothing else uses them.
                    unsafe {
                        *grid.words(tile, group).cast_mut().add(word) = numbers.bits() << 1 ^ numbers.bits();
                    };
                }
            }
        }
        let x = (0..num_rows * num_inputs).map(|_| numbers.next()).collect();
        let bias = (0..num_outputs).map(|_| numbers.next()).collect();
        Self { sizes, x, bias, packed, form }
    }

    fn grid(&self) -> Grid {
        Grid::of(self.form, self.packed.as_ptr() as usize, self.sizes[1]).unwrap()
    }

    /// The product of some rows.
    fn run(&self, rows: Range<usize>, instructions: Instructions) -> Vec<f32> {
        let [_, num_inputs, num_outputs] = self.sizes;
        let mut output = vec![f32::NAN; rows.len() * num_outputs];
        let args = Linear {
            output: output.as_mut_ptr() as usize,
            x: self.x[rows.start * num_inputs..].as_ptr() as usize,
            bias: self.bias.as_ptr() as usize,
            num_rows: rows.len(),
            num_inputs,
            num_outputs,
            x_stride: num_inputs,
            output_stride: num_outputs,
            ..Linear::default()
        };
        // SAFETY: the vectors have the sizes given, and the processor has the instructions.
        unsafe {
            let call = Call { instructions, ..Call::new(&args, self.grid()).unwrap() };
            call.run(scratch::lines(call.scratch_len()));
        }
        output
    }

    /// The number of a weight in 8 bits.
    fn byte(&self, output: usize, input: usize) -> i32 {
        let (grid, bits) = (self.grid(), self.form.bits as usize);
        let places: &[usize] = if bits == 4 { &[0, 4, 1, 5, 2, 6, 3, 7] } else { &[0, 2, 1, 3] };
        let (group, within) = (input / grid.group_size, input % grid.group_size);
        let place = within / places.len() * TILE + output % TILE;
        // SAFETY: the memory has this word.
        let word = unsafe { *grid.words(output / TILE, group).add(place) };
        let code = word >> (places[within % places.len()] * bits);
        // SAFETY: the tables are static.
        let table = unsafe { grid.bytes() }.unwrap().0;
        if bits == 4 { i32::from(table[code as usize & 15]) } else { i32::from(code as i8) }
    }

    /// Scale and offset of a group.
    fn scale(&self, output: usize, group: usize) -> [f32; 2] {
        let lane = output % TILE;
        let mut lanes = [[0.0; 8]; 2];
        // SAFETY: the memory has these scales.
        unsafe {
            let first = lane - lane % 8;
            let (scale, offset) = self.grid().scales::<Portable>(output / TILE, group, first);
            scale.store(lanes[0].as_mut_ptr());
            offset.store(lanes[1].as_mut_ptr());
            [lanes[0][lane % 8] * self.grid().bytes().unwrap().1, lanes[1][lane % 8]]
        }
    }

    fn x(&self, row: usize, inputs: Range<usize>) -> Vec<f32> {
        let row = &self.x[row * self.sizes[1]..][..self.sizes[1]];
        inputs.map(|input| row.get(input).copied().unwrap_or(0.0)).collect()
    }

    /// One output by the rule, and by the numbers before they were rounded, with what may lie
    /// between the two.
    fn expected(&self, row: usize, output: usize) -> (f32, f64, f64) {
        let (grid, size) = (self.grid(), self.grid().group_size);
        let stretch = (STRETCH / size).max(1) * size;
        let (mut total, mut exact, mut bound) = (0.0f32, 0.0, 0.0);
        for first in (0..grid.num_inputs()).step_by(stretch) {
            let x = self.x(row, first..grid.num_inputs().min(first + stretch));
            let greatest = x.iter().fold(0.0f32, |greatest, x| greatest.max(x.abs()));
            let mut sum = 0.0f32;
            for (place, x) in x.chunks(size).enumerate() {
                let (mut products, mut codes) = (0, 0);
                let group = (first + place * size) / size;
                let [scale, offset] = self.scale(output, group);
                for (i, x) in x.iter().enumerate() {
                    let code = (x * (127.0 / greatest)).round_ties_even() as i32;
                    let byte = self.byte(output, group * size + i);
                    let weight = f64::from(scale) * f64::from(byte) + f64::from(offset);
                    products += code * byte;
                    codes += code;
                    exact += f64::from(*x) * weight;
                    bound += f64::from(greatest) / 127.0 * 0.501 * weight.abs();
                    let parts = f64::from(scale * byte as f32).abs() + f64::from(offset).abs();
                    bound += f64::from(greatest) * parts * 2f64.powi(-19);
                }
                sum = (products as f32).mul_add(scale, sum);
                if self.form.offsets > 0 {
                    sum = (codes as f32).mul_add(offset, sum);
                }
            }
            total = sum.mul_add(greatest / 127.0, total);
        }
        let bias = self.bias[output];
        (total + bias, exact + f64::from(bias), bound + f64::from(bias.abs()) * 2f64.powi(-22))
    }
}

#[test]
fn every_instruction_follows_the_rule() {
    // A model would answer differently on another processor, or beside other requests.
    for (number, form) in forms().into_iter().enumerate() {
        let sizes = [[1, 64, 32], [3, 300, 45], [9, 33, 70], [17, 520, 40], [35, 96, 33]][number % 5];
        let problem = Problem::new(form, sizes);
        let expected: Vec<_> = (0..sizes[0] * sizes[2])
            .map(|place| problem.expected(place / sizes[2], place % sizes[2]))
            .collect();
        for instructions in Instructions::all() {
            let actual = problem.run(0..sizes[0], instructions);
            for (place, (actual, (expected, exact, bound))) in actual.iter().zip(&expected).enumerate() {
                assert_eq!(actual.to_bits(), expected.to_bits(), "{instructions:?} {form:?} {place}");
                let distance = (f64::from(*actual) - exact).abs();
                assert!(distance <= *bound, "{form:?} {place} {distance} {bound}");
            }
        }
    }
}

#[test]
fn a_row_is_the_same_in_any_batch() {
    // A second turn of a chat, whose first answer is in its prompt, would be answered differently.
    let problem = Problem::new(form(4, 32, 0, 0), [140, 352, 70]);
    let alone: Vec<_> = (0..140).flat_map(|row| problem.run(row..row + 1, Instructions::Plain)).collect();
    for instructions in Instructions::all() {
        for num_rows in (1..=40).chain([127, 128, 129, 140]) {
            assert!(
                problem.run(0..num_rows, instructions) == alone[..num_rows * 70],
                "{num_rows} {instructions:?}"
            );
        }
    }
}

#[test]
fn a_number_that_is_not_finite_spoils_its_row_and_no_other() {
    // A fault would pass for an answer, or one request would end those beside it.
    for fault in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut problem = Problem::new(form(8, 64, 2, 0), [20, 200, 40]);
        let before = problem.run(0..20, Instructions::Plain);
        for place in [0, 7, 63, 199] {
            problem.x[5 * 200 + place] = fault;
            for instructions in Instructions::all() {
                let after = problem.run(0..20, instructions);
                assert!(
                    after[5 * 40..6 * 40].iter().all(|number| number.is_nan()),
                    "{instructions:?} {place}"
                );
                assert!(after[..5 * 40] == before[..5 * 40] && after[6 * 40..] == before[6 * 40..]);
            }
            problem.x[5 * 200 + place] = 1.0;
        }
    }
}

#[test]
fn nothing_comes_of_nothing() {
    // 127 divided by the greatest of a stretch of zeros, or of numbers next to 0, is no number.
    for tiny in [0.0, -0.0, 1e-31, f32::from_bits(1)] {
        let mut problem = Problem::new(form(4, 32, 1, 0), [3, 96, 32]);
        problem.x.fill(tiny);
        problem.x[200] = f32::MAX / 1e6;
        for instructions in Instructions::all() {
            let actual = problem.run(0..3, instructions);
            assert_eq!(actual[..64], [&problem.bias[..], &problem.bias[..]].concat(), "{instructions:?}");
            assert!(actual[64..].iter().all(|number| number.is_finite()));
        }
    }
}

#[test]
fn a_table_that_bytes_do_not_hold_is_left_to_other_kernels() {
    // Its weights would be rounded once more.
    let tables = [[0.1; 16], [129.0; 16], [1.0 / 256.0; 16], [f32::NAN; 16]];
    for table in &tables {
        let form = Form { table: table.as_ptr() as usize, ..form(4, 32, 0, 0) };
        // SAFETY: the table is live.
        assert!(unsafe { Grid::of(form, 0, 64).unwrap().bytes() }.is_none(), "{table:?}");
    }
}
