//! Checks that lengths and block ids lie within the tensors: once, before the kernels read them
//! many times.

use super::PagedAttention;
use crate::ops::OpError;

/// One sequence of the step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    /// Of the block tables.
    pub(super) row: usize,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) context_len: usize,
}

/// Returns a number as a place below `limit`.
fn below(what: &'static str, value: i32, limit: usize) -> Result<usize, OpError> {
    let place = usize::try_from(value).ok().filter(|place| *place < limit);
    place.ok_or(OpError::OutOfRange { what, value: value.into(), limit })
}

/// Reads and checks a sequence.
///
/// # Errors
/// Its row, its tokens, its keys or a block of them lies outside of the tensors.
///
/// # Safety
/// The columns have this sequence, and the block tables as many rows and entries as the arguments
/// say.
pub(super) unsafe fn sequence(args: &PagedAttention, seq: usize) -> Result<Sequence, OpError> {
    // SAFETY: the caller's promise.
    let [row, start, end, context_len] = unsafe {
        let starts = (args.query_starts as *const i32).add(seq);
        [
            *(args.rows as *const i32).add(seq),
            *starts,
            *starts.add(1),
            *(args.context_lens as *const i32).add(seq),
        ]
    };
    let end = below("query start", end, args.num_tokens + 1)?;
    let start = below("query start", start, end + 1)?;
    let row = below("row", row, args.num_table_rows)?;
    let max_context_len = args.block_table_stride * args.block_size;
    let context_len = below("context length", context_len, max_context_len + 1)?;
    if context_len < end - start {
        return Err(OpError::OutOfRange {
            what: "number of query tokens",
            value: (end - start) as i64,
            limit: context_len + 1,
        });
    }
    for block in 0..context_len.div_ceil(args.block_size) {
        // SAFETY: the row and the block were just found to be in the tables.
        let id = unsafe { *(args.block_tables as *const i32).add(row * args.block_table_stride + block) };
        below("block id", id, args.num_blocks)?;
    }
    Ok(Sequence { row, start, end, context_len })
}
