//! `NomicBERT` (Nussbaum et al., arXiv:2402.01613) and its mixture of experts (Nussbaum and Duderstadt, arXiv:2502.07972).
//!
//! nomic-embed-text v1 and v1.5, arctic-embed-m-long and `CodeRankEmbed` are of the first kind, v2 of the second. The forward pass is that
//! of [`encoder`], positions turn queries and keys, and of the two kinds
//!
//! ```text
//! feed_forward(x) = W_down (silu(W_gate x) * W_up x)
//! feed_forward(x) = W_down gelu(W_up x + b) + b'      in layers 0, 2, 4, ...
//! feed_forward(x) = experts(x)                        in layers 1, 3, 5, ...
//! ```
//!
//! The bias that the experts share is in the published weights, but llama.cpp's converter leaves it out: of such a file vectors
//! differ a little.

use docent_kernels::{Activation, Heads, Linear};

use super::{Architecture, Loaded, Sizes, find, layer_and_part, renamed, transformers_names};
use crate::Error;
use crate::blocks::encoder::{self, Encoder, Inner};
use crate::blocks::{Attention, Expert, Experts, FeedForward, position};
use crate::settings::{HfConfig, Settings, Translation};
use crate::source::HfName;
use crate::weights::{ExpertLayout, Weights};

pub(crate) const ARCHITECTURE: Architecture =
    Architecture { name: "nomic-bert", recognises, translate, gguf_name, load };

pub(crate) const MIXTURE: Architecture =
    Architecture { name: "nomic-bert-moe", recognises: recognises_mixture, translate, gguf_name, load: load_mixture };

fn is_nomic(config: &HfConfig<'_>) -> Result<bool, Error> {
    Ok(config.model_type()? == Some("nomic_bert"))
}

fn has_experts(config: &HfConfig<'_>) -> Result<bool, Error> {
    Ok(config.optional_size(&["moe_every_n_layers"])?.is_some_and(|period| period > 0))
}

fn recognises(config: &HfConfig<'_>) -> Result<bool, Error> {
    Ok(is_nomic(config)? && !has_experts(config)?)
}

fn recognises_mixture(config: &HfConfig<'_>) -> Result<bool, Error> {
    Ok(is_nomic(config)? && has_experts(config)?)
}

fn translate(to: &mut Translation<'_>) -> Result<(), Error> {
    let config = to.config;
    let mixture = has_experts(&config)?;
    to.size("block_count", &["n_layer", "num_hidden_layers"])?;
    to.size("embedding_length", &["n_embd", "hidden_size"])?;
    to.size("feed_forward_length", &["n_inner", "intermediate_size"])?;
    to.size("attention.head_count", &["n_head", "num_attention_heads"])?;
    to.float_or("attention.layer_norm_epsilon", &["layer_norm_epsilon", "layer_norm_eps"], 1e-12)?;
    position::translate(to, &["rotary_emb_base", "rope_theta"], 10_000.0)?;
    to.set_bool("attention.causal", "causal", config.bool("causal")?.unwrap_or(false));
    context(to, mixture)?;
    if mixture {
        to.size("moe_every_n_layers", &["moe_every_n_layers"])?;
        to.size("expert_count", &["num_experts", "num_local_experts"])?;
        to.size("expert_used_count", &["moe_top_k", "num_experts_per_tok"])?;
    }
    // transformers names what is applied to the gate.
    let (own, of_transformers) = if mixture { ("gelu", "gelu") } else { ("swiglu", "silu") };
    for (field, expected) in [("activation_function", own), ("hidden_act", of_transformers)] {
        if let Some(found) = config.string(&[field])?.filter(|&found| found != expected) {
            return Err(config.error(field, &format!("{expected:?}"), format!("{found:?}")));
        }
    }
    for field in ["prenorm", "rotary_emb_interleaved", "use_rms_norm", "moe_normalize_expert_weights"] {
        if config.bool(field)?.unwrap_or(false) {
            return Err(config.error(field, "false", "true"));
        }
    }
    if let Some(found) = config.float(&["rotary_emb_fraction"])?.filter(|&found| found != 1.0) {
        return Err(config.error("rotary_emb_fraction", "1", found));
    }
    if let Some(found) = config.float(&["rotary_emb_scale_base"])? {
        return Err(config.error("rotary_emb_scale_base", "null", found));
    }
    Ok(())
}

/// The tokens that a model was trained on. Configurations tell of more, for which the angles would have to change with a text's
/// length; those of the mixture tell of 2048, and its authors of 512.
fn context(to: &mut Translation<'_>, mixture: bool) -> Result<(), Error> {
    let field = "n_positions";
    let positions = to.config.size(&[field, "max_position_embeddings"])?;
    let trained = to.config.optional_size(&["max_trained_positions"])?.unwrap_or(2048);
    let trained = if mixture && trained == 2048 && positions == 2048 { 512 } else { trained };
    to.set_size("context_length", field, positions.min(trained))
}

