//! Memory for what a kernel prepares, kept per thread so that no call allocates.

use std::cell::UnsafeCell;

/// One cache line, so that no vector crosses two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

thread_local! {
    static LINES: UnsafeCell<Vec<Line>> = const { UnsafeCell::new(Vec::new()) };
    static SHARE: UnsafeCell<Vec<Line>> = const { UnsafeCell::new(Vec::new()) };
}

/// `len` floats that start on a cache line and hold whatever the thread's last user left there.
///
/// They stay valid until this thread's next call.
pub(super) fn lines(len: usize) -> *mut f32 {
    LINES.with(|lines| take(lines, len))
}

/// The same for what a thread prepares for its share of a loop, beside the memory of the loop's
/// caller, which may be this thread.
pub(super) fn lines_of_share(len: usize) -> *mut f32 {
    SHARE.with(|lines| take(lines, len))
}

/// Splits memory into parts of these lengths, one behind the other; those that are whole cache
/// lines begin where one does.
pub(super) fn split<const N: usize>(mut start: *mut f32, lens: [usize; N]) -> [*mut f32; N] {
    lens.map(|len| {
        let part = start;
        start = start.wrapping_add(len);
        part
    })
}

fn take(lines: &UnsafeCell<Vec<Line>>, len: usize) -> *mut f32 {
    // SAFETY: the vector belongs to this thread, and no reference to it outlives this function.
    let lines = unsafe { &mut *lines.get() };
    let num_lines = len.div_ceil(16);
    if lines.len() < num_lines {
        // What is there is let go first: it need not be kept, and need not be there twice.
        *lines = Vec::new();
        *lines = vec![Line([0.0; 16]); num_lines];
    }
    lines.as_mut_ptr().cast()
}
