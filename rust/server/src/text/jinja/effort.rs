//! The limits of rendering: a template is an untrusted program.

use super::error::{Result, fail};
use super::value::Value;
use crate::text::wanted;

/// Maximum statements, expressions and turns of loops. The longest possible conversations take a
/// million or two.
const MAX_STEPS: usize = 20_000_000;
/// The same while others wait for the thread: some milliseconds.
const MAX_BRIEF_STEPS: usize = 20_000;
/// Maximum bytes of all texts and lists made, kept or not, which bounds the memory.
const MAX_MADE_BYTES: usize = 512 << 20;
/// Bytes of an item of a list.
const ITEM_BYTES: usize = 40;
/// Steps between two checks that the client is still connected.
const STEPS_BETWEEN_LOOKS: usize = 4096;

/// The effort so far.
#[derive(Debug)]
pub(super) struct Effort {
    num_steps: usize,
    max_steps: usize,
    num_bytes: usize,
}

impl Default for Effort {
    fn default() -> Self {
        let max_steps = if wanted::is_brief() { MAX_BRIEF_STEPS } else { MAX_STEPS };
        Self { num_steps: 0, max_steps, num_bytes: 0 }
    }
}

impl Effort {
    /// Counts one statement, expression or turn.
    pub(super) fn step(&mut self) -> Result<()> {
        self.num_steps += 1;
        if self.num_steps > self.max_steps {
            wanted::tell_cut();
            return fail(format!("the template takes more than {} steps", self.max_steps));
        }
        if self.num_steps.is_multiple_of(STEPS_BETWEEN_LOOKS) && wanted::check().is_err() {
            return fail("the client has left");
        }
        Ok(())
    }

    /// Counts a text of this many bytes.
    pub(super) fn make(&mut self, num_bytes: usize) -> Result<()> {
        self.num_bytes += num_bytes;
        if self.num_bytes > MAX_MADE_BYTES {
            return fail(format!("the template makes more than {MAX_MADE_BYTES} bytes of texts and lists"));
        }
        Ok(())
    }

    /// Counts a list of this many items.
    pub(super) fn make_items(&mut self, num_items: usize) -> Result<()> {
        self.make(num_items.saturating_mul(ITEM_BYTES))
    }

    /// Counts a value that an expression may have made.
    pub(super) fn make_value(&mut self, value: &Value) -> Result<()> {
        match value {
            Value::Str(text) => self.make(text.text.len()),
            Value::List(items) | Value::Tuple(items) | Value::Group(items) => self.make_items(items.len()),
            Value::Dict(dict) => self.make_items(2 * dict.len()),
            _ => Ok(()),
        }
    }
}
