//! JSON, byte by byte: whether it is valid so far, and where a value ends.

/// Follows one JSON value by RFC 8259. Memory: a byte a level.
#[derive(Debug, Clone)]
pub(crate) struct JsonScanner {
    /// Of each container that is open, whether it is an object.
    is_object: Vec<bool>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    ArrayStart,
    ObjectStart,
    Key,
    Colon,
    AfterValue,
    String { is_key: bool },
    Escape { is_key: bool },
    Hex { is_key: bool, num_left: u8 },
    Literal(&'static [u8]),
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// The effect of a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scan {
    /// The value goes on.
    More,
    /// The value ends with this byte.
    Done,
    /// The value, a number, ended before this byte.
    DoneBefore,
    /// This byte cannot be here.
    Invalid,
}

impl JsonScanner {
    pub(crate) fn new() -> Self {
        Self { is_object: Vec::new(), state: State::Value }
    }

    /// Takes a byte of a value. Nothing comes after its end.
    pub(crate) fn push(&mut self, byte: u8) -> Scan {
        match self.state {
            State::String { is_key } => self.string(byte, is_key),
            State::Escape { is_key } => match byte {
                b'u' => self.go(State::Hex { is_key, num_left: 4 }),
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.go(State::String { is_key }),
                _ => Scan::Invalid,
            },
            State::Hex { is_key, num_left } => match (byte.is_ascii_hexdigit(), num_left) {
                (false, _) => Scan::Invalid,
                (true, 1) => self.go(State::String { is_key }),
                (true, _) => self.go(State::Hex { is_key, num_left: num_left - 1 }),
            },
            State::Literal(left) => match left.split_first() {
                Some((first, [])) if *first == byte => self.value_ends(),
                Some((first, left)) if *first == byte => self.go(State::Literal(left)),
                _ => Scan::Invalid,
            },
            State::Minus | State::Zero | State::Digits | State::Point => self.number(byte),
            State::Fraction | State::Exponent | State::ExponentSign | State::ExponentDigits => {
                self.number(byte)
            }
            _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => Scan::More,
            State::Value | State::ArrayStart if byte != b']' => self.value_begins(byte),
            State::ArrayStart => self.close(false),
            State::Key | State::ObjectStart if byte == b'"' => self.go(State::String { is_key: true }),
            State::ObjectStart if byte == b'}' => self.close(true),
            State::Colon if byte == b':' => self.go(State::Value),
            State::AfterValue => match byte {
                b',' if self.is_object.last() == Some(&true) => self.go(State::Key),
                b',' => self.go(State::Value),
                b'}' => self.close(true),
                b']' => self.close(false),
                _ => Scan::Invalid,
            },
            State::Value | State::Key | State::ObjectStart | State::Colon => Scan::Invalid,
        }
    }

    /// Takes text of an object or a list: how many bytes are part of it, and whether it ended
    /// rightly, if it ended.
    pub(crate) fn read(&mut self, text: &str) -> (usize, Option<bool>) {
        for (at, byte) in text.bytes().enumerate() {
            match self.push(byte) {
                Scan::More => {}
                Scan::Done => return (at + 1, Some(true)),
                Scan::DoneBefore | Scan::Invalid => return (at, Some(false)),
            }
        }
        (text.len(), None)
    }

    /// Returns whether the value has not begun.
    pub(crate) fn is_fresh(&self) -> bool {
        self.state == State::Value && self.is_object.is_empty()
    }

    /// Returns whether the next byte is inside of a string. There, the text of a special token is
    /// text.
    pub(crate) fn is_in_string(&self) -> bool {
        matches!(self.state, State::String { .. } | State::Escape { .. } | State::Hex { .. })
    }

    fn go(&mut self, state: State) -> Scan {
        self.state = state;
        Scan::More
    }

    fn string(&mut self, byte: u8, is_key: bool) -> Scan {
        match byte {
            b'\\' => self.go(State::Escape { is_key }),
            b'"' if is_key => self.go(State::Colon),
            b'"' => self.value_ends(),
            0..0x20 => Scan::Invalid,
            _ => Scan::More,
        }
    }

    fn value_begins(&mut self, byte: u8) -> Scan {
        match byte {
            b'{' => {
                self.is_object.push(true);
                self.go(State::ObjectStart)
            }
            b'[' => {
                self.is_object.push(false);
                self.go(State::ArrayStart)
            }
            b'"' => self.go(State::String { is_key: false }),
            b't' => self.go(State::Literal(b"rue")),
            b'f' => self.go(State::Literal(b"alse")),
            b'n' => self.go(State::Literal(b"ull")),
            b'-' => self.go(State::Minus),
            b'0' => self.go(State::Zero),
            b'1'..=b'9' => self.go(State::Digits),
            _ => Scan::Invalid,
        }
    }

    fn number(&mut self, byte: u8) -> Scan {
        let next = match (self.state, byte) {
            (State::Minus, b'0') => State::Zero,
            (State::Minus, b'1'..=b'9') | (State::Digits, b'0'..=b'9') => State::Digits,
            (State::Zero | State::Digits, b'.') => State::Point,
            (State::Point | State::Fraction, b'0'..=b'9') => State::Fraction,
            (State::Zero | State::Digits | State::Fraction, b'e' | b'E') => State::Exponent,
            (State::Exponent, b'+' | b'-') => State::ExponentSign,
            (State::Exponent | State::ExponentSign | State::ExponentDigits, b'0'..=b'9') => {
                State::ExponentDigits
            }
            (State::Zero | State::Digits | State::Fraction | State::ExponentDigits, _) => {
                return match self.value_ends() {
                    Scan::Done => Scan::DoneBefore,
                    // The byte is what follows the number in its container.
                    _ => self.push(byte),
                };
            }
            _ => return Scan::Invalid,
        };
        self.go(next)
    }

