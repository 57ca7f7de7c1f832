//! Pairs of a query and a document, as rerankers read them.

use std::ops::Range;

use crate::added::Specials;
use crate::encoding::Window;
use crate::error::Error;
use crate::template::Piece;
use crate::tokenizer::Tokenizer;

/// A query and a document as one input of a model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PairEncoding {
    /// Token ids, in order.
    pub ids: Vec<u32>,
    /// The token type (segment) of each: with BERT 0 for the query and 1 for the document, with other families 0.
    pub type_ids: Vec<u32>,
    /// Which tokens are the query's.
    pub query: Range<usize>,
    /// Which tokens are the document's.
    pub document: Range<usize>,
    /// How many tokens of the two truncation removed.
    pub dropped: usize,
    /// How many of these were the query's.
    pub query_dropped: usize,
}

impl Tokenizer {
    /// Tokenizes a query and a document for a reranker, in the form of the model's family: the post-processor of a
    /// `tokenizer.json` says it, and where there is none
    ///
    /// | family | form |
    /// |---|---|
    /// | BERT WordPiece | `[CLS] query [SEP] document [SEP]`, token types 0 up to the first `[SEP]`, then 1 |
    /// | XLM-RoBERTa, RoBERTa | `<s> query </s></s> document </s>` |
    /// | ModernBERT | `[CLS] query [SEP] document [SEP]` |
    ///
    /// and others have what they have around a single text around each. Each is tokenized by itself, special tokens that are spelt
    /// out in them included, as in the Hugging Face libraries. Rerankers that are asked in words (Qwen3) have a prompt
    /// instead: see [`encode_parts`](Self::encode_parts).
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_pair(&self, query: &str, document: &str) -> Result<PairEncoding, Error> {
        self.pair(query, document, None)
    }

    /// Tokenizes a pair and keeps at most `max_tokens` tokens. The special tokens are always kept, and beginnings rather than ends.
    ///
    /// The document is cut first. It keeps at least a quarter of the room that the special tokens leave, if it is that long; only a
    /// query that would take more than the other three is cut itself.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] if the special tokens alone are more than `max_tokens`.
    pub fn encode_pair_truncated(&self, query: &str, document: &str, max_tokens: usize) -> Result<PairEncoding, Error> {
        self.pair(query, document, Some(max_tokens))
    }

    /// How many special tokens a pair gets around and between its texts.
    #[must_use]
    pub fn pair_special_token_count(&self) -> usize {
        specials(&self.pair_form())
    }

    fn pair_form(&self) -> Vec<Piece> {
        self.parts.template.pair(self.parts.kind.second_type())
    }

    fn pair(&self, query: &str, document: &str, max_tokens: Option<usize>) -> Result<PairEncoding, Error> {
        let form = self.pair_form();
        let room = match max_tokens {
            None => usize::MAX,
            Some(max_tokens) => {
                let special_tokens = specials(&form);
                max_tokens.checked_sub(special_tokens).ok_or(Error::NoRoom { max_tokens, special_tokens })?
            }
        };
        let window = max_tokens.map_or(Window::All, |_| Window::First(room));
        let query = self.run(query, window, false, Specials::Everywhere)?;
        let document = self.run(document, window, false, Specials::Everywhere)?;
        let (query, document) = (query.collected(), document.collected());
        let least = document.ids.len().min(room.div_ceil(4));
        let query_kept = query.ids.len().min(room - least);
        let document_kept = document.ids.len().min(room - query_kept);
        let query_dropped = query.dropped + query.ids.len() - query_kept;
        let document_dropped = document.dropped + document.ids.len() - document_kept;

        let mut pair = PairEncoding { query_dropped, dropped: query_dropped + document_dropped, ..Default::default() };
        for piece in form {
            let start = pair.ids.len();
            let of_type = match piece {
                Piece::Special(id, of_type) => {
                    pair.ids.push(id);
                    of_type
                }
                Piece::Query(of_type) => {
                    pair.ids.extend(&query.ids[..query_kept]);
                    pair.query = start..pair.ids.len();
                    of_type
                }
                Piece::Document(of_type) => {
                    pair.ids.extend(&document.ids[..document_kept]);
                    pair.document = start..pair.ids.len();
                    of_type
                }
            };
            pair.type_ids.resize(pair.ids.len(), of_type);
        }
        Ok(pair)
    }
}

fn specials(form: &[Piece]) -> usize {
    form.iter().filter(|piece| matches!(piece, Piece::Special(..))).count()
}
