//! Cutting a text into chunks that an embedding model reads whole.
//!
//! A chunk ends where the text does, as far as that is possible: before a heading rather than between paragraphs, there rather than
//! between lines, and inside a line or a block of code only if there is no other place. Code is cut before its definitions. The method is that of qmd: among the
//! places in the last part of what fits, each has a score by its kind, which falls with the square of the distance from the end. The
//! sizes are in tokens of the model itself, and no chunk has more than it reads.

mod breaks;
mod lines;
mod syntax;
#[cfg(feature = "code")]
mod tree;

use std::ops::Range;

use docent::tokenizer::Tokenizer;

use breaks::{Break, breaks};
pub use syntax::Syntax;

/// The rule by which code is cut here. Texts that another rule has cut are cut anew; what is embedded of them anew are the chunks that change.
pub(crate) const CODE_RULE: &str = if cfg!(feature = "code") { "trees 2" } else { "lines 1" };

/// Most tokens of a chunk, for models that read more: of longer ones a vector says less.
pub const MAX_CHUNK_TOKENS: usize = 512;

/// The least that a chunk may be cut to, in tokens; with fewer, nothing is left to search for.
pub const MIN_CHUNK_TOKENS: usize = 8;

/// Bytes of headings that are put before a chunk.
const MAX_HEADING_BYTES: usize = 160;

/// Bytes that are tokenized at a time.
const SEGMENT: usize = 256 << 10;

/// How texts are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkOptions {
    /// Tokens of a chunk at most.
    pub tokens: usize,
    /// Tokens of the end of a chunk that the next one begins with, at most; none where a heading begins it.
    pub overlap: usize,
}

impl ChunkOptions {
    /// Chunks of at most so many tokens, which share 15 of a hundred with the next.
    pub fn new(tokens: usize) -> ChunkOptions {
        ChunkOptions { tokens, overlap: tokens * 15 / 100 }
    }

    /// Tokens in which the end of a chunk is looked for.
    fn window(&self) -> usize {
        self.tokens / 3
    }
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its bytes; both ends are on character boundaries.
    pub range: Range<usize>,
    /// The line that it begins on, from 1.
    pub line: usize,
    /// The headings that its beginning is under, outermost first, joined with ` > `, without one that it begins with itself.
    pub heading: String,
}

impl Chunk {
    /// What the model reads: the headings on a line of their own, and the text.
    pub fn input(&self, text: &str) -> String {
        let own = text[self.range.clone()].trim();
        if self.heading.is_empty() { own.to_owned() } else { format!("{}\n{own}", self.heading) }
    }
}

/// Cuts a text. Chunks are in order, each begins after the one before it begins, and together they hold every token of it.
///
/// # Errors
/// Those of the tokenizer, which no text causes.
pub fn chunks(
    text: &str,
    syntax: Syntax,
    tokenizer: &Tokenizer,
    options: ChunkOptions,
) -> Result<Vec<Chunk>, docent::tokenizer::Error> {
    let tokens = token_starts(text, tokenizer)?;
    let breaks = breaks(text, syntax);
    Ok(cut(text, &tokens, &breaks, options))
}

/// The byte at which each token begins.
fn token_starts(text: &str, tokenizer: &Tokenizer) -> Result<Vec<usize>, docent::tokenizer::Error> {
    let mut starts = Vec::with_capacity(text.len() / 4);
    let mut from = 0;
    while from < text.len() {
        let to = segment_end(text, from);
        let encoding = tokenizer.encode(&text[from..to])?;
        starts.extend(encoding.offsets.iter().filter(|(start, end)| start < end).map(|(start, _)| from + start));
        from = to;
    }
    Ok(starts)
}

/// Where a segment ends: after a line if it has one, else after a space or any character.
fn segment_end(text: &str, from: usize) -> usize {
    let most = text.floor_char_boundary((from + SEGMENT).min(text.len()));
    if most == text.len() {
        return most;
    }
    let segment = &text[from..most];
    let end = segment.rfind('\n').or_else(|| segment.rfind(' ')).map_or(segment.len(), |at| at + 1);
    from + end
}

