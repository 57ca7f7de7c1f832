//! Tokens by id and ids by token.

use std::collections::{HashMap, HashSet};

use hashbrown::HashTable;

use crate::error::{Error, quote};

/// The highest number of ids a vocabulary may have. The largest in use has some 256 thousand.
pub(crate) const MAX_IDS: usize = 1 << 21;

/// Ids by their text, which is kept elsewhere and given with every call; it must always be the same for an id. Hashed with a
/// seed, as the texts come from files.
#[derive(Debug, Default)]
pub(crate) struct Index {
    ids: HashTable<u32>,
    hasher: ahash::RandomState,
}

impl Index {
    pub(crate) fn with_capacity(ids: usize) -> Self {
        Self { ids: HashTable::with_capacity(ids), hasher: ahash::RandomState::new() }
    }

    pub(crate) fn get<'a>(&self, text: &str, text_of: impl Fn(u32) -> &'a str) -> Option<u32> {
        self.ids.find(self.hasher.hash_one(text), |&id| text_of(id) == text).copied()
    }

    /// Adds an id whose text no other has.
    pub(crate) fn insert<'a>(&mut self, id: u32, text_of: impl Fn(u32) -> &'a str) {
        let hash = |id: u32| self.hasher.hash_one(text_of(id));
        self.ids.insert_unique(hash(id), id, |&id| hash(id));
    }
}

/// The tokens of a model and those added to it. Ids may have gaps.
#[derive(Debug, Default)]
pub(crate) struct Vocabulary {
    /// All tokens one after the other.
    text: String,
    /// Start and end in `text`, by id; `GAP` where an id has no token.
    spans: Vec<(u32, u32)>,
    /// The model's own tokens.
    model: Index,
    /// The ids of tokens added beside the model's: the model never produces them by itself.
    added: HashMap<Box<str>, u32, ahash::RandomState>,
}

const GAP: (u32, u32) = (u32::MAX, u32::MAX);

impl Vocabulary {
    pub(crate) fn with_capacity(tokens: usize) -> Self {
        let tokens = tokens.min(MAX_IDS);
        Self {
            text: String::with_capacity(tokens * 8),
            spans: Vec::with_capacity(tokens),
            model: Index::with_capacity(tokens),
            added: HashMap::default(),
        }
    }

    /// Adds a token of the model.
    ///
    /// # Errors
    ///
    /// The token or the id is taken, or the id is beyond [`MAX_IDS`]; `place` names the list it comes from.
    pub(crate) fn insert(&mut self, token: &str, id: u32, place: &str) -> Result<(), Error> {
        match self.insert_or_find(token, id, place)? {
            None => Ok(()),
            Some(other) => {
                let found = format!("{} twice, at ids {other} and {id}", quote(token));
                Err(Error::unexpected(place, "distinct tokens", found))
            }
        }
    }

    /// Adds a token of the model, or gives the id that it has already.
    ///
    /// # Errors
    ///
    /// The id is taken or beyond [`MAX_IDS`].
    pub(crate) fn insert_or_find(&mut self, token: &str, id: u32, place: &str) -> Result<Option<u32>, Error> {
        if let Some(other) = self.model_id(token) {
            return Ok(Some(other));
        }
        self.place(token, id, place)?;
        self.model.insert(id, |id| text_of(&self.text, &self.spans, id));
        Ok(None)
    }

    /// Adds a token that stands beside the model. One that the model already has must have the same id.
    pub(crate) fn insert_added(&mut self, token: &str, id: u32, place: &str) -> Result<(), Error> {
        match self.id(token) {
            Some(known) if known == id => return Ok(()),
            Some(known) => {
                let expected = format!("id {known} for {}, as in the vocabulary", quote(token));
                return Err(Error::unexpected(place, expected, format!("id {id}")));
            }
            None => {}
        }
        self.place(token, id, place)?;
        self.added.insert(token.into(), id);
        Ok(())
    }

    fn place(&mut self, token: &str, id: u32, place: &str) -> Result<(), Error> {
        let index = id as usize;
        if index >= MAX_IDS {
            return Err(Error::unexpected(
                place,
                format!("ids below {MAX_IDS}"),
                format!("{} with id {id}", quote(token)),
            ));
        }
        if let Some(other) = self.token(id) {
            let found = format!("id {id} for both {} and {}", quote(other), quote(token));
            return Err(Error::unexpected(place, "one token for each id", found));
        }
        let start = u32::try_from(self.text.len());
        let end = u32::try_from(self.text.len().saturating_add(token.len()));
        let (Ok(start), Ok(end)) = (start, end) else {
            return Err(Error::unexpected(place, "tokens of less than 4 GiB together", "more"));
        };
        if index >= self.spans.len() {
            self.spans.resize(index + 1, GAP);
        }
        self.text.push_str(token);
        self.spans[index] = (start, end);
        Ok(())
    }

