//! The small operations on rows: embedding, selection, addition, scaling, soft cap.

use std::ops::Range;

use super::{Shared, by_dtype, by_kv_dtypes, rows_per_chunk};
use crate::element::Element;
use crate::ops::{OpError, arguments};
use crate::pool::parallel_for;
use crate::simd::{Vector, multiversioned, tanh};
use crate::{Dtype, KvDtypes};

arguments! {
    /// The arguments of [`embed`].
    pub struct Embed, rows num_rows {
        /// \[num_rows, width\], contiguous, of `dtype`.
        output: usize,
        /// \[num_rows\] `i32`.
        token_ids: usize,
        /// \[vocab_size, width\], contiguous, of `table_dtype`.
        table: usize,
        /// Tokens.
        num_rows: usize,
        /// Elements per row.
        width: usize,
        /// Rows of the table.
        vocab_size: usize,
        /// Multiplies what was looked up.
        factor: f32,
        /// Of the output.
        dtype: u32,
        /// Of the table: the same, or `bfloat16` under `float32`.
        table_dtype: u32,
    }
}

/// Looks up the row of each token and multiplies it.
///
/// # Errors
/// A token lies outside of the table; nothing was written then.
///
/// # Safety
/// The addresses are those of live tensors with the shapes given, that nothing else writes.
pub unsafe fn embed(args: &Embed) -> Result<(), OpError> {
    let dtypes = KvDtypes::from_codes(args.dtype, args.table_dtype)?;
    // SAFETY: the caller's promise.
    unsafe {
        check_below("token", args.token_ids, args.num_rows, args.vocab_size)?;
        by_kv_dtypes!(embed_all, dtypes, args);
    }
    Ok(())
}

/// # Safety
/// `numbers` is the address of `len` numbers of type `i32`.
unsafe fn check_below(what: &'static str, numbers: usize, len: usize, limit: usize) -> Result<(), OpError> {
    for index in 0..len {
        // SAFETY: the caller's promise.
        let value = unsafe { *(numbers as *const i32).add(index) };
        if !usize::try_from(value).is_ok_and(|value| value < limit) {
            return Err(OpError::OutOfRange { what, value: value.into(), limit });
        }
    }
    Ok(())
}

unsafe fn embed_all<E: Element, C: Element>(args: &Embed) {
    let shared = Shared(*args);
    // SAFETY: the caller's promise; ranges do not overlap.
    parallel_for(args.num_rows, rows_per_chunk(args.width), &|rows| unsafe {
        run_embed::<E, C>(shared.get(), rows);
    });
}

multiversioned!(run_embed<E, C>, embed_rows, Embed);

#[inline(always)]
unsafe fn embed_rows<E: Element, C: Element, V: Vector>(args: &Embed, range: Range<usize>) {
    for row in range {
        // SAFETY: `embed` checked the tokens, and its caller vouches for the tensors.
        unsafe {
            let token = *(args.token_ids as *const i32).add(row) as usize;
            let source = (args.table as *const C).add(token * args.width);
            let target = (args.output as *mut E).add(row * args.width);
            let factor = V::splat(args.factor);
            for i in (0..args.width).step_by(V::LANES) {
                let left = args.width - i;
                E::store_up_to(C::load_up_to::<V>(source.add(i), left).mul(factor), target.add(i), left);
            }
        }
    }
}

arguments! {
    /// The arguments of [`take`].
    pub struct Take, rows num_rows {
        /// \[num_rows, width\], contiguous.
        output: usize,
        /// \[any, width\], contiguous.
        x: usize,
        /// \[num_rows\] `i32`, rows of `x`.
        rows: usize,
        /// Rows to take.
        num_rows: usize,
        /// Elements per row.
        width: usize,
        /// Rows of `x`.
        limit: usize,
        /// Of both.
        dtype: u32,
    }
}

/// Copies some rows of a tensor.
///
/// # Errors
/// A row lies outside of it; nothing was written then.
///
/// # Safety
/// The addresses are those of live tensors with the shapes given, that nothing else writes.
pub unsafe fn take(args: &Take) -> Result<(), OpError> {
    let num_bytes = args.width * Dtype::from_code(args.dtype)?.size();
    // SAFETY: the caller's promise.
    unsafe {
        check_below("row", args.rows, args.num_rows, args.limit)?;
        for row in 0..args.num_rows {
            let source = *(args.rows as *const i32).add(row) as usize * num_bytes;
            let (source, target) =
                ((args.x + source) as *const u8, (args.output + row * num_bytes) as *mut u8);
            std::ptr::copy_nonoverlapping(source, target, num_bytes);
        }
    }
    Ok(())
}

arguments! {
    /// The arguments of [`put`].
    pub struct Put, rows num_rows {
        /// \[limit\], numbers of four bytes; updated in place.
        output: usize,
        /// \[num_rows\] `i32`, places of `output`; of equal ones the last counts.
        places: usize,
        /// \[num_rows\], as `output`.
        x: usize,
        /// Numbers to put.
        num_rows: usize,
        /// Places of `output`.
        limit: usize,
    }
}

/// Writes numbers to some places of a vector.
///
/// # Errors
/// A place lies outside of it; nothing was written then.
///
/// # Safety
/// The addresses are those of live tensors with the shapes given, that nothing else writes.
pub unsafe fn put(args: &Put) -> Result<(), OpError> {
    // SAFETY: the caller's promise.
    unsafe {
        check_below("place", args.places, args.num_rows, args.limit)?;
        for index in 0..args.num_rows {
            let place = *(args.places as *const i32).add(index) as usize;
            *(args.output as *mut u32).add(place) = *(args.x as *const u32).add(index);
        }
    }
    Ok(())
}

