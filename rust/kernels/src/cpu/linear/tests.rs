//! Every kernel against its order of summation, written out, and against itself in other batches.

#![allow(clippy::unwrap_used)]

use super::*;

/// Numbers of very different sizes, so that each order of summation has its own bits.
pub(in crate::cpu) struct Numbers(u64);

impl Numbers {
    pub(in crate::cpu) fn new(seed: usize) -> Self {
        Self(seed as u64)
    }

    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let size = 2f32.powi((self.0 >> 40 & 15) as i32 - 8);
        ((self.0 >> 44) as f32 / (1u64 << 19) as f32 - 1.0) * size
    }

    pub(in crate::cpu) fn take(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.next()).collect()
    }
}

pub(in crate::cpu) fn rounded(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

fn lines(len: usize) -> Vec<[f32; 16]> {
    vec![[0.0; 16]; len.div_ceil(16) + 4]
}

struct Problem {
    num_inputs: usize,
    num_outputs: usize,
    x: Vec<f32>,
    /// [num_outputs, num_inputs], exact in `bfloat16`.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Problem {
    fn new(num_rows: usize, num_inputs: usize, num_outputs: usize) -> Self {
        let mut numbers = Numbers::new(num_rows * 1_000_003 + num_inputs * 1009 + num_outputs);
        Self {
            num_inputs,
            num_outputs,
            x: numbers.take(num_rows * num_inputs),
            weight: numbers.take(num_outputs * num_inputs).into_iter().map(rounded).collect(),
            bias: numbers.take(num_outputs),
        }
    }

    /// Returns the product of some rows.
    fn run(&self, rows: Range<usize>, kernel: Kernel) -> Vec<f32> {
        let mut output = vec![f32::NAN; rows.len() * self.num_outputs];
        let args = Linear {
            output: output.as_mut_ptr() as usize,
            bias: self.bias.as_ptr() as usize,
            output_stride: self.num_outputs,
            ..Linear::default()
        };
        self.run_with(args, rows, kernel);
        output
    }

    /// Carries out the product of some rows; `args` are those that depend on what is made of it.
    fn run_with(&self, args: Linear, rows: Range<usize>, kernel: Kernel) {
        let is_wide = kernel == Kernel::Plain;
        let narrow: Vec<u16> = self.weight.iter().map(|x| (x.to_bits() >> 16) as u16).collect();
        let mut packed = lines(packed_len(self.num_outputs, self.num_inputs, is_wide));
        let aligned = packed.as_mut_ptr() as usize;
        let weight = if is_wide { self.weight.as_ptr() as usize } else { narrow.as_ptr() as usize };
        let (num_inputs, num_outputs) = (self.num_inputs, self.num_outputs);
        // SAFETY: the vectors have the sizes given.
        unsafe {
            pack_linear(&PackLinear { packed: aligned, weight, num_inputs, num_outputs, is_wide });
            let args = Linear {
                x: self.x[rows.start * num_inputs..].as_ptr() as usize,
                packed: aligned,
                num_rows: rows.len(),
                num_inputs,
                num_outputs,
                x_stride: num_inputs,
                weight_dtype: if is_wide { Dtype::F32 } else { Dtype::Bf16 } as u32,
                ..args
            };
            linear_by(kernel, &args).unwrap();
        }
    }

    /// Returns the activated product of all rows; memory for the product itself is there only where
    /// a kernel needs it.
    fn run_gated(&self, bias: usize, activation: u32, kernel: Kernel) -> Vec<f32> {
        let (num_rows, inter) = (self.x.len() / self.num_inputs, self.num_outputs / 2);
        let mut gate_up = vec![f32::NAN; num_rows * self.num_outputs];
        let mut output = vec![f32::NAN; num_rows * inter];
        let args = Linear {
            output: output.as_mut_ptr() as usize,
            output_stride: inter,
            gate_up: if activates(self.num_outputs) { 0 } else { gate_up.as_mut_ptr() as usize },
            bias,
            activation: 1 + activation,
            ..Linear::default()
        };
        self.run_with(args, 0..num_rows, kernel);
        output
    }

    /// The same as two operations.
    fn run_then_activate(&self, bias: usize, activation: u32, kernel: Kernel) -> Vec<f32> {
        let (num_rows, inter) = (self.x.len() / self.num_inputs, self.num_outputs / 2);
        let mut gate_up = vec![f32::NAN; num_rows * self.num_outputs];
        let mut output = vec![f32::NAN; num_rows * inter];
        let (product, gate_up_stride) = (gate_up.as_mut_ptr() as usize, self.num_outputs);
        let args = Linear { output: product, output_stride: gate_up_stride, bias, ..Linear::default() };
        self.run_with(args, 0..num_rows, kernel);
        let args = Gated {
            output: output.as_mut_ptr() as usize,
            gate_up: product,
            num_tokens: num_rows,
            inter,
            gate_up_stride,
            activation,
            dtype: Dtype::F32 as u32,
        };
        // SAFETY: the vectors have the sizes given.
        unsafe { gated(&args) }.unwrap();
        output
    }

    /// One output in the order of a kernel.
    fn expected(&self, row: usize, output: usize, kernel: Kernel) -> f32 {
        let x = &self.x[row * self.num_inputs..][..self.num_inputs];
        let weight = &self.weight[output * self.num_inputs..][..self.num_inputs];
        let products = |x: &[f32], weight: &[f32], offset: usize, step: usize, sum: f32| {
            (offset..x.len()).step_by(step).fold(sum, |sum, k| x[k].mul_add(weight[k], sum))
        };
        let narrow: Vec<f32> = x.iter().copied().map(rounded).collect();
        let sum = match kernel {
            Kernel::Plain | Kernel::Widened => products(x, weight, 0, 1, 0.0),
            Kernel::Pairs => narrow
                .chunks(2)
                .zip(weight.chunks(2))
                .fold(0.0, |sum, (x, weight)| products(x, weight, 0, 2, products(x, weight, 1, 2, sum))),
            Kernel::Tiles => narrow
                .chunks(TILE_INPUTS)
                .zip(weight.chunks(TILE_INPUTS))
                .fold(0.0, |sum, (x, w)| sum + (products(x, w, 0, 2, 0.0) + products(x, w, 1, 2, 0.0))),
        };
        sum + self.bias[output]
    }
}

pub(in crate::cpu) fn kernels() -> Vec<Kernel> {
    let mut kernels = vec![Kernel::Plain, Kernel::Widened];
    kernels.extend(multiplies_pairs().then_some(Kernel::Pairs));
    kernels.extend(has_tiles().then_some(Kernel::Tiles));
    kernels
}

#[test]
fn products_are_summed_in_their_order() {
    // Where sums depended on the batch, a token would be another one beside other requests.
    if crate::cpu_features() == "portable" {
        return;
    }
    for (num_rows, num_inputs, num_outputs) in
        [(1, 64, 32), (3, 70, 45), (16, 96, 64), (17, 33, 100), (33, 128, 70), (70, 31, 161), (1, 1, 1)]
    {
        let problem = Problem::new(num_rows, num_inputs, num_outputs);
        for kernel in kernels() {
            let actual = problem.run(0..num_rows, kernel);
            for (place, actual) in actual.iter().enumerate() {
                let expected = problem.expected(place / num_outputs, place % num_outputs, kernel);
                assert_eq!(
                    actual.to_bits(),
                    expected.to_bits(),
                    "{kernel:?} {num_rows} {num_inputs} {place}"
                );
            }
        }
    }
}

#[test]
fn a_row_is_the_same_in_any_batch() {
    // A second turn of a chat, whose first answer is in its prompt, would be answered differently.
    let (num_rows, num_inputs, num_outputs) = (75, 200, 97);
    let problem = Problem::new(num_rows, num_inputs, num_outputs);
    for kernel in kernels() {
        let together = problem.run(0..num_rows, kernel);
        for rows in [0..1, 74..75, 3..5, 10..17, 5..21, 20..37, 1..49, 8..72] {
            let expected = &together[rows.start * num_outputs..rows.end * num_outputs];
            assert!(problem.run(rows.clone(), kernel) == expected, "{kernel:?} {rows:?}");
        }
    }
}

#[test]
fn an_activated_product_is_the_product_activated() {
    // An MLP would answer differently on a processor that has both in one, or in an exact model.
    for (num_rows, num_inputs, inter) in
        [(1, 64, 32), (3, 70, 96), (16, 33, 160), (17, 128, 64), (33, 96, 45), (33, 100, 96), (70, 1030, 128)]
    {
        let problem = Problem::new(num_rows, num_inputs, 2 * inter);
        for (kernel, activation) in kernels().into_iter().flat_map(|kernel| [0, 1, 2].map(|a| (kernel, a))) {
            for bias in [0, problem.bias.as_ptr() as usize] {
                let bits = |x: Vec<f32>| x.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                let actual = bits(problem.run_gated(bias, activation, kernel));
                let expected = bits(problem.run_then_activate(bias, activation, kernel));
                assert!(actual == expected, "{kernel:?} {activation} {num_rows} {num_inputs} {inter} {bias}");
            }
        }
    }
}