    /// One more than the highest id.
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The number of the model's own tokens.
    pub(crate) fn model_len(&self) -> usize {
        self.model.ids.len()
    }

    pub(crate) fn token(&self, id: u32) -> Option<&str> {
        (*self.spans.get(id as usize)? != GAP).then(|| text_of(&self.text, &self.spans, id))
    }

    /// The id of any token.
    pub(crate) fn id(&self, token: &str) -> Option<u32> {
        self.added.get(token).copied().or_else(|| self.model_id(token))
    }

    /// The id of a token of the model itself.
    pub(crate) fn model_id(&self, token: &str) -> Option<u32> {
        self.model.get(token, |id| text_of(&self.text, &self.spans, id))
    }

    /// The model's own tokens, in the order of their ids, in which they lie in memory.
    pub(crate) fn model_tokens(&self) -> impl Iterator<Item = (&str, u32)> {
        let added: HashSet<u32, ahash::RandomState> = self.added.values().copied().collect();
        let ids = (0..self.spans.len() as u32).filter(move |id| !added.contains(id));
        ids.filter_map(|id| self.token(id).map(|token| (token, id)))
    }

    /// Checks an id that a file names elsewhere.
    pub(crate) fn expect_id(&self, id: u32, place: &str) -> Result<(), Error> {
        match self.token(id) {
            Some(_) => Ok(()),
            None => {
                Err(Error::unexpected(place, format!("the id of one of the {} tokens", self.len()), format!("id {id}")))
            }
        }
    }
}

/// The text of a token that is there. Apart from [`Vocabulary`], of which another part may be borrowed.
fn text_of<'a>(text: &'a str, spans: &[(u32, u32)], id: u32) -> &'a str {
    let (start, end) = spans[id as usize];
    &text[start as usize..end as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_not_tokens() {
        let mut vocabulary = Vocabulary::default();
        vocabulary.insert("a", 3, "vocab").unwrap();
        vocabulary.insert("", 1, "vocab").unwrap();
        assert_eq!(vocabulary.len(), 4);
        assert_eq!([0, 1, 2, 3, 4].map(|id| vocabulary.token(id)), [None, Some(""), None, Some("a"), None]);
        assert!(vocabulary.expect_id(2, "x").is_err());
    }

    #[test]
    fn added_tokens_are_found_but_not_by_the_model() {
        let mut vocabulary = Vocabulary::default();
        vocabulary.insert("a", 0, "vocab").unwrap();
        vocabulary.insert_added("a", 0, "added").unwrap();
        vocabulary.insert_added("b", 1, "added").unwrap();
        assert_eq!((vocabulary.id("b"), vocabulary.model_id("b")), (Some(1), None));
        assert_eq!((vocabulary.id("a"), vocabulary.model_id("a")), (Some(0), Some(0)));
        vocabulary.insert("c", 3, "vocab").unwrap();
        assert_eq!(vocabulary.model_tokens().collect::<Vec<_>>(), [("a", 0), ("c", 3)]);
    }

    #[test]
    fn clashes_are_named() {
        let mut vocabulary = Vocabulary::default();
        vocabulary.insert("a", 0, "vocab").unwrap();
        let message = |result: Result<(), Error>| result.unwrap_err().to_string();
        assert_eq!(
            message(vocabulary.insert("a", 1, "vocab")),
            r#"vocab: expected distinct tokens, found "a" twice, at ids 0 and 1"#
        );
        assert_eq!(
            message(vocabulary.insert("b", 0, "vocab")),
            r#"vocab: expected one token for each id, found id 0 for both "a" and "b""#
        );
        assert_eq!(
            message(vocabulary.insert("c", u32::MAX, "vocab")),
            r#"vocab: expected ids below 2097152, found "c" with id 4294967295"#
        );
        assert_eq!(
            message(vocabulary.insert_added("a", 7, "added")),
            r#"added: expected id 0 for "a", as in the vocabulary, found id 7"#
        );
    }
}
