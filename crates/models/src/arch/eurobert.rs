//! `EuroBERT` (Boizard et al., arXiv:2503.05500): a Llama whose tokens see both sides, as embedder (jina-embeddings-v5-text-nano) and reranker.
//!
//! The forward pass is that of [`decoder`], without a mask. A classifier reads the first state or the mean of all, or scores every token and
//! takes the mean of that:
//!
//! ```text
//! score = W_out gelu(W x + b) + b_out        x the first state, or the mean
//! score = mean over tokens of the same       `classifier_pooling` "late"
//! ```
//!
//! llama.cpp does not read the classifier.

use docent_kernels::{Activation, Pooling, RotaryStyle};

use super::{Architecture, Loaded};
use crate::Error;
use crate::blocks::decoder::{self, Variant};
use crate::head::{Head, ScoreKind, Scorer, Step};
use crate::settings::{HfConfig, Settings, Translation, Unwritten};
use crate::source::HfName;
use crate::weights::Weights;

pub(crate) const ARCHITECTURE: Architecture = Architecture { name: "eurobert", recognises, translate, gguf_name, load };

/// How the states of a sequence become what a classifier reads, in the numbers of `pooling_type`.
const CLASSIFIER_POOLING: &str = "classifier.pooling_type";
const MEAN: usize = 1;
const FIRST: usize = 2;

/// Whether tokens are scored, and not what they are pooled to.
const SCORES_TOKENS: &str = "classifier.scores_tokens";

fn recognises(config: &HfConfig<'_>) -> Result<bool, Error> {
    Ok(config.model_type()? == Some("eurobert"))
}

fn translate(to: &mut Translation<'_>) -> Result<(), Error> {
    decoder::translate(to, None)?;
    to.float_or("attention.layer_norm_rms_epsilon", &["rms_norm_eps"], 1e-5)?;
    to.set_bool("attention.causal", "model_type", false);
    for field in ["attention_bias", "mlp_bias"] {
        if to.config.bool(field)?.unwrap_or(false) {
            return Err(to.config.error(field, "false", "true"));
        }
    }
    let field = "classifier_pooling";
    let (pooling, of_tokens) = match to.config.string(&[field])?.unwrap_or("late") {
        "bos" => (FIRST, false),
        "mean" => (MEAN, false),
        "late" => (MEAN, true),
        found => return Err(to.config.error(field, "\"bos\", \"mean\" or \"late\"", format!("{found:?}"))),
    };
    to.set_size(CLASSIFIER_POOLING, field, pooling)?;
    to.set_bool(SCORES_TOKENS, field, of_tokens);
    // Of no use but to a classifier.
    [CLASSIFIER_POOLING, SCORES_TOKENS].into_iter().for_each(|key| to.leave_unwritten(key, Unwritten::ScoresDiffer));
    Ok(())
}

fn load(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Loaded, Error> {
    let variant = Variant { style: RotaryStyle::Halves, query_key_norm: false, causal: false };
    decoder::load(settings, weights, &variant, |_| scorer(settings, weights))
}

/// The classifier, if there is one with a single output: more do not tell relevance.
fn scorer(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Option<Scorer>, Error> {
    let hidden = settings.size("embedding_length")?;
    if !weights.has("cls.output.weight") || weights.rows("cls.output.weight", hidden)? != 1 {
        ["cls", "cls.output"].into_iter().for_each(|stem| weights.pass_over(stem));
        return Ok(None);
    }
    let pooling = match settings.optional_size(CLASSIFIER_POOLING)? {
        None | Some(MEAN) => Pooling::Mean,
        Some(FIRST) => Pooling::Cls,
        Some(found) => return Err(settings.error(CLASSIFIER_POOLING, "1 (mean) or 2 (first token)", found)),
    };
    let dense = Step::Linear(weights.linear("cls", hidden, hidden)?, Some(Activation::Gelu));
    let output = Step::Linear(weights.linear("cls.output", hidden, 1)?, None);
    // The mean of what the last layer makes of tokens is what it makes of their mean.
    let (tokens, head) = match settings.bool(SCORES_TOKENS)?.unwrap_or(true) {
        true => (vec![dense], vec![output]),
        false => (vec![], vec![dense, output]),
    };
    Ok(Some(Scorer { tokens: Head { steps: tokens }, pooling, head: Head { steps: head }, kind: ScoreKind::Logit }))
}

fn gguf_name(name: &str) -> HfName {
    match name.split_once('.') {
        Some(("dense", part @ ("weight" | "bias"))) => HfName::Gguf(format!("cls.{part}")),
        Some(("classifier", part @ ("weight" | "bias"))) => HfName::Gguf(format!("cls.output.{part}")),
        // What predicted words in training.
        Some(("lm_head", _)) => HfName::Unused,
        _ => decoder::gguf_name(name),
    }
}