fn load(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Loaded, Error> {
    load_with(settings, weights, |sizes, layer| {
        let shape = (sizes.hidden, sizes.feed_forward);
        FeedForward::gated(weights, layer, shape, Activation::Silu).map(Inner::FeedForward)
    })
}

fn load_mixture(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Loaded, Error> {
    const MOST_EXPERTS: usize = 1024;
    let period = settings.size("moe_every_n_layers")?;
    if period < 2 {
        return Err(settings.error("moe_every_n_layers", "at least 2", period));
    }
    let experts = settings.size("expert_count")?;
    if experts == 0 || experts > MOST_EXPERTS {
        return Err(settings.error("expert_count", format!("1 to {MOST_EXPERTS}"), experts));
    }
    let used = settings.size("expert_used_count")?;
    if used == 0 || used > experts {
        return Err(settings.error("expert_used_count", format!("1 to the {experts} experts"), used));
    }
    let layout = |name: &str| match (settings.of_hugging_face(), name) {
        (false, _) => ExpertLayout::Stacked,
        (true, "ffn_down_exps") => ExpertLayout::Transposed,
        (true, _) => ExpertLayout::Flat,
    };
    load_with(settings, weights, |sizes, layer| {
        let (hidden, inner) = (sizes.hidden, sizes.feed_forward);
        if layer % period != 1 {
            return Ok(Inner::FeedForward(FeedForward::Plain {
                up: weights.adapted(&format!("blk.{layer}.ffn_up"), hidden, inner)?,
                down: weights.adapted(&format!("blk.{layer}.ffn_down"), inner, hidden)?,
                activation: Activation::Gelu,
            }));
        }
        let of_experts = |name: &str, inputs: usize, outputs: usize| -> Result<Vec<Linear>, Error> {
            weights.experts(&format!("blk.{layer}.{name}.weight"), layout(name), experts, (inputs, outputs))
        };
        let up = of_experts("ffn_up_exps", hidden, inner)?;
        let down = of_experts("ffn_down_exps", inner, hidden)?;
        Ok(Inner::Experts(Experts {
            router: weights.linear(&format!("blk.{layer}.ffn_gate_inp"), hidden, experts)?,
            experts: up.into_iter().zip(down).map(|(up, down)| Expert { up, down }).collect(),
            used,
            activation: Activation::Gelu,
            bias: weights.vector_if_present(&format!("blk.{layer}.{SHARED_BIAS}"), hidden)?,
        }))
    })
}

/// The bias that the experts of a layer share; GGUF has no name for it.
pub(crate) const SHARED_BIAS: &str = "ffn_exps.bias";

fn load_with(
    settings: &Settings<'_>,
    weights: &Weights<'_>,
    feed_forward: impl Fn(&Sizes, usize) -> Result<Inner, Error>,
) -> Result<Loaded, Error> {
    let sizes = encoder::sizes(settings, weights)?;
    let heads = Heads::new(sizes.heads, sizes.head_dim(settings.path())?);
    let rotary = encoder::rotary(settings, "rope.freq_base", &heads, sizes.positions)?;
    let attention = |layer: usize| {
        let projection = weights.query_key_value(layer, sizes.hidden, &heads)?;
        Ok(Attention::new(projection, &heads, None))
    };
    let encoder =
        Encoder::load(settings, weights, &sizes, Some(rotary), attention, |layer| feed_forward(&sizes, layer))?;
    Ok(Loaded::encoder(encoder, sizes, None))
}

pub(crate) fn gguf_name(name: &str) -> HfName {
    const TABLES: &[(&str, &str)] = &[
        ("embeddings.word_embeddings", "token_embd"),
        ("embeddings.token_type_embeddings", "token_types"),
        ("emb_ln", "token_embd_norm"),
    ];
    const LAYER: &[(&str, &str)] = &[
        ("attn.Wqkv", "attn_qkv"),
        ("attn.out_proj", "attn_output"),
        ("norm1", "attn_output_norm"),
        ("norm2", "layer_output_norm"),
        // With a gate
        ("mlp.fc11", "ffn_up"),
        ("mlp.fc12", "ffn_gate"),
        ("mlp.fc2", "ffn_down"),
        // Without
        ("mlp.fc1", "ffn_up"),
        ("mlp.router.layer", "ffn_gate_inp"),
    ];
    const EXPERTS: &[(&str, &str)] = &[
        ("mlp.experts.mlp.w1", "ffn_up_exps.weight"),
        ("mlp.experts.mlp.w2", "ffn_down_exps.weight"),
        ("mlp.experts.bias", SHARED_BIAS),
    ];
    let name = ["bert.", "nomic_bert."].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    // What predicted words in training.
    if name.starts_with("cls.") {
        return HfName::Unused;
    }
    if let Some((layer, part)) = layer_and_part(name, &["encoder.layers."])
        && let Some(gguf) = find(EXPERTS, part)
    {
        return HfName::Gguf(format!("blk.{layer}.{gguf}"));
    }
    match renamed(name, TABLES, "encoder.layers.", LAYER) {
        HfName::Unknown => transformers_names::gguf_name(name),
        known => known,
    }
}
