//! Query documents: a plain question, or lines that say how each is to be looked for.
//!
//! ```text
//! intent: operating a database cluster
//! lex: "leader election" raft -paxos
//! vec: how do nodes agree on a leader
//! hyde: A node becomes leader when a majority of the others has voted for it.
//! ```

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::lexical::LexicalQuery;

/// Lines of a query document.
const MAX_LINES: usize = 16;

/// Bytes of a query.
const MAX_BYTES: usize = 64 << 10;

/// How a line is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineKind {
    /// By keyword and by meaning.
    Plain,
    /// By keyword.
    Lex,
    /// By meaning, as a question.
    Vec,
    /// By meaning, as the beginning of an answer.
    Hyde,
}

impl LineKind {
    /// Its name in explanations: `original`, `lex`, `vec`, `hyde`.
    pub fn name(self) -> &'static str {
        match self {
            LineKind::Plain => "original",
            LineKind::Lex => "lex",
            LineKind::Vec => "vec",
            LineKind::Hyde => "hyde",
        }
    }

    /// Whether it is looked for by keyword.
    pub(crate) fn is_lexical(self) -> bool {
        matches!(self, LineKind::Plain | LineKind::Lex)
    }

    /// Whether it is looked for by meaning.
    pub(crate) fn is_semantic(self) -> bool {
        self != LineKind::Lex
    }
}

/// A line of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// How it is looked for.
    pub kind: LineKind,
    /// The text.
    pub text: String,
}

/// A query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// What is looked for; never empty.
    pub lines: Vec<Line>,
    /// What the question is about, which it does not say itself.
    pub intent: Option<String>,
}

impl Query {
    /// A plain question.
    pub fn plain(text: impl Into<String>) -> Query {
        Query { lines: vec![Line { kind: LineKind::Plain, text: text.into() }], intent: None }
    }

    /// Reads a query: one line without a prefix, or lines that all begin with `lex:`, `vec:`, `hyde:` or, once, `intent:`;
    /// `expand:` before a single line means the same as no prefix.
    ///
    /// # Errors
    /// What breaks these rules, with the line; a line without text, an intent alone, a query of more than 64 KiB.
    pub fn parse(text: &str) -> Result<Query, Error> {
        let bad = |line: usize, reason: &str| Error::Query { line, reason: reason.to_owned() };
        if text.len() > MAX_BYTES {
            return Err(bad(1, "a query has at most 64 KiB"));
        }
        let lines: Vec<(usize, &str)> = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty())
            .collect();
        let [(_, first), ..] = lines[..] else { return Err(bad(1, "the query is empty")) };
        if lines.len() == 1 {
            match prefix(first) {
                None => return Ok(Query::plain(first)),
                Some(("expand", "")) => return Err(bad(1, "there is no text after expand:")),
                Some(("expand", text)) => return Ok(Query::plain(text)),
                Some(_) => {}
            }
        }
        if lines.len() > MAX_LINES {
            return Err(bad(lines[MAX_LINES].0, "a query has at most 16 lines"));
        }
        let mut query = Query { lines: Vec::new(), intent: None };
        for (number, line) in lines {
            let Some((name, text)) = prefix(line) else {
                return Err(bad(number, "with several lines, each begins with lex:, vec:, hyde: or intent:"));
            };
            if text.is_empty() {
                return Err(bad(number, &format!("there is no text after {name}:")));
            }
            let kind = match name {
                "lex" => LineKind::Lex,
                "vec" => LineKind::Vec,
                "hyde" => LineKind::Hyde,
                "expand" => return Err(bad(number, "expand: stands alone, not with other lines")),
                _ if query.intent.is_some() => return Err(bad(number, "there is one intent: at most")),
                _ => {
                    query.intent = Some(text.to_owned());
                    continue;
                }
            };
            if kind == LineKind::Lex {
                LexicalQuery::parse(text).map_err(|reason| bad(number, &reason))?;
            } else if text
                .split_whitespace()
                .any(|word| word.len() > 1 && word.starts_with('-') && !word.starts_with("--"))
            {
                return Err(bad(number, "-word leaves documents out in lex: lines only"));
            }
            query.lines.push(Line { kind, text: text.to_owned() });
        }
        if query.lines.is_empty() {
            return Err(bad(1, "an intent: needs a lex:, vec: or hyde: line"));
        }
        Ok(query)
    }

    /// What a reranker is asked: the intent, and the first line that is a question.
    pub(crate) fn question(&self) -> String {
        let line = self.lines.iter().find(|line| line.kind != LineKind::Lex);
        let text = match line.or(self.lines.first()) {
            // Operators of a keyword query are no part of a question.
            Some(Line { kind: LineKind::Lex, text }) => {
                LexicalQuery::parse(text).map(|query| query.plain_words().join(" ")).unwrap_or_default()
            }
            Some(line) => line.text.clone(),
            None => String::new(),
        };
        match &self.intent {
            Some(intent) => format!("{intent}\n\n{text}"),
            None => text,
        }
    }

    /// The words that passages are chosen by.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self
            .lines
            .iter()
            .filter(|line| line.kind != LineKind::Hyde)
            .flat_map(|line| words_of(&line.text))
            .collect();
        words.sort_unstable();
        words.dedup();
        words
    }

    /// The words of the intent.
    pub(crate) fn intent_words(&self) -> Vec<String> {
        self.intent.as_deref().map(words_of).unwrap_or_default()
    }
}

