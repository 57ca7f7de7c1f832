//! The way of a text to tokens, for every family: added tokens, normalisation, words, and the model that cuts these.

use tokenizers::AddedToken;

use crate::added::{AddedTokens, Specials, Stretch};
use crate::bpe::Bpe;
use crate::encoding::Collector;
use crate::error::Error;
use crate::merge::Symbol;
use crate::normalize;
use crate::sentencepiece::SentencePiece;
use crate::text::Text;
use crate::unigram::Unigram;
use crate::vocabulary::Vocabulary;
use crate::wordpiece::Pieces;
use crate::words::{self, Words};

/// What cuts words into tokens.
#[derive(Debug)]
pub(crate) enum Model {
    WordPiece(Pieces),
    Bpe(Bpe),
    SentencePiece(SentencePiece),
    Unigram(Unigram),
}

/// Turns texts into tokens. Special tokens around the text and truncation are not its business.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// Added tokens that are looked for in the text as it is.
    added: AddedTokens,
    /// Those that are looked for in the normalised text.
    added_normalized: AddedTokens,
    normalizer: Vec<normalize::Step>,
    words: Vec<words::Step>,
    model: Model,
}

impl Pipeline {
    /// Puts the parts together. `place` is named when added tokens do not fit.
    pub(crate) fn new(
        normalizer: Vec<normalize::Step>,
        words: Vec<words::Step>,
        model: Model,
        added: &[AddedToken],
        vocabulary: &Vocabulary,
        place: &str,
    ) -> Result<Self, Error> {
        let (normalized, raw): (Vec<_>, Vec<_>) = added.iter().partition(|token| token.normalized);
        let raw = raw.into_iter().map(|token| (token, token.content.clone()));
        let mut found = vec![];
        for token in normalized {
            let text = normalize(&normalizer, Text::new(&token.content, 0, false))?;
            found.push((token, text.text.into_owned()));
        }
        Ok(Self {
            added: AddedTokens::new(raw, vocabulary, place)?,
            added_normalized: AddedTokens::new(found.into_iter(), vocabulary, place)?,
            normalizer,
            words,
            model,
        })
    }

    /// Gives the tokens of `text`, without special tokens around them, to `out`.
    pub(crate) fn encode(
        &self,
        text: &str,
        vocabulary: &Vocabulary,
        specials: Specials<'_>,
        out: &mut Collector,
    ) -> Result<(), Error> {
        let mut symbols = vec![];
        let mut result = Ok(());
        self.added.split(text, specials, |stretch| match stretch {
            Stretch::Token(id, range) => out.push(id, (range.start, range.end)),
            Stretch::Text(range) if result.is_ok() => {
                let stretch = Text::new(&text[range.clone()], range.start, out.with_offsets());
                result = self.encode_stretch(stretch, range.start == 0, vocabulary, specials, &mut symbols, out);
            }
            Stretch::Text(_) => {}
        });
        result
    }

    /// A stretch between added tokens; `first` if the text begins with it.
    fn encode_stretch(
        &self,
        text: Text<'_>,
        first: bool,
        vocabulary: &Vocabulary,
        specials: Specials<'_>,
        symbols: &mut Vec<Symbol>,
        out: &mut Collector,
    ) -> Result<(), Error> {
        let text = normalize(&self.normalizer, text)?;
        if self.added_normalized.is_empty() {
            return self.encode_words(text, first, vocabulary, symbols, out);
        }
        // Normalisation does not tell where templates end, so only a text that is all template may have special tokens here.
        let specials = if matches!(specials, Specials::Everywhere) { specials } else { Specials::Nowhere };
        let mut result = Ok(());
        self.added_normalized.split(&text.text, specials, |stretch| match stretch {
            Stretch::Token(id, range) => out.push(id, text.span(range)),
            Stretch::Text(range) if result.is_ok() => {
                let first = first && range.start == 0;
                result = self.encode_words(text.slice(range), first, vocabulary, symbols, out);
            }
            Stretch::Text(_) => {}
        });
        result
    }

    fn encode_words(
        &self,
        text: Text<'_>,
        first: bool,
        vocabulary: &Vocabulary,
        symbols: &mut Vec<Symbol>,
        out: &mut Collector,
    ) -> Result<(), Error> {
        let Words { text, ranges } = Words::cut(text, first, &self.words)?;
        for range in ranges {
            let word = &text.text[range.clone()];
            if word.is_empty() {
                continue;
            }
            symbols.clear();
            match &self.model {
                Model::WordPiece(pieces) => pieces.matcher(vocabulary).split(word, symbols),
                Model::Bpe(bpe) => bpe.split(word, vocabulary, symbols),
                Model::SentencePiece(model) => model.split(word, vocabulary, symbols),
                Model::Unigram(unigram) => unigram.split(word, symbols),
            }
            for &Symbol { id, start, end } in symbols.iter() {
                out.push(id, text.span(range.start + start..range.start + end));
            }
        }
        Ok(())
    }
}

fn normalize<'a>(steps: &[normalize::Step], text: Text<'a>) -> Result<Text<'a>, Error> {
    steps.iter().try_fold(text, |text, step| step.apply(text))
}
