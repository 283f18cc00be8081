//! Every kernel against its order of summation, written out, and against itself in other batches.

#![allow(clippy::unwrap_used)]

use super::super::linear::{Kernel, TILE, TILE_INPUTS, kernels};
use super::*;
use crate::Dtype;

struct Numbers(u64);

impl Numbers {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Numbers of very different sizes, so that each order of summation has its own bits.
    fn next(&mut self) -> f32 {
        let size = 2f32.powi((self.bits() & 15) as i32 - 8);
        ((self.bits() & 0xfffff) as f32 / (1u64 << 19) as f32 - 1.0) * size
    }
}

fn rounded(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

const TABLE: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// A weight without nested scales, of `bfloat16` scales and minima.
struct Problem {
    form: Form,
    num_inputs: usize,
    num_outputs: usize,
    x: Vec<f32>,
    /// [outputs, inputs filled up to groups]
    codes: Vec<u8>,
    /// [outputs, groups], and the minima.
    scales: [Vec<f32>; 2],
}

impl Problem {
    fn new(bits: u32, group_size: u32, [num_rows, num_inputs, num_outputs]: [usize; 3]) -> Self {
        let mut numbers = Numbers((num_rows * 1_000_003 + num_inputs * 1009 + num_outputs) as u64);
        let num_groups = num_inputs.div_ceil(group_size as usize);
        let form = Form { bits, group_size, dtype: Dtype::Bf16 as u32, offsets: 2, is_nested: 0, table: 0 };
        let num_codes = num_outputs * num_groups * group_size as usize;
        Self {
            form: Form { table: TABLE.as_ptr() as usize, ..form },
            num_inputs,
            num_outputs,
            x: (0..num_rows * num_inputs).map(|_| numbers.next()).collect(),
            codes: (0..num_codes).map(|_| (numbers.bits() & ((1 << bits) - 1)) as u8).collect(),
            scales: [(); 2]
                .map(|()| (0..num_outputs * num_groups).map(|_| rounded(numbers.next())).collect()),
        }
    }

    fn num_groups(&self) -> usize {
        self.num_inputs.div_ceil(self.form.group_size as usize)
    }

    fn code(&self, output: usize, input: usize) -> u8 {
        self.codes[output * self.num_groups() * self.form.group_size as usize + input]
    }

    fn number(&self, output: usize, input: usize) -> f32 {
        let code = self.code(output, input);
        if self.form.bits == 4 { TABLE[code as usize] } else { f32::from(code as i8) }
    }

    /// The layout, written out.
    fn packed(&self) -> Vec<u32> {
        let places: &[usize] = if self.form.bits == 4 { &[0, 2, 4, 6, 1, 3, 5, 7] } else { &[0, 2, 1, 3] };
        let mut packed = Vec::new();
        for tile in (0..self.num_outputs).step_by(TILE) {
            for group in 0..self.num_groups() {
                let outputs =
                    || (tile..tile + TILE).map(|output| (output < self.num_outputs).then_some(output));
                for scales in &self.scales {
                    let halves: Vec<u32> = outputs()
                        .map(|output| {
                            output.map_or(0, |o| scales[o * self.num_groups() + group].to_bits() >> 16)
                        })
                        .collect();
                    packed.extend(halves.chunks(2).map(|pair| pair[0] | pair[1] << 16));
                }
                let size = self.form.group_size as usize;
                for first in (group * size..(group + 1) * size).step_by(places.len()) {
                    packed.extend(outputs().map(|output| {
                        let word = |output| {
                            places.iter().enumerate().fold(0, |word, (place, input)| {
                                word | u32::from(self.code(output, first + input))
                                    << (place as u32 * self.form.bits)
                            })
                        };
                        output.map_or(0, word)
                    }));
                }
            }
        }
        packed
    }

    fn run(&self, rows: Range<usize>, kernel: Kernel) -> Vec<f32> {
        let packed = self.packed();
        let mut output = vec![f32::NAN; rows.len() * self.num_outputs];
        let args = Linear {
            output: output.as_mut_ptr() as usize,
            x: self.x[rows.start * self.num_inputs..].as_ptr() as usize,
            packed: packed.as_ptr() as usize,
            num_rows: rows.len(),
            num_inputs: self.num_inputs,
            num_outputs: self.num_outputs,
            x_stride: self.num_inputs,
            output_stride: self.num_outputs,
            form: &raw const self.form as usize,
            ..Linear::default()
        };
        // SAFETY: the vectors have the sizes given.
        unsafe { linear(&args, kernel) }.unwrap();
        output
    }

    /// One output in the order of a kernel.
    fn expected(&self, row: usize, output: usize, kernel: Kernel) -> f32 {
        let size = self.form.group_size as usize;
        let x =
            |input: usize| if input < self.num_inputs { self.x[row * self.num_inputs + input] } else { 0.0 };
        let x = |input| if kernel == Kernel::Widened { x(input) } else { rounded(x(input)) };
        (0..self.num_groups()).fold(0.0, |total, group| {
            let inputs: Vec<usize> = (group * size..(group + 1) * size).collect();
            let add = |sum: f32, input: &usize| x(*input).mul_add(self.number(output, *input), sum);
            let sum = match kernel {
                Kernel::Pairs => inputs.chunks(2).fold(0.0, |sum, pair| add(add(sum, &pair[1]), &pair[0])),
                Kernel::Tiles => inputs.chunks(TILE_INPUTS).fold(0.0, |sum, inputs| {
                    let each = |first| inputs[first..].iter().step_by(2).fold(0.0, add);
                    sum + (each(0) + each(1))
                }),
                _ => inputs.iter().fold(0.0, add),
            };
            let mut lanes: Vec<f32> = (0..16)
                .map(|lane| inputs[lane..].iter().step_by(16).fold(0.0, |sum, input| sum + x(*input)))
                .collect();
            lanes = (0..8).map(|lane| lanes[lane] + lanes[lane + 8]).collect();
            while lanes.len() > 1 {
                lanes = lanes.chunks(2).map(|pair| pair[0] + pair[1]).collect();
            }
            let place = output * self.num_groups() + group;
            lanes[0].mul_add(self.scales[1][place], sum.mul_add(self.scales[0][place], total))
        })
    }
}

const CASES: [(u32, u32, [usize; 3]); 7] = [
    (4, 32, [1, 64, 32]),
    (4, 16, [3, 70, 45]),
    (8, 64, [16, 96, 64]),
    (8, 16, [17, 33, 100]),
    (4, 128, [33, 300, 70]),
    (8, 32, [5, 31, 161]),
    (4, 64, [1, 1, 1]),
];

#[test]
fn products_are_summed_in_their_order() {
    // Where sums depended on the batch, a token would be another one beside other requests.
    if crate::cpu_features() == "portable" {
        return;
    }
    for (bits, group_size, sizes) in CASES {
        let problem = Problem::new(bits, group_size, sizes);
        for kernel in kernels().into_iter().filter(|kernel| *kernel != Kernel::Plain) {
            for (place, actual) in problem.run(0..sizes[0], kernel).iter().enumerate() {
                let expected = problem.expected(place / sizes[2], place % sizes[2], kernel);
                assert_eq!(
                    actual.to_bits(),
                    expected.to_bits(),
                    "{kernel:?} {bits} {group_size} {sizes:?} {place}"
                );
            }
        }
    }
}

#[test]
fn a_form_that_does_not_exist_is_refused() {
    // Its numbers would be read from places that they are not in.
    let problem = Problem::new(4, 32, [1, 64, 32]);
    for form in [
        Form { bits: 3, ..problem.form },
        Form { group_size: 24, ..problem.form },
        Form { group_size: 48, ..problem.form },
        Form { group_size: 96, is_nested: 1, ..problem.form },
        Form { dtype: Dtype::F32 as u32, ..problem.form },
        Form { offsets: 3, ..problem.form },
    ] {
        assert!(Grid::of(form, 0, 64).is_err(), "{form:?}");
    }
}
