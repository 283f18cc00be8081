//! How a weight of four or eight bits lies in memory.
//!
//! ```text
//!   tile of 32 outputs   span 0, span 1, …        a group of inputs, or 256 if scales are nested
//!   span   outer scales, outer offsets            32 of 16 bits each, if scales are nested
//!          scales of its groups, offsets          32 of 16 bits each, or of 8 if nested
//!          words                                  32 for every 8 inputs in 4 bits, or 4 in 8
//!   word in 4 bits       inputs 0 2 4 6 1 3 5 7   from the lowest bits on
//!   word in 8 bits       inputs 0 2 1 3
//! ```
//!
//! So a lane is an output, one shift brings a pair of inputs to the lowest bits of both halves of
//! each lane, and a tile is read from its beginning to its end. The value of a weight is
//!
//! ```text
//!   scale · table[code] + offset        rounded once, to f32
//! ```
//!
//! where `table` is the number itself in 8 bits; nested scales and offsets are a number of 8 bits
//! times the outer one; and an offset by a zero point is `-(zero · scale)`. No product of these
//! needs rounding.

use crate::Dtype;
use crate::cpu::linear::TILE;
use crate::element::{Bf16, Element, F16};
use crate::ops::{OpError, arguments};
use crate::simd::Decode;

/// Inputs that share an outer scale.
const OUTER: usize = 256;
/// Bytes of the scales of a tile in 16 bits.
const WIDE: usize = 2 * TILE;
/// The same in 8 bits.
const NARROW: usize = TILE;

arguments! {
    /// How the numbers of a weight in groups are stored.
    pub struct Form {
        /// Of a number: 4 or 8.
        bits: u32,
        /// Inputs that share a scale: 16, or a multiple of 32; one that 256 is a multiple of where
        /// scales are nested.
        group_size: u32,
        /// Of the scales, or of the outer ones: `bfloat16` or `float16`.
        dtype: u32,
        /// 0 for none, 1 for zero points, 2 for minima.
        offsets: u32,
        /// 1 if scales and minima are numbers of 8 bits, and 256 inputs share what they are
        /// multiplied with.
        is_nested: u32,
        /// Sixteen `f32`: what the codes of 4 bits stand for.
        table: usize,
    }
}

/// What the offsets of a form are.
const ZEROS: u32 = 1;

/// Where everything lies in a weight of a form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) form: Form,
    dtype: Dtype,
    /// Inputs of a group.
    pub(super) group_size: usize,
    pub(super) num_groups: usize,
    /// Groups of a span.
    pub(super) span_groups: usize,
    pub(super) num_spans: usize,
    /// Bytes of a span.
    span_bytes: usize,
    /// Bytes before the words of a span, and before the scales in it.
    head_bytes: usize,
    scales_begin: usize,
    /// Bytes of the scales of a group.
    scale_bytes: usize,
    packed: usize,
}

impl Grid {
    /// That of a weight at an address.
    ///
    /// # Errors
    /// No weight has that form.
    pub(super) fn of(form: Form, packed: usize, num_inputs: usize) -> Result<Self, OpError> {
        let dtype = Dtype::from_code(form.dtype)?;
        let is_nested = form.is_nested == 1;
        let group_size = form.group_size as usize;
        let span = if is_nested { OUTER } else { group_size };
        // A tile register takes 16 inputs, or 32.
        let is_whole = group_size == 16 || group_size > 0 && group_size.is_multiple_of(32);
        let is_whole = is_whole && span.is_multiple_of(group_size);
        if !is_whole || ![4, 8].contains(&form.bits) || dtype == Dtype::F32 || form.offsets > 2 {
            return Err(OpError::Dtype(form.bits, form.group_size));
        }
        let span_groups = span / group_size;
        let num_spans = num_inputs.div_ceil(span);
        let kinds = if form.offsets > 0 { 2 } else { 1 };
        let scale_bytes = if is_nested { NARROW } else { WIDE };
        let scales_begin = if is_nested { kinds * WIDE } else { 0 };
        let head_bytes = scales_begin + kinds * span_groups * scale_bytes;
        Ok(Self {
            form,
            dtype,
            group_size,
            num_groups: num_spans * span_groups,
            span_groups,
            num_spans,
            span_bytes: head_bytes + span * TILE * form.bits as usize / 8,
            head_bytes,
            scales_begin,
            scale_bytes,
            packed,
        })
    }

