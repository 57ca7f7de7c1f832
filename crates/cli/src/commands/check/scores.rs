//! The checks of a reranker.

use std::time::Instant;

use docent::catalog::Reference;
use docent::{Inspection, RankedDocument, RerankOptions, Reranker};

use super::{PROBES, Report, largest_difference};
use crate::table::count;

/// What the documents of the checks are asked.
const QUERY: &str = "Who writes down the weather?";

/// What rounding the weights to 8 bits or less may change in a logit, and in a number from 0 to 1.
const QUANTIZED_LOGIT: f32 = 0.3;
const QUANTIZED_SIGMOID: f32 = 0.03;

impl Report {
    /// The documents alone, together, and together in another order.
    pub(super) fn probe_scores(&mut self, reranker: &Reranker) {
        let begin = Instant::now();
        let first = reranker.rerank(QUERY, &PROBES[..1]);
        self.first_vector_ms = Some(begin.elapsed().as_secs_f64() * 1e3);
        let rest = PROBES[1..].iter().map(|text| reranker.rerank(QUERY, &[text]));
        let alone: Result<Vec<Vec<RankedDocument>>, _> = std::iter::once(first).chain(rest).collect();
        let alone: Vec<f32> = match alone {
            Ok(ranked) => ranked.into_iter().flatten().map(|document| document.raw).collect(),
            Err(error) => return self.add("scores are finite", Err(error.to_string())),
        };
        self.add("scores are finite", Ok(count(alone.len(), "score")));
        self.add("same bits in a batch", same_bits(reranker, &alone));
    }

    /// Scores that somebody has published for the model.
    pub(super) fn compare_scores(&mut self, reranker: &Reranker, inspection: &Inspection) {
        let references = reranker.settings().entry.map_or(&[][..], |entry| entry.reference.as_slice());
        let quantized = inspection.tensors().iter().any(|tensor| tensor.tensor_type.is_quantized());
        self.published(references, |reference| compare(reranker, reference, quantized));
    }
}

fn same_bits(reranker: &Reranker, alone: &[f32]) -> Result<String, String> {
    let reversed: Vec<&str> = PROBES.iter().rev().copied().collect();
    for (texts, is_reversed) in [(&PROBES[..], false), (&reversed[..], true)] {
        let ranked = reranker.rerank(QUERY, texts).map_err(|error| error.to_string())?;
        for document in ranked {
            let index = if is_reversed { alone.len() - 1 - document.index } else { document.index };
            if document.raw.to_bits() != alone[index].to_bits() {
                return Err(format!("text {index} has another score in a batch than alone"));
            }
        }
    }
    Ok(format!("{} alone, together and in another order", count(alone.len(), "text")))
}

/// Compares with one published value; `None` if it is none of a reranker.
fn compare(
    reranker: &Reranker,
    reference: &Reference,
    quantized: bool,
) -> Result<Option<Result<String, String>>, docent::Error> {
    let Reference::Score { query, documents, scores, sigmoid, tolerance, origin } = reference else {
        return Ok(None);
    };
    let options = RerankOptions { raw: !sigmoid, ..RerankOptions::default() };
    let mut ranked = reranker.rerank_with(query, documents, &options)?;
    ranked.sort_by_key(|document| document.index);
    let found: Vec<f32> = ranked.iter().map(|document| document.score).collect();
    let off = largest_difference(&found, scores);
    let loosened = if *sigmoid { QUANTIZED_SIGMOID } else { QUANTIZED_LOGIT };
    let (tolerance, because) =
        if quantized { (tolerance.max(loosened), " for quantized weights") } else { (*tolerance, "") };
    let what = format!("{} with {query:?}", count(scores.len(), "score"));
    let detail = format!("{what}: off by {off:.1e} at most, {tolerance:.0e} allowed{because} (from {origin})");
    Ok(Some(if off <= tolerance { Ok(detail) } else { Err(detail) }))
}
