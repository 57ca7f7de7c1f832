//! SentencePiece's byte-pair encoding: neighbours become the token that their text spells, best score first.
//!
//! Source: T. Kudo, J. Richardson, "SentencePiece: A simple and language independent subword tokenizer", 2018 (arXiv
//! 1808.06226). There are no merges, only scores; that of the joined token is the rank. A character that is no token, and
//! was not joined to one, falls back on tokens for its bytes.

use crate::bpe::{byte_tokens, cut_at, safe_cut};
use crate::merge::{Join, Symbol, merge};
use crate::vocabulary::Vocabulary;

/// Joins characters by the scores of tokens.
#[derive(Debug)]
pub(crate) struct SentencePiece {
    /// By id: how many scores are better. `NEVER` for tokens that text does not become.
    ranks: Vec<u32>,
    /// The longest token, in bytes.
    longest: usize,
    bytes: Box<[Option<u32>; 256]>,
    unknown: Option<u32>,
    cut: Option<char>,
}

const NEVER: u32 = u32::MAX;

/// A symbol that is no token.
const NO_TOKEN: u32 = u32::MAX;

impl SentencePiece {
    /// `scores` has one for each id, all finite; text becomes only tokens that are `ordinary`.
    pub(crate) fn new(
        vocabulary: &Vocabulary,
        scores: &[f32],
        ordinary: impl Fn(u32) -> bool,
        unknown: Option<u32>,
    ) -> Self {
        let mut order: Vec<u32> =
            vocabulary.model_tokens().map(|(_, id)| id).filter(|id| (*id as usize) < scores.len()).collect();
        let score = |id: u32| scores[id as usize];
        order.sort_unstable_by(|a, b| score(*b).total_cmp(&score(*a)));
        let mut ranks = vec![NEVER; vocabulary.len()];
        let (mut rank, mut longest) = (0, 0);
        for (i, &id) in order.iter().enumerate() {
            // Equal scores have one rank.
            if i == 0 || score(id) != score(order[i - 1]) {
                rank = i as u32;
            }
            if ordinary(id) {
                ranks[id as usize] = rank;
                longest = longest.max(vocabulary.token(id).map_or(0, str::len));
            }
        }
        Self { ranks, longest, bytes: byte_tokens(vocabulary), unknown, cut: safe_cut(vocabulary) }
    }

    /// Appends the tokens of a text to `out`.
    pub(crate) fn split(&self, text: &str, vocabulary: &Vocabulary, out: &mut Vec<Symbol>) {
        let mut symbols = Vec::new();
        for (base, part) in cut_at(text, self.cut) {
            symbols.clear();
            symbols.extend(part.char_indices().map(|(start, c)| {
                let end = start + c.len_utf8();
                Symbol { id: self.find(&part[start..end], vocabulary).map_or(NO_TOKEN, |join| join.id), start, end }
            }));
            merge(&mut symbols, |left, right| {
                let length = right.end - left.start;
                if length > self.longest { None } else { self.find(&part[left.start..right.end], vocabulary) }
            });
            for &Symbol { id, start, end } in &symbols {
                let (first, last) = (base + start, base + end);
                if id != NO_TOKEN {
                    out.push(Symbol { id, start: first, end: last });
                } else if part[start..end].bytes().all(|byte| self.bytes[usize::from(byte)].is_some()) {
                    for (i, byte) in part[start..end].bytes().enumerate() {
                        let (start, end) = (first + i, first + i + 1);
                        out.extend(self.bytes[usize::from(byte)].map(|id| Symbol { id, start, end }));
                    }
                } else {
                    out.extend(self.unknown.map(|id| Symbol { id, start: first, end: last }));
                }
            }
        }
    }

    fn find(&self, text: &str, vocabulary: &Vocabulary) -> Option<Join> {
        let id = vocabulary.model_id(text)?;
        let rank = self.ranks.get(id as usize).copied().filter(|rank| *rank != NEVER)?;
        Some(Join { rank, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_score_is_joined_first() {
        let tokens = ["<unk>", "a", "b", "ab", "ba", "bab", "<0xC3>", "<0xA9>", "xy", "é"];
        let scores = [0.0, -9.0, -9.0, -2.0, -1.0, -3.0, 0.0, 0.0, -4.0, -9.0];
        let mut vocabulary = Vocabulary::default();
        for (id, token) in (0u32..).zip(tokens) {
            vocabulary.insert(token, id, "vocab").unwrap();
        }
        let ids = |ordinary: fn(u32) -> bool, text: &str| {
            let mut out = vec![];
            SentencePiece::new(&vocabulary, &scores, ordinary, Some(0)).split(text, &vocabulary, &mut out);
            out.iter().map(|symbol| symbol.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(|_| true, "abab"), [1, 5]);
        assert_eq!(ids(|_| true, "abaa"), [1, 4, 1]);
        assert_eq!(ids(|_| true, "bab"), [5]);
        // Neither x nor y is a token, but both together are.
        assert_eq!(ids(|_| true, "xyxé"), [8, 0, 9]);
        assert_eq!(ids(|id| id != 9, "é"), [6, 7]);
        assert_eq!(ids(|id| id != 4, "abab"), [3, 3]);
        assert_eq!(ids(|_| true, ""), [0u32; 0]);
    }
}