/// The words of a line that is no more than text if quotes do not match.
fn words_of(text: &str) -> Vec<String> {
    let words = LexicalQuery::parse(text).or_else(|_| LexicalQuery::parse(&text.replace('"', " ")));
    words.map(|query| query.plain_words()).unwrap_or_default()
}

/// A line's prefix, in lower case, and its text.
fn prefix(line: &str) -> Option<(&'static str, &str)> {
    let (name, text) = line.split_once(':')?;
    let known =
        ["lex", "vec", "hyde", "intent", "expand"].into_iter().find(|known| name.eq_ignore_ascii_case(known))?;
    Some((known, text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Query::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_plain_line_is_a_question() {
        assert_eq!(Query::parse("how? see: this\n").unwrap(), Query::plain("how? see: this"));
        assert_eq!(Query::parse("Expand: how").unwrap(), Query::plain("how"));
    }

    #[test]
    fn typed_lines_are_read_in_their_order() {
        let query = Query::parse("intent: clusters\n\nVEC: how do nodes agree\nlex: raft -paxos").unwrap();
        assert_eq!(query.lines.iter().map(|line| line.kind).collect::<Vec<_>>(), [LineKind::Vec, LineKind::Lex]);
        assert_eq!(query.question(), "clusters\n\nhow do nodes agree");
        assert_eq!(query.words(), ["agree", "do", "how", "nodes", "raft"]);
        assert_eq!(Query::parse("lex: \"a b\" -c").unwrap().question(), "a b");
    }

    #[test]
    fn what_is_no_query_is_told_with_its_line() {
        assert_eq!(error(" \n"), "line 1 of the query: the query is empty");
        assert!(error("lex: a\nb").starts_with("line 2 of the query: with several lines"));
        assert!(error("lex: a\n\nexpand: b").starts_with("line 3"));
        assert!(error("intent: x").contains("needs a lex:"));
        assert!(error("intent: x\nintent: y\nlex: a").contains("one intent"));
        assert!(error("vec: a -b").contains("lex: lines only"));
        assert!(error("lex: \"a").contains("not closed"));
        assert!(error("hyde:").contains("no text after hyde:"));
        assert!(error(&"x".repeat(70_000)).contains("64 KiB"));
        assert!(error(&"lex: a\n".repeat(17)).contains("16 lines"));
    }
}
