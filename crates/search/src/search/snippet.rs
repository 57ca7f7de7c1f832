//! The lines of a document that match best.

use std::ops::Range;

/// Characters around a passage in which the best line is looked for.
const AROUND: usize = 100;

/// What a word of the intent counts beside one of the query.
const INTENT: f64 = 0.3;

/// Lines before and after the best one.
const BEFORE: usize = 1;
const AFTER: usize = 2;

/// Lines of a document, and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// The best line, from 1.
    pub line: usize,
    /// The first line of the snippet, from 1.
    pub first_line: usize,
    /// Lines of the snippet.
    pub lines: usize,
    /// Lines of the document before it.
    pub before: usize,
    /// Lines of the document after it.
    pub after: usize,
    /// The text, cut with `...` if it is longer than was asked for.
    pub text: String,
    /// Whether the best line has a word of the query.
    pub matched: bool,
}

impl Snippet {
    /// The text under a header that says where it is, as `@@ -START,COUNT @@ (B before, A after)`.
    pub fn with_header(&self) -> String {
        format!(
            "@@ -{},{} @@ ({} before, {} after)\n{}",
            self.first_line, self.lines, self.before, self.after, self.text
        )
    }

    /// The same with the number of each line before it.
    pub fn with_line_numbers(&self) -> String {
        format!(
            "@@ -{},{} @@ ({} before, {} after)\n{}",
            self.first_line,
            self.lines,
            self.before,
            self.after,
            number_lines(&self.text, self.first_line)
        )
    }
}

/// A text with `N: ` before each line, counted from `first`.
pub fn number_lines(text: &str, first: usize) -> String {
    let numbered: Vec<String> =
        text.split('\n').enumerate().map(|(index, line)| format!("{}: {line}", first + index)).collect();
    numbered.join("\n")
}

/// The line with most of the words, and those around it, in at most `limit` characters. With a passage, the line is looked for in and around
/// it, and is its first if no line has a word.
pub(super) fn snippet(
    text: &str,
    words: &[String],
    intent: &[String],
    passage: Option<Range<usize>>,
    limit: usize,
) -> Snippet {
    let lines: Vec<&str> = text.split('\n').collect();
    let area = passage.clone().map(|passage| around(text, passage));
    let mut best = best_line(&lines, words, intent, area.as_ref());
    if best.is_none() {
        best = match passage {
            Some(passage) if passage.start > 0 => Some((text[..passage.start].matches('\n').count(), false)),
            Some(_) => best_line(&lines, words, intent, None),
            None => None,
        };
    }
    let (best, matched) = best.unwrap_or((0, false));
    let first = best.saturating_sub(BEFORE);
    let end = (best + 1 + AFTER).min(lines.len());
    let mut shown = lines[first..end].join("\n");
    if let Some((cut, _)) = shown.char_indices().nth(limit) {
        let keep = limit.saturating_sub(3);
        let cut = shown.char_indices().nth(keep).map_or(cut, |(at, _)| at);
        shown.truncate(cut);
        shown.push_str("...");
    }
    Snippet {
        line: best + 1,
        first_line: first + 1,
        lines: end - first,
        before: first,
        after: lines.len() - end,
        text: shown,
        matched,
    }
}

fn around(text: &str, passage: Range<usize>) -> Range<usize> {
    let before = text[..passage.start].char_indices().rev().nth(AROUND - 1).map_or(0, |(at, _)| at);
    let after = text[passage.end..].char_indices().nth(AROUND).map_or(text.len(), |(at, _)| passage.end + at);
    before..after
}

/// The first of the lines with most words, if any has one.
fn best_line(
    lines: &[&str],
    words: &[String],
    intent: &[String],
    area: Option<&Range<usize>>,
) -> Option<(usize, bool)> {
    let (mut at, mut best, mut best_score) = (0, None, 0.0);
    for (index, line) in lines.iter().enumerate() {
        let range = at..at + line.len();
        at = range.end + 1;
        if area.is_some_and(|area| range.end <= area.start || range.start >= area.end) {
            continue;
        }
        let lower = line.to_lowercase();
        let count = |words: &[String]| words.iter().filter(|word| lower.contains(word.as_str())).count() as f64;
        let own = count(words);
        let score = own + INTENT * count(intent);
        if score > best_score {
            best_score = score;
            best = Some((index, own > 0.0));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "# Title\none\ntwo cats\nthree cats and a dog\nfour\nfive\nsix";

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_line_with_most_words_is_shown() {
        let found = snippet(TEXT, &words("cats dog"), &[], None, 300);
        assert_eq!((found.line, found.matched), (4, true));
        assert_eq!(found.with_header(), "@@ -3,4 @@ (2 before, 1 after)\ntwo cats\nthree cats and a dog\nfour\nfive");
        assert!(found.with_line_numbers().ends_with("\n3: two cats\n4: three cats and a dog\n5: four\n6: five"));
        assert_eq!(snippet(TEXT, &[], &words("six"), None, 300).line, 7, "the intent decides where words do not");
        assert_eq!(snippet(TEXT, &words("none"), &[], None, 300).line, 1);
    }

    #[test]
    fn a_passage_is_kept_to() {
        let text = format!("cats\n{}\nfar away\nthe end", "filler line\n".repeat(40));
        let start = text.find("far").unwrap();
        assert_eq!(snippet(&text, &words("cats"), &[], Some(start..start + 8), 300).line, 43);
        assert_eq!(
            snippet(&text, &words("end"), &[], Some(0..4), 300).line,
            44,
            "the whole text if the first has nothing"
        );
    }

    #[test]
    fn long_lines_are_cut_by_characters() {
        let found = snippet(&"é".repeat(1000), &[], &[], None, 10);
        assert_eq!(found.text, format!("{}...", "é".repeat(7)));
    }

    proptest! {
        #[test]
        fn any_text_has_a_snippet(text in "[a-cé\\n ]{0,200}", word in "[a-c]{1,2}", limit in 0usize..50, cut in 0usize..200) {
            let at = text.floor_char_boundary(cut.min(text.len()));
            for passage in [None, Some(at..text.len()), Some(0..at)] {
                let found = snippet(&text, std::slice::from_ref(&word), &[], passage, limit);
                prop_assert_eq!(found.before + found.lines + found.after, text.split('\n').count());
                prop_assert!(found.text.chars().count() <= limit.max(3));
            }
        }
    }
}
