//! SentencePiece model files: a Protocol Buffers message, of which the parts that a vocabulary needs are read.
//!
//! The fields are those of `sentencepiece_model.proto` (Apache-2.0): 1 the pieces (1 text, 2 score, 3 type), 2 how the model was
//! trained (3 its kind), 3 how texts are normalised (2 the character map, 3 whether a space is put in front, 4 whether runs of
//! spaces become one). The wire format is that of Protocol Buffers.

use std::path::Path;

use super::super::Error;
use super::tokens::{Kind, Token};

/// No model is larger: those with a quarter of a million pieces take 5 MB.
const MAX_BYTES: u64 = 256 << 20;

/// How pieces are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Unigram,
    Bpe,
    Other(u64),
}

/// A SentencePiece model.
#[derive(Debug)]
pub(super) struct PieceModel {
    pub(super) pieces: Vec<Token>,
    pub(super) algorithm: Algorithm,
    pub(super) charsmap: Vec<u8>,
    pub(super) space_prefix: bool,
    pub(super) remove_extra_whitespaces: bool,
}

impl PieceModel {
    /// Reads a model file.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Read { path: path.to_owned(), source };
        let found = std::fs::metadata(path).map_err(io)?.len();
        if found > MAX_BYTES {
            return Err(Error::TooLarge { path: path.to_owned(), limit: MAX_BYTES, found });
        }
        let bytes = std::fs::read(path).map_err(io)?;
        Self::parse(&bytes).ok_or_else(|| {
            let expected = "a SentencePiece model".to_owned();
            Error::Vocabulary {
                path: path.to_owned(),
                expected,
                found: "a file that is none, or is damaged".to_owned(),
            }
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut model = PieceModel {
            pieces: Vec::new(),
            algorithm: Algorithm::Unigram,
            charsmap: Vec::new(),
            space_prefix: true,
            remove_extra_whitespaces: true,
        };
        let mut message = Message(bytes);
        while let Some(field) = message.next()? {
            match field {
                (1, Value::Bytes(piece)) => model.pieces.push(parse_piece(piece)?),
                (2, Value::Bytes(trainer)) => {
                    let mut message = Message(trainer);
                    while let Some(field) = message.next()? {
                        if let (3, Value::Number(kind)) = field {
                            model.algorithm = match kind {
                                1 => Algorithm::Unigram,
                                2 => Algorithm::Bpe,
                                other => Algorithm::Other(other),
                            };
                        }
                    }
                }
                (3, Value::Bytes(normalizer)) => {
                    let mut message = Message(normalizer);
                    while let Some(field) = message.next()? {
                        match field {
                            (2, Value::Bytes(map)) => model.charsmap = map.to_vec(),
                            (3, Value::Number(flag)) => model.space_prefix = flag != 0,
                            (4, Value::Number(flag)) => model.remove_extra_whitespaces = flag != 0,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        (!model.pieces.is_empty()).then_some(model)
    }
}

fn parse_piece(bytes: &[u8]) -> Option<Token> {
    let mut token = Token { text: String::new(), kind: Kind::Normal, score: 0.0 };
    let mut message = Message(bytes);
    while let Some(field) = message.next()? {
        match field {
            (1, Value::Bytes(text)) => token.text = std::str::from_utf8(text).ok()?.to_owned(),
            (2, Value::Fixed32(score)) => {
                token.score = Some(f32::from_bits(score)).filter(|score| score.is_finite())?;
            }
            (3, Value::Number(kind)) => {
                token.kind = match kind {
                    2 => Kind::Unknown,
                    3 => Kind::Control,
                    5 => Kind::Unused,
                    6 => Kind::Byte,
                    // What the user defined is a piece like any other to llama.cpp's converter.
                    _ => Kind::Normal,
                };
            }
            _ => {}
        }
    }
    Some(token)
}

/// What is left of a message.
struct Message<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
    Fixed64,
}

impl<'a> Message<'a> {
    /// The next field's number and value, `Some(None)` at the end; `None` if there is no field where one should be.
    #[allow(clippy::option_option)]
    fn next(&mut self) -> Option<Option<(u64, Value<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed64)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some(Some((tag >> 3, value)))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let &byte = self.take(1)?.first()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two pieces, a trainer of BPE, a normaliser that puts no space in front, and a field that is of no interest.
    const MODEL: &[u8] = b"\x0a\x09\x0a\x02ab\x15\x00\x00\x80\xbf\x0a\x07\x0a\x03<s>\x18\x03\x12\x02\x18\x02\x1a\x06\x12\x02xy\x18\x00\x28\x01";

    #[test]
    fn a_model_is_read() {
        let model = PieceModel::parse(MODEL).unwrap();
        assert_eq!(model.pieces[0], Token { text: "ab".to_owned(), kind: Kind::Normal, score: -1.0 });
        assert_eq!(model.pieces[1], Token { text: "<s>".to_owned(), kind: Kind::Control, score: 0.0 });
        assert_eq!(
            (model.algorithm, model.space_prefix, model.remove_extra_whitespaces),
            (Algorithm::Bpe, false, true)
        );
        assert_eq!(model.charsmap, b"xy");
    }

    #[test]
    fn what_is_cut_or_too_long_is_refused() {
        for bad in [
            &b""[..],
            b"\x0a\x09\x0a\x02ab",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0a\x03\x0a\x01\xff",
            b"\x0b\x00",
            b"\x80",
        ] {
            assert!(PieceModel::parse(bad).is_none(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_fatal(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..40usize) {
            let _ = PieceModel::parse(&bytes);
            let _ = PieceModel::parse(&[&MODEL[..cut.min(MODEL.len())], &bytes[..]].concat());
        }
    }
}
