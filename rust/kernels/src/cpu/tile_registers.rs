//! The shapes of the processor's tile registers (AMX).

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
