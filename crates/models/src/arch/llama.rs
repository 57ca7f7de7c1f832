//! Llama and Mistral as embedders (Touvron et al., arXiv:2302.13971; Jiang et al., arXiv:2310.06825): e5-mistral and its kin, and with
//! attention to both sides llama-nemotron-embed.
//!
//! The forward pass is that of [`decoder`]. GGUF files of this architecture keep the rows of queries and keys reordered, so that
//! positions turn neighbouring columns; the rows of a Hugging Face directory turn column `i` with column `i + d/2`.

use docent_kernels::{Pooling, RotaryStyle};

use super::{Architecture, Loaded};
use crate::Error;
use crate::blocks::decoder::{self, Variant};
use crate::settings::{HfConfig, Settings, Translation};
use crate::weights::Weights;

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "llama",
    recognises: |config| Ok(config.model_type()?.is_some_and(|ty| ["llama", "mistral"].contains(&ty))),
    translate,
    gguf_name: decoder::gguf_name,
    load: |settings, weights| load(settings, weights, true),
};

/// The same without a mask.
pub(crate) const BIDIRECTIONAL: Architecture = Architecture {
    name: "llama-embed",
    recognises: |config| Ok(config.model_type()? == Some(decoder::NEMOTRON)),
    translate: |to| {
        translate(to)?;
        to.set_bool("attention.causal", "model_type", false);
        Ok(())
    },
    gguf_name: decoder::gguf_name,
    load: |settings, weights| load(settings, weights, false),
};

/// The pooling of a config.json, which the models of NVIDIA have there.
pub(crate) fn pooling(config: &HfConfig<'_>) -> Result<Option<Pooling>, Error> {
    if config.model_type()? != Some(decoder::NEMOTRON) {
        return Ok(None);
    }
    match config.string(&["pooling"])? {
        None => Ok(None),
        Some("avg") => Ok(Some(Pooling::Mean)),
        Some("cls") => Ok(Some(Pooling::Cls)),
        Some("last") => Ok(Some(Pooling::Last)),
        Some(found) => Err(config.error("pooling", "\"avg\", \"cls\" or \"last\"", format!("{found:?}"))),
    }
}

fn translate(to: &mut Translation<'_>) -> Result<(), Error> {
    decoder::translate(to, None)?;
    let (hidden, heads) = (to.config.size(&["hidden_size"])?, to.config.size(&["num_attention_heads"])?);
    let dim = to.config.optional_size(&["head_dim"])?.unwrap_or(hidden / heads.max(1));
    to.size_or("vocab_size", &["vocab_size"], 32000)?;
    to.set_size("rope.dimension_count", "head_dim", dim)?;
    Ok(())
}

fn load(settings: &Settings<'_>, weights: &Weights<'_>, causal: bool) -> Result<Loaded, Error> {
    let style = if settings.of_hugging_face() { RotaryStyle::Halves } else { RotaryStyle::Interleaved };
    decoder::load(settings, weights, &Variant { style, query_key_norm: false, causal }, |_| Ok(None))
}
