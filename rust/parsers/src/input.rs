//! The unparsed part of the answer: text, and the special tokens in it.

use std::collections::VecDeque;

use crate::event::{Finish, Piece};

/// Positions are bytes from the beginning of what is left.
#[derive(Debug, Default)]
pub(crate) struct Input {
    text: String,
    /// Bytes at the beginning of `text` that are parsed.
    start: usize,
    /// Where special tokens begin and end in `text`.
    specials: VecDeque<(usize, usize)>,
    finish: Option<Finish>,
}

/// The end of a stretch of letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// More may come.
    Open,
    /// A special token.
    Special,
    /// The end of the answer.
    End,
}

impl Input {
    pub(crate) fn push(&mut self, piece: Piece<'_>) {
        if self.start == self.text.len() {
            self.text.clear();
            self.specials.clear();
            self.start = 0;
        } else if self.start > 4096 && self.start > self.text.len() / 2 {
            // Parsed text is dropped when it is the larger part, so each byte moves at most once.
            self.text.drain(..self.start);
            self.specials
                .iter_mut()
                .for_each(|(begin, end)| (*begin, *end) = (*begin - self.start, *end - self.start));
            self.start = 0;
        }
        match piece {
            Piece::Text(text) => self.text.push_str(text),
            Piece::Special(text) => {
                let begin = self.text.len();
                self.text.push_str(text);
                self.specials.push_back((begin, self.text.len()));
            }
        }
    }

    pub(crate) fn end(&mut self, finish: Finish) {
        self.finish = Some(finish);
    }

    pub(crate) fn finish(&self) -> Option<Finish> {
        self.finish
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    pub(crate) fn rest(&self) -> &str {
        &self.text[self.start..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.text.len()
    }

    /// Returns the letters at a position, up to a special token or the end.
    pub(crate) fn letters(&self, at: usize) -> (&str, Behind) {
        self.stretch(at, false)
    }

    /// Returns the letters at a position, or the text of a special token where that may be part of
    /// a string.
    pub(crate) fn stretch(&self, at: usize, is_in_string: bool) -> (&str, Behind) {
        let from = self.start + at;
        match self.specials.iter().find(|(_, end)| *end > from) {
            Some((begin, end)) if *begin < from || (*begin == from && is_in_string) => {
                (&self.text[from..*end], Behind::Special)
            }
            Some((begin, _)) => (&self.text[from..*begin], Behind::Special),
            None => (&self.text[from..], if self.is_finished() { Behind::End } else { Behind::Open }),
        }
    }

    /// Returns the byte at a position, of a letter or of a special token that may be part of a
    /// string; else what is there.
    pub(crate) fn byte(&self, at: usize, is_in_string: bool) -> Result<u8, Behind> {
        let from = self.start + at;
        if !is_in_string && self.specials.iter().any(|(begin, _)| *begin == from) {
            return Err(Behind::Special);
        }
        let behind = if self.is_finished() { Behind::End } else { Behind::Open };
        self.text.as_bytes().get(from).copied().ok_or(behind)
    }

    /// Returns the special token that begins at a position.
    pub(crate) fn special(&self, at: usize) -> Option<&str> {
        let from = self.start + at;
        let (begin, end) = self.specials.iter().find(|(begin, _)| *begin >= from)?;
        (*begin == from).then(|| &self.text[*begin..*end])
    }

    /// Takes bytes from the front.
    pub(crate) fn take(&mut self, num_bytes: usize) -> &str {
        let from = self.start;
        self.start += num_bytes;
        while self.specials.front().is_some_and(|(_, end)| *end <= self.start) {
            self.specials.pop_front();
        }
        &self.text[from..self.start]
    }
}
