//! A layer of experts (Shazeer et al. 2017, arXiv:1701.06538): each token takes a few of many gated
//! MLPs, and adds their outputs by weight.
//!
//! ```text
//!   scores     token 0: experts 2, 5     token 1: experts 2, 3     token 2: experts 3, 5
//!   rows       expert 2: tokens 0, 1     expert 3: tokens 1, 2     expert 5: tokens 0, 2
//!   products   gate and up, activation, down: an expert, read once, for all its rows
//!   sum        token 0: row 0, row 4     token 1: row 1, row 2     token 2: row 3, row 5
//! ```
//!
//! Each row is multiplied as it would be alone, and those of a token are added in the order of its
//! experts' numbers: a token gives the same bits alone and in any batch.

mod route;

use std::ops::Range;

use route::Routes;

use super::gated::activated;
use super::linear::{Kernel, Linear, PAIR, activates};
use super::{Shared, grouped, rows_per_chunk, scratch};
use crate::element::{Bf16, Element};
use crate::ops::{OpError, arguments};
use crate::pool::parallel_for;
use crate::simd::{Vector, multiversioned};

arguments! {
    /// The arguments of [`experts`].
    pub struct Experts, rows num_tokens {
        /// \[num_tokens, hidden\] `f32`, contiguous.
        output: usize,
        /// As `output`.
        x: usize,
        /// \[num_tokens, num_experts\] `f32`, contiguous: what the router makes of `x`.
        scores: usize,
        /// \[num_experts, 6\] addresses: the packed gate and up projection, its bias and its form,
        /// and those of the down projection; 0 for no bias, and for no form.
        experts: usize,
        /// Tokens.
        num_tokens: usize,
        /// Elements per row of `x`.
        hidden: usize,
        /// Inputs of the down projection.
        inter: usize,
        /// Experts.
        num_experts: usize,
        /// Experts that each token takes, at most `num_experts`.
        num_used: usize,
        /// 1 for a softmax over the scores of the experts that a token takes, 0 for one over all.
        over_chosen: u32,
        /// As in `Gated`.
        activation: u32,
        /// Of the packed projections, as in `Linear`.
        weight_dtype: u32,
        /// As in `Linear`.
        round_x: u32,
        /// As in `Linear`.
        quantize_x: u32,
        /// 1 if all projections are weights in groups, and have forms.
        is_grouped: u32,
    }
}

/// Adds up what the experts of each token make of it.
///
/// # Errors
/// No weight is packed in that dtype.
///
/// # Safety
/// The addresses are those of live tensors with the shapes given, the output written by no other
/// thread.
pub unsafe fn experts(args: &Experts) -> Result<(), OpError> {
    let kernel = Kernel::of(args.weight_dtype, args.round_x)?;
    // SAFETY: the caller's promise.
    unsafe {
        let routes = Routes::of(args);
        let call = Call::new(args, kernel, &routes)?;
        call.gather();
        call.multiply(Half::GateUp)?;
        if !call.is_activated {
            call.activate();
        }
        call.multiply(Half::Down)?;
        call.sum();
    }
    Ok(())
}

/// One of the two products of an expert.
#[derive(Clone, Copy)]
enum Half {
    GateUp,
    Down,
}

/// Memory and arguments of one call; its functions are unsafe since they believe the arguments.
struct Call<'a> {
    args: &'a Experts,
    kernel: Kernel,
    routes: &'a Routes,
    /// Whether the kernel activates the products of gate and up itself.
    is_activated: bool,
    /// \[num_rows, row_len\] words, with whole pairs of the inputs; then \[num_rows, hidden\], the
    /// outputs.
    rows: usize,
    row_len: usize,
    /// \[num_rows, 2 * inter\] words; the activated numbers lie over the beginning of each row.
    gate_up: usize,
    /// For what one product prepares of its activations.
    prepared: usize,
}