    fn value_ends(&mut self) -> Scan {
        self.state = State::AfterValue;
        if self.is_object.is_empty() { Scan::Done } else { Scan::More }
    }

    fn close(&mut self, is_object: bool) -> Scan {
        if self.is_object.pop() == Some(is_object) { self.value_ends() } else { Scan::Invalid }
    }
}

/// Appends text as it stands inside a JSON string.
pub(crate) fn escape(text: &str, json: &mut String) {
    // serde_json writes the quotes as well; it cannot fail for a string.
    let quoted = serde_json::Value::from(text).to_string();
    json.push_str(&quoted[1..quoted.len() - 1]);
}

/// Decodes the inside of a JSON string, byte by byte, as far as its characters are complete.
#[derive(Debug, Clone, Default)]
pub(crate) struct StringDecoder {
    /// An escape that is not complete, or the first half of a surrogate pair.
    pending: String,
}

impl StringDecoder {
    /// Takes valid text from within a string and appends what it says. None if an escape is half a
    /// character.
    pub(crate) fn push(&mut self, text: &str, decoded: &mut String) -> Option<()> {
        let mut rest = text;
        while !rest.is_empty() {
            if self.pending.is_empty() {
                let plain = rest.find('\\').unwrap_or(rest.len());
                decoded.push_str(&rest[..plain]);
                rest = &rest[plain..];
                if rest.is_empty() {
                    break;
                }
            }
            let first = rest.chars().next().map_or(0, char::len_utf8);
            self.pending.push_str(&rest[..first]);
            rest = &rest[first..];
            if self.is_escape_complete() {
                let quoted = format!("\"{}\"", self.pending);
                decoded.push_str(&serde_json::from_str::<String>(&quoted).ok()?);
                self.pending.clear();
            }
        }
        Some(())
    }

    /// Returns whether nothing is pending.
    pub(crate) fn is_complete(&self) -> bool {
        self.pending.is_empty()
    }

    fn is_escape_complete(&self) -> bool {
        let pending = self.pending.as_bytes();
        match pending {
            [b'\\', b'u', hex @ ..] if hex.len() == 4 => {
                !matches!(hex, [b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', ..])
            }
            // The first half of a pair goes with the second, which is as long.
            [b'\\', b'u', hex @ ..] if hex.len() < 4 => false,
            [b'\\', b'u', hex @ ..] => {
                hex.len() >= 10 || (hex.len() == 5 && hex[4] != b'\\') || (hex.len() == 6 && hex[5] != b'u')
            }
            _ => pending.len() > 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Scan {
        let mut scanner = JsonScanner::new();
        text.bytes().map(|byte| scanner.push(byte)).find(|scan| *scan != Scan::More).unwrap_or(Scan::More)
    }

    /// Arguments that a client cannot parse would be called complete.
    #[test]
    fn what_is_valid_agrees_with_serde_json() {
        let fragments = [
            "{",
            "}",
            "[",
            "]",
            "\"a\"",
            ":",
            ",",
            "1",
            "-0.5e-3",
            "01",
            "true",
            "nul",
            " ",
            "\"\\u00e9\"",
            "\"\\x\"",
            ".",
        ];
        // Every text of four fragments; a number ends at what follows it.
        for index in 0..fragments.len().pow(4) {
            let digits = (0..4).map(|place| index / fragments.len().pow(place) % fragments.len());
            let text: String = digits.map(|digit| fragments[digit]).collect();
            let text = text.trim_start();
            let mut scanner = JsonScanner::new();
            let end = text.bytes().chain(*b"\0").position(|byte| scanner.push(byte) != Scan::More);
            let Some(end) = end else { continue };
            let mut scanner = JsonScanner::new();
            let last = text.bytes().chain(*b"\0").take(end + 1).map(|byte| scanner.push(byte)).last();
            let value = match last {
                Some(Scan::Done) => &text[..=end],
                Some(Scan::DoneBefore) => &text[..end],
                _ => {
                    assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
                    continue;
                }
            };
            assert!(serde_json::from_str::<serde_json::Value>(value).is_ok(), "{value} of {text}");
        }
    }

    /// A model that repeats a bracket would otherwise overflow a stack.
    #[test]
    fn depth_is_not_limited_by_the_stack() {
        assert_eq!(scan(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))), Scan::Done);
    }

    /// Arguments in a string would lose characters where the text is cut.
    #[test]
    fn escapes_are_decoded_however_they_are_cut() {
        let text = r#"a\"\\\n\u00e9\ud83d\ude00é€"#;
        let expected: String = serde_json::from_str(&format!("\"{text}\"")).expect("it is JSON");
        for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            let (mut decoder, mut decoded) = (StringDecoder::default(), String::new());
            decoder.push(&text[..cut], &mut decoded).expect("it is valid");
            decoder.push(&text[cut..], &mut decoded).expect("it is valid");
            assert_eq!(decoded, expected);
            assert!(decoder.is_complete());
        }
        assert_eq!(StringDecoder::default().push(r"\ude00", &mut String::new()), None);
        assert_eq!(StringDecoder::default().push(r"\ud83dx", &mut String::new()), None);
    }
}
