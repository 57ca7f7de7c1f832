//! Keyword queries: what a user writes, as SQLite's FTS5 reads it.
//!
//! | written | found |
//! |---|---|
//! | `word` | words that begin with it, after stemming |
//! | `"two words"` | these words, one after the other |
//! | `-word`, `-"two words"` | documents without |
//! | `multi-word`, `CI/CD`, `user@host` | the parts, one after the other |
//! | `v1.2`, `os.path` | all of the parts |
//! | `日本語` | the characters, one after the other |
//!
//! Everything else that FTS5 gives a meaning to (`AND`, `NEAR`, `*`, `^`, parentheses, columns) is text here.

use std::borrow::Cow;

/// Terms of a query that are looked for; more make no better results, only slower ones.
const MAX_TERMS: usize = 64;

/// Bytes of a term that are looked for.
const MAX_TERM_BYTES: usize = 1024;

/// A keyword query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LexicalQuery {
    wanted: Vec<Term>,
    unwanted: Vec<Term>,
}

/// A word, a phrase, or the parts of a dotted name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    /// Texts that must all be there; FTS5 cuts them into words.
    parts: Vec<String>,
    /// Whether the last word of a part may go on.
    prefix: bool,
}

impl LexicalQuery {
    /// Reads a query.
    ///
    /// # Errors
    /// Of quotes, one is not closed.
    pub fn parse(text: &str) -> Result<LexicalQuery, String> {
        let mut query = LexicalQuery::default();
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
            if rest.is_empty() {
                return Ok(query);
            }
            let negative = rest.starts_with('-');
            let token = rest.trim_start_matches('-');
            let (term, after) = match token.strip_prefix('"') {
                Some(quoted) => {
                    let end = quoted.find('"').ok_or("a quote is not closed; write \"two words\"")?;
                    (Term::phrase(&quoted[..end]), &quoted[end + 1..])
                }
                None => {
                    let end =
                        token.find(|c: char| c.is_whitespace() || c.is_control() || c == '"').unwrap_or(token.len());
                    (Term::word(&token[..end]), &token[end..])
                }
            };
            rest = after;
            let terms = if negative { &mut query.unwanted } else { &mut query.wanted };
            if let Some(term) = term.filter(|_| terms.len() < MAX_TERMS)
                && !terms.contains(&term)
            {
                terms.push(term);
            }
        }
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The query for documents that have all terms.
    pub(crate) fn all(&self) -> String {
        self.joined(" AND ", true)
    }

    /// The query for documents that have any of the terms, as whole words.
    pub(crate) fn any(&self) -> String {
        self.joined(" OR ", false)
    }

    /// Each phrase of [`all`](Self::all), or of [`any`](Self::any), that a document is to have, by itself.
    pub(crate) fn phrases(&self, prefix: bool) -> impl Iterator<Item = String> {
        self.wanted.iter().flat_map(move |term| term.phrases(prefix))
    }

    fn joined(&self, operator: &str, prefix: bool) -> String {
        let wanted: Vec<String> = self.wanted.iter().map(|term| term.expression(prefix)).collect();
        let mut query = format!("({})", wanted.join(operator));
        for term in &self.unwanted {
            query.push_str(" NOT ");
            query.push_str(&term.expression(false));
        }
        query
    }

    /// The words of the query as a person would point at them: lower-case, without quotes and signs.
    pub(crate) fn plain_words(&self) -> Vec<String> {
        self.wanted
            .iter()
            .flat_map(|term| &term.parts)
            .flat_map(|part| part.split_whitespace())
            .map(str::to_lowercase)
            .collect()
    }
}

impl Term {
    fn phrase(text: &str) -> Option<Term> {
        let parts = [clean(text)];
        has_word(&parts[0]).then(|| Term { parts: parts.into(), prefix: false })
    }

    fn word(text: &str) -> Option<Term> {
        if !has_word(text) {
            return None;
        }
        let pieces: Vec<&str> =
            text.split(|c: char| c.is_ascii_punctuation()).filter(|piece| has_word(piece)).collect();
        let only_dots = text.trim_matches(|c: char| c.is_ascii_punctuation());
        let is_dotted = pieces.len() > 1 && only_dots.chars().filter(char::is_ascii_punctuation).all(|c| c == '.');
        if is_dotted {
            return Some(Term { parts: pieces.into_iter().map(clean).collect(), prefix: true });
        }
        // Of several pieces, each is a whole word, but for what an apostrophe or underscore binds.
        let prefix = pieces.len() == 1 && !text.chars().any(is_cjk);
        Some(Term { parts: vec![clean(&pieces.join(" "))], prefix })
    }

