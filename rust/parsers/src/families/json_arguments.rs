//! The arguments of a JSON call: an object, or a string with an object in it.

use super::json_object::Progress;
use crate::json::{JsonScanner, Scan, StringDecoder};

/// The inside of arguments.
#[derive(Debug)]
pub(crate) struct Inside {
    pub(crate) scanner: JsonScanner,
    /// They are in a string.
    pub(crate) string: Option<StringDecoder>,
    /// The object has ended in its string.
    pub(crate) is_over: bool,
}

/// Arguments as read so far.
pub(crate) struct Read {
    pub(crate) num_bytes: usize,
    /// Of these, the bytes up to the last complete character.
    pub(crate) num_certain: usize,
    /// Their text.
    pub(crate) text: String,
    /// The end, if it has come. Any other than *done* is an error.
    pub(crate) end: Option<Progress>,
}

impl Inside {
    pub(crate) fn is_in_string(&self) -> bool {
        self.string.is_some() || self.scanner.is_in_string()
    }

    pub(crate) fn read(&mut self, letters: &str) -> Read {
        match self.string.take() {
            None => self.read_object(letters),
            Some(mut decoder) => {
                let read = self.read_string(letters, &mut decoder);
                self.string = Some(decoder);
                read
            }
        }
    }

    fn read_object(&mut self, letters: &str) -> Read {
        let (num_bytes, end) = self.scanner.read(letters);
        let end = end.map(|is_right| if is_right { Progress::Done } else { Progress::Broken });
        Read { num_bytes, num_certain: num_bytes, text: letters[..num_bytes].to_owned(), end }
    }

    fn read_string(&mut self, letters: &str, decoder: &mut StringDecoder) -> Read {
        let mut read = Read { num_bytes: 0, num_certain: 0, text: String::new(), end: None };
        let mut fresh = String::new();
        for (at, letter) in letters.char_indices() {
            read.num_bytes = at;
            if letter == '"' && decoder.is_complete() {
                let is_empty = self.scanner.is_fresh();
                if !(is_empty || self.is_over) {
                    return Read { end: Some(Progress::Broken), ..read };
                }
                let text = if is_empty { "{}".to_owned() } else { read.text };
                return Read { num_bytes: at + 1, text, end: Some(Progress::Done), ..read };
            }
            fresh.clear();
            let was_fresh = self.scanner.is_fresh();
            let is_read =
                letter >= ' ' && decoder.push(letter.encode_utf8(&mut [0; 4]), &mut fresh).is_some();
            if !(is_read && self.is_valid(&fresh)) {
                return Read { end: Some(Progress::Broken), ..read };
            }
            read.text.push_str(&fresh);
            read.num_bytes = at + letter.len_utf8();
            if decoder.is_complete() {
                read.num_certain = read.num_bytes;
            }
            if was_fresh && !fresh.is_empty() {
                // The call begins here.
                return read;
            }
        }
        read.num_bytes = letters.len();
        read
    }

    /// Returns whether text that was in the string goes on with an object, or stands behind it as
    /// whitespace.
    fn is_valid(&mut self, text: &str) -> bool {
        text.bytes().all(|byte| {
            if self.is_over {
                return byte.is_ascii_whitespace();
            }
            if self.scanner.is_fresh() && byte != b'{' {
                return false;
            }
            let scan = self.scanner.push(byte);
            self.is_over = scan == Scan::Done;
            scan != Scan::Invalid
        })
    }
}
