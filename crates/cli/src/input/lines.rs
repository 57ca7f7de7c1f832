//! A stream of bytes as lines of UTF-8.

use std::io::{BufRead, BufReader, Read};

use anyhow::Context;

/// The longest line, in bytes. No model reads so much; it is there so that a file without line breaks is an error and
/// not a machine without memory.
const MAX_LINE: usize = 16 << 20;

/// What is read at a time.
const BUFFER: usize = 256 << 10;

/// A line without its end.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) text: String,
    /// From 1.
    pub(super) number: u64,
}

/// Reads lines and knows where it is.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    /// Whether reading may have to wait for another program.
    waits: bool,
    /// Lines read.
    number: u64,
    /// Bytes read.
    position: u64,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(reader: R, waits: bool) -> Self {
        Lines { reader: BufReader::with_capacity(BUFFER, reader), waits, number: 0, position: 0 }
    }

    /// Bytes of the stream that have been given out.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Whether the next line may have to be waited for.
    pub(super) fn would_wait(&self) -> bool {
        self.waits && self.reader.buffer().is_empty()
    }

    /// The next line, or `None` at the end. `name` is what errors call the stream.
    pub(super) fn next(&mut self, name: &str) -> anyhow::Result<Option<Line>> {
        let number = self.number + 1;
        let mut start = self.position;
        let mut bytes = Vec::new();
        let limit = MAX_LINE as u64 + 3; // a line break of two bytes, and one byte more than allowed
        let read = self
            .reader
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut bytes)
            .with_context(|| format!("cannot read {name}"))?;
        self.position += read as u64;
        self.number = number;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        } else if read as u64 != limit && bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        if bytes.len() > MAX_LINE {
            anyhow::bail!("{name}:{number}: the line is longer than the {} MiB allowed", MAX_LINE >> 20);
        }
        let mark = number == 1 && bytes.starts_with(b"\xef\xbb\xbf");
        if mark {
            bytes.drain(..3);
            start += 3;
        }
        if read == 0 || (mark && read == 3) {
            return Ok(None);
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let found = error.as_bytes().get(at).copied().unwrap_or_default();
            let hint = match error.as_bytes().get(..2) {
                Some(b"\xff\xfe" | b"\xfe\xff") if number == 1 => "; the file seems to be UTF-16, convert it to UTF-8",
                _ => "",
            };
            let (byte, offset) = (at + 1, start + at as u64);
            anyhow::anyhow!("{name}:{number}: invalid UTF-8: byte {byte} of the line (offset {offset} of the input) is 0x{found:02x}{hint}")
        })?;
        Ok(Some(Line { text, number }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(bytes: &[u8]) -> String {
        let mut lines = Lines::new(bytes, false);
        loop {
            match lines.next("f") {
                Ok(line) => assert!(line.is_some(), "no error in {bytes:?}"),
                Err(error) => return error.to_string(),
            }
        }
    }

    #[test]
    fn a_byte_that_is_not_utf8_is_named_by_its_place() {
        let message = error(b"good\nb\xc3\x28d\n");
        assert_eq!(message, "f:2: invalid UTF-8: byte 2 of the line (offset 6 of the input) is 0xc3");
        assert!(error(b"\xff\xfea\0").ends_with("convert it to UTF-8"));
        // Offsets count the byte order mark, columns do not.
        assert!(error(b"\xef\xbb\xbfa\x80").contains("byte 2 of the line (offset 4 of the input) is 0x80"));
        assert!(error(b"cut short \xe2\x82").contains("0xe2"));
    }

    #[test]
    fn the_longest_line_is_read_and_a_longer_one_is_not() {
        for end in ["", "\n", "\r\n"] {
            let text = "x".repeat(MAX_LINE) + end;
            let line = Lines::new(text.as_bytes(), false).next("f").unwrap().unwrap();
            assert_eq!(line.text.len(), MAX_LINE);
        }
        for end in ["", "\n", "\r\n", "yyyy"] {
            assert_eq!(
                error(("x".repeat(MAX_LINE + 1) + end).as_bytes()),
                "f:1: the line is longer than the 16 MiB allowed"
            );
        }
    }
}
