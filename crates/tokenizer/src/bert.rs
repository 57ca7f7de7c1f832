//! BERT's normalisation and word splitting, and WordPiece on the words, in one pass over the text.
//!
//! The result, ids and offsets, is that of the `tokenizers` crate's `BertNormalizer`, `BertPreTokenizer` and `WordPiece` one
//! after the other, which the tests check on arbitrary text. The crate makes five normalised copies of the text, each with
//! the origin of every byte, and then a string object for every word; here a run of ASCII letters and digits, which is
//! most of any English text, is looked up where it lies.
//!
//! What the steps do to a character (see [`crate::chars`]):
//! 1. cleaning removes control characters and makes every white space a space;
//! 2. ideographs become words of their own;
//! 3. stripping accents decomposes (NFD) and removes non-spacing marks;
//! 4. lower-casing, character by character;
//! 5. words end at spaces, and a punctuation character is a word of its own.
//!
//! All of these but decomposition look at one character alone, and decomposition reorders marks only up to the next
//! character that starts a new cluster. Spaces and punctuation are such, so the text can be taken in pieces between them.

use unicode_normalization_alignments::UnicodeNormalization;

use crate::chars::{self, CONTROL, Class, DECOMPOSES, IDEOGRAPH, MARK, PUNCTUATION, SPACE, UPPER};
use crate::encoding::Collector;
use crate::wordpiece::{Matcher, Piece};

/// Start and end in the original text, in bytes.
type Span = (usize, usize);

/// The settings of `BertNormalizer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Normalization {
    pub(crate) clean_text: bool,
    pub(crate) handle_chinese_chars: bool,
    pub(crate) strip_accents: bool,
    pub(crate) lowercase: bool,
}

/// What happens to a character before it can become part of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// It vanishes.
    Remove,
    /// It ends the word.
    Space,
    /// It is a word.
    Alone,
    /// It belongs to a word.
    Keep,
}

/// Splits text into words and these into pieces.
#[derive(Debug)]
pub(crate) struct Splitter {
    normalization: Normalization,
    /// For ASCII, what its characters end up as: `Alone` is punctuation.
    ascii: [Action; 128],
}

/// Buffers that words are assembled in, reused from word to word.
#[derive(Default)]
struct Scratch {
    /// The characters of the word with their origin, and the same after decomposition.
    word: Vec<(char, Span)>,
    decomposed: Vec<(char, Span)>,
    /// The bytes of the word and the origin of each.
    text: String,
    spans: Vec<Span>,
    pieces: Vec<Piece>,
}

impl Splitter {
    pub(crate) fn new(normalization: Normalization) -> Self {
        let ascii = std::array::from_fn(|byte| {
            let class = chars::class(char::from(byte as u8));
            match action(normalization, class) {
                Action::Keep if class & PUNCTUATION != 0 => Action::Alone,
                action => action,
            }
        });
        Self { normalization, ascii }
    }