arguments! {
    /// The arguments of [`add_into`].
    pub struct AddInto, rows num_rows {
        /// \[num_rows, width\], contiguous; updated in place.
        sum: usize,
        /// As `sum`.
        x: usize,
        /// Rows.
        num_rows: usize,
        /// Elements per row.
        width: usize,
        /// Of both.
        dtype: u32,
    }
}

/// `sum += x`, rounded to the dtype.
///
/// # Errors
/// The dtype is not known.
///
/// # Safety
/// The addresses are those of live tensors with the shapes given, that nothing else writes.
pub unsafe fn add_into(args: &AddInto) -> Result<(), OpError> {
    let dtype = Dtype::from_code(args.dtype)?;
    // SAFETY: the caller's promise.
    unsafe { by_dtype!(add_all, dtype, args) }
    Ok(())
}

unsafe fn add_all<E: Element>(args: &AddInto) {
    let shared = Shared(*args);
    // SAFETY: the caller's promise; ranges do not overlap.
    parallel_for(args.num_rows, rows_per_chunk(args.width), &|rows| unsafe {
        run_add::<E>(shared.get(), rows);
    });
}

multiversioned!(run_add<E>, add_rows, AddInto);

#[inline(always)]
unsafe fn add_rows<E: Element, V: Vector>(args: &AddInto, range: Range<usize>) {
    let len = range.len() * args.width;
    // SAFETY: the caller of `add_into` vouches for the tensors.
    unsafe {
        let sum = (args.sum as *mut E).add(range.start * args.width);
        let x = (args.x as *const E).add(range.start * args.width);
        for i in (0..len).step_by(V::LANES) {
            let before = E::load_up_to::<V>(sum.add(i), len - i);
            E::store_up_to(before.add(E::load_up_to(x.add(i), len - i)), sum.add(i), len - i);
        }
    }
}

arguments! {
    /// The arguments of [`scale`].
    pub struct Scale, rows num_rows {
        /// \[num_rows, width\], contiguous; updated in place.
        x: usize,
        /// Rows.
        num_rows: usize,
        /// Elements per row.
        width: usize,
        /// Multiplies each element.
        factor: f32,
        /// Of `x`.
        dtype: u32,
    }
}

/// `x *= factor`, rounded to the dtype.
///
/// # Errors
/// The dtype is not known.
///
/// # Safety
/// The address is that of a live tensor with the shape given, that nothing else writes.
pub unsafe fn scale(args: &Scale) -> Result<(), OpError> {
    let dtype = Dtype::from_code(args.dtype)?;
    // SAFETY: the caller's promise.
    unsafe { by_dtype!(scale_all, dtype, args) }
    Ok(())
}

unsafe fn scale_all<E: Element>(args: &Scale) {
    let shared = Shared(*args);
    // SAFETY: the caller's promise; ranges do not overlap.
    parallel_for(args.num_rows, rows_per_chunk(args.width), &|rows| unsafe {
        run_scale::<E>(shared.get(), rows);
    });
}

multiversioned!(run_scale<E>, scale_rows, Scale);

#[inline(always)]
unsafe fn scale_rows<E: Element, V: Vector>(args: &Scale, range: Range<usize>) {
    let len = range.len() * args.width;
    // SAFETY: the caller of `scale` vouches for the tensor.
    unsafe {
        let x = (args.x as *mut E).add(range.start * args.width);
        let factor = V::splat(args.factor);
        for i in (0..len).step_by(V::LANES) {
            E::store_up_to(E::load_up_to::<V>(x.add(i), len - i).mul(factor), x.add(i), len - i);
        }
    }
}

arguments! {
    /// The arguments of [`soft_cap`].
    pub struct SoftCap, rows num_rows {
        /// \[num_rows, width\], contiguous; updated in place.
        x: usize,
        /// Rows.
        num_rows: usize,
        /// Elements per row.
        width: usize,
        /// The bound of every element.
        cap: f32,
        /// Of `x`.
        dtype: u32,
    }
}

/// `x = cap · tanh(x / cap)`, rounded to the dtype.
///
/// # Errors
/// The dtype is not known.
///
/// # Safety
/// The address is that of a live tensor with the shape given, that nothing else writes.
pub unsafe fn soft_cap(args: &SoftCap) -> Result<(), OpError> {
    let dtype = Dtype::from_code(args.dtype)?;
    // SAFETY: the caller's promise.
    unsafe { by_dtype!(soft_cap_all, dtype, args) }
    Ok(())
}

unsafe fn soft_cap_all<E: Element>(args: &SoftCap) {
    let shared = Shared(*args);
    // Elements and not rows are shared out: a row of logits is long, and its exponentials are slow.
    let num_elements = args.num_rows * args.width;
    // SAFETY: the caller's promise; ranges do not overlap.
    parallel_for(num_elements, rows_per_chunk(4), &|elements| unsafe {
        run_soft_cap::<E>(shared.get(), elements);
    });
}

multiversioned!(run_soft_cap<E>, cap_elements, SoftCap);

#[inline(always)]
unsafe fn cap_elements<E: Element, V: Vector>(args: &SoftCap, range: Range<usize>) {
    // SAFETY: the caller of `soft_cap` vouches for the tensor.
    unsafe {
        let (cap, inverse) = (V::splat(args.cap), V::splat(1.0 / args.cap));
        let x = args.x as *mut E;
        for i in range.clone().step_by(V::LANES) {
            let bent = tanh(E::load_up_to::<V>(x.add(i), range.end - i).mul(inverse));
            E::store_up_to(bent.mul(cap), x.add(i), range.end - i);
        }
    }
}
