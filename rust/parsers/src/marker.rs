//! Markers of a format, and where they are in the text.
//!
//! A marker that is a special token in this tokenizer is found as that token only: the same
//! letters, which a user may have written and the model repeats, are text. Any other marker is
//! found by its letters. Text that may become a marker is held back: the longest suffix of the text
//! that is a proper beginning of a marker.

use crate::input::Input;

/// A marker, as this tokenizer has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marker {
    pub(crate) text: &'static str,
    pub(crate) is_special: bool,
}

/// The fit of a marker at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    Whole,
    /// As far as the text goes, and more may come.
    Part,
    No,
}

/// The result of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// This marker of the lists, at this position.
    Marker { index: usize, at: usize },
    /// No marker; from this position on the text may become one.
    Open { at: usize },
}

impl Marker {
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// Returns whether the answer ended in the middle of it, at a position.
    pub(crate) fn is_cut_off(&self, input: &Input, at: usize) -> bool {
        let rest = &input.rest()[at..];
        input.is_finished() && !self.is_special && !rest.is_empty() && self.text.starts_with(rest)
    }

    /// Returns how the marker fits at a position.
    pub(crate) fn fit(&self, input: &Input, at: usize) -> Fit {
        let rest = &input.rest()[at..];
        if self.is_special {
            return match input.special(at) {
                Some(text) if text == self.text => Fit::Whole,
                None if rest.is_empty() && !input.is_finished() => Fit::Part,
                _ => Fit::No,
            };
        }
        if rest.starts_with(self.text) {
            Fit::Whole
        } else if !input.is_finished() && self.text.starts_with(rest) {
            Fit::Part
        } else {
            Fit::No
        }
    }
}

/// Returns the first marker behind a position. A marker that begins earlier wins; none is the
/// beginning of another.
pub(crate) fn find(input: &Input, from: usize, markers: &[&[Marker]]) -> Found {
    let rest = input.rest();
    for (offset, byte) in rest.as_bytes()[from..].iter().enumerate() {
        let at = from + offset;
        let mut is_open = false;
        for (index, marker) in markers.iter().copied().flatten().enumerate() {
            if marker.text.as_bytes()[0] != *byte {
                continue;
            }
            match marker.fit(input, at) {
                Fit::Whole => return Found::Marker { index, at },
                Fit::Part => is_open = true,
                Fit::No => {}
            }
        }
        if is_open {
            return Found::Open { at };
        }
    }
    Found::Open { at: rest.len() }
}

/// Returns where the letters end that are no marker, at the end of an answer: it may have been cut
/// off in the middle of one.
pub(crate) fn end_of_letters(input: &Input, from: usize, markers: &[Marker]) -> usize {
    let rest = input.rest();
    let longest = markers.iter().map(Marker::len).max().unwrap_or(0);
    let first = from.max(rest.len().saturating_sub(longest));
    let is_cut_off =
        |at: &usize| rest.is_char_boundary(*at) && markers.iter().any(|marker| marker.is_cut_off(input, *at));
    (first..rest.len()).find(is_cut_off).unwrap_or(rest.len())
}