    fn expression(&self, prefix: bool) -> String {
        let phrases: Vec<String> = self.phrases(prefix).collect();
        if phrases.len() == 1 { phrases.concat() } else { format!("({})", phrases.join(" AND ")) }
    }

    fn phrases(&self, prefix: bool) -> impl Iterator<Item = String> {
        let star = if prefix && self.prefix { "*" } else { "" };
        self.parts.iter().map(move |part| format!("\"{part}\"{star}"))
    }
}

fn has_word(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

/// A text that is safe between quotes: ASCII punctuation and control characters become spaces, CJK is spaced, and what is too long is cut.
fn clean(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(MAX_TERM_BYTES)];
    let spaced: String =
        text.chars().map(|c| if c.is_ascii_punctuation() || c.is_control() { ' ' } else { c }).collect();
    words(&spaced).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text with spaces around each Chinese, Japanese and Korean character, so that each is a word: the tokenizer of FTS5
/// knows only words between spaces, which these languages do not write.
pub(crate) fn words(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_cjk) {
        return Cow::Borrowed(text);
    }
    let mut spaced = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        if is_cjk(c) {
            spaced.extend([' ', c, ' ']);
        } else {
            spaced.push(c);
        }
    }
    Cow::Owned(spaced)
}

/// Han, Hiragana, Katakana and Hangul.
fn is_cjk(c: char) -> bool {
    matches!(u32::from(c),
        0x1100..=0x11ff | 0x2e80..=0x2fdf | 0x3005..=0x3007 | 0x3040..=0x30ff | 0x3130..=0x318f | 0x31c0..=0x31ff
        | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xa960..=0xa97f | 0xac00..=0xd7ff | 0xf900..=0xfaff | 0xff66..=0xff9d
        | 0x1b000..=0x1b16f | 0x20000..=0x3ffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rusqlite::Connection;

    fn all(text: &str) -> String {
        LexicalQuery::parse(text).unwrap().all()
    }

    #[test]
    fn queries_become_those_of_fts5() {
        for (text, expected) in [
            ("cap theorem", r#"("cap"* AND "theorem"*)"#),
            (r#""strong consistency" raft"#, r#"("strong consistency" AND "raft"*)"#),
            ("raft -paxos", r#"("raft"*) NOT "paxos""#),
            (r#"raft -"two phase""#, r#"("raft"*) NOT "two phase""#),
            ("multi-agent", r#"("multi agent")"#),
            ("CI/CD user@host", r#"("CI CD" AND "user host")"#),
            ("os.path", r#"(("os"* AND "path"*))"#),
            ("日本語", r#"("日 本 語")"#),
            ("C++ ??? (NEAR) a*", r#"("C"* AND "NEAR"* AND "a"*)"#),
            ("a a", r#"("a"*)"#),
        ] {
            assert_eq!(all(text), expected, "{text}");
        }
        assert_eq!(LexicalQuery::parse("what is raft?").unwrap().any(), r#"("what" OR "is" OR "raft")"#);
        for text in ["", "-only", "?? !", "\u{0}\u{1}"] {
            assert!(LexicalQuery::parse(text).unwrap().is_empty(), "{text:?}");
        }
        assert!(LexicalQuery::parse("say \"hello").is_err());
    }

    #[test]
    fn long_queries_are_bounded() {
        let text = (0..100_000).map(|i| format!("w{i} ")).collect::<String>() + &"x".repeat(1 << 20);
        let query = LexicalQuery::parse(&text).unwrap();
        assert_eq!(query.wanted.len(), MAX_TERMS);
        assert!(LexicalQuery::parse(&"y".repeat(1 << 20)).unwrap().all().len() < 2 * MAX_TERM_BYTES);
    }

    proptest! {
        #[test]
        fn fts5_reads_every_query(text in "(\\PC|[-\"*^(){}:.'\u{0}\n]| AND | OR | NEAR\\(|title:){0,40}") {
            let connection = Connection::open_in_memory().unwrap();
            connection.execute_batch("CREATE VIRTUAL TABLE t USING fts5(a, tokenize = 'porter unicode61')").unwrap();
            if let Ok(query) = LexicalQuery::parse(&text)
                && !query.is_empty()
            {
                for expression in [query.all(), query.any()] {
                    let sql = "SELECT count(*) FROM t WHERE t MATCH ?";
                    let count: Result<i64, _> = connection.query_row(sql, [&expression], |row| row.get(0));
                    prop_assert_eq!(count.map_err(|e| format!("{expression}: {e}")), Ok(0));
                }
            }
        }
    }
}
