//! Qwen3 as embedder and reranker (Zhang et al., arXiv:2506.05176).
//!
//! The forward pass is that of [`decoder`], with an RMSNorm on each head of queries and keys. A reranker answers a question with yes
//! or no, in every form that [`answers`] knows: of 0.6B the causal model as it was published has 310 tensors, that with a classifier,
//! `cls.output.weight` or `score.weight`, has 311.

use docent_kernels::RotaryStyle;

use super::{Architecture, Loaded};
use crate::Error;
use crate::blocks::answers;
use crate::blocks::decoder::{self, Variant};
use crate::settings::{HfConfig, Settings, Translation};
use crate::source::HfName;
use crate::weights::Weights;

pub(crate) const ARCHITECTURE: Architecture = Architecture { name: "qwen3", recognises, translate, gguf_name, load };

fn recognises(config: &HfConfig<'_>) -> Result<bool, Error> {
    Ok(config.model_type()?.is_some_and(|ty| ["qwen3", decoder::PPLX].contains(&ty)))
}

fn translate(to: &mut Translation<'_>) -> Result<(), Error> {
    let windows = decoder::qwen_windows(&to.config)?;
    decoder::translate(to, Some(windows))
}

fn gguf_name(name: &str) -> HfName {
    match name {
        // Of voyage-4-nano: of every state, which comes to the same as of their mean.
        "linear.weight" => HfName::Gguf("dense_2.weight".to_owned()),
        _ => decoder::gguf_name(name),
    }
}

/// What a reranker answers, in the words of its prompt. Any causal model may be asked; those that were not trained for it do not
/// mean their answer.
const ANSWERS: [&str; 2] = ["yes", "no"];

fn load(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Loaded, Error> {
    if settings.optional_size(decoder::PROJECTED)?.is_some() {
        decoder::check_projection(settings, weights, settings.size("embedding_length")?)?;
    }
    let variant = Variant { style: RotaryStyle::Halves, query_key_norm: true, causal: true };
    decoder::load(settings, weights, &variant, |vocabulary| {
        answers::scorer(settings, weights, vocabulary, Some(ANSWERS))
    })
}
