//! Where a text may be cut, and how gladly.

use super::lines;
use super::syntax::Syntax;

/// The beginning of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Break {
    /// The byte that the line begins at; never 0 but for a heading.
    pub(super) at: usize,
    /// What kind of place it is, from qmd's table: headings 100 to 50, code 80, a rule 60, a paragraph 20, an item 5, a line 1;
    /// in code, see `lines` and `tree`.
    score: u8,
    /// The level, 1 to 6, if the line is a heading.
    pub(super) heading: Option<u8>,
}

impl Break {
    /// A place that is no heading.
    pub(super) fn new(at: usize, score: u8) -> Break {
        Break { at, score, heading: None }
    }

    pub(super) fn score(&self) -> u8 {
        self.score
    }
}

/// The beginnings of all lines that a cut may be made before, in order.
pub(super) fn breaks(text: &str, syntax: Syntax) -> Vec<Break> {
    if syntax == Syntax::Markdown {
        return markdown(text);
    }
    let lines = lines::breaks(text);
    #[cfg(feature = "code")]
    let lines = merged(lines, super::tree::breaks(text, syntax));
    lines
}

/// Both lists in order; of two places that are the same, the better one.
#[cfg(feature = "code")]
fn merged(lines: Vec<Break>, tree: Vec<Break>) -> Vec<Break> {
    let mut all = lines;
    all.extend(tree);
    all.sort_by_key(|found| (found.at, std::cmp::Reverse(found.score)));
    all.dedup_by_key(|found| found.at);
    all
}

/// Those of Markdown. Lines inside of a block of code are not among them, unless the block is longer than [`LONG_CODE`].
fn markdown(text: &str) -> Vec<Break> {
    let mut breaks = Vec::new();
    let (mut at, mut after_blank) = (0, false);
    let mut fence: Option<Fence> = None;
    for line in text.split_inclusive('\n') {
        let here = at;
        at += line.len();
        let line = line.trim_end();
        let mut found = Break { at: here, score: if after_blank { 20 } else { 1 }, heading: None };
        after_blank = line.is_empty();
        if let Some(open) = &fence {
            if open.is_closed_by(line) {
                fence = None;
                // The line after the block is the place to cut, not that of its end.
                after_blank = true;
                continue;
            }
            if here - open.at < LONG_CODE {
                continue;
            }
            found.score = 1;
        } else if let Some(open) = Fence::opened_by(line, here) {
            fence = Some(open);
            found.score = 80;
        } else if let Some(level) = heading_level(line) {
            found.score = 110 - 10 * level;
            found.heading = Some(level);
        } else if is_rule(line) {
            found.score = 60;
        } else if is_item(line) {
            found.score = found.score.max(5);
        } else if line.is_empty() {
            // Before or after a blank line is the same; after it is where the next chunk begins.
            continue;
        }
        if here > 0 || found.heading.is_some() {
            breaks.push(found);
        }
    }
    breaks
}

/// Bytes of a block of code after which it may be cut: a fence that nobody closed ends nothing.
const LONG_CODE: usize = 4096;

/// An open block of code.
struct Fence {
    at: usize,
    mark: u8,
    length: usize,
}

impl Fence {
    /// The fence that a line opens: three or more backticks or tildes, at most three spaces in (CommonMark 0.31, section 4.5).
    fn opened_by(line: &str, at: usize) -> Option<Fence> {
        let (mark, length, rest) = fence_marks(line)?;
        // What follows backticks and has a backtick is code in a line.
        (mark == b'~' || !rest.contains('`')).then_some(Fence { at, mark, length })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        fence_marks(line)
            .is_some_and(|(mark, length, rest)| mark == self.mark && length >= self.length && rest.trim().is_empty())
    }
}

fn fence_marks(line: &str) -> Option<(u8, usize, &str)> {
    let rest = line.trim_start_matches(' ');
    let mark = *rest.as_bytes().first()?;
    let length = rest.bytes().take_while(|&byte| byte == mark).count();
    let is_fence = matches!(mark, b'`' | b'~') && length >= 3 && line.len() - rest.len() <= 3;
    is_fence.then(|| (mark, length, &rest[length..]))
}

/// The level of a heading line: one to six `#` and a space.
fn heading_level(line: &str) -> Option<u8> {
    let marks = line.bytes().take_while(|&byte| byte == b'#').count();
    let is_heading = (1..=6).contains(&marks) && line[marks..].starts_with([' ', '\t']);
    is_heading.then_some(marks as u8)
}

/// The text of the heading that begins at a byte.
pub(super) fn heading_text(text: &str, at: usize) -> &str {
    let line = text[at..].lines().next().unwrap_or("");
    line.trim_start_matches('#').trim().trim_end_matches('#').trim_end()
}

fn is_rule(line: &str) -> bool {
    let marks: Vec<u8> = line.bytes().filter(|byte| *byte != b' ').collect();
    marks.len() >= 3 && matches!(marks[0], b'-' | b'*' | b'_') && marks.iter().all(|mark| *mark == marks[0])
}

fn is_item(line: &str) -> bool {
    let rest = line.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest.starts_with("- ") || rest.starts_with("* ") || (digits > 0 && rest[digits..].starts_with(". "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&str, u8)> {
        breaks(text, Syntax::Markdown).iter().map(|b| (text[b.at..].lines().next().unwrap(), b.score)).collect()
    }

    #[test]
    fn kinds_of_lines_have_their_scores() {
        let text = "# One\nline\n\npara\n- item\n\n1. one\n---\n###### Six\n#none\n";
        let expected = [
            ("# One", 100),
            ("line", 1),
            ("para", 20),
            ("- item", 5),
            ("1. one", 20),
            ("---", 60),
            ("###### Six", 50),
            ("#none", 1),
        ];
        assert_eq!(found(text), expected);
        assert_eq!(heading_text("## A b ##\nc", 0), "A b");
    }

    #[test]
    fn code_is_one_piece() {
        let text = "a\n```rust\n# no\n\nfn x() {}\n```\nb\n~~~\n```\n~~~\nc\n";
        assert_eq!(found(text), [("```rust", 80), ("b", 20), ("~~~", 80), ("c", 20)]);
        assert_eq!(found("x\n```\n# no\n"), [("```", 80)]);
        let long = format!("```\n{}", "line of code\n".repeat(1000));
        assert!(found(&long).len() > 500, "a fence that is never closed");
    }
}
