//! What is done to a text before it is cut into words.
//!
//! The steps that large families have are done here, in one pass each; all others by the `tokenizers` crate.

use tokenizers::tokenizer::normalizer::Range as CrateRange;
use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper};
use unicode_normalization_alignments::is_nfc;

use crate::charsmap::Charsmap;
use crate::error::Error;
use crate::text::Text;

/// A step of normalisation.
#[derive(Debug)]
pub(crate) enum Step {
    Charsmap(Box<Charsmap>),
    /// Puts a text before one that is not empty.
    Prepend(String),
    /// Puts a text in the place of another, which is not empty.
    Replace(String, String),
    /// Puts a text in the place of every run of two or more spaces.
    Spaces(String),
    /// Puts a text in the place of every run of two or more characters of white space, and of every line end and tab.
    WhiteSpace(String),
    /// Puts a text in the place of every run of white space, also of one character.
    AnyWhiteSpace(String),
    /// Takes white space off the ends.
    Strip {
        left: bool,
        right: bool,
    },
    Crate(Box<NormalizerWrapper>),
}

impl Step {
    /// Normalises a text.
    pub(crate) fn apply<'a>(&self, text: Text<'a>) -> Result<Text<'a>, Error> {
        Ok(match self {
            Self::Charsmap(charsmap) => charsmap.apply(&text),
            Self::Prepend(prefix) => prepend(prefix, text),
            Self::Replace(from, to) => {
                let places: Vec<_> =
                    text.text.match_indices(from.as_str()).map(|(at, _)| (at, at + from.len())).collect();
                replace(text, &places, to)
            }
            Self::Spaces(to) => {
                let places = runs_of_spaces(&text.text);
                replace(text, &places, to)
            }
            Self::WhiteSpace(to) => {
                let mut places = runs_of_white_space(&text.text);
                places.retain(|&(start, end)| {
                    let run = &text.text[start..end];
                    run.starts_with(['\n', '\r', '\t']) || run.chars().nth(1).is_some()
                });
                replace(text, &places, to)
            }
            Self::AnyWhiteSpace(to) => {
                let places = runs_of_white_space(&text.text);
                replace(text, &places, to)
            }
            Self::Strip { left, right } => {
                let start = if *left { text.text.len() - text.text.trim_start().len() } else { 0 };
                let end = if *right { text.text.trim_end().len().max(start) } else { text.text.len() };
                if (start, end) == (0, text.text.len()) {
                    return Ok(text);
                }
                let mut out = text.builder();
                out.copy(&text, start..end);
                out.finish()
            }
            Self::Crate(normalizer) => by_crate(normalizer, text)?,
        })
    }
}

/// Puts `prefix`, which takes its origin from the first character, before a text that is not empty.
pub(crate) fn prepend<'a>(prefix: &str, text: Text<'a>) -> Text<'a> {
    let Some(first) = text.text.chars().next() else { return text };
    let mut out = text.builder();
    out.push(prefix, &text, 0..first.len_utf8());
    out.copy(&text, 0..text.text.len());
    out.finish()
}

/// Puts `to` in the place of ranges, which are in order and not empty. It takes its origin from the last character of each.
pub(crate) fn replace<'a>(text: Text<'a>, places: &[(usize, usize)], to: &str) -> Text<'a> {
    if places.is_empty() {
        return text;
    }
    let (mut out, mut done) = (text.builder(), 0);
    for &(start, end) in places {
        out.copy(&text, done..start);
        out.push(to, &text, text.text.floor_char_boundary(end - 1)..end);
        done = end;
    }
    out.copy(&text, done..text.text.len());
    out.finish()
}

/// Runs of two or more spaces.
fn runs_of_spaces(text: &str) -> Vec<(usize, usize)> {
    let mut runs = vec![];
    let mut rest = 0;
    while let Some(at) = text[rest..].find("  ") {
        let start = rest + at;
        let end = text.len() - text[start..].trim_start_matches(' ').len();
        runs.push((start, end));
        rest = end;
    }
    runs
}

/// Runs of white space.
fn runs_of_white_space(text: &str) -> Vec<(usize, usize)> {
    let mut runs = vec![];
    let mut rest = 0;
    while let Some(at) = text[rest..].find(char::is_whitespace) {
        let start = rest + at;
        let end = text.len() - text[start..].trim_start().len();
        runs.push((start, end));
        rest = end;
    }
    runs
}

fn by_crate<'a>(normalizer: &NormalizerWrapper, text: Text<'a>) -> Result<Text<'a>, Error> {
    if matches!(normalizer, NormalizerWrapper::NFC(_)) && (text.text.is_ascii() || is_nfc(&text.text)) {
        return Ok(text);
    }
    let mut normalized = NormalizedString::from(&*text.text);
    normalizer
        .normalize(&mut normalized)
        .map_err(|e| Error::Component { place: "normalizer".to_owned(), message: e.to_string().replace('\n', " ") })?;
    let mut out = text.builder();
    for (at, c) in normalized.get().char_indices() {
        let length = c.len_utf8();
        let from = normalized.convert_offsets(CrateRange::Normalized(at..at + length)).unwrap_or(0..0);
        out.push(&normalized.get()[at..at + length], &text, from);
    }
    Ok(out.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_keep_track_of_origins() {
        let apply = |step: Step, text: &'static str| step.apply(Text::new(text, 5, true)).unwrap();
        let replaced = apply(Step::Replace(" ".into(), "▁".into()), "a b");
        assert_eq!((&*replaced.text, replaced.span(1..4), replaced.span(4..5)), ("a▁b", (6, 7), (7, 8)));
        let spaces = apply(Step::Spaces("▁".into()), "a   b c ");
        assert_eq!((&*spaces.text, spaces.span(1..4)), ("a▁b c ", (8, 9)));
        let white = apply(Step::WhiteSpace("-".into()), "a b\u{a0}\tc\nd \u{3000}");
        assert_eq!((&*white.text, white.span(3..4), white.span(5..6)), ("a b-c-d-", (10, 11), (12, 13)));
        let any = apply(Step::AnyWhiteSpace(" ".into()), "a\tb \u{a0}c ");
        assert_eq!((&*any.text, any.span(1..2), any.span(3..4)), ("a b c ", (6, 7), (9, 11)));
        let prefixed = apply(Step::Prepend("▁".into()), "é");
        assert_eq!((&*prefixed.text, prefixed.span(0..3), prefixed.span(3..5)), ("▁é", (5, 7), (5, 7)));
        assert_eq!(apply(Step::Prepend("▁".into()), "").text, "");
        let stripped = apply(Step::Strip { left: true, right: true }, " \ta ");
        assert_eq!((&*stripped.text, stripped.span(0..1)), ("a", (7, 8)));
        assert_eq!(apply(Step::Strip { left: true, right: true }, "  ").text, "");
        let composed = apply(Step::Crate(Box::new(tokenizers::normalizers::NFC.into())), "e\u{301}a");
        assert_eq!((&*composed.text, composed.span(0..2), composed.span(2..3)), ("éa", (5, 6), (8, 9)));
    }
}
