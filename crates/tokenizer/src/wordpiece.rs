//! WordPiece: a word is cut into the longest pieces of the vocabulary, from left to right.
//!
//! Source: Y. Wu et al., "Google's Neural Machine Translation System", 2016 (arXiv 1609.08144), section 4.1, in the form
//! that BERT uses: pieces after the first are marked with `##`, and a word that cannot be covered becomes one unknown token.

use crate::added::{AddedTokens, Specials, Stretch};
use crate::bert::{Normalization, Splitter};
use crate::encoding::Collector;
use crate::error::{Error, quote};
use crate::normalize;
use crate::pipeline::{Model, Pipeline};
use crate::template::Template;
use crate::tokenizer::{Engine, Kind, Parts, Tokenizer};
use crate::vocabulary::{Index, Vocabulary};
use crate::words;

/// The longest word, in characters, that a tokenizer may be told to cut up. The limit in use is 100. Cutting may take time
/// that grows with its square, and this keeps a file from turning a long text without spaces into a hang.
pub(crate) const MAX_WORD: usize = 512;

/// Everything a WordPiece tokenizer is made of, wherever it was read.
pub(crate) struct WordPiece {
    pub(crate) vocabulary: Vocabulary,
    /// Tokens that are matched in the text before anything else happens to it.
    pub(crate) added: Vec<tokenizers::AddedToken>,
    /// How text becomes words.
    pub(crate) words: Words,
    /// The token for a word that cannot be covered.
    pub(crate) unknown: String,
    /// The mark of pieces that continue a word.
    pub(crate) prefix: String,
    /// Longer words, in characters, are unknown.
    pub(crate) max_word: usize,
    pub(crate) template: Template,
    pub(crate) decoder: Option<tokenizers::DecoderWrapper>,
    pub(crate) model_max_length: Option<usize>,
    /// The document or key that is named when something does not fit.
    pub(crate) place: &'static str,
}

/// How a text is normalised and split into words.
pub(crate) enum Words {
    /// As BERT does it, which nearly every model of this kind uses.
    Bert(Normalization),
    /// Any other way.
    Other(Box<Steps>),
}

/// The steps of normalising and of cutting into words.
pub(crate) type Steps = (Vec<normalize::Step>, Vec<words::Step>);

impl WordPiece {
    /// Checks that the parts fit together and makes a tokenizer of them.
    pub(crate) fn build(self) -> Result<Tokenizer, Error> {
        let Self { vocabulary, added, words, unknown, prefix, max_word, template, decoder, .. } = self;
        let place = self.place;
        if vocabulary.model_len() == 0 {
            return Err(Error::unexpected(place, "at least one token", "an empty vocabulary"));
        }
        let Some(unknown_id) = vocabulary.model_id(&unknown) else {
            let found = format!("none among {} tokens", vocabulary.model_len());
            return Err(Error::unexpected(place, format!("the unknown token {}", quote(&unknown)), found));
        };
        if max_word > MAX_WORD {
            let expected = format!("max_input_chars_per_word of at most {MAX_WORD}");
            return Err(Error::unexpected(place, expected, max_word.to_string()));
        }
        template.check(&vocabulary)?;
        let plain = added.iter().all(|token| !(token.lstrip || token.rstrip || token.single_word || token.normalized));
        let pieces = Pieces::new(&vocabulary, &prefix, unknown_id, max_word);
        let engine = match words {
            Words::Bert(normalization) if plain => {
                let found = added.iter().map(|token| (token, token.content.clone()));
                let added = AddedTokens::new(found, &vocabulary, place)?;
                Engine::WordPiece(Box::new(Encoder { splitter: Splitter::new(normalization), pieces, added }))
            }
            words => {
                let (normalizer, words) = words.into_steps();
                let pipeline = Pipeline::new(normalizer, words, Model::WordPiece(pieces), &added, &vocabulary, place)?;
                Engine::Pipeline(Box::new(pipeline))
            }
        };
        let named = added.iter().filter(|token| token.special).filter_map(|token| vocabulary.id(&token.content));
        let mut special: Vec<u32> = named.chain(template.before.iter().chain(&template.after).copied()).collect();
        special.sort_unstable();
        Ok(Tokenizer::from_parts(Parts {
            kind: Kind::WordPiece,
            vocabulary,
            engine,
            template,
            decoder,
            unknown: Some(unknown_id),
            special,
            model_max_length: self.model_max_length,
            truncation: None,
        }))
    }
}

impl Words {
    fn into_steps(self) -> Steps {
        match self {
            Self::Other(steps) => *steps,
            Self::Bert(Normalization { clean_text, handle_chinese_chars, strip_accents, lowercase }) => {
                let normalizer = tokenizers::normalizers::BertNormalizer::new(
                    clean_text,
                    handle_chinese_chars,
                    Some(strip_accents),
                    lowercase,
                );
                let words = tokenizers::pre_tokenizers::bert::BertPreTokenizer;
                let normalizer = normalize::Step::Crate(Box::new(normalizer.into()));
                (vec![normalizer], vec![words::Step::Crate(Box::new(words.into()))])
            }
        }
    }
}

/// Cuts whole texts into tokens.
#[derive(Debug)]
pub(crate) struct Encoder {
    splitter: Splitter,
    pieces: Pieces,
    added: AddedTokens,
}

