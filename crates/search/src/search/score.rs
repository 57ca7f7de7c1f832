//! Scores: how likely a document is relevant, given what was measured of it.
//!
//! See the front page of the crate. The curves were fitted by logistic regression on all pairs of a query and a document of the judged
//! collection CISI, with all-MiniLM-L6-v2, relevant and other pairs having the same weight in all; `docs/quality.md` has the command and
//! says how well a fit on half of the queries does on the other half.

use serde::{Deserialize, Serialize};

/// What was measured of a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// BM25, larger is better; 0 if no word was found.
    pub bm25: f64,
    /// The part of the query's information that the document has, 0 to 1: BM25 divided by the most that it could be.
    pub coverage: f64,
    /// The cosine of the query and the nearest chunk, if there are vectors.
    pub cosine: Option<f32>,
    /// By how many standard deviations the cosine is above those of unrelated texts.
    pub deviations: Option<f64>,
}

/// Added to a coverage before its logarithm is taken, so that a document without the words has some score.
const NO_WORDS: f64 = 0.01;

/// The logarithm of the odds that a document is not relevant, before anything is measured: five to one. The regression knows even odds; of
/// all documents of a collection far fewer are relevant, but of those near the top of a list, some. It moves all scores alike.
const AGAINST: f64 = 1.609;

/// Constant, and what the logarithm of the coverage counts.
const KEYWORDS: [f64; 2] = [3.567, 1.216];
/// Constant, and what a deviation counts.
const MEANING: [f64; 2] = [-2.808, 0.491];
/// Constant, logarithm of the coverage, deviation.
const BOTH: [f64; 3] = [-0.200, 0.710, 0.400];

/// The relevance of a document of which the coverage is known.
pub fn relevance_of_keywords(coverage: f64) -> f64 {
    logistic(KEYWORDS[0] - AGAINST + KEYWORDS[1] * (coverage + NO_WORDS).ln())
}

/// The relevance of a document of which the deviations are known.
pub fn relevance_of_meaning(deviations: f64) -> f64 {
    logistic(MEANING[0] - AGAINST + MEANING[1] * deviations)
}

/// The relevance of a document of which both are known.
pub fn relevance_of_both(coverage: f64, deviations: f64) -> f64 {
    logistic(BOTH[0] - AGAINST + BOTH[1] * (coverage + NO_WORDS).ln() + BOTH[2] * deviations)
}

/// What the evidence of a question counts beside that of another way of asking it.
const QUESTION: f64 = 2.0;

impl Evidence {
    /// The evidence of a question together with the best of other ways of asking it: the mean of both, the question counting twice, where
    /// that is more.
    pub(super) fn lifted_by(self, other: Evidence) -> Evidence {
        let lifted = |own: f64, other: f64| own + (other - own).max(0.0) / (QUESTION + 1.0);
        Evidence {
            coverage: lifted(self.coverage, other.coverage),
            deviations: self.deviations.map(|own| lifted(own, other.deviations.unwrap_or(own))),
            ..self
        }
    }

    /// The relevance by all that is known.
    pub(super) fn relevance(&self) -> f64 {
        match self.deviations {
            Some(deviations) => relevance_of_both(self.coverage, deviations),
            None => relevance_of_keywords(self.coverage),
        }
    }
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_ways_of_asking_lift_by_a_third_of_what_they_show_and_never_lower() {
        let evidence = |coverage, deviations| Evidence { coverage, deviations, bm25: 3.0, cosine: Some(0.25) };
        let own = evidence(0.25, Some(2.0));
        assert_eq!(own.lifted_by(evidence(0.5, Some(5.0))), evidence(0.25 + 0.25 / 3.0, Some(3.0)));
        assert_eq!(own.lifted_by(evidence(0.0, Some(-1.0))), own);
        assert_eq!(own.lifted_by(Evidence::default()), own);
        assert_eq!(evidence(0.0, None).lifted_by(evidence(0.75, Some(9.0))), evidence(0.25, None));
    }

    #[test]
    fn more_evidence_is_more_relevance() {
        let mut last = [0.0; 3];
        for step in 0..=10 {
            let (coverage, deviations) = (f64::from(step) / 10.0, f64::from(step));
            let now = [
                relevance_of_keywords(coverage),
                relevance_of_meaning(deviations),
                relevance_of_both(coverage, deviations),
            ];
            assert!(now.iter().zip(&last).all(|(now, last)| now > last && *now < 1.0), "{now:?}");
            last = now;
        }
    }
}