impl<'a> Call<'a> {
    unsafe fn new(args: &'a Experts, kernel: Kernel, routes: &'a Routes) -> Result<Self, OpError> {
        let (num_rows, row_len) = (routes.num_rows(), args.hidden.next_multiple_of(2));
        let is_activated = args.is_grouped == 0 && kernel == Kernel::Tiles && activates(2 * args.inter);
        let mut call = Self { args, kernel, routes, is_activated, rows: 0, row_len, gate_up: 0, prepared: 0 };
        // SAFETY: the caller's promise.
        let prepared_len = unsafe { call.prepared_len() }?;
        // It begins at a cache line.
        call.prepared = scratch::lines(prepared_len + num_rows * (row_len + 2 * args.inter)) as usize;
        call.rows = call.prepared + prepared_len * size_of::<f32>();
        call.gate_up = call.rows + num_rows * row_len * size_of::<f32>();
        Ok(call)
    }

    /// Words that the largest product prepares.
    unsafe fn prepared_len(&self) -> Result<usize, OpError> {
        let used = self.routes.used();
        if self.args.is_grouped == 0 {
            let most_rows = used.iter().map(|(_, rows)| rows.len()).max().unwrap_or(0);
            return Ok(self.kernel.tiles_len(most_rows, self.args.hidden.max(self.args.inter)));
        }
        let mut len = 0;
        for (expert, rows) in used {
            for half in [Half::GateUp, Half::Down] {
                // SAFETY: the caller's promise.
                len = len
                    .max(unsafe { grouped::scratch_len(&self.product(half, *expert, rows), self.kernel) }?);
            }
        }
        // What comes behind it begins at a cache line, too.
        Ok(len.next_multiple_of(16))
    }

    /// Brings the inputs of each expert together.
    unsafe fn gather(&self) {
        let shared = Shared(self);
        let min_rows = rows_per_chunk(self.args.hidden);
        // SAFETY: the caller's promise; ranges do not overlap, here and below.
        parallel_for(self.routes.num_rows(), min_rows, &|rows| unsafe {
            if self.has_pairs() {
                run_gather::<Bf16>(shared.get(), rows);
            } else {
                run_gather::<f32>(shared.get(), rows);
            }
        });
    }

    /// One product of all rows: what is shared out are groups of outputs of every expert.
    unsafe fn multiply(&self, half: Half) -> Result<(), OpError> {
        let used = self.routes.used();
        if self.args.is_grouped == 1 || self.kernel == Kernel::Tiles {
            for (expert, rows) in used {
                // SAFETY: the caller's promise, and the memory is large enough for any expert.
                unsafe {
                    let product = self.product(half, *expert, rows);
                    if self.args.is_grouped == 1 {
                        grouped::linear_in(&product, self.kernel, self.prepared as *mut f32)?;
                    } else {
                        self.kernel.run_tiles(&product, self.prepared as *mut u8);
                    }
                }
            }
            return Ok(());
        }
        let Some((expert, rows)) = used.first() else { return Ok(()) };
        // SAFETY: the caller's promise.
        let first = unsafe { self.product(half, *expert, rows) };
        let (num_groups, mean_rows) = (first.num_groups(PAIR), self.routes.num_rows().div_ceil(used.len()));
        let shared = Shared(self);
        parallel_for(used.len() * num_groups, first.groups_per_chunk(PAIR, mean_rows), &|mut items| {
            while !items.is_empty() {
                let (place, group) = (items.start / num_groups, items.start % num_groups);
                let end = num_groups.min(group + items.len());
                let (expert, rows) = &used[place];
                // SAFETY: as above.
                unsafe {
                    let product = shared.get().product(half, *expert, rows);
                    self.kernel.run(&product, group..end);
                }
                items.start += end - group;
            }
        });
        Ok(())
    }

    /// Whether rows hold pairs of `bfloat16`.
    fn has_pairs(&self) -> bool {
        self.kernel == Kernel::Pairs && self.args.is_grouped == 0
    }

