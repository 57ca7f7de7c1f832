//! A stretch of text on its way to tokens, and where in the original each of its bytes comes from.

use std::borrow::Cow;
use std::ops::Range;

/// Start and end in the original text, in bytes, on character boundaries.
pub(crate) type Span = (usize, usize);

/// Text as normalisation has left it.
#[derive(Debug, Clone)]
pub(crate) struct Text<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) origin: Origin,
}

/// Where the bytes of a text come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The text stands in the original as it is, from this byte on.
    Here(usize),
    /// Of each byte, the origin of its character.
    Each(Vec<Span>),
    /// Nobody asks.
    Unknown,
}

impl<'a> Text<'a> {
    /// A part of the original that begins at its byte `base`.
    pub(crate) fn new(text: &'a str, base: usize, with_offsets: bool) -> Self {
        let origin = if with_offsets { Origin::Here(base) } else { Origin::Unknown };
        Self { text: Cow::Borrowed(text), origin }
    }

    /// The origin of a range of bytes. One that begins or ends within a character covers the whole of it.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        match &self.origin {
            Origin::Unknown => (0, 0),
            Origin::Here(base) => {
                (base + self.text.floor_char_boundary(range.start), base + self.text.ceil_char_boundary(range.end))
            }
            Origin::Each(_) if range.is_empty() => (0, 0),
            // Characters that were put in of nowhere may stand at either end.
            Origin::Each(spans) => match (spans.get(range.start), spans.get(range.end - 1)) {
                (Some(first), Some(last)) => (first.0, last.1.max(first.1)),
                _ => (0, 0),
            },
        }
    }

    /// A builder of the text that takes the place of this one.
    pub(crate) fn builder(&self) -> Builder {
        let spans = match self.origin {
            Origin::Unknown => None,
            _ => Some(Vec::with_capacity(self.text.len() + 8)),
        };
        Builder { text: String::with_capacity(self.text.len() + 8), spans }
    }

    /// The part of this text in a range, as a text.
    pub(crate) fn slice(&self, range: Range<usize>) -> Text<'_> {
        let origin = match &self.origin {
            Origin::Here(base) => Origin::Here(base + range.start),
            Origin::Each(spans) => Origin::Each(spans[range.clone()].to_vec()),
            Origin::Unknown => Origin::Unknown,
        };
        Text { text: Cow::Borrowed(&self.text[range]), origin }
    }
}

/// Puts a text together.
pub(crate) struct Builder {
    text: String,
    spans: Option<Vec<Span>>,
}

impl Builder {
    /// Appends a text that takes its origin from a range of `from`.
    pub(crate) fn push(&mut self, text: &str, from: &Text<'_>, range: Range<usize>) {
        self.text.push_str(text);
        if let Some(spans) = &mut self.spans {
            spans.resize(self.text.len(), from.span(range));
        }
    }

    /// Appends a range of `from` as it stands.
    pub(crate) fn copy(&mut self, from: &Text<'_>, range: Range<usize>) {
        let Some(spans) = &mut self.spans else { return self.text.push_str(&from.text[range]) };
        match &from.origin {
            Origin::Each(known) => spans.extend_from_slice(&known[range.clone()]),
            _ => {
                for (at, c) in from.text[range.clone()].char_indices() {
                    let start = range.start + at;
                    let span = from.span(start..start + c.len_utf8());
                    spans.resize(spans.len() + c.len_utf8(), span);
                }
            }
        }
        self.text.push_str(&from.text[range]);
    }

    /// How many bytes there are so far.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn finish(self) -> Text<'static> {
        Text { text: Cow::Owned(self.text), origin: self.spans.map_or(Origin::Unknown, Origin::Each) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cover_whole_characters_and_survive_replacement() {
        let text = Text::new("aéb", 10, true);
        assert_eq!(text.span(1..2), (11, 13));
        let mut builder = text.builder();
        builder.push("▁", &text, 0..1);
        builder.copy(&text, 1..4);
        let changed = builder.finish();
        assert_eq!(changed.text, "▁éb");
        assert_eq!([changed.span(0..3), changed.span(3..4), changed.span(5..6)], [(10, 11), (11, 13), (13, 14)]);
        assert_eq!(changed.slice(3..6).span(0..3), (11, 14));
    }
}