    /// Inputs with those that fill the last span.
    pub(super) fn num_inputs(&self) -> usize {
        self.num_groups * self.group_size
    }

    /// Whether the sums of the inputs of a group are needed.
    pub(super) fn has_offsets(&self) -> bool {
        self.form.offsets > 0
    }

    /// What the codes of four bits stand for as whole numbers of 8 bits, and what one of them is
    /// worth; None if that is no power of two up to 1. Numbers of 8 bits are that already.
    ///
    /// # Safety
    /// The form's table is live.
    pub(super) unsafe fn bytes(&self) -> Option<([i8; 16], f32)> {
        if self.form.bits == 8 {
            return Some(([0; 16], 1.0));
        }
        // SAFETY: the caller's promise.
        let table = unsafe { *(self.form.table as *const [f32; 16]) };
        [1.0f32, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0].into_iter().find_map(|factor| {
            let numbers = table.map(|number| (number * factor) as i8);
            let fits = numbers.iter().zip(table).all(|(byte, number)| f32::from(*byte) == number * factor);
            fits.then_some((numbers, 1.0 / factor))
        })
    }

    pub(super) fn span(&self, tile: usize, span: usize) -> *const u8 {
        (self.packed as *const u8).wrapping_add((tile * self.num_spans + span) * self.span_bytes)
    }

    /// The words of a group.
    pub(super) fn words(&self, tile: usize, group: usize) -> *const u32 {
        let group_bytes = self.group_size * TILE * self.form.bits as usize / 8;
        self.span(tile, group / self.span_groups)
            .wrapping_add(self.head_bytes + group % self.span_groups * group_bytes)
            .cast()
    }

    /// The scales of a vector of outputs from one of a tile on, and what is added for each unit of
    /// its inputs.
    ///
    /// # Safety
    /// The weight is live, and the processor has the instructions of `V`.
    #[inline(always)]
    pub(super) unsafe fn scales<V: Decode>(&self, tile: usize, group: usize, output: usize) -> (V, V) {
        let span = self.span(tile, group / self.span_groups);
        let inner = self.scales_begin + group % self.span_groups * self.scale_bytes;
        // SAFETY: the caller's promise.
        unsafe {
            let scale = self.number::<V>(span, 0, inner, output);
            if !self.has_offsets() {
                return (scale, V::splat(0.0));
            }
            let offset = self.number::<V>(span, WIDE, inner + self.span_groups * self.scale_bytes, output);
            if self.form.offsets == ZEROS {
                return (scale, V::splat(0.0).sub(offset.mul(scale)));
            }
            (scale, offset)
        }
    }

    /// # Safety
    /// As for [`Grid::scales`].
    #[inline(always)]
    unsafe fn number<V: Decode>(&self, span: *const u8, outer: usize, inner: usize, output: usize) -> V {
        // SAFETY: the caller's promise.
        unsafe {
            if self.form.is_nested == 0 {
                return self.wide(span.add(inner), output);
            }
            self.wide::<V>(span.add(outer), output).mul(V::load_i8(span.add(inner + output).cast()))
        }
    }

    /// # Safety
    /// As for [`Grid::scales`].
    #[inline(always)]
    unsafe fn wide<V: Decode>(&self, numbers: *const u8, output: usize) -> V {
        // SAFETY: the caller's promise.
        unsafe {
            if self.dtype == Dtype::Bf16 {
                Bf16::load(numbers.cast::<Bf16>().add(output))
            } else {
                F16::load(numbers.cast::<F16>().add(output))
            }
        }
    }
}
