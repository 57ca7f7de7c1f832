//! Hybrid search: keyword and vector lists of every line of a query, made one, and reranked.

use std::collections::HashMap;
use std::time::Instant;

use docent::Reranker;
use rusqlite::{Connection, OptionalExtension};

use super::fusion::{Contribution, FIRST_WEIGHT, OTHER_WEIGHT};
use super::score::{relevance_of_keywords, relevance_of_meaning};
use super::{
    Clock, Evidence, Explain, Found, Fusion, LeftOut, Models, SearchOptions, SearchResults, hits, keyword, meaning,
    scope,
};
use crate::lexical::LexicalQuery;
use crate::query::{Line, LineKind};
use crate::{Error, Index, Query};

/// Documents of a list that count: enough that what is in two lists shows in both.
const LIST: usize = 100;

/// Documents whose keyword score is looked at, so that one of a vector list is not taken for one without the words.
const KEYWORD_DEPTH: usize = 2000;

/// Documents that a reranker reads before the clock is looked at.
const RERANK_STEP: usize = 4;

/// Bytes of a document that a reranker reads where no chunk is known.
const RERANK_BYTES: usize = 4096;

/// The relevance by words from which, if no other document comes within `AHEAD` of it, a document is what was meant.
const FOUND: f64 = 0.75;
const AHEAD: f64 = 0.15;

/// A document that is in one of the lists.
#[derive(Default)]
struct Candidate {
    explain: Explain,
    chunk: Option<i64>,
    /// What the lines of an expansion measured.
    expanded: Evidence,
}

/// A query, and what an expander has added to it.
struct Lines<'q> {
    lines: Vec<&'q Line>,
    /// So many are the user's.
    own: usize,
}

impl Index {
    /// Searches by keyword and by meaning, and lets the reranker, if there is one, order what was found.
    ///
    /// Without an embedder, or if the deadline has come before it was asked, the words alone are looked for; the reranker reads as
    /// many of the candidates as there is time for, from the first on. A plain question is expanded if there is an expander; see
    /// [the crate](crate#expansion).
    ///
    /// # Errors
    /// If nothing has been embedded with the model; an unknown collection, those of the models and the database.
    pub fn search(&self, query: &Query, models: Models<'_>, options: &SearchOptions) -> Result<SearchResults, Error> {
        let clock = Clock::start(options.deadline);
        let mut left_out = Vec::new();
        let mut expansion = Vec::new();
        if let Some(expander) = models.expander
            && query.is_plain()
            && !(query.intent.is_none() && self.words_have_found_it(query, options)?)
        {
            // The other half is for looking for the lines.
            let expanded = self.expand(query, expander, clock.left().map(|left| left / 2))?;
            left_out.extend(expanded.cut.then_some(LeftOut::Expansion));
            expansion = expanded.lines;
        }
        let lines = Lines { lines: query.lines.iter().chain(&expansion).collect(), own: query.lines.len() };
        let semantic: Vec<Line> = lines.of(LineKind::is_semantic).map(|(_, line)| line.clone()).collect();
        let embedder = models.embedder.filter(|_| !semantic.is_empty());
        let vectors = match embedder {
            Some(_) if clock.is_over() => {
                left_out.push(LeftOut::Meaning);
                None
            }
            Some(embedder) => Some((embedder, meaning::vectors(embedder, &semantic)?)),
            None => None,
        };
        let (hits, reranking) = self.store.read(|connection| {
            let scope = scope(connection, options)?;
            let mut candidates = HashMap::new();
            let deep = keyword_lists(connection, &lines, &scope, &mut candidates)?;
            if let Some((embedder, vectors)) = &vectors {
                let (model, set) = meaning::open(self, connection, embedder)?;
                for ((index, line), vector) in lines.of(LineKind::is_semantic).zip(vectors) {
                    let near = set.search(vector, &scope, LIST, self.threads());
                    for (rank, near) in near.iter().enumerate() {
                        let deviations = meaning::deviations(&model, near.cosine);
                        let score = relevance_of_meaning(deviations);
                        let candidate: &mut Candidate = candidates.entry(near.document).or_default();
                        candidate.explain.vector_scores.push(score);
                        candidate.explain.rrf.contribute(contribution("vec", index, line, rank + 1, score));
                        candidate.see_meaning(lines.is_own(index), near.chunk, near.cosine, deviations);
                    }
                }
                // What only other lists found has a meaning as well.
                for own in [true, false] {
                    let without: Vec<i64> = candidates
                        .iter_mut()
                        .filter_map(|(document, candidate)| {
                            candidate.evidence(own).cosine.is_none().then_some(*document)
                        })
                        .collect();
                    let of_these = lines.of(LineKind::is_semantic).zip(vectors);
                    for (_, vector) in of_these.filter(|((index, _), _)| lines.is_own(*index) == own) {
                        for near in set.nearest_chunks(vector, &without) {
                            let candidate = candidates.entry(near.document).or_default();
                            let deviations = meaning::deviations(&model, near.cosine);
                            candidate.see_meaning(own, near.chunk, near.cosine, deviations);
                        }
                    }
                }
            }
            for (document, candidate) in &mut candidates {
                for (own, deep) in [true, false].into_iter().zip(&deep) {
                    if let Some(matched) = deep.get(document) {
                        let evidence = candidate.evidence(own);
                        (evidence.bm25, evidence.coverage) = (matched.bm25, matched.coverage);
                    }
                }
                candidate.explain.expanded_evidence = (!expansion.is_empty()).then_some(candidate.expanded);
            }
            let mut ranked = ranked(candidates, options.fusion);
            let left = match models.reranker {
                Some(reranker) => rerank(connection, reranker, query, &mut ranked, options.candidates, clock)?,
                None => 0,
            };
            let words = (query.words(), query.intent_words());
            Ok((hits(connection, ranked, options, &words)?, left))
        })?;
        left_out.extend((reranking > 0).then_some(LeftOut::Reranking(reranking)));
        Ok(SearchResults { hits, left_out, expansion })
    }

