//! Tokens that are taken out of a text before anything else happens to it: special tokens and those added to a vocabulary.

use std::ops::Range;

use aho_corasick::{AhoCorasick, Input, MatchKind};
use tokenizers::AddedToken;

use crate::error::Error;
use crate::vocabulary::Vocabulary;

/// Where special tokens that are spelt out become the tokens themselves. Added tokens that are not special do so everywhere.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Specials<'a> {
    Everywhere,
    Nowhere,
    /// Wholly within one of these ranges, which are in order.
    Within(&'a [Range<usize>]),
}

/// A stretch of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stretch {
    /// An added token, with the spaces that it swallows.
    Token(u32, Range<usize>),
    /// Text that is none; never empty.
    Text(Range<usize>),
}

/// Finds added tokens, the leftmost first, of several that begin at a place the longest.
#[derive(Debug, Default)]
pub(crate) struct AddedTokens {
    all: Option<Finder>,
    /// Those that are not special.
    plain: Option<Finder>,
}

#[derive(Debug)]
struct Finder {
    automaton: AhoCorasick,
    tokens: Vec<Found>,
}

/// What the finder has to know of a token.
#[derive(Debug, Clone, Copy)]
struct Found {
    id: u32,
    special: bool,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
}

impl AddedTokens {
    /// Of `tokens` with the text by which each is found. Those that the vocabulary lacks are passed over.
    pub(crate) fn new<'t>(
        tokens: impl Iterator<Item = (&'t AddedToken, String)>,
        vocabulary: &Vocabulary,
        place: &str,
    ) -> Result<Self, Error> {
        let tokens: Vec<(String, Found)> = tokens
            .filter(|(_, text)| !text.is_empty())
            .filter_map(|(token, text)| {
                let &AddedToken { special, single_word, lstrip, rstrip, .. } = token;
                let id = vocabulary.id(&token.content)?;
                Some((text, Found { id, special, single_word, lstrip, rstrip }))
            })
            .collect();
        let plain: Vec<_> = tokens.iter().filter(|(_, found)| !found.special).cloned().collect();
        Ok(Self { all: Finder::new(tokens, place)?, plain: Finder::new(plain, place)? })
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_none()
    }

    /// Cuts a text, giving each stretch in order to `stretch`.
    pub(crate) fn split(&self, text: &str, specials: Specials<'_>, mut stretch: impl FnMut(Stretch)) {
        let mut done = 0;
        let mut token = |found: Found, range: Range<usize>| {
            // A token before may have swallowed the spaces that this one consists of.
            if range.start < done || found.single_word && is_in_word(text, &range) {
                return;
            }
            let mut range = range;
            if found.lstrip {
                range.start = text[done..range.start].trim_end().len() + done;
            }
            if found.rstrip {
                range.end = text.len() - text[range.end..].trim_start().len();
            }
            if done < range.start {
                stretch(Stretch::Text(done..range.start));
            }
            done = range.end;
            stretch(Stretch::Token(found.id, range));
        };
        match specials {
            Specials::Everywhere => self.all.iter().for_each(|finder| finder.each(text, 0..text.len(), &mut token)),
            Specials::Nowhere => self.plain.iter().for_each(|finder| finder.each(text, 0..text.len(), &mut token)),
            Specials::Within(ranges) => self.split_within(text, ranges, &mut token),
        }
        if done < text.len() {
            stretch(Stretch::Text(done..text.len()));
        }
    }

