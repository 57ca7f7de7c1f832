//! How normalised text is cut into words.

use std::ops::Range;

use tokenizers::tokenizer::normalizer::SplitDelimiterBehavior as Behavior;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper};

use crate::error::Error;
use crate::pattern::Pattern;
use crate::text::Text;

/// A step on the way from a text to words.
#[derive(Debug)]
pub(crate) enum Step {
    /// Cuts at the matches of a pattern.
    Pattern { pattern: Pattern, behavior: Behavior, invert: bool },
    /// Cuts at a text, which is not empty.
    At { delimiter: String, behavior: Behavior, invert: bool },
    /// Cuts at white space and drops it.
    Whitespace,
    /// Writes spaces as a mark, puts one before the text, and cuts before each, as it is told.
    Metaspace { mark: char, prepend: Prepend, split: bool },
    /// Puts a space before a text that does not begin with one.
    PrefixSpace,
    /// Anything that only cuts, by the `tokenizers` crate.
    Crate(Box<PreTokenizerWrapper>),
}

/// Before which texts a mark is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prepend {
    Always,
    /// Only the one with which the whole text begins.
    First,
    Never,
}

/// A text and the ranges of its words.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    pub(crate) text: Text<'a>,
    pub(crate) ranges: Vec<Range<usize>>,
}

impl<'a> Words<'a> {
    /// All of a text as one word. `first` says that the whole text begins with it.
    pub(crate) fn cut(text: Text<'a>, first: bool, steps: &[Step]) -> Result<Self, Error> {
        let mut words = Self { ranges: std::iter::once(0..text.text.len()).collect(), text };
        for step in steps {
            words = step.apply(words, first)?;
        }
        Ok(words)
    }

    /// Cuts each word at what `matches` finds in it.
    fn cut_words(mut self, behavior: Behavior, invert: bool, matches: impl Fn(&str) -> Vec<(usize, usize)>) -> Self {
        let mut ranges = Vec::with_capacity(self.ranges.len());
        for range in &self.ranges {
            let found = matches(&self.text.text[range.clone()]);
            cut(found, range.len(), behavior, invert, |start, end| ranges.push(range.start + start..range.start + end));
        }
        self.ranges = ranges;
        self
    }

    /// Puts the words together anew: `change` makes of each what takes its place.
    fn change(self, change: impl Fn(Text<'_>, &Range<usize>) -> Text<'static>) -> Words<'static> {
        let mut out = self.text.builder();
        let mut ranges = Vec::with_capacity(self.ranges.len());
        for range in &self.ranges {
            let word = change(self.text.slice(range.clone()), range);
            let start = out.len();
            out.copy(&word, 0..word.text.len());
            ranges.push(start..out.len());
        }
        Words { text: out.finish(), ranges }
    }
}

impl Step {
    fn apply<'a>(&self, words: Words<'a>, first: bool) -> Result<Words<'a>, Error> {
        Ok(match self {
            Self::Pattern { pattern, behavior, invert } => {
                words.cut_words(*behavior, *invert, |word| pattern.matches(word))
            }
            Self::At { delimiter, behavior, invert } => words.cut_words(*behavior, *invert, |word| {
                word.match_indices(delimiter.as_str()).map(|(at, _)| (at, at + delimiter.len())).collect()
            }),
            Self::Whitespace => words.cut_words(Behavior::Removed, false, |word| {
                word.match_indices(char::is_whitespace).map(|(at, space)| (at, at + space.len())).collect()
            }),
            Self::Metaspace { mark, prepend: when, split } => {
                let (mark, mut utf8) = (*mark, [0; 4]);
                let written = mark.encode_utf8(&mut utf8);
                let words = words.change(|word, range| {
                    let wanted = match when {
                        Prepend::Always => true,
                        Prepend::First => first && range.start == 0,
                        Prepend::Never => false,
                    };
                    let begins = word.text.starts_with([mark, ' ']);
                    metaspace(&word, written, wanted && !begins)
                });
                if !*split {
                    return Ok(words);
                }
                words.cut_words(Behavior::MergedWithNext, false, |word| {
                    word.match_indices(mark).map(|(at, mark)| (at, at + mark.len())).collect()
                })
            }
            Self::PrefixSpace => words.change(|word, _| {
                let mut out = word.builder();
                if let Some(first) = word.text.chars().next().filter(|first| *first != ' ') {
                    out.push(" ", &word, 0..first.len_utf8());
                }
                out.copy(&word, 0..word.text.len());
                out.finish()
            }),
            Self::Crate(pre_tokenizer) => by_crate(pre_tokenizer, words)?,
        })
    }
}