impl Encoder {
    /// Gives the tokens of `text`, without special tokens around them, to `out`.
    pub(crate) fn encode(&self, text: &str, vocabulary: &Vocabulary, specials: Specials<'_>, out: &mut Collector) {
        let matcher = self.pieces.matcher(vocabulary);
        self.added.split(text, specials, |stretch| match stretch {
            Stretch::Token(id, range) => out.push(id, (range.start, range.end)),
            Stretch::Text(range) => self.splitter.split(&text[range.clone()], range.start, matcher, out),
        });
    }
}

/// The vocabulary as the cutting needs it. Pieces that begin a word are looked up in the [`Vocabulary`].
#[derive(Debug)]
pub(crate) struct Pieces {
    /// Pieces that continue a word, by their text without the prefix.
    continuing: Index,
    /// Bytes of the prefix.
    prefix: usize,
    /// The longest piece of each sort, in bytes.
    longest_initial: usize,
    longest_continuing: usize,
    unknown: u32,
    max_word: usize,
}

impl Pieces {
    fn new(vocabulary: &Vocabulary, prefix: &str, unknown: u32, max_word: usize) -> Self {
        let mut pieces = Self {
            continuing: Index::default(),
            prefix: prefix.len(),
            longest_initial: 0,
            longest_continuing: 0,
            unknown,
            max_word,
        };
        for (token, id) in vocabulary.model_tokens() {
            pieces.longest_initial = pieces.longest_initial.max(token.len());
            if let Some(piece) = token.strip_prefix(prefix) {
                pieces.longest_continuing = pieces.longest_continuing.max(piece.len());
                pieces.continuing.insert(id, |id| continuing_text(vocabulary, prefix.len(), id));
            }
        }
        pieces
    }

    pub(crate) fn matcher<'a>(&'a self, vocabulary: &'a Vocabulary) -> Matcher<'a> {
        Matcher { pieces: self, vocabulary }
    }
}

/// The text of a piece that continues a word.
fn continuing_text(vocabulary: &Vocabulary, prefix: usize, id: u32) -> &str {
    vocabulary.token(id).and_then(|token| token.get(prefix..)).unwrap_or_default()
}

/// A piece of a word: its id and its bytes.
pub(crate) type Piece = crate::merge::Symbol;

/// Cuts words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matcher<'a> {
    pieces: &'a Pieces,
    vocabulary: &'a Vocabulary,
}

impl Matcher<'_> {
    /// Replaces the contents of `out` by the pieces of a word that is not empty.
    pub(crate) fn split(&self, word: &str, out: &mut Vec<Piece>) {
        out.clear();
        // The count of characters is never above that of bytes, and rarely needed.
        let too_long = word.len() > self.pieces.max_word && word.chars().count() > self.pieces.max_word;
        let mut start = 0;
        while start < word.len() && !too_long {
            let Some(piece) = self.longest(word, start) else { break };
            start = piece.end;
            out.push(piece);
        }
        if start < word.len() {
            out.clear();
            out.push(Piece { id: self.pieces.unknown, start: 0, end: word.len() });
        }
    }

    /// The longest piece that begins at `start`.
    fn longest(&self, word: &str, start: usize) -> Option<Piece> {
        let longest = if start == 0 { self.pieces.longest_initial } else { self.pieces.longest_continuing };
        let mut end = word.floor_char_boundary(start.saturating_add(longest).min(word.len()));
        while end > start {
            let text = &word[start..end];
            let id = if start == 0 {
                self.vocabulary.model_id(text)
            } else {
                let Pieces { continuing, prefix, .. } = self.pieces;
                continuing.get(text, |id| continuing_text(self.vocabulary, *prefix, id))
            };
            if let Some(id) = id {
                return Some(Piece { id, start, end });
            }
            end = word.floor_char_boundary(end - 1);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(tokens: &[&str], max_word: usize, word: &str) -> Vec<u32> {
        let mut vocabulary = Vocabulary::default();
        for (id, token) in tokens.iter().enumerate() {
            vocabulary.insert(token, id as u32, "vocab").unwrap();
        }
        let mut out = vec![];
        Pieces::new(&vocabulary, "##", 0, max_word).matcher(&vocabulary).split(word, &mut out);
        let covered: String = out.iter().map(|piece| &word[piece.start..piece.end]).collect();
        assert_eq!(covered, word);
        out.into_iter().map(|piece| piece.id).collect()
    }

    #[test]
    fn the_longest_piece_wins_from_the_left() {
        let tokens = ["?", "un", "una", "##a", "##aff", "##able", "##ab", "affable", "é", "##é"];
        for (word, ids) in [
            ("un", vec![1]),
            ("una", vec![2]),
            ("unaff", vec![0]),
            ("unaable", vec![2, 5]),
            ("unaaa", vec![2, 3, 3]),
            ("unable", vec![0]),
            ("affable", vec![7]),
            ("éé", vec![8, 9]),
            ("##a", vec![3]),
            ("x", vec![0]),
        ] {
            assert_eq!(split(&tokens, 100, word), ids, "{word}");
        }
    }

    #[test]
    fn words_over_the_limit_are_unknown() {
        let tokens = ["?", "é", "##é"];
        assert_eq!(split(&tokens, 3, "ééé"), [1, 2, 2]);
        assert_eq!(split(&tokens, 3, "éééé"), [0]);
    }
}
