//! Several lists of documents made into one.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// How the lists of a hybrid search become one order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fusion {
    /// By relevance: what the keyword and the vector search measured, weighed as on the front page of the crate.
    #[default]
    Relevance,
    /// By reciprocal ranks with qmd's constants (Cormack, Clarke and Büttcher, SIGIR 2009; `k` = 60).
    ReciprocalRanks,
}

/// How a document came to its place in a hybrid search; the names are those of qmd.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explain {
    /// Its scores in the keyword lists.
    pub fts_scores: Vec<f64>,
    /// Its scores in the vector lists.
    pub vector_scores: Vec<f64>,
    /// Its rank before reranking.
    pub rrf: RrfExplain,
    /// The reranker's score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank_score: Option<f64>,
    /// What it is ordered by after reranking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blended_score: Option<f64>,
    /// What was measured.
    pub evidence: super::Evidence,
    /// The best that was measured for the lines of an expansion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expanded_evidence: Option<super::Evidence>,
}

impl Explain {
    /// The relevance by all that was measured.
    pub(super) fn relevance(&self) -> f64 {
        self.expanded_evidence.map_or(self.evidence, |expanded| self.evidence.lifted_by(expanded)).relevance()
    }
}

/// The ranks of a document in the lists, and what follows from them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RrfExplain {
    /// Its rank, from 1.
    pub rank: usize,
    /// `1 / rank`.
    pub position_score: f64,
    /// What the rank counts beside the reranker.
    pub weight: f64,
    /// The sum of the contributions.
    pub base_score: f64,
    /// What being first, second or third in a list adds.
    pub top_rank_bonus: f64,
    /// The sum of both.
    pub total_score: f64,
    /// From each list that it is in.
    pub contributions: Vec<Contribution>,
}

/// What a list contributes to a document's rank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contribution {
    /// Which list, from 0.
    pub list_index: usize,
    /// `fts` or `vec`.
    pub source: Cow<'static, str>,
    /// `original`, `lex`, `vec` or `hyde`.
    pub query_type: Cow<'static, str>,
    /// The line of the query.
    pub query: String,
    /// Its rank in the list, from 1.
    pub rank: usize,
    /// What the list counts.
    pub weight: f64,
    /// Its score there: a relevance.
    pub backend_score: f64,
    /// `weight / (60 + rank)`.
    pub rrf_contribution: f64,
}

/// The constant of reciprocal rank fusion.
const K: f64 = 60.0;

/// What a list counts: of a plain question and of the first line that the user wrote, twice what others do.
pub(super) const FIRST_WEIGHT: f64 = 2.0;
pub(super) const OTHER_WEIGHT: f64 = 1.0;

impl RrfExplain {
    /// Adds a list.
    pub(super) fn contribute(&mut self, mut contribution: Contribution) {
        contribution.rrf_contribution = contribution.weight / (K + contribution.rank as f64);
        self.base_score += contribution.rrf_contribution;
        self.contributions.push(contribution);
        let best = self.contributions.iter().map(|contribution| contribution.rank).min();
        self.top_rank_bonus = match best {
            Some(1) => 0.05,
            Some(2 | 3) => 0.02,
            _ => 0.0,
        };
        self.total_score = self.base_score + self.top_rank_bonus;
    }

    /// Gives it its rank among all.
    pub(super) fn place(&mut self, rank: usize) {
        self.rank = rank;
        self.position_score = 1.0 / rank as f64;
        self.weight = position_weight(rank);
    }
}

/// What the rank before reranking counts beside the reranker's score: the more, the further ahead.
fn position_weight(rank: usize) -> f64 {
    match rank {
        ..=3 => 0.75,
        4..=10 => 0.60,
        _ => 0.40,
    }
}

impl Explain {
    /// What the document is ordered by after reranking.
    pub(super) fn blend(&mut self, rerank_score: f64) -> f64 {
        let RrfExplain { weight, position_score, .. } = self.rrf;
        let blended = weight * position_score + (1.0 - weight) * rerank_score;
        self.rerank_score = Some(rerank_score);
        self.blended_score = Some(blended);
        blended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contribution(list_index: usize, rank: usize, weight: f64) -> Contribution {
        Contribution {
            list_index,
            source: "fts".into(),
            query_type: "original".into(),
            query: String::new(),
            rank,
            weight,
            backend_score: 0.0,
            rrf_contribution: 0.0,
        }
    }

    #[test]
    fn ranks_add_up() {
        let mut rrf = RrfExplain::default();
        rrf.contribute(contribution(0, 4, 2.0));
        assert_eq!((rrf.top_rank_bonus, rrf.total_score), (0.0, 2.0 / 64.0));
        rrf.contribute(contribution(1, 1, 1.0));
        assert_eq!(rrf.total_score, 2.0 / 64.0 + 1.0 / 61.0 + 0.05);
    }

    #[test]
    fn a_reranker_moves_those_behind_more_easily() {
        let blended = |rank: usize, score: f64| {
            let mut explain = Explain::default();
            explain.rrf.place(rank);
            explain.blend(score)
        };
        assert_eq!(blended(1, 0.0), 0.75);
        assert_eq!(blended(5, 1.0), 0.6 / 5.0 + 0.4);
        assert_eq!(blended(20, 1.0), 0.4 / 20.0 + 0.6);
    }
}
