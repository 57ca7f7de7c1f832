//! What BERT's normaliser and splitter ask about a character, as one byte.
//!
//! The questions and the tables behind the answers are those of the `tokenizers` crate, so that both agree on every code
//! point: general categories from `unicode_categories`, decompositions from `unicode-normalization-alignments`, white
//! space and case from the standard library. Asking them one by one costs a dozen table searches a character, so the answers
//! are kept, in blocks of 256 code points that are filled when a text first touches them.

use std::sync::OnceLock;

use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::char::{canonical_combining_class, decompose_canonical};

/// The answers for one character, a set of the flags below.
pub(crate) type Class = u8;

/// White space: the Unicode property, as `char::is_whitespace` has it.
pub(crate) const SPACE: Class = 1;
/// NUL, U+FFFD and the categories control, format and private use, except tab, line feed and carriage return.
pub(crate) const CONTROL: Class = 1 << 1;
/// A CJK ideograph by BERT's list of ranges (which skips U+2B820 to U+2B91F, and kana and hangul on purpose).
pub(crate) const IDEOGRAPH: Class = 1 << 2;
/// ASCII punctuation or symbol, or category P.
pub(crate) const PUNCTUATION: Class = 1 << 3;
/// Category Mn, the marks that stripping accents removes.
pub(crate) const MARK: Class = 1 << 4;
/// Canonical decomposition changes the character or may move it.
pub(crate) const DECOMPOSES: Class = 1 << 5;
/// Lower-casing changes the character.
pub(crate) const UPPER: Class = 1 << 6;

const BLOCK: usize = 256;

static BLOCKS: [OnceLock<Box<[Class; BLOCK]>>; 0x11_0000 / BLOCK] = [const { OnceLock::new() }; 0x11_0000 / BLOCK];

/// The class of a character.
pub(crate) fn class(c: char) -> Class {
    let code = c as usize;
    BLOCKS[code / BLOCK].get_or_init(|| {
        let first = (code / BLOCK * BLOCK) as u32;
        Box::new(std::array::from_fn(|i| char::from_u32(first + i as u32).map_or(0, classify)))
    })[code % BLOCK]
}

fn classify(c: char) -> Class {
    let mut decomposes = canonical_combining_class(c) != 0;
    decompose_canonical(c, |part| decomposes |= part != c);
    let flags = [
        (SPACE, c.is_whitespace()),
        (CONTROL, matches!(c, '\0' | '\u{fffd}') || !matches!(c, '\t' | '\n' | '\r') && c.is_other()),
        (IDEOGRAPH, is_ideograph(c)),
        (PUNCTUATION, c.is_ascii_punctuation() || c.is_punctuation()),
        (MARK, c.is_mark_nonspacing()),
        (DECOMPOSES, decomposes),
        (UPPER, !c.to_lowercase().eq([c])),
    ];
    flags.into_iter().fold(0, |class, (flag, holds)| if holds { class | flag } else { class })
}

fn is_ideograph(c: char) -> bool {
    matches!(
        c as u32,
        0x3400..=0x4DBF
            | 0x4E00..=0x9FFF
            | 0xF900..=0xFAFF
            | 0x2_0000..=0x2_A6DF
            | 0x2_A700..=0x2_B73F
            | 0x2_B740..=0x2_B81F
            | 0x2_B920..=0x2_CEAF
            | 0x2_F800..=0x2_FA1F
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_known_characters() {
        for (c, expected) in [
            ('a', 0),
            ('A', UPPER),
            ('\t', SPACE),
            ('\u{b}', SPACE | CONTROL),
            ('\u{85}', SPACE | CONTROL),
            ('\u{200b}', CONTROL),
            ('\u{e000}', CONTROL),
            ('\u{fffd}', CONTROL),
            ('+', PUNCTUATION),
            ('¿', PUNCTUATION),
            ('€', 0),
            ('我', IDEOGRAPH),
            ('\u{f900}', IDEOGRAPH | DECOMPOSES),
            ('\u{2b820}', 0),
            ('か', 0),
            ('が', DECOMPOSES),
            ('é', DECOMPOSES),
            ('İ', DECOMPOSES | UPPER),
            ('\u{301}', MARK | DECOMPOSES),
            ('한', DECOMPOSES),
            ('\u{10ffff}', 0),
        ] {
            assert_eq!(class(c), expected, "{c:?} {:x}", c as u32);
        }
    }
}