    /// Both finders go over the text side by side; the one that has the earlier token, or the longer, is heard.
    fn split_within(&self, text: &str, ranges: &[Range<usize>], token: &mut impl FnMut(Found, Range<usize>)) {
        let special = |from: usize| {
            let finder = self.all.as_ref()?;
            ranges.iter().filter(|range| from < range.end).find_map(|range| {
                finder.matches(text, from.max(range.start)..range.end).find(|(found, _)| found.special)
            })
        };
        let plain = |from: usize| self.plain.as_ref()?.matches(text, from..text.len()).next();
        let (mut next_special, mut next_plain) = (special(0), plain(0));
        loop {
            let first = match (&next_special, &next_plain) {
                (None, None) => return,
                (Some(_), None) => &next_special,
                (None, Some(_)) => &next_plain,
                (Some((_, a)), Some((_, b))) => {
                    if (a.start, b.end) <= (b.start, a.end) {
                        &next_special
                    } else {
                        &next_plain
                    }
                }
            };
            let Some((found, range)) = first.clone() else { return };
            let end = range.end;
            token(found, range);
            // What has been found further on is still the next; only what this token overlaps is looked for anew.
            if next_special.as_ref().is_some_and(|(_, range)| range.start < end) {
                next_special = special(end);
            }
            if next_plain.as_ref().is_some_and(|(_, range)| range.start < end) {
                next_plain = plain(end);
            }
        }
    }
}

impl Finder {
    /// `None` where there is nothing to find.
    fn new(tokens: Vec<(String, Found)>, place: &str) -> Result<Option<Self>, Error> {
        if tokens.is_empty() {
            return Ok(None);
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(tokens.iter().map(|(text, _)| text))
            .map_err(|e| Error::Component { place: place.to_owned(), message: format!("added tokens: {e}") })?;
        Ok(Some(Self { automaton, tokens: tokens.into_iter().map(|(_, found)| found).collect() }))
    }

    fn each(&self, text: &str, range: Range<usize>, token: &mut impl FnMut(Found, Range<usize>)) {
        for (found, range) in self.matches(text, range) {
            token(found, range);
        }
    }

    fn matches(&self, text: &str, range: Range<usize>) -> impl Iterator<Item = (Found, Range<usize>)> {
        let found = self.automaton.find_iter(Input::new(text).range(range));
        found.map(|found| (self.tokens[found.pattern().as_usize()], found.range()))
    }
}

/// Whether a letter, digit or the like stands next to a range.
fn is_in_word(text: &str, range: &Range<usize>) -> bool {
    let in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    in_word(text[..range.start].chars().next_back()) || in_word(text[range.end..].chars().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> AddedTokens {
        let mut vocabulary = Vocabulary::default();
        let added = [("<s>", true), ("<s>x", false), ("ab", false), (">", false)];
        let added = added.map(|(content, special)| AddedToken::from(content, special));
        for (id, token) in (0u32..).zip(&added) {
            vocabulary.insert(&token.content, id, "vocab").unwrap();
        }
        AddedTokens::new(added.iter().map(|token| (token, token.content.clone())), &vocabulary, "added").unwrap()
    }

    fn split(text: &str, specials: Specials<'_>) -> Vec<(Option<u32>, String)> {
        let mut out = vec![];
        tokens().split(text, specials, |stretch| match stretch {
            Stretch::Token(id, range) => out.push((Some(id), text[range].to_owned())),
            Stretch::Text(range) => out.push((None, text[range].to_owned())),
        });
        assert_eq!(out.iter().map(|(_, text)| text.as_str()).collect::<String>(), text);
        out
    }

    #[test]
    fn specials_are_tokens_only_where_they_may_be() {
        let ids = |text, specials| split(text, specials).iter().map(|(id, _)| *id).collect::<Vec<_>>();
        assert_eq!(ids("a<s>ab<s>x", Specials::Everywhere), [None, Some(0), Some(2), Some(1)]);
        assert_eq!(ids("a<s>ab<s>x", Specials::Nowhere), [None, Some(3), Some(2), Some(1)]);
        // <s> at 0..3 is within, that at 3..6 is not, nor is one that crosses the border.
        assert_eq!(ids("<s><s>ab", Specials::Within(std::slice::from_ref(&(0..3)))), [Some(0), None, Some(3), Some(2)]);
        assert_eq!(ids("<s><s>ab", Specials::Within(std::slice::from_ref(&(0..5)))), [Some(0), None, Some(3), Some(2)]);
        assert_eq!(ids("<s><s>x", Specials::Within(std::slice::from_ref(&(0..6)))), [Some(0), Some(1)]);
        assert_eq!(ids("<s>a<s>", Specials::Within(&[0..3, 3..3, 4..7])), [Some(0), None, Some(0)]);
        assert_eq!(ids("", Specials::Everywhere), []);
    }
}
