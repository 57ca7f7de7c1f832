//! A question as clients put it, the input of the tool `query` and the body of `POST /query`, and what is told of a document that was found.

use std::time::Duration;

use docent_search::{Hit, Query, SearchOptions};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Search, SearchCall};
use crate::dialects::Count;
use crate::failure::{Failure, FailureKind};

/// Lines of a question.
pub(crate) const MOST_SEARCHES: usize = 10;

/// Results of a question, and candidates that a reranker reads.
pub(crate) const MOST_RESULTS: usize = 500;

/// Collections that a question names, and characters of the name of one.
const MOST_COLLECTIONS: usize = 100;
const LONGEST_NAME: usize = 200;

/// Bytes of what a question is about.
const LONGEST_INTENT: usize = 4 << 10;

/// Results, if the question does not say.
pub(crate) const USUAL_RESULTS: usize = 10;

/// Characters of the lines that are shown of a document.
const SNIPPET: usize = 300;

/// A question: either `query` or `searches`.
///
/// What is not known is refused, because it may have been meant to leave documents out.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct Question {
    /// The question, or several lines that begin with `lex:`, `vec:`, `hyde:` or `intent:`.
    query: Option<String>,
    /// How to look for it, line by line; 10 at most.
    searches: Option<Vec<TypedSearch>>,
    /// Results at most: 1 to 500; 10 without it.
    limit: Option<Count>,
    /// The least score of a result, 0 to 1; 0 without it.
    min_score: Option<f64>,
    /// Results that a reranker reads: 1 to 500; 40 without it.
    candidate_limit: Option<Count>,
    /// The collections to look in; without it, all that are not excluded.
    collections: Option<Vec<String>>,
    /// What the question is about, which it does not say itself.
    intent: Option<String>,
    /// Whether a reranker may order the results, if there is one; it may without this.
    rerank: Option<bool>,
}

/// A line of a question.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with `type` and `query`")]
pub(crate) struct TypedSearch {
    /// How to look for it.
    r#type: SearchType,
    /// What to look for.
    query: String,
}

/// Time of a search once its models are loaded: clients wait for a minute, and it returns what it has by then.
const DEADLINE: Duration = Duration::from_secs(30);

/// How to look for a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SearchType {
    /// By keyword: words, "phrases", and -words that must not be there.
    Lex,
    /// By meaning: a question.
    Vec,
    /// By meaning: the beginning of an answer.
    Hyde,
}

/// A document that was found.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct FoundDocument {
    /// Its docid, as `#762e73`.
    pub(crate) docid: String,
    /// Its name.
    pub(crate) file: String,
    /// Its title.
    pub(crate) title: String,
    /// How relevant it is, 0 to 1.
    pub(crate) score: f64,
    /// What the user says about the place.
    pub(crate) context: Option<String>,
    /// The line that matches best, from 1.
    pub(crate) line: usize,
    /// That line and those around it, each with its number, under a header that says where they are.
    pub(crate) snippet: String,
}

impl Question {
    /// The search that it asks for.
    ///
    /// # Errors
    /// What is wrong with it, about the field.
    pub(crate) fn into_call(self) -> Result<SearchCall, Failure> {
        let mut query = self.lines()?;
        if let Some(intent) = self.intent.filter(|intent| !intent.trim().is_empty()) {
            at_most(intent.len(), LONGEST_INTENT, "intent", "bytes")?;
            query.intent = Some(intent);
        }
        let min_score = self.min_score.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&min_score) {
            return Err(Failure::invalid("minScore", format!("`minScore` is {min_score}; scores are from 0 to 1")));
        }
        let collections = self.collections.unwrap_or_default();
        at_most(collections.len(), MOST_COLLECTIONS, "collections", "names")?;
        for name in &collections {
            at_most(name.len(), LONGEST_NAME, "collections", "bytes in a name")?;
        }
        let usual = SearchOptions::default();
        let limit = number(self.limit, USUAL_RESULTS, "limit")?;
        let candidates = number(self.candidate_limit, usual.candidates, "candidateLimit")?;
        let deadline = Some(DEADLINE);
        let options = SearchOptions { limit, min_score, collections, candidates, deadline, ..usual };
        Ok(SearchCall { search: Search::Both(query), options, rerank: self.rerank.unwrap_or(true) })
    }

    /// What was asked, for people.
    pub(crate) fn text(&self) -> String {
        match (&self.query, &self.searches) {
            (Some(query), _) => query.clone(),
            (None, Some(searches)) => {
                searches.iter().map(|search| search.query.as_str()).collect::<Vec<_>>().join("; ")
            }
            (None, None) => String::new(),
        }
    }

    fn lines(&self) -> Result<Query, Failure> {
        match (&self.query, &self.searches) {
            (Some(query), None) => Ok(Query::parse(query)?),
            (None, Some(searches)) if !searches.is_empty() => {
                at_most(searches.len(), MOST_SEARCHES, "searches", "searches")?;
                let line = |search: &TypedSearch| format!("{}: {}", search.r#type.name(), on_one_line(&search.query));
                let lines: Vec<String> = searches.iter().map(line).collect();
                Query::parse(&lines.join("\n")).map_err(|error| Failure::from(error).about("searches"))
            }
            (Some(_), Some(_)) => Err(Failure::invalid("searches", "give `query` or `searches`, not both")),
            (None, _) => {
                let message = "nothing is asked: give `searches`, a list of {\"type\": \"lex\", \"vec\" or \"hyde\", \"query\": \
                               ...}, or `query`, a question";
                Err(Failure::new(FailureKind::Empty, message).about("searches"))
            }
        }
    }
}

