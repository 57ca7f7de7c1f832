//! Qwen2 as an embedder (Yang et al., arXiv:2407.10671), such as gte-Qwen2, which lets every token see all others, and as a reranker,
//! such as mxbai-rerank v2.
//!
//! The forward pass is that of [`decoder`], with biases on queries, keys and values.

use docent_kernels::RotaryStyle;

use super::{Architecture, Loaded};
use crate::Error;
use crate::blocks::answers;
use crate::blocks::decoder::{self, Variant};
use crate::settings::{HfConfig, Settings, Translation, Unwritten};
use crate::weights::Weights;

pub(crate) const ARCHITECTURE: Architecture =
    Architecture { name: "qwen2", recognises, translate, gguf_name: decoder::gguf_name, load };

fn recognises(config: &HfConfig<'_>) -> Result<bool, Error> {
    Ok(config.model_type()? == Some("qwen2"))
}

fn translate(to: &mut Translation<'_>) -> Result<(), Error> {
    let windows = decoder::qwen_windows(&to.config)?;
    decoder::translate(to, Some(windows))?;
    // What readers make of the heads' number, unless the settings say otherwise.
    if !to.config.has("head_dim") {
        for key in ["attention.key_length", "attention.value_length"] {
            to.leave_unwritten(key, Unwritten::Implied);
        }
    }
    Ok(())
}

fn load(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Loaded, Error> {
    let variant = Variant { style: RotaryStyle::Halves, query_key_norm: false, causal: true };
    decoder::load(settings, weights, &variant, |vocabulary| answers::scorer(settings, weights, vocabulary, None))
}