    /// Whether the words of a plain question lead to one document and no other, so that other words would only lead away.
    fn words_have_found_it(&self, query: &Query, options: &SearchOptions) -> Result<bool, Error> {
        let Some(parsed) = query.lines.first().map(|line| leniently(&line.text)) else { return Ok(false) };
        self.store.read(|connection| {
            let found = keyword::search(connection, &parsed, &scope(connection, options)?, 2)?;
            let relevance = |place: usize| found.get(place).map_or(0.0, |found| relevance_of_keywords(found.coverage));
            Ok(relevance(0) >= FOUND && relevance(0) - relevance(1) >= AHEAD)
        })
    }
}

impl Candidate {
    /// What the user's lines measured, or those of an expansion.
    fn evidence(&mut self, own: bool) -> &mut Evidence {
        if own { &mut self.explain.evidence } else { &mut self.expanded }
    }

    /// Notes a chunk, if it is nearer than those before.
    fn see_meaning(&mut self, own: bool, chunk: i64, cosine: f32, deviations: f64) {
        let evidence = self.evidence(own);
        if evidence.cosine.is_none_or(|before| cosine > before) {
            evidence.cosine = Some(cosine);
            evidence.deviations = Some(deviations);
            // The passage that is shown, and read by the reranker, is the one that answers the question itself.
            if own {
                self.chunk = Some(chunk);
            }
        }
    }
}

impl Lines<'_> {
    /// The lines of some kinds, with their places.
    fn of(&self, wanted: impl Fn(LineKind) -> bool) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().copied().enumerate().filter(move |(_, line)| wanted(line.kind))
    }

    fn is_own(&self, index: usize) -> bool {
        index < self.own
    }
}

/// The words of a text that may have a quote that is not closed.
fn leniently(text: &str) -> LexicalQuery {
    LexicalQuery::parse(text).or_else(|_| LexicalQuery::parse(&text.replace('"', " "))).unwrap_or_default()
}

/// Looks for the words of each line; returns the best keyword score of every document that was looked at, for the user's lines and for the
/// others.
fn keyword_lists(
    connection: &Connection,
    lines: &Lines<'_>,
    scope: &[i64],
    candidates: &mut HashMap<i64, Candidate>,
) -> Result<[HashMap<i64, keyword::Matched>; 2], Error> {
    let mut deep = [HashMap::new(), HashMap::new()];
    for (index, line) in lines.of(LineKind::is_lexical) {
        let parsed = match LexicalQuery::parse(&line.text) {
            Err(reason) if line.kind == LineKind::Lex && lines.is_own(index) => {
                return Err(Error::Query { line: index + 1, reason });
            }
            _ => leniently(&line.text),
        };
        let matched = if line.kind == LineKind::Lex {
            keyword::search(connection, &parsed, scope, KEYWORD_DEPTH)?
        } else {
            keyword::any(connection, &parsed, scope, KEYWORD_DEPTH)?
        };
        let deep: &mut HashMap<i64, keyword::Matched> = &mut deep[usize::from(!lines.is_own(index))];
        for (rank, matched) in matched.iter().enumerate() {
            let best = deep.entry(matched.document).or_insert(*matched);
            if matched.coverage > best.coverage {
                *best = *matched;
            }
            if rank < LIST {
                let score = relevance_of_keywords(matched.coverage);
                let candidate = candidates.entry(matched.document).or_default();
                candidate.explain.fts_scores.push(score);
                candidate.explain.rrf.contribute(contribution("fts", index, line, rank + 1, score));
            }
        }
    }
    Ok(deep)
}

