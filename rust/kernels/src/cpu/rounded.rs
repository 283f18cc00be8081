//! Rows that are rounded where they are made.
//!
//! A product by pairs of `bfloat16` begins with a loop that rounds its rows. In a program the
//! operation before it has mostly just made them, and can round them as it writes them: `rounded`
//! of a norm, of an activated product and of attention is `rounded_x` of the product behind. The
//! same numbers are written as they are, too, since others may read them.

use std::mem::offset_of;

use super::{Linear, PagedAttention, RmsNorm};
use crate::ops::Operation;

/// Rows that an operation makes and can round.
pub(super) struct Made {
    /// Where they begin.
    pub(super) output: usize,
    /// Rows, at most.
    pub(super) num_rows: usize,
    /// Elements per row, which are contiguous.
    pub(super) width: usize,
    /// Offset of the field for the place of the rounded ones.
    pub(super) rounded: usize,
}

/// Where two operations that follow each other have the place of the rounded rows between them.
pub(crate) struct Rounded {
    /// Offset of that field of the operation that makes them.
    pub(crate) made: usize,
    /// Offset of that of the product.
    pub(crate) taken: usize,
    /// Elements of all rows.
    pub(crate) len: usize,
}

/// Returns both places if the second operation is a product that rounds the rows which the first
/// one makes.
///
/// # Safety
/// Each address is that of a struct of its operation, with the most rows that it will have.
pub(crate) unsafe fn round_early(
    (maker, made): (&Operation, *const u8),
    (product, taken): (&Operation, *const u8),
) -> Option<Rounded> {
    if product.layout.name != "Linear" {
        return None;
    }
    // SAFETY: the caller's promise; operations of these names have these structs.
    let (made, product) = unsafe {
        let made = match maker.layout.name {
            "RmsNorm" => (*made.cast::<RmsNorm>()).made(),
            "Linear" => (*made.cast::<Linear>()).made(),
            "PagedAttention" => (*made.cast::<PagedAttention>()).made(),
            _ => None,
        }?;
        (made, &*taken.cast::<Linear>())
    };
    let is_behind =
        product.x == made.output && product.num_rows == made.num_rows && product.num_inputs == made.width;
    (is_behind && product.takes_rounded()).then_some(Rounded {
        made: made.rounded,
        taken: offset_of!(Linear, rounded_x),
        len: product.num_rows * product.num_inputs,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::linear::Numbers;
    use super::super::linear::multiplies_pairs;
    use super::super::{PackLinear, linear, pack_linear, packed_len, rms_norm};
    use super::*;
    use crate::Dtype;
    use crate::program::Program;

    const ROWS: usize = 37;
    const HIDDEN: usize = 96;
    const INTER: usize = 160;

    /// A norm, and an MLP of it.
    struct Mlp {
        norm: RmsNorm,
        products: [Linear; 2],
    }

    fn number(name: &str) -> u32 {
        let place = crate::cpu::OPERATIONS.iter().position(|operation| operation.layout.name == name);
        u32::try_from(place.unwrap()).unwrap()
    }

    fn address<T>(of: &T) -> *const u8 {
        std::ptr::from_ref(of).cast()
    }

    impl Mlp {
        /// # Safety
        /// All tensors are live; likewise below.
        unsafe fn one_by_one(&self) {
            // SAFETY: the caller's promise; likewise below.
            unsafe {
                rms_norm(&self.norm).unwrap();
                self.products.iter().for_each(|product| linear(product).unwrap());
            }
        }

        unsafe fn in_a_program(&self) {
            let mut program = Program::default();
            // SAFETY: see above.
            unsafe {
                program.append(number("RmsNorm"), address(&self.norm), 0).unwrap();
                for product in &self.products {
                    program.append(number("Linear"), address(product), 0).unwrap();
                }
                program.run(&[ROWS]).unwrap();
                // Fewer rows than there is memory for.
                program.run(&[ROWS - 30]).unwrap();
            }
        }
    }

    fn packed(numbers: &mut Numbers, num_outputs: usize, num_inputs: usize) -> Vec<[u16; 32]> {
        let weight = numbers.take(num_outputs * num_inputs);
        let narrow: Vec<u16> = weight.iter().map(|x| (x.to_bits() >> 16) as u16).collect();
        let mut packed = vec![[0; 32]; packed_len(num_outputs, num_inputs, false) / 32];
        let (place, weight) = (packed.as_mut_ptr() as usize, narrow.as_ptr() as usize);
        // SAFETY: the vectors have the sizes given.
        unsafe {
            pack_linear(&PackLinear { packed: place, weight, num_inputs, num_outputs, is_wide: false });
        }
        packed
    }

    #[test]
    fn rows_that_are_rounded_where_they_are_made_give_the_same_bits() {
        let mut numbers = Numbers::new(7);
        let [x, weight] = [ROWS * HIDDEN, HIDDEN].map(|len| numbers.take(len));
        let [gate_up, down] = [(2 * INTER, HIDDEN), (HIDDEN, INTER)]
            .map(|(outputs, inputs)| packed(&mut numbers, outputs, inputs));
        let run = |in_a_program: bool| {
            let [mut normed, mut active, mut output] =
                [HIDDEN, INTER, HIDDEN].map(|width| vec![f32::NAN; ROWS * width]);
            let norm = RmsNorm {
                output: normed.as_mut_ptr() as usize,
                x: x.as_ptr() as usize,
                weight: weight.as_ptr() as usize,
                num_tokens: ROWS,
                hidden: HIDDEN,
                output_stride: HIDDEN,
                x_stride: HIDDEN,
                eps: 1e-5,
                dtype: Dtype::F32 as u32,
                ..RmsNorm::default()
            };
            let product = |output: &mut Vec<f32>, x: usize, packed: &Vec<[u16; 32]>| Linear {
                output: output.as_mut_ptr() as usize,
                x,
                packed: packed.as_ptr() as usize,
                num_rows: ROWS,
                weight_dtype: Dtype::Bf16 as u32,
                round_x: 1,
                ..Linear::default()
            };
            let active_place = active.as_ptr() as usize;
            let gated = Linear {
                num_inputs: HIDDEN,
                num_outputs: 2 * INTER,
                x_stride: HIDDEN,
                output_stride: INTER,
                activation: 1,
                ..product(&mut active, norm.output, &gate_up)
            };
            let plain = Linear {
                num_inputs: INTER,
                num_outputs: HIDDEN,
                x_stride: INTER,
                output_stride: HIDDEN,
                ..product(&mut output, active_place, &down)
            };
            let mlp = Mlp { norm, products: [gated, plain] };
            // SAFETY: the vectors have the sizes given.
            unsafe { if in_a_program { mlp.in_a_program() } else { mlp.one_by_one() } }
            [normed, active, output].map(|rows| rows.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
        };
        assert_eq!(run(true), run(false));
    }

    #[test]
    fn only_the_next_product_of_pairs_takes_rounded_rows() {
        // Taken by one that reads other rows, or rounds nothing, they would be another's numbers.
        let norm = RmsNorm { output: 64, num_tokens: 8, hidden: 32, output_stride: 32, ..RmsNorm::default() };
        let product = Linear {
            x: 64,
            num_rows: 8,
            num_inputs: 32,
            num_outputs: 64,
            x_stride: 32,
            weight_dtype: Dtype::Bf16 as u32,
            round_x: 1,
            ..Linear::default()
        };
        let [first, second] = ["RmsNorm", "Linear"].map(|name| Operation::of(number(name)).unwrap());
        let taken = |norm: &RmsNorm, product: &Linear| {
            // SAFETY: both are structs of their operation.
            unsafe { round_early((first, address(norm)), (second, address(product))) }.map(|rows| rows.len)
        };
        let is_by_pairs = multiplies_pairs() && !super::super::has_tiles();
        assert_eq!(taken(&norm, &product), is_by_pairs.then_some(8 * 32));
        for other in [
            Linear { x: 128, ..product },
            Linear { num_rows: 4, ..product },
            Linear { num_inputs: 30, ..product },
            Linear { round_x: 0, ..product },
            Linear { form: 1, ..product },
        ] {
            assert_eq!(taken(&norm, &other), None);
        }
        assert_eq!(taken(&RmsNorm { dtype: Dtype::Bf16 as u32, ..norm }, &product), None);
        assert_eq!(taken(&RmsNorm { output_stride: 64, ..norm }, &product), None);
    }
}
