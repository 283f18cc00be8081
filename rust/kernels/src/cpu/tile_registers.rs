//! The processor's tile registers (AMX): their shapes, and the four of them that hold sums.
//!
//! Compiled code has no use for these registers, so that what one piece of assembly leaves in them
//! is there for the next.

use std::arch::asm;
use std::marker::PhantomData;

/// Rows of a register.
pub(super) const ROWS: usize = 16;
/// Bytes of a row of a register.
pub(super) const ROW_BYTES: usize = 64;

/// How large the first eight registers are; whole unless something else is said.
#[repr(C, align(64))]
pub(super) struct Shapes {
    palette: u8,
    start: u8,
    zero: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    pub(super) fn new() -> Self {
        let (mut rows, mut row_bytes) = ([0; 16], [0; 16]);
        rows[..8].fill(ROWS as u8);
        row_bytes[..8].fill(ROW_BYTES as u16);
        Self { palette: 1, start: 0, zero: [0; 14], row_bytes, rows }
    }

    /// Gives some registers this many rows.
    pub(super) fn rows(mut self, registers: impl IntoIterator<Item = usize>, rows: usize) -> Self {
        registers.into_iter().for_each(|register| self.rows[register] = rows as u8);
        self
    }

    /// Gives the rows of a register this many bytes.
    pub(super) fn row_bytes(mut self, register: usize, bytes: usize) -> Self {
        self.row_bytes[register] = bytes as u16;
        self
    }

    /// Shapes the registers of this thread.
    ///
    /// # Safety
    /// The processor has tile registers.
    pub(super) unsafe fn load(&self) -> Loaded {
        // SAFETY: the caller's promise.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const *self, options(nostack, readonly)) }
        Loaded(PhantomData)
    }
}

/// While it exists, the registers have their shapes; then they are empty again.
pub(super) struct Loaded(PhantomData<*const ()>);

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: shapes were loaded, so the processor has tile registers.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }
}

/// Empties the first four registers.
///
/// # Safety
/// The registers have their shapes.
#[inline(always)]
pub(super) unsafe fn zero_sums() {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            options(nostack, nomem, preserves_flags)
        );
    }
}

/// Where the sums of the first four registers go.
pub(super) struct Place {
    /// Those of the first two registers, 32 to a row.
    pub(super) first: *mut u8,
    /// Those of the others.
    pub(super) second: *mut u8,
    /// Bytes from one row to the next.
    pub(super) step: usize,
}

impl Place {
    /// Two times 16 rows, one behind the other.
    pub(super) fn stacked(first: *mut u8, step: usize) -> Self {
        Self { first, second: first.wrapping_add(ROWS * step), step }
    }

    /// Writes the sums.
    ///
    /// # Safety
    /// As many rows as the registers have are the caller's to write to.
    #[inline(always)]
    pub(super) unsafe fn store(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            asm!(
                "tilestored [{first} + {step}], tmm0",
                "tilestored [{first} + {step} + 64], tmm1",
                "tilestored [{second} + {step}], tmm2",
                "tilestored [{second} + {step} + 64], tmm3",
                first = in(reg) self.first,
                second = in(reg) self.second,
                step = in(reg) self.step,
                options(nostack, preserves_flags)
            );
        }
    }
}