/// Writes the spaces of a word as `mark`, with another before it if `prefix`.
fn metaspace(word: &Text<'_>, mark: &str, prefix: bool) -> Text<'static> {
    let mut out = word.builder();
    if prefix && let Some(first) = word.text.chars().next() {
        out.push(mark, word, 0..first.len_utf8());
    }
    let mut done = 0;
    for (at, _) in word.text.match_indices(' ') {
        out.copy(word, done..at);
        out.push(mark, word, at..at + 1);
        done = at + 1;
    }
    out.copy(word, done..word.text.len());
    out.finish()
}

/// Cuts `length` bytes at matches, which are in order, do not overlap and are not empty. Empty pieces are left out.
fn cut(
    matches: Vec<(usize, usize)>,
    length: usize,
    behavior: Behavior,
    invert: bool,
    mut piece: impl FnMut(usize, usize),
) {
    // The matches and what lies between them.
    let mut stretches = Vec::with_capacity(matches.len() * 2 + 1);
    let mut done = 0;
    for (start, end) in matches {
        if done < start {
            stretches.push((done, start, invert));
        }
        stretches.push((start, end, !invert));
        done = end;
    }
    if done < length {
        stretches.push((done, length, invert));
    }
    let mut pieces: Vec<(usize, usize)> = Vec::with_capacity(stretches.len());
    let mut after_match = false;
    match behavior {
        Behavior::Isolated => pieces.extend(stretches.iter().map(|&(start, end, _)| (start, end))),
        Behavior::Removed => {
            pieces.extend(stretches.iter().filter(|(.., is_match)| !is_match).map(|&(start, end, _)| (start, end)));
        }
        Behavior::Contiguous => {
            for (start, end, is_match) in stretches {
                match pieces.last_mut() {
                    Some(last) if is_match == after_match => last.1 = end,
                    _ => pieces.push((start, end)),
                }
                after_match = is_match;
            }
        }
        Behavior::MergedWithPrevious => {
            for (start, end, is_match) in stretches {
                match pieces.last_mut() {
                    Some(last) if is_match && !after_match => last.1 = end,
                    _ => pieces.push((start, end)),
                }
                after_match = is_match;
            }
        }
        Behavior::MergedWithNext => {
            for (start, end, is_match) in stretches.into_iter().rev() {
                match pieces.last_mut() {
                    Some(last) if is_match && !after_match => last.0 = start,
                    _ => pieces.push((start, end)),
                }
                after_match = is_match;
            }
            pieces.reverse();
        }
    }
    pieces.into_iter().for_each(|(start, end)| piece(start, end));
}

fn by_crate<'a>(pre_tokenizer: &PreTokenizerWrapper, mut words: Words<'a>) -> Result<Words<'a>, Error> {
    let mut ranges = Vec::with_capacity(words.ranges.len());
    for range in &words.ranges {
        let mut word = PreTokenizedString::from(&words.text.text[range.clone()]);
        pre_tokenizer.pre_tokenize(&mut word).map_err(|e| Error::Component {
            place: "pre_tokenizer".to_owned(),
            message: e.to_string().replace('\n', " "),
        })?;
        let pieces = word.get_splits(OffsetReferential::Original, OffsetType::Byte);
        ranges.extend(pieces.into_iter().map(|(_, (start, end), _)| range.start + start..range.start + end));
    }
    words.ranges = ranges;
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &'static str, steps: &[Step]) -> Vec<(String, (usize, usize))> {
        let words = Words::cut(Text::new(text, 0, true), true, steps).unwrap();
        words.ranges.iter().map(|r| (words.text.text[r.clone()].to_owned(), words.text.span(r.clone()))).collect()
    }

    fn texts(text: &'static str, steps: &[Step]) -> Vec<String> {
        words(text, steps).into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn marks_take_the_place_of_spaces() {
        let metaspace = |prepend, split| [Step::Metaspace { mark: '▁', prepend, split }];
        assert_eq!(texts("a  b", &metaspace(Prepend::Always, true)), ["▁a", "▁", "▁b"]);
        assert_eq!(texts(" a b", &metaspace(Prepend::Always, false)), ["▁a▁b"]);
        assert_eq!(texts("a b", &metaspace(Prepend::Never, true)), ["a", "▁b"]);
        let both = [Step::Whitespace, Step::Metaspace { mark: '▁', prepend: Prepend::Always, split: true }];
        assert_eq!(words(" a \u{3000}é ", &both), [("▁a".to_owned(), (1, 2)), ("▁é".to_owned(), (6, 8))]);
        let first = [Step::Whitespace, Step::Metaspace { mark: '▁', prepend: Prepend::First, split: true }];
        assert_eq!(texts("a b", &first), ["▁a", "b"]);
        assert_eq!(texts(" a b", &first), ["a", "b"]);
    }

    #[test]
    fn every_behaviour_cuts_as_the_reference_does() {
        use tokenizers::{NormalizedString, PreTokenizedString};
        for text in ["  a b  ", "a", " ", "", "ab cd   ef", "   "] {
            for behavior in [
                Behavior::Isolated,
                Behavior::Removed,
                Behavior::Contiguous,
                Behavior::MergedWithPrevious,
                Behavior::MergedWithNext,
            ] {
                let mut reference = PreTokenizedString::from(text);
                reference.split(|_, word: NormalizedString| word.split(' ', behavior)).unwrap();
                let expected: Vec<String> = reference
                    .get_splits(OffsetReferential::Original, OffsetType::Byte)
                    .into_iter()
                    .filter(|(text, ..)| !text.is_empty())
                    .map(|(text, ..)| text.to_owned())
                    .collect();
                let at = [Step::At { delimiter: " ".to_owned(), behavior, invert: false }];
                assert_eq!(texts(text, &at), expected, "{text:?} {behavior:?}");
            }
        }
    }
}