    /// Returns the product of one expert with its rows.
    unsafe fn product(&self, half: Half, expert: usize, rows: &Range<usize>) -> Linear {
        let Experts { hidden, inter, weight_dtype, round_x, quantize_x, .. } = *self.args;
        // SAFETY: the expert is one of `num_experts`.
        let addresses = unsafe { *(self.args.experts as *const [usize; 6]).add(expert) };
        let place = |base: usize, row_len: usize| base + rows.start * row_len * size_of::<f32>();
        let numbers_per_word = if self.has_pairs() { 2 } else { 1 };
        let inner = place(self.gate_up, 2 * inter);
        let common = Linear { num_rows: rows.len(), weight_dtype, round_x, quantize_x, ..Linear::default() };
        match half {
            Half::GateUp => Linear {
                output: inner,
                x: place(self.rows, self.row_len),
                packed: addresses[0],
                bias: addresses[1],
                num_inputs: hidden,
                num_outputs: 2 * inter,
                x_stride: self.row_len * numbers_per_word,
                output_stride: 2 * inter,
                form: addresses[2],
                activation: if self.is_activated { 1 + self.args.activation } else { 0 },
                ..common
            },
            Half::Down => Linear {
                output: place(self.rows, hidden),
                x: inner,
                packed: addresses[3],
                bias: addresses[4],
                num_inputs: inter,
                num_outputs: hidden,
                x_stride: 2 * inter * numbers_per_word,
                output_stride: hidden,
                form: addresses[5],
                ..common
            },
        }
    }

    unsafe fn activate(&self) {
        let shared = Shared(self);
        let min_rows = rows_per_chunk(self.args.inter * 4);
        // SAFETY: as in `gather`.
        parallel_for(self.routes.num_rows(), min_rows, &|rows| unsafe {
            if self.has_pairs() {
                run_activate::<Bf16>(shared.get(), rows);
            } else {
                run_activate::<f32>(shared.get(), rows);
            }
        });
    }

    /// Adds up the outputs of each token.
    unsafe fn sum(&self) {
        let shared = Shared(self);
        let min_rows = rows_per_chunk(self.args.hidden * self.args.num_used);
        // SAFETY: as in `gather`.
        parallel_for(self.args.num_tokens, min_rows, &|tokens| unsafe { run_sum(shared.get(), tokens) });
    }
}

multiversioned!(run_gather<E>, gather_rows, Call<'_>);

#[inline(always)]
unsafe fn gather_rows<E: Element, V: Vector>(call: &Call<'_>, range: Range<usize>) {
    let hidden = call.args.hidden;
    for row in range {
        // SAFETY: the caller of `experts` vouches for the token, and `Call` for the row.
        unsafe {
            let source = (call.args.x as *const f32).add(call.routes.token_of(row) * hidden);
            let target = (call.rows as *mut f32).add(row * call.row_len).cast::<E>();
            for i in (0..hidden).step_by(V::LANES) {
                let values = f32::load_up_to::<V>(source.add(i), hidden - i);
                E::store_up_to(values, target.add(i), call.row_len - i);
            }
        }
    }
}

multiversioned!(run_activate<E>, activate_rows, Call<'_>);

#[inline(always)]
unsafe fn activate_rows<E: Element, V: Vector>(call: &Call<'_>, range: Range<usize>) {
    let inter = call.args.inter;
    for row in range {
        // SAFETY: `Call` vouches for the row; what is written lies over what has been read.
        unsafe {
            let gate = (call.gate_up as *mut f32).add(row * 2 * inter);
            let target = gate.cast::<E>();
            for i in (0..inter).step_by(V::LANES) {
                let left = inter - i;
                let x = f32::load_up_to::<V>(gate.add(i), left);
                let up = f32::load_up_to::<V>(gate.add(inter + i), left);
                E::store_up_to(activated(call.args.activation, x, up), target.add(i), left);
            }
            if !inter.is_multiple_of(2) {
                *target.add(inter) = E::default();
            }
        }
    }
}

multiversioned!(run_sum, sum_rows, Call<'_>);

#[inline(always)]
unsafe fn sum_rows<V: Vector>(call: &Call<'_>, tokens: Range<usize>) {
    let hidden = call.args.hidden;
    for token in tokens {
        // SAFETY: the caller of `experts` vouches for the token, and `Call` for its rows.
        unsafe {
            let target = (call.args.output as *mut f32).add(token * hidden);
            for i in (0..hidden).step_by(V::LANES) {
                let mut sum = V::splat(0.0);
                for (row, weight) in call.routes.rows_of(token) {
                    let output = (call.rows as *const f32).add(row * hidden + i);
                    sum = f32::load_up_to::<V>(output, hidden - i).mul_add(V::splat(weight), sum);
                }
                f32::store_up_to(sum, target.add(i), hidden - i);
            }
        }
    }
}
