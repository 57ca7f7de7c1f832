//! Texts and the templates that they are put into, without special tokens around them.

use std::ops::Range;

use crate::added::Specials;
use crate::encoding::{Encoding, Window};
use crate::error::Error;
use crate::tokenizer::Tokenizer;

/// A part of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Written by the program: special tokens spelt out in it (`<|im_start|>`) become the tokens themselves.
    Template(&'a str),
    /// Written by someone else: whatever is spelt out in it stays text.
    Text(&'a str),
}

impl<'a> Part<'a> {
    fn text(&self) -> &'a str {
        match self {
            Self::Template(text) | Self::Text(text) => text,
        }
    }
}

impl Tokenizer {
    /// Tokenizes a text with nothing around it. Special tokens spelt out in it stay text: no control token can come of it. Tokens
    /// that were added to the vocabulary but are not special (`<think>` of Qwen3) are found as ever.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_text(&self, text: &str) -> Result<Encoding, Error> {
        Ok(self.run(text, Window::All, true, Specials::Nowhere)?.collected())
    }

    /// Tokenizes a text with nothing around it. Special tokens spelt out in it become the tokens themselves.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_template(&self, text: &str) -> Result<Encoding, Error> {
        Ok(self.run(text, Window::All, true, Specials::Everywhere)?.collected())
    }

    /// Tokenizes a prompt that is put together of parts, with nothing around it.
    ///
    /// The parts are joined and tokenized as one text, because words reach over their borders: a space at the end of a
    /// template belongs to the first word of the text behind it. The ids are therefore those of the joined string in the
    /// Hugging Face libraries, except that no special token comes of a [`Part::Text`] or across a border. Offsets are those in
    /// the joined string.
    ///
    /// ```
    /// # use docent_tokenizer::{Part, Tokenizer};
    /// # fn prompt(tokenizer: &Tokenizer, query: &str, document: &str) -> Result<Vec<u32>, docent_tokenizer::Error> {
    /// let prompt = tokenizer.encode_parts(&[
    ///     Part::Template("<|im_start|>user\n<Query>: "),
    ///     Part::Text(query),
    ///     Part::Template("\n<Document>: "),
    ///     Part::Text(document),
    ///     Part::Template("<|im_end|>\n"),
    /// ])?;
    /// # Ok(prompt.ids)
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_parts(&self, parts: &[Part<'_>]) -> Result<Encoding, Error> {
        let (text, templates) = join(parts);
        Ok(self.run(&text, Window::All, true, Specials::Within(&templates))?.collected())
    }

    /// Tokenizes a prompt and keeps at most `max_tokens` tokens: what is too many is taken from the end of the last
    /// [`Part::Text`], of which only tokens that lie wholly within it are taken.
    ///
    /// # Errors
    ///
    /// [`Error::PromptTooLong`] if there are more than `max_tokens` without any of that part.
    pub fn encode_parts_truncated(&self, parts: &[Part<'_>], max_tokens: usize) -> Result<Encoding, Error> {
        let mut encoding = self.encode_parts(parts)?;
        let surplus = encoding.ids.len().saturating_sub(max_tokens);
        if surplus == 0 {
            return Ok(encoding);
        }
        let last = last_text(parts);
        let within = |&(start, end): &(usize, usize)| last.start <= start && end <= last.end && start < end;
        let first = encoding.offsets.iter().position(within).unwrap_or(0);
        let count = encoding.offsets[first..].iter().take_while(|span| within(span)).count();
        if surplus > count {
            return Err(Error::PromptTooLong { max_tokens, fixed_tokens: encoding.ids.len() - count });
        }
        let gone = first + count - surplus..first + count;
        encoding.ids.drain(gone.clone());
        encoding.offsets.drain(gone);
        encoding.dropped = surplus;
        Ok(encoding)
    }
}

/// All parts as one text, and where in it the templates are.
fn join(parts: &[Part<'_>]) -> (String, Vec<Range<usize>>) {
    let (mut text, mut templates) = (String::new(), vec![]);
    for part in parts {
        let start = text.len();
        text.push_str(part.text());
        if matches!(part, Part::Template(_)) {
            templates.push(start..text.len());
        }
    }
    (text, templates)
}

/// Where in the joined text the last part lies that is no template.
fn last_text(parts: &[Part<'_>]) -> Range<usize> {
    let (mut at, mut last) = (0, 0..0);
    for part in parts {
        let end = at + part.text().len();
        if matches!(part, Part::Text(_)) {
            last = at..end;
        }
        at = end;
    }
    last
}