fn cut(text: &str, tokens: &[usize], breaks: &[Break], options: ChunkOptions) -> Vec<Chunk> {
    let size = options.tokens.max(1);
    let mut chunks = Vec::new();
    let mut headings = Headings::default();
    let mut lines = Lines::default();
    // The token that the chunk begins with.
    let mut first = 0;
    while first < tokens.len() {
        let start = tokens[first];
        let last = first + size >= tokens.len();
        let (end, is_section) = if last {
            (text.len(), false)
        } else {
            let least = tokens[first + size - options.window().min(size - 1)];
            best_break(breaks, tokens, least..tokens[first + size], options.window())
                .unwrap_or_else(|| (hard_end(text, start, tokens[first + size]), false))
        };
        if !text[start..end].trim().is_empty() {
            let heading = headings.above(text, breaks, start);
            chunks.push(Chunk { range: trimmed(text, start..end), line: lines.of(text, start), heading });
        }
        if last {
            break;
        }
        let next = tokens.partition_point(|&token| token < end);
        let overlap = if is_section { next } else { overlap_start(breaks, tokens, first, next, options.overlap) };
        first = overlap.max(first + 1);
    }
    chunks
}

/// The best place to end a chunk in a range of bytes, and whether a heading begins there.
fn best_break(breaks: &[Break], tokens: &[usize], range: Range<usize>, window: usize) -> Option<(usize, bool)> {
    let target = tokens.partition_point(|&token| token < range.end);
    let from = breaks.partition_point(|found| found.at <= range.start);
    let mut best: Option<(f64, &Break)> = None;
    for found in breaks[from..].iter().take_while(|found| found.at <= range.end) {
        let distance = (target - tokens.partition_point(|&token| token < found.at)) as f64 / window.max(1) as f64;
        let score = f64::from(found.score()) * (1.0 - 0.7 * distance * distance);
        if best.as_ref().is_none_or(|(other, _)| score > *other) {
            best = Some((score, found));
        }
    }
    best.map(|(_, found)| (found.at, found.heading.is_some()))
}

/// The end of a chunk in a line that fills it: after a sentence in its last third, after a space, or anywhere.
fn hard_end(text: &str, start: usize, end: usize) -> usize {
    let part = &text[start..end];
    let third = part.floor_char_boundary(part.len() / 3 * 2);
    let sentence = part[third..].rfind(". ").map(|at| third + at + 2);
    let space =
        || part[third..].rfind(char::is_whitespace).map(|at| text.ceil_char_boundary(start + third + at + 1) - start);
    start + sentence.or_else(space).unwrap_or(part.len())
}

/// The token that the chunk after one of the tokens `first..next` begins with: the first line that begins in its last `overlap` tokens.
fn overlap_start(breaks: &[Break], tokens: &[usize], first: usize, next: usize, overlap: usize) -> usize {
    let least = next.saturating_sub(overlap).max(first + 1);
    let (Some(&from), Some(&to)) = (tokens.get(least), tokens.get(next)) else { return next };
    let found = breaks[breaks.partition_point(|found| found.at < from)..].first().filter(|found| found.at < to);
    found.map_or(next, |found| tokens.partition_point(|&token| token < found.at))
}

/// A range without the white space at its ends.
fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    start..range.end - (part.len() - part.trim_end().len())
}

/// Counts lines, once over the text.
#[derive(Default)]
struct Lines {
    at: usize,
    line: usize,
}

impl Lines {
    /// The line of a place that is not before those that were asked for.
    fn of(&mut self, text: &str, place: usize) -> usize {
        if place >= self.at {
            self.line += text.as_bytes()[self.at..place].iter().filter(|&&byte| byte == b'\n').count();
            self.at = place;
        }
        self.line + 1
    }
}

/// The headings that are open at a place.
#[derive(Default)]
struct Headings<'t> {
    /// Headings that have been passed.
    seen: usize,
    open: Vec<(u8, &'t str)>,
}

impl<'t> Headings<'t> {
    /// Those above a place that is not before those that were asked for, the innermost ones if all would be too long.
    fn above(&mut self, text: &'t str, breaks: &[Break], place: usize) -> String {
        while let Some(found) = breaks.get(self.seen).filter(|found| found.at < place) {
            if let Some(level) = found.heading {
                self.open.retain(|(other, _)| *other < level);
                self.open.push((level, breaks::heading_text(text, found.at)));
            }
            self.seen += 1;
        }
        // One that the chunk begins with ends those of its level, before it is passed itself.
        let own = breaks.get(self.seen).filter(|found| found.at == place).and_then(|found| found.heading);
        let open = self.open.iter().filter(|(level, _)| own.is_none_or(|own| *level < own)).map(|(_, text)| *text);
        let mut parts: Vec<&str> = open.filter(|text| !text.is_empty()).collect();
        while parts.len() > 1 && parts.iter().map(|part| part.len() + 3).sum::<usize>() > MAX_HEADING_BYTES {
            parts.remove(0);
        }
        let joined = parts.join(" > ");
        joined[..joined.floor_char_boundary(MAX_HEADING_BYTES)].to_owned()
    }
}

#[cfg(test)]
mod tests;
