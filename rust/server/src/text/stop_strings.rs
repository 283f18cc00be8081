//! Stop strings over a stream of text.

use std::ops::Range;

/// Finds the first stop string in text that arrives in pieces.
///
/// Text is held back only while it may still become a stop string: the longest suffix that is a
/// proper prefix of one of them, never a constant number of characters. One Knuth-Morris-Pratt
/// automaton per stop string makes this linear in the text, whatever the text is.
///
/// ```text
/// stops ["###", "#!"]   text  a b # # c      ->  out "ab" | hold "##" | out "##c"
/// ```
///
/// A special token is hidden from the reader, but a stop string may contain its text. Such a stop
/// string sees hidden text, all others only visible text.
#[derive(Debug, Clone)]
pub struct StopStrings {
    automata: Vec<Automaton>,
    held: String,
    /// Ranges of hidden text in `held`, in order, with the text.
    hidden: Vec<(Range<usize>, String)>,
    matched: Option<usize>,
    /// The text of a match is part of the output.
    is_part_of_output: bool,
}

impl StopStrings {
    /// Watches for `stops`; an empty string never matches. The text of a match `is_part_of_output`,
    /// or is dropped.
    #[must_use]
    pub fn new(stops: Vec<String>, is_part_of_output: bool) -> Self {
        let automata = stops.into_iter().map(Automaton::new).collect();
        Self { automata, held: String::new(), hidden: Vec::new(), matched: None, is_part_of_output }
    }

    /// Returns whether a stop string contains this text.
    #[must_use]
    pub fn mention(&self, text: &str) -> bool {
        !text.is_empty() && self.automata.iter().any(|automaton| automaton.mentions(text))
    }

    /// Appends to `out` the text that is now certain. A stop string that ends in unwatched text
    /// does not match, though it may begin there.
    ///
    /// Returns which stop string matched: the first to be complete, ties by the order of the list.
    /// All text behind it is dropped.
    pub fn push(&mut self, text: &str, watched: bool, out: &mut String) -> Option<usize> {
        if self.matched.is_some() {
            return self.matched;
        }
        if self.automata.is_empty() {
            out.push_str(text);
            return None;
        }
        self.take(text, None, watched, out)
    }

    /// Takes the text of a token that the reader does not see, which matters to the stop strings
    /// that mention it.
    pub fn push_hidden(&mut self, text: &str, watched: bool, out: &mut String) -> Option<usize> {
        if self.matched.is_some() || !self.mention(text) {
            return self.matched;
        }
        self.hidden.push((self.held.len()..self.held.len() + text.len(), text.to_owned()));
        self.take(text, Some(text), watched, out)
    }

    fn take(&mut self, text: &str, hidden: Option<&str>, watched: bool, out: &mut String) -> Option<usize> {
        self.held.push_str(text);
        let seen = self.held.len() - text.len();
        let sees: Vec<bool> = match hidden {
            Some(hidden) => self.automata.iter().map(|automaton| automaton.mentions(hidden)).collect(),
            None => Vec::new(),
        };
        for (position, byte) in text.bytes().enumerate() {
            // Every automaton takes the byte, so that the others stay in step when none matches.
            let mut complete = None;
            for (index, automaton) in self.automata.iter_mut().enumerate() {
                let is_seen = sees.is_empty() || sees[index];
                if is_seen && automaton.push(byte) && watched && complete.is_none() {
                    complete = Some(index);
                }
            }
            if let Some(index) = complete {
                let end = seen + position + 1;
                let automaton = &self.automata[index];
                let start = self.start_of(automaton, automaton.pattern.len(), end);
                if self.is_part_of_output {
                    // The matched text is visible.
                    let is_seen =
                        |range: &Range<usize>, text: &str| range.end > start && automaton.mentions(text);
                    self.hidden.retain(|(range, text)| !is_seen(range, text));
                }
                self.release(if self.is_part_of_output { end } else { start }, out);
                self.held = String::new();
                self.matched = Some(index);
                return self.matched;
            }
        }
        // A visible match does not hold text back, but hidden text may still be part of one.
        let is_held = !self.is_part_of_output || !self.hidden.is_empty();
        let end = self.held.len();
        let starts = self.automata.iter().map(|automaton| self.start_of(automaton, automaton.len, end));
        let num_certain = if is_held { starts.min().unwrap_or(end) } else { end };
        self.release(num_certain, out);
        None
    }

    /// Returns where the last `len` bytes that this automaton has seen before `end` begin, within
    /// the held text.
    fn start_of(&self, automaton: &Automaton, len: usize, end: usize) -> usize {
        let mut start = end.saturating_sub(len);
        for (range, text) in self.hidden.iter().rev().filter(|(range, _)| range.end <= end) {
            if range.end > start && !automaton.mentions(text) {
                start = start.saturating_sub(range.len());
            }
        }
        start
    }

    /// Appends the first `len` held bytes to `out`, without hidden ones.
    fn release(&mut self, len: usize, out: &mut String) {
        if self.hidden.is_empty() {
            out.push_str(&self.held[..len]);
            self.held.drain(..len);
            return;
        }
        let mut position = 0;
        for (range, _) in &self.hidden {
            out.push_str(&self.held[position..range.start.min(len).max(position)]);
            position = position.max(range.end.min(len));
        }
        out.push_str(&self.held[position..len]);
        self.held.drain(..len);
        self.hidden.retain(|(range, _)| range.end > len);
        for (range, _) in &mut self.hidden {
            *range = range.start.saturating_sub(len)..range.end - len;
        }
    }

    /// Appends the text that was held back: the stream ended, so it is no stop string.
    pub fn finish(&mut self, out: &mut String) {
        self.release(self.held.len(), out);
    }
}

/// The automaton of one stop string: how much of it the text ends with.
#[derive(Debug, Clone)]
struct Automaton {
    pattern: Box<[u8]>,
    /// For each prefix of the pattern, the length of its longest proper suffix that is also a
    /// prefix.
    borders: Box<[u32]>,
    /// Bytes of the pattern that the text ends with; both are whole characters at the end of a
    /// push.
    len: usize,
}

impl Automaton {
    fn new(pattern: String) -> Self {
        let pattern = pattern.into_bytes().into_boxed_slice();
        let mut borders = vec![0; pattern.len()].into_boxed_slice();
        let mut border = 0;
        for index in 1..pattern.len() {
            while border > 0 && pattern[border] != pattern[index] {
                border = borders[border - 1] as usize;
            }
            border += usize::from(pattern[border] == pattern[index]);
            borders[index] = border as u32;
        }
        Self { pattern, borders, len: 0 }
    }

    /// Returns whether the pattern contains this text.
    fn mentions(&self, text: &str) -> bool {
        memchr::memmem::find(&self.pattern, text.as_bytes()).is_some()
    }

    /// Takes the next byte; true if the pattern is now complete.
    fn push(&mut self, byte: u8) -> bool {
        if self.pattern.is_empty() {
            return false;
        }
        while self.len > 0 && self.pattern[self.len] != byte {
            self.len = self.borders[self.len - 1] as usize;
        }
        self.len += usize::from(self.pattern[self.len] == byte);
        let is_complete = self.len == self.pattern.len();
        if is_complete {
            // If it does not count, its end may still be the beginning of one that does.
            self.len = self.borders[self.len - 1] as usize;
        }
        is_complete
    }
}
