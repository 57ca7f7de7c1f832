//! The patterns by which tokenizers cut text, found in time that grows with its length.
//!
//! Every one of them ends in `\s+(?!\S)|\s+`: a run of spaces leaves its last one to the word behind it. That is their only
//! look ahead, for which engines of regular expressions go back and forth over long runs. It is done by hand here; all
//! else is left to an engine that takes each character once. A pattern that is not in the list is refused rather than
//! taken on trust.

use regex_automata::meta::Regex;
use regex_automata::{Input, PatternID};

use crate::error::{Error, quote};

/// The end that all patterns have in common.
const SPACES: &str = r"|\s+(?!\S)|\s+";

/// GPT-2, `RoBERTa`, ModernBERT. Source: `encoder.py` of its authors.
pub(crate) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Qwen 2 and 3: numbers digit by digit.
pub(crate) const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Llama 3: numbers by three digits.
pub(crate) const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// GPT-4o: words change at capitals.
pub(crate) const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Mistral's newer models.
pub(crate) const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const KNOWN: [&str; 5] = [GPT2, QWEN2, LLAMA3, GPT4O, TEKKEN];

/// Finds what a pattern matches.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// The alternatives before those for spaces, and `\s+`.
    regex: Regex,
}

impl Pattern {
    /// One of the known patterns.
    pub(crate) fn new(pattern: &str, place: &str) -> Result<Self, Error> {
        let known = KNOWN.iter().find(|known| **known == pattern).and_then(|known| known.strip_suffix(SPACES));
        let Some(words) = known else {
            return Err(Error::Unsupported {
                place: place.to_owned(),
                found: quote(pattern),
                supported: "the patterns of GPT-2, GPT-4o, Llama 3, Mistral (tekken), Qwen 2",
            });
        };
        let regex = Regex::new_many(&[words, r"\s+"])
            .map_err(|e| Error::Component { place: place.to_owned(), message: e.to_string().replace('\n', " ") })?;
        Ok(Self { regex })
    }

    /// All matches, in order.
    pub(crate) fn matches(&self, text: &str) -> Vec<(usize, usize)> {
        let mut found = Vec::with_capacity(text.len() / 4);
        let mut at = 0;
        while let Some(one) = self.regex.find(Input::new(text).range(at..)) {
            let (start, mut end) = (one.start(), one.end());
            if one.pattern() == PatternID::must(1) && end < text.len() {
                // All but the last space, if there is another.
                let last = text.floor_char_boundary(end - 1);
                if last > start {
                    end = last;
                }
            }
            found.push((start, end));
            at = end;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenizers::tokenizer::pattern::Pattern as _;
    use tokenizers::utils::SysRegex;

    use super::*;

    #[test]
    fn equal_the_patterns_as_they_are_written() {
        let pairs = KNOWN.map(|pattern| (Pattern::new(pattern, "x").unwrap(), SysRegex::new(pattern).unwrap()));
        let texts =
            "(\\PC|[a-z ]{1,5}|[A-Z]{1,3}|[0-9]{1,5}|\\s|[\\r\\n ]{1,4}|'[sSſdmtTlLvVeErR]{1,2}|\\p{M}|[!-/]){1,30}";
        proptest!(ProptestConfig::with_cases(400), |(text in texts)| {
            for (ours, reference) in &pairs {
                let found = reference.find_matches(&text).unwrap().into_iter();
                let expected: Vec<_> = found.filter(|(_, is_match)| *is_match).map(|(range, _)| range).collect();
                prop_assert_eq!(ours.matches(&text), expected);
            }
        });
    }
}
