//! Bounded reading of a header: every step is checked against the bytes that are left.

use crate::error::{FormatError, Place, Problem, show};

/// What parsing steps return; boxed because the error carries its whole story.
pub(crate) type Parsed<T> = Result<T, Box<FormatError>>;

/// A position in the bytes of a file.
pub(crate) struct Cursor<'a> {
    file: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(file: &'a str, bytes: &'a [u8]) -> Self {
        Self { file, bytes, at: 0 }
    }

    /// The name of the file, for errors.
    pub(crate) fn file(&self) -> &'a str {
        self.file
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// `problem` at the current position.
    pub(crate) fn fail<T>(&self, problem: Problem) -> Parsed<T> {
        fail(self.file, Place::Byte(self.at as u64), problem)
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: u64, what: &'static str) -> Parsed<&'a [u8]> {
        let found = usize::try_from(count).ok().and_then(|count| self.bytes[self.at..].get(..count));
        match found {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => self.fail(Problem::Truncated { what, needed: count, left: self.left() }),
        }
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Parsed<u32> {
        let bytes = self.take(4, what)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("take returns as many bytes as asked")))
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Parsed<u64> {
        let bytes = self.take(8, what)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("take returns as many bytes as asked")))
    }

    /// A number of things of which each takes at least `smallest` bytes of what is left, and of which there are never more
    /// than `most`.
    pub(crate) fn count(&mut self, what: &'static str, smallest: u64, most: u64) -> Parsed<u64> {
        let start = self.at;
        let found = self.u64(what)?;
        let limit = most.min(self.left() / smallest);
        if found > limit {
            self.at = start;
            return self.fail(Problem::Count { what, found, limit });
        }
        Ok(found)
    }

    /// A text: its length in 64 bits, then UTF-8.
    pub(crate) fn text(&mut self, what: &'static str, most: u64) -> Parsed<&'a str> {
        let start = self.at;
        let length = self.u64(what)?;
        if length > most {
            self.at = start;
            return self.fail(Problem::Count { what: "bytes of text", found: length, limit: most });
        }
        let start = self.at;
        let bytes = self.take(length, what)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(error) => {
                self.at = start;
                self.fail(Problem::NotUtf8 { what, position: error.valid_up_to() as u64 })
            }
        }
    }
}

pub(crate) fn fail<T>(file: &str, place: Place, problem: Problem) -> Parsed<T> {
    Err(Box::new(FormatError { file: file.to_owned(), place, problem }))
}

/// Turns the byte offset of an error into a place within a named thing.
pub(crate) trait Within {
    fn within_key(self, key: &str) -> Self;
    fn within_tensor(self, name: &str) -> Self;
}

impl<T> Within for Parsed<T> {
    fn within_key(self, key: &str) -> Self {
        self.map_err(|mut error| {
            if let Place::Byte(at) = error.place {
                error.place = Place::Key { key: show(key), at };
            }
            error
        })
    }

    fn within_tensor(self, name: &str) -> Self {
        self.map_err(|mut error| {
            if let Place::Byte(at) = error.place {
                error.place = Place::Tensor { name: show(name), at };
            }
            error
        })
    }
}
