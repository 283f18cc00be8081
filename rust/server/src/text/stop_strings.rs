//! Stop strings over a stream of text.

/// Finds the first stop string in text that arrives in pieces.
///
/// Text is held back only while it may still become a stop string: the longest suffix that is a proper prefix
/// of one of them, never a constant number of characters. One Knuth-Morris-Pratt automaton per stop string
/// makes this linear in the text, whatever the text is.
///
/// ```text
/// stops ["###", "#!"]   text  a b # # c      ->  out "ab" | hold "##" | out "##c"
/// ```
#[derive(Debug, Clone)]
pub struct StopStrings {
    automata: Vec<Automaton>,
    held: String,
    matched: Option<usize>,
    /// The text of a match is part of the output.
    is_part_of_output: bool,
}

impl StopStrings {
    /// Watches for `stops`; an empty string never matches. The text of a match `is_part_of_output`, or is dropped.
    #[must_use]
    pub fn new(stops: Vec<String>, is_part_of_output: bool) -> Self {
        let automata = stops.into_iter().map(Automaton::new).collect();
        Self { automata, held: String::new(), matched: None, is_part_of_output }
    }

    /// Appends to `out` what is now certain to belong to the output. What completes in a text that is not `watched` is no match,
    /// though it may begin there.
    ///
    /// Returns which stop string matched: the one that is complete first, ties by the order of the list. All that follows it, now
    /// and later, is dropped.
    pub fn push(&mut self, text: &str, watched: bool, out: &mut String) -> Option<usize> {
        if self.matched.is_some() {
            return self.matched;
        }
        if self.automata.is_empty() {
            out.push_str(text);
            return None;
        }
        self.held.push_str(text);
        let seen = self.held.len() - text.len();
        for (position, byte) in text.bytes().enumerate() {
            // Every automaton takes the byte, so that the others stay in step when none matches.
            let mut complete = None;
            for (index, automaton) in self.automata.iter_mut().enumerate() {
                if automaton.push(byte) && watched && complete.is_none() {
                    complete = Some(index);
                }
            }
            if let Some(index) = complete {
                let mut end = seen + position + 1;
                if !self.is_part_of_output {
                    end -= self.automata[index].pattern.len();
                }
                out.push_str(&self.held[..end]);
                self.held = String::new();
                self.matched = Some(index);
                return self.matched;
            }
        }
        // A match that shows does not hide what led to it.
        let holds =
            self.automata.iter().map(|automaton| if self.is_part_of_output { 0 } else { automaton.len });
        let num_certain = self.held.len() - holds.max().unwrap_or(0);
        out.push_str(&self.held[..num_certain]);
        self.held.drain(..num_certain);
        None
    }

    /// Appends the text that was held back: the stream ended, so it is no stop string.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held = String::new();
    }
}

/// How much of one stop string the text ends with.
#[derive(Debug, Clone)]
struct Automaton {
    pattern: Box<[u8]>,
    /// For each prefix of the pattern, the length of its longest proper suffix that is also a prefix.
    borders: Box<[u32]>,
    /// Bytes of the pattern that the text ends with; both are whole characters at the end of a push.
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
