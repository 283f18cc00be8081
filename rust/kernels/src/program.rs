//! A forward pass that was written down once: its operations in order, carried out in one call.
//!
//! Addresses stay the same from step to step; only the numbers of rows differ, and each operation
//! knows which of them is its own. Rows that a product would round first are rounded where they are
//! made, in memory of the program.

use std::time::{Duration, Instant};

use crate::cpu::round_early;
use crate::ops::{OpError, Operation};
use crate::pool::Series;

/// Bytes of the largest struct of arguments, in words.
const MAX_WORDS: usize = 32;

/// Elements of a cache line of `bfloat16`.
const LINE: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Entry {
    operation: &'static Operation,
    arguments: [u64; MAX_WORDS],
    /// The index of its number of rows.
    rows: usize,
    /// Its places of rounded rows, those that it takes and those that it makes: the word of the
    /// arguments, and which memory.
    rounded: [Option<(usize, usize)>; 2],
}

impl Entry {
    fn with_arguments(&self) -> (&'static Operation, *const u8) {
        (self.operation, self.arguments.as_ptr().cast())
    }

    /// # Safety
    /// As [`Program::run`].
    unsafe fn run(&self, rows: &[usize], memories: &[Rows; 2]) -> Result<(), OpError> {
        let mut words = self.arguments;
        words[self.operation.layout.rows.0 / size_of::<u64>()] = rows[self.rows] as u64;
        for (word, memory) in self.rounded.into_iter().flatten() {
            words[word] = memories[memory].place();
        }
        // SAFETY: the caller's promise.
        unsafe { self.operation.run(words.as_ptr().cast()) }
    }
}

/// Memory for rounded rows, between an operation and the one behind it.
#[derive(Debug, Default)]
struct Rows(Vec<u16>);

impl Rows {
    fn make_room(&mut self, len: usize) {
        if self.0.len() < len + LINE {
            // As zeros it takes no pages before they are written.
            self.0 = vec![0; len + LINE];
        }
    }

    /// Returns where a cache line begins.
    fn place(&self) -> u64 {
        (self.0.as_ptr() as usize).next_multiple_of(LINE * size_of::<u16>()) as u64
    }
}

/// Operations with all their arguments but the numbers of rows.
#[derive(Debug, Default)]
pub struct Program {
    entries: Vec<Entry>,
    /// Two, as a product may read one and write the other.
    rounded: [Rows; 2],
}

impl Program {
    /// Adds an operation whose number of rows will be `rows[which]` of [`Program::run`].
    ///
    /// # Errors
    /// [`OpError::Unknown`].
    ///
    /// # Safety
    /// `arguments` points to a struct of the operation, with the most rows that it will have.
    pub unsafe fn append(&mut self, op: u32, arguments: *const u8, which: usize) -> Result<(), OpError> {
        let operation = Operation::of(op)?;
        let mut words = [0; MAX_WORDS];
        assert!(operation.layout.size <= size_of_val(&words), "MAX_WORDS is as large as the largest struct");
        // SAFETY: the caller's promise, and the words hold as many bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(arguments, words.as_mut_ptr().cast::<u8>(), operation.layout.size);
        }
        let mut entry = Entry { operation, arguments: words, rows: which, rounded: [None; 2] };
        let memory = self.entries.len() % self.rounded.len();
        if let Some(before) = self.entries.last_mut() {
            // SAFETY: both have a struct of their operation.
            if let Some(rows) = unsafe { round_early(before.with_arguments(), entry.with_arguments()) } {
                entry.rounded[0] = Some((rows.taken / size_of::<u64>(), memory));
                before.rounded[1] = Some((rows.made / size_of::<u64>(), memory));
                self.rounded[memory].make_room(rows.len);
            }
        }
        self.entries.push(entry);
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
        self.entries.iter().try_for_each(|entry| unsafe { entry.run(rows, &self.rounded) })
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
            unsafe { entry.run(rows, &self.rounded) }?;
            let now = Instant::now();
            Ok(now - std::mem::replace(&mut before, now))
        };
        self.entries.iter().map(timed).collect()
    }
}
