//! Qwen3 as embedder and reranker (Zhang et al., arXiv:2506.05176).
//!
//! The forward pass is that of [`decoder`], with an RMSNorm on each head of queries and keys. A reranker answers a question with yes
//! or no: what counts is the odds of the two as the next token after the last. Files keep that in three forms:
//!
//! | form | tensors of 0.6B | score |
//! |---|---|---|
//! | the causal model as it was published | 310 | rows of `yes` and `no` in the output matrix, or in the embeddings if tied |
//! | with a classifier of these two rows, as llama.cpp converts it | 311: `cls.output.weight` | the same |
//! | a sequence classifier with their difference as its one row | 311: `score.weight` | its output |

use docent_kernels::{Pooling, RotaryStyle};

use super::{Architecture, Loaded};
use crate::Error;
use crate::blocks::decoder::{self, Variant};
use crate::head::{Head, ScoreKind, Scorer, Step};
use crate::settings::{HfConfig, Settings, Translation};
use crate::weights::Weights;

pub(crate) const ARCHITECTURE: Architecture =
    Architecture { name: "qwen3", recognises, translate, gguf_name: decoder::gguf_name, load };

fn recognises(config: &HfConfig<'_>) -> Result<bool, Error> {
    Ok(config.model_type()? == Some("qwen3"))
}

fn translate(to: &mut Translation<'_>) -> Result<(), Error> {
    let windows = decoder::qwen_windows(&to.config)?;
    decoder::translate(to, Some(windows))
}

fn load(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Loaded, Error> {
    let variant = Variant { style: RotaryStyle::Halves, query_key_norm: true };
    decoder::load(settings, weights, &variant, |vocabulary| scorer(settings, weights, vocabulary))
}

/// The two answers of a reranker, in the words of its prompt.
const ANSWERS: [&str; 2] = ["yes", "no"];

fn scorer(settings: &Settings<'_>, weights: &Weights<'_>, vocabulary: usize) -> Result<Option<Scorer>, Error> {
    let hidden = settings.size("embedding_length")?;
    let scorer = |linear, kind| {
        let head = Head { steps: vec![Step::Linear(linear, None)] };
        Ok(Some(Scorer { pooling: Pooling::Last, head, kind }))
    };
    if !weights.has("cls.output.weight") {
        // The causal model: any may be asked, and those that were not trained for it do not mean their answer.
        let rows = ANSWERS.map(|answer| weights.token(answer).filter(|&id| id < vocabulary));
        let [Some(yes), Some(no)] = rows else { return Ok(None) };
        let matrix = if weights.has("output.weight") { "output.weight" } else { "token_embd.weight" };
        let linear = weights.rows_as_linear(matrix, hidden, &[yes, no])?;
        return scorer(linear, ScoreKind::YesNo { yes: 0, no: 1 });
    }
    let outputs = weights.rows("cls.output.weight", hidden)?;
    let linear = || weights.linear("cls.output", hidden, outputs);
    match outputs {
        1 => scorer(linear()?, ScoreKind::Logit),
        2 => {
            let key = "classifier.output_labels";
            let labels = settings.texts(key)?;
            let place = |answer: &str, default: usize| match &labels {
                Some(labels) => labels.iter().position(|label| label.eq_ignore_ascii_case(answer)),
                None => Some(default),
            };
            match (place(ANSWERS[0], 0), place(ANSWERS[1], 1)) {
                (Some(yes), Some(no)) if yes < 2 && no < 2 => scorer(linear()?, ScoreKind::YesNo { yes, no }),
                _ => Err(settings.error(key, "yes and no", format!("{:?}", labels.unwrap_or_default()))),
            }
        }
        found => Err(settings.error("classifier.output_labels", "one output, or two for yes and no", found)),
    }
}