fn contribution(source: &'static str, index: usize, line: &Line, rank: usize, backend_score: f64) -> Contribution {
    Contribution {
        list_index: index,
        source: source.into(),
        query_type: line.kind.name().into(),
        query: line.text.clone(),
        rank,
        weight: if index == 0 { FIRST_WEIGHT } else { OTHER_WEIGHT },
        backend_score,
        rrf_contribution: 0.0,
    }
}

/// The candidates in the order of their fusion.
fn ranked(candidates: HashMap<i64, Candidate>, fusion: Fusion) -> Vec<Found> {
    let mut found: Vec<Found> = candidates
        .into_iter()
        .map(|(document, Candidate { explain, chunk, .. })| {
            let score = explain.relevance();
            Found { document, score, chunk, explain: Some(explain) }
        })
        .collect();
    let key = |found: &Found| match (fusion, &found.explain) {
        (Fusion::ReciprocalRanks, Some(explain)) => explain.rrf.total_score,
        _ => found.score,
    };
    found.sort_by(|a, b| key(b).total_cmp(&key(a)).then(a.document.cmp(&b.document)));
    for (index, found) in found.iter_mut().enumerate() {
        if let Some(explain) = &mut found.explain {
            explain.rrf.place(index + 1);
        }
    }
    found
}

/// Lets the reranker read the first candidates, and orders them by rank and score together. Returns how many it had no time for.
fn rerank(
    connection: &Connection,
    reranker: &Reranker,
    query: &Query,
    ranked: &mut [Found],
    most: usize,
    clock: Clock,
) -> Result<usize, Error> {
    let candidates = ranked.len().min(most);
    let texts: Vec<String> =
        ranked[..candidates].iter().map(|found| passage(connection, found)).collect::<Result<_, _>>()?;
    let question = query.question();
    let (mut done, mut longest) = (0, std::time::Duration::ZERO);
    while done < candidates {
        // Not begun if it would not be done in time, as far as the steps before tell.
        if clock.left().is_some_and(|left| left.is_zero() || left < longest) {
            break;
        }
        let end = (done + RERANK_STEP).min(candidates);
        let begun = Instant::now();
        for score in reranker.rerank(&question, &texts[done..end])? {
            let found = &mut ranked[done + score.index];
            let relevance = f64::from(score.score).clamp(0.0, 1.0);
            if let Some(explain) = &mut found.explain {
                explain.blend(relevance);
            }
            found.score = relevance;
        }
        longest = longest.max(begun.elapsed());
        done = end;
    }
    // Those that were not read stay behind those that were, in their order.
    let blended = |found: &Found| found.explain.as_ref().and_then(|explain| explain.blended_score).unwrap_or(0.0);
    ranked[..done].sort_by(|a, b| blended(b).total_cmp(&blended(a)).then(a.document.cmp(&b.document)));
    Ok(candidates - done)
}

/// What a reranker reads of a document: title and best chunk, or the beginning of a text that has no vectors.
fn passage(connection: &Connection, found: &Found) -> Result<String, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT d.title, t.text, k.start, k.end FROM documents d JOIN contents t ON t.id = d.content_id
         LEFT JOIN chunks k ON k.id = ?2 AND k.content_id = d.content_id WHERE d.id = ?1",
    )?;
    let passage = statement
        .query_row((found.document, found.chunk), |row| {
            let (title, text): (String, String) = (row.get(0)?, row.get(1)?);
            let start = row.get::<_, Option<usize>>(2)?.unwrap_or(0);
            let end = row.get::<_, Option<usize>>(3)?.unwrap_or(RERANK_BYTES.min(text.len()));
            let part = text.get(start..text.floor_char_boundary(end)).unwrap_or(&text);
            Ok(if part.contains(&title) { part.to_owned() } else { format!("{title}\n{part}") })
        })
        .optional()?;
    Ok(passage.unwrap_or_default())
}