    /// Gives the pieces of `text`, which begins at byte `base` of the whole, to `out`.
    pub(crate) fn split(&self, text: &str, base: usize, matcher: Matcher<'_>, out: &mut Collector) {
        let bytes = text.as_bytes();
        let mut scratch = Scratch::default();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let Some(action) = self.ascii.get(usize::from(byte)) else {
                at = self.split_slowly(text, at, base, matcher, &mut scratch, out);
                continue;
            };
            match action {
                Action::Remove | Action::Space => at += 1,
                Action::Alone => {
                    pieces_in_place(&text[at..=at], base + at, matcher, &mut scratch.pieces, out);
                    at += 1;
                }
                Action::Keep => {
                    let mut upper = false;
                    let mut end = at;
                    let next = loop {
                        match bytes.get(end).map(|&b| (b, self.ascii.get(usize::from(b)))) {
                            Some((b, Some(Action::Keep))) => upper |= b.is_ascii_uppercase(),
                            other => break other,
                        }
                        end += 1;
                    };
                    match next {
                        // Removed or accented characters may follow: the word goes on.
                        Some((_, None | Some(Action::Remove))) => {
                            at = self.split_slowly(text, at, base, matcher, &mut scratch, out);
                            continue;
                        }
                        _ if upper && self.normalization.lowercase => {
                            scratch.text.clear();
                            scratch.text.push_str(&text[at..end]);
                            scratch.text.make_ascii_lowercase();
                            pieces_in_place(&scratch.text, base + at, matcher, &mut scratch.pieces, out);
                        }
                        _ => pieces_in_place(&text[at..end], base + at, matcher, &mut scratch.pieces, out),
                    }
                    at = end;
                }
            }
        }
    }

    /// Any text from `at` up to the next ASCII space or punctuation, whose position is returned.
    fn split_slowly(
        &self,
        text: &str,
        at: usize,
        base: usize,
        matcher: Matcher<'_>,
        scratch: &mut Scratch,
        out: &mut Collector,
    ) -> usize {
        let ends = |b: &u8| matches!(self.ascii.get(usize::from(*b)), Some(Action::Space | Action::Alone));
        let end = text.as_bytes()[at..].iter().position(ends).map_or(text.len(), |length| at + length);
        scratch.word.clear();
        for (offset, c) in text[at..end].char_indices() {
            let start = base + at + offset;
            let span = (start, start + c.len_utf8());
            match action(self.normalization, chars::class(c)) {
                Action::Remove => {}
                Action::Space => self.finish_word(matcher, scratch, out),
                Action::Keep => scratch.word.push((c, span)),
                Action::Alone => {
                    self.finish_word(matcher, scratch, out);
                    scratch.word.push((c, span));
                    self.finish_word(matcher, scratch, out);
                }
            }
        }
        self.finish_word(matcher, scratch, out);
        end
    }

    /// Decomposes, strips and lower-cases the collected word, splits it at punctuation and gives its pieces to `out`.
    fn finish_word(&self, matcher: Matcher<'_>, scratch: &mut Scratch, out: &mut Collector) {
        let Scratch { word, decomposed, text, spans, pieces } = scratch;
        if word.is_empty() {
            return;
        }
        let strip = self.normalization.strip_accents;
        if strip && word.iter().any(|&(c, _)| chars::class(c) & DECOMPOSES != 0) {
            decompose(word, decomposed);
            std::mem::swap(word, decomposed);
        }
        text.clear();
        spans.clear();
        let with_offsets = out.with_offsets();
        let mut finish = |text: &mut String, spans: &mut Vec<Span>| {
            matcher.split(text, pieces);
            for piece in pieces.iter() {
                // Pieces are never empty, and spans are recorded only when someone asks for them.
                let offsets = if with_offsets { (spans[piece.start].0, spans[piece.end - 1].1) } else { (0, 0) };
                out.push(piece.id, offsets);
            }
            text.clear();
            spans.clear();
        };
        for &(c, span) in word.iter() {
            let class = chars::class(c);
            if strip && class & MARK != 0 {
                continue;
            }
            // White space gets here only if cleaning is off or out of a decomposition.
            let alone = class & (PUNCTUATION | SPACE) != 0;
            if alone && !text.is_empty() {
                finish(text, spans);
            }
            if class & SPACE != 0 {
                continue;
            }
            if self.normalization.lowercase && class & UPPER != 0 {
                text.extend(c.to_lowercase());
            } else {
                text.push(c);
            }
            if with_offsets {
                spans.resize(text.len(), span);
            }
            if alone {
                finish(text, spans);
            }
        }
        if !text.is_empty() {
            finish(text, spans);
        }
        word.clear();
    }
}

fn action(normalization: Normalization, class: Class) -> Action {
    if normalization.clean_text && class & CONTROL != 0 {
        Action::Remove
    } else if class & SPACE != 0 {
        Action::Space
    } else if normalization.handle_chinese_chars && class & IDEOGRAPH != 0 {
        Action::Alone
    } else {
        Action::Keep
    }
}

/// The pieces of a word whose bytes stand in the text as they are, but for their case.
fn pieces_in_place(word: &str, start: usize, matcher: Matcher<'_>, pieces: &mut Vec<Piece>, out: &mut Collector) {
    matcher.split(word, pieces);
    for piece in pieces.iter() {
        out.push(piece.id, (start + piece.start, start + piece.end));
    }
}

/// Canonical decomposition with canonical order (NFD). A part of a character takes its origin; among reordered marks the
/// origins stay in the order of the text, as the reference has it.
fn decompose(word: &[(char, Span)], out: &mut Vec<(char, Span)>) {
    out.clear();
    let mut consumed = 0;
    for (c, extra) in word.iter().map(|&(c, _)| c).nfd() {
        if extra <= 0 {
            consumed += 1;
        }
        // The first part of a character precedes its others, so one has been consumed by now.
        let span = word.get(consumed.max(1) - 1).map_or((0, 0), |&(_, span)| span);
        out.push((c, span));
    }
}
