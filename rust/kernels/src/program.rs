//! A forward pass that was written down once: its operations in order, carried out in one call.
//!
//! Addresses stay the same from step to step; only the numbers of rows differ, and each operation
//! knows which of them is its own.

use std::time::{Duration, Instant};

use crate::ops::{OpError, Operation};
use crate::pool::Series;

/// Bytes of the largest struct of arguments, in words.
const MAX_WORDS: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Entry {
    operation: &'static Operation,
    arguments: [u64; MAX_WORDS],
    /// The index of its number of rows.
    rows: usize,
}

impl Entry {
    /// # Safety
    /// As [`Program::run`].
    unsafe fn run(&self, rows: &[usize]) -> Result<(), OpError> {
        let mut words = self.arguments;
        words[self.operation.layout.rows.0 / size_of::<u64>()] = rows[self.rows] as u64;
        // SAFETY: the caller's promise.
        unsafe { self.operation.run(words.as_ptr().cast()) }
    }
}

/// Operations with all their arguments but the numbers of rows.
#[derive(Debug, Default)]
pub struct Program {
    entries: Vec<Entry>,
}

impl Program {
    /// Adds an operation whose number of rows will be `rows[which]` of [`Program::run`].
    ///
    /// # Errors
    /// [`OpError::Unknown`].
    ///
    /// # Safety
    /// `arguments` points to a struct of the operation.
    pub unsafe fn append(&mut self, op: u32, arguments: *const u8, which: usize) -> Result<(), OpError> {
        let operation = Operation::of(op)?;
        let mut words = [0; MAX_WORDS];
        assert!(operation.layout.size <= size_of_val(&words), "MAX_WORDS is as large as the largest struct");
        // SAFETY: the caller's promise, and the words hold as many bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(arguments, words.as_mut_ptr().cast::<u8>(), operation.layout.size);
        }
        self.entries.push(Entry { operation, arguments: words, rows: which });
        Ok(())
    }

    /// Returns how many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Carries all operations out.
    ///
    /// # Errors
    /// The first operation's argument error; those before it were carried out.
    ///
    /// # Safety
    /// As [`Operation::run`], for every operation, with its number of rows out of `rows`.
    pub unsafe fn run(&self, rows: &[usize]) -> Result<(), OpError> {
        let _series = Series::begin();
        // SAFETY: the caller's promise.
        self.entries.iter().try_for_each(|entry| unsafe { entry.run(rows) })
    }

    /// As [`Program::run`], with a clock read between the operations; what each took, in order.
    ///
    /// # Errors
    /// As [`Program::run`].
    ///
    /// # Safety
    /// As [`Program::run`].
    pub unsafe fn run_timed(&self, rows: &[usize]) -> Result<Vec<Duration>, OpError> {
        let _series = Series::begin();
        let mut before = Instant::now();
        let timed = |entry: &Entry| {
            // SAFETY: the caller's promise.
            unsafe { entry.run(rows) }?;
            let now = Instant::now();
            Ok(now - std::mem::replace(&mut before, now))
        };
        self.entries.iter().map(timed).collect()
    }
}
