//! A query and a document, put together as a model reads them.

use docent_tokenizer::Tokenizer;

use crate::LongDocuments;
use crate::engine::PairIds;

/// A piece of a document with the query, as the model will read it.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) pair: PairIds,
    /// Tokens that were cut.
    pub(crate) dropped: usize,
}

/// Puts a query and documents together as a model reads them.
pub(crate) struct Reader<'a> {
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) query: &'a str,
    pub(crate) prompt: Option<PromptIds>,
    pub(crate) max_length: usize,
}

/// A prompt with its query in place.
pub(crate) struct PromptIds {
    pub(crate) before: Vec<u32>,
    pub(crate) after: Vec<u32>,
    /// The text in front of the document.
    pub(crate) start: String,
    /// The text after it.
    pub(crate) end: String,
}

impl Reader<'_> {
    /// The pieces of a document: one, or a window after the other.
    pub(crate) fn pieces(&self, document: &str, long: LongDocuments) -> Result<Vec<Piece>, docent_tokenizer::Error> {
        let piece = |(pair, dropped)| Piece { pair, dropped };
        let whole = self.pair(document)?;
        if whole.1 == 0 || long == LongDocuments::Truncate {
            return Ok(vec![piece(whole)]);
        }
        let room = self.max_length - self.pair("")?.0.ids.len();
        // A window read on its own may come to a token or two more than in its place in the document.
        let window = room.saturating_sub(4).max(1);
        let step = (window - window / 8).max(1);
        let offsets = self.tokenizer.encode_text(document)?.offsets;
        let mut pieces = Vec::new();
        for first in (0..offsets.len()).step_by(step) {
            let last = (first + window).min(offsets.len()) - 1;
            // Tokens of one character's bytes may share a place; `get` passes over what is no text of its own.
            if let Some(text) = document.get(offsets[first].0..offsets[last].1) {
                pieces.push(piece(self.pair(text)?));
            }
            if last + 1 == offsets.len() {
                break;
            }
        }
        Ok(if pieces.is_empty() { vec![piece(whole)] } else { pieces })
    }

    /// The query with a document, and how many tokens were cut.
    pub(crate) fn pair(&self, document: &str) -> Result<(PairIds, usize), docent_tokenizer::Error> {
        let Some(prompt) = &self.prompt else {
            let pair = self.tokenizer.encode_pair_truncated(self.query, document, self.max_length)?;
            return Ok((PairIds { ids: pair.ids, segments: pair.type_ids }, pair.dropped));
        };
        let text = format!("{}{document}{}", prompt.start, prompt.end);
        let mut middle = self.tokenizer.encode_text(&text)?.ids;
        let room = self.max_length.saturating_sub(prompt.before.len() + prompt.after.len());
        let dropped = middle.len().saturating_sub(room);
        middle.truncate(room);
        let ids = [&prompt.before[..], &middle, &prompt.after].concat();
        let segments = vec![0; ids.len()];
        Ok((PairIds { ids, segments }, dropped))
    }
}