impl SearchType {
    fn name(self) -> &'static str {
        match self {
            SearchType::Lex => "lex",
            SearchType::Vec => "vec",
            SearchType::Hyde => "hyde",
        }
    }
}

impl FoundDocument {
    /// What is told of a document, by a name.
    pub(crate) fn new(hit: &Hit, file: String) -> Self {
        let snippet = hit.snippet(SNIPPET);
        FoundDocument {
            docid: hit.docid.clone(),
            file,
            title: hit.title.clone(),
            score: (hit.score * 100.0).round() / 100.0,
            context: hit.context.clone(),
            line: snippet.line,
            snippet: snippet.with_line_numbers(),
        }
    }
}

/// A text without ends of lines and other control characters.
pub(crate) fn on_one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'), " ")
}

fn number(given: Option<Count>, usual: usize, field: &str) -> Result<usize, Failure> {
    let number = given.map_or(usual, |Count(number)| number);
    at_most(number, MOST_RESULTS, field, "results")?;
    Ok(number)
}

/// # Errors
/// If there is more of something than a field takes.
pub(crate) fn at_most(found: usize, most: usize, field: &str, what: &str) -> Result<(), Failure> {
    if found <= most {
        return Ok(());
    }
    Err(Failure::invalid(field, format!("`{field}` has {found} {what}, more than the {most} that it takes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(body: &str) -> Result<SearchCall, Failure> {
        crate::body::parse::<Question>(body.as_bytes())?.into_call()
    }

    fn wrong(body: &str) -> String {
        call(body).unwrap_err().message
    }

    #[test]
    fn questions_become_searches() {
        let asked = call(r#"{"query": "how do tides work"}"#).unwrap();
        assert_eq!(asked.search, Search::Both(Query::plain("how do tides work")));
        assert_eq!((asked.options.limit, asked.options.candidates, asked.rerank), (10, 40, true));
        let asked = call(
            r#"{"searches": [{"type": "lex", "query": "moon\n-sun"}, {"type": "vec", "query": "why?"}], "intent": "tides",
                "limit": 3, "minScore": 0.5, "candidateLimit": 7, "collections": ["notes"], "rerank": false}"#,
        )
        .unwrap();
        let query = Query::parse("intent: tides\nlex: moon -sun\nvec: why?").unwrap();
        assert_eq!(asked.search, Search::Both(query));
        let options = SearchOptions {
            limit: 3,
            min_score: 0.5,
            candidates: 7,
            deadline: Some(DEADLINE),
            collections: vec!["notes".to_owned()],
            ..SearchOptions::default()
        };
        assert_eq!((asked.options, asked.rerank), (options, false));
    }

    #[test]
    fn what_is_wrong_with_a_question_is_said_about_the_field() {
        assert!(wrong("{}").starts_with("nothing is asked"));
        assert!(wrong(r#"{"searches": []}"#).starts_with("nothing is asked"));
        assert!(wrong(r#"{"query": "a", "searches": []}"#).contains("not both"));
        assert!(wrong(r#"{"query": " "}"#).contains("the query is empty"));
        assert!(wrong(r#"{"query": "a", "limit": 0}"#).starts_with("`limit`: "));
        assert!(wrong(r#"{"query": "a", "limit": 501}"#).contains("more than the 500"));
        assert!(wrong(r#"{"query": "a", "minScore": 1.5}"#).contains("from 0 to 1"));
        assert!(wrong(r#"{"query": "a", "min_score": 0}"#).contains("unknown field `min_score`"));
        assert!(wrong(r#"{"searches": [{"type": "sql", "query": "a"}]}"#).contains("unknown variant `sql`"));
        assert!(wrong(r#"{"searches": [{"type": "lex", "query": "\"a"}]}"#).contains("not closed"));
        assert!(wrong(r#"{"searches": [{"type": "vec", "query": "a\nlex: b -c"}]}"#).contains("-word"));
        let many = [r#"{"type": "lex", "query": "a"}"#; 11].join(",");
        assert!(wrong(&format!(r#"{{"searches": [{many}]}}"#)).contains("more than the 10"));
        let long = "x".repeat(5000);
        assert!(wrong(&format!(r#"{{"query": "a", "intent": "{long}"}}"#)).contains("more than the 4096"));
        assert!(wrong(&format!(r#"{{"query": "a", "collections": ["{long}"]}}"#)).contains("bytes in a name"));
    }
}
