//! Unigram language model: of all ways to cut a word into tokens, the most probable.
//!
//! Source: T. Kudo, "Subword Regularization: Improving Neural Network Translation Models with Multiple Subword Candidates",
//! 2018 (arXiv 1804.10959). Scores are logarithms of probabilities; the best sum is found from left to right (Viterbi), in
//! steps that the length of the longest token bounds for each character.

use crate::bpe::byte_tokens;
use crate::merge::Symbol;
use crate::trie::Trie;
use crate::vocabulary::Vocabulary;

/// How much worse than the worst token an unknown character is.
const PENALTY: f64 = 10.0;

/// Cuts words by the scores of tokens.
#[derive(Debug)]
pub(crate) struct Unigram {
    trie: Trie,
    /// By id.
    scores: Vec<f64>,
    unknown: Option<u32>,
    unknown_score: f64,
    bytes: Option<Box<[Option<u32>; 256]>>,
}

/// The best way to a place in a word: its score, and the last token of it.
#[derive(Debug, Clone, Copy)]
struct Way {
    score: f64,
    start: u32,
    id: u32,
}

/// No token has this id.
const NO_ID: u32 = u32::MAX;

impl Unigram {
    /// `scores` has one for each id, all finite; text becomes only tokens that are `ordinary`. The worst of all `counted` scores
    /// sets that of unknown characters.
    pub(crate) fn new(
        vocabulary: &Vocabulary,
        scores: Vec<f64>,
        ordinary: impl Fn(u32) -> bool,
        counted: impl Fn(u32) -> bool,
        unknown: Option<u32>,
        byte_fallback: bool,
    ) -> Self {
        let tokens = vocabulary.model_tokens().filter(|(token, id)| !token.is_empty() && ordinary(*id));
        let trie = Trie::new(tokens.map(|(token, id)| (token.as_bytes(), id)));
        let worst = vocabulary.model_tokens().filter(|(_, id)| counted(*id)).map(|(_, id)| scores[id as usize]);
        let unknown_score = worst.fold(f64::INFINITY, f64::min) - PENALTY;
        Self { trie, scores, unknown, unknown_score, bytes: byte_fallback.then(|| byte_tokens(vocabulary)) }
    }

    /// Appends the tokens of a word to `out`. Neighbouring unknown characters make one token.
    pub(crate) fn split(&self, word: &str, out: &mut Vec<Symbol>) {
        // Words of 4 GiB are not words; their parts are cut one after the other.
        const MOST: usize = 1 << 31;
        let mut base = 0;
        while base < word.len() {
            let end = word.floor_char_boundary(word.len().min(base + MOST));
            self.split_part(&word[base..end], base, out);
            base = end;
        }
    }

    fn split_part(&self, word: &str, base: usize, out: &mut Vec<Symbol>) {
        let bytes = word.as_bytes();
        let unreached = Way { score: f64::NEG_INFINITY, start: 0, id: NO_ID };
        let mut ways = vec![unreached; bytes.len() + 1];
        ways[0].score = 0.0;
        for (start, c) in word.char_indices() {
            // Every character can be passed, so every place between characters has been reached.
            let here = ways[start].score;
            let next = start + c.len_utf8();
            let mut single = false;
            let mut offer = |end: usize, id: u32, score: f64| {
                let way = &mut ways[end];
                if way.id == NO_ID && way.start == 0 && way.score == f64::NEG_INFINITY || score > way.score {
                    *way = Way { score, start: start as u32, id };
                }
            };
            self.trie.prefixes(&bytes[start..], |length, id| {
                single |= start + length == next;
                offer(start + length, id, here + self.scores[id as usize]);
            });
            if !single {
                offer(next, self.unknown.unwrap_or(NO_ID), here + self.unknown_score);
            }
        }
        let first = out.len();
        let mut end = bytes.len();
        while end > 0 {
            let Way { start, id, .. } = ways[end];
            let start = start as usize;
            match out[first..].last_mut() {
                Some(last) if last.id == id && (Some(id) == self.unknown || id == NO_ID) => last.start = base + start,
                _ => out.push(Symbol { id, start: base + start, end: base + end }),
            }
            end = start;
        }
        out[first..].reverse();
        self.resolve_unknown(word, base, first, out);
    }

    /// Puts byte tokens, or nothing, where there is no token for a stretch.
    fn resolve_unknown(&self, word: &str, base: usize, first: usize, out: &mut Vec<Symbol>) {
        let unresolved =
            |symbol: &Symbol| symbol.id == NO_ID || self.bytes.is_some() && Some(symbol.id) == self.unknown;
        if !out[first..].iter().any(unresolved) {
            return;
        }
        for symbol in out.split_off(first) {
            if !unresolved(&symbol) {
                out.push(symbol);
                continue;
            }
            let text = &word.as_bytes()[symbol.start - base..symbol.end - base];
            match self.bytes.as_ref().filter(|tokens| text.iter().all(|byte| tokens[usize::from(*byte)].is_some())) {
                Some(tokens) => out.extend(text.iter().enumerate().filter_map(|(i, byte)| {
                    let start = symbol.start + i;
                    tokens[usize::from(*byte)].map(|id| Symbol { id, start, end: start + 1 })
                })),
                None => out.extend(self.unknown.map(|id| Symbol { id, ..symbol })),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unigram(tokens: &[(&str, f64)], unknown: Option<u32>, byte_fallback: bool) -> Unigram {
        let mut vocabulary = Vocabulary::default();
        for (id, (token, _)) in (0u32..).zip(tokens) {
            vocabulary.insert(token, id, "vocab").unwrap();
        }
        let scores = tokens.iter().map(|(_, score)| *score).collect();
        Unigram::new(&vocabulary, scores, |id| Some(id) != unknown, |_| true, unknown, byte_fallback)
    }

    fn split(unigram: &Unigram, word: &str) -> Vec<(u32, usize, usize)> {
        let mut out = vec![];
        unigram.split(word, &mut out);
        out.iter().map(|symbol| (symbol.id, symbol.start, symbol.end)).collect()
    }

    #[test]
    fn the_most_probable_cut_wins() {
        let tokens = [("<unk>", 0.0), ("a", -1.0), ("b", -1.0), ("ab", -1.5), ("abc", -9.0), ("bc", -2.0), ("é", -1.0)];
        let model = unigram(&tokens, Some(0), false);
        assert_eq!(split(&model, "abb"), [(3, 0, 2), (2, 2, 3)]);
        assert_eq!(split(&model, "abc"), [(1, 0, 1), (5, 1, 3)]);
        assert_eq!(split(&model, "xyaüé"), [(0, 0, 2), (1, 2, 3), (0, 3, 5), (6, 5, 7)]);
        assert_eq!(split(&model, ""), []);
        // Neither is probable, but the one that comes first stays where they are equal.
        let tied = unigram(&[("<unk>", 0.0), ("a", -1.0), ("aa", -2.0)], Some(0), false);
        assert_eq!(split(&tied, "aa"), [(2, 0, 2)]);
    }

    #[test]
    fn unknown_characters_become_bytes_or_nothing() {
        let tokens = [("<unk>", 0.0), ("a", -1.0), ("<0xC3>", -1.0), ("<0xA9>", -1.0)];
        assert_eq!(split(&unigram(&tokens, Some(0), true), "aéü"), [(1, 0, 1), (0, 1, 5)]);
        assert_eq!(split(&unigram(&tokens, Some(0), true), "éa"), [(2, 0, 1), (3, 1, 2), (1, 2, 3)]);
        assert_eq!(split(&unigram(&tokens, None, true), "éxa"), [(1, 3, 4)]);
    }
}
