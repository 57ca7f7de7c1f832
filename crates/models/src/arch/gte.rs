//! The encoder of mGTE (Zhang et al., arXiv:2407.19669): a BERT with rotary positions and a gate.
//!
//! gte-multilingual, gte-en v1.5, their rerankers and arctic-embed-m v2.0, all of `model_type` "new" or, as transformers has it, "gte". The forward pass is that of
//! [`encoder`] with
//!
//! ```text
//! feed_forward(x) = W_down (W_up x * gelu(W_gate x)) + b
//! score = W_out tanh(W x_first + b) + b_out
//! ```
//!
//! GGUF has no name for this architecture; files with ours, `gte-new`, are read by Docent alone.

use docent_kernels::{Activation, Heads};

use super::{Architecture, Loaded, renamed, transformers_names};
use crate::Error;
use crate::blocks::encoder::{self, Encoder, Inner};
use crate::blocks::{Attention, FeedForward, Gate, position};
use crate::settings::{ACTIVATIONS, HfConfig, Settings, Translation, activation};
use crate::source::HfName;
use crate::weights::Weights;

pub(crate) const ARCHITECTURE: Architecture = Architecture { name: "gte-new", recognises, translate, gguf_name, load };

fn recognises(config: &HfConfig<'_>) -> Result<bool, Error> {
    let named = matches!(config.model_type()?, Some("new" | "gte"));
    Ok(named)
}

fn translate(to: &mut Translation<'_>) -> Result<(), Error> {
    let config = to.config;
    to.size("block_count", &["num_hidden_layers"])?;
    to.size("context_length", &["max_position_embeddings"])?;
    let hidden = to.size("embedding_length", &["hidden_size"])?;
    to.size("feed_forward_length", &["intermediate_size"])?;
    let heads = to.size("attention.head_count", &["num_attention_heads"])?;
    to.float_or("attention.layer_norm_epsilon", &["layer_norm_eps"], 1e-12)?;
    for (field, expected) in [("position_embedding_type", "rope"), ("layer_norm_type", "layer_norm")] {
        if let Some(found) = config.string(&[field])?.filter(|&found| found != expected) {
            return Err(config.error(field, &format!("{expected:?}"), format!("{found:?}")));
        }
    }
    for field in ["logn_attention_scale", "is_decoder"] {
        if config.bool(field)?.unwrap_or(false) {
            return Err(config.error(field, "false", "true"));
        }
    }
    to.set_bool("attention.causal", "is_decoder", false);
    let field = "hidden_act";
    let name = config.string(&[field])?.unwrap_or("gelu");
    if activation(name).is_none() {
        return Err(config.error(field, ACTIVATIONS, format!("{name:?}")));
    }
    to.set_text(HIDDEN_ACTIVATION, field, name);
    rotary(to, hidden / heads.max(1))
}

/// Base and scaling. Of the latter there is one kind here, known as NTK (<https://kexue.fm/archives/9706>): a base so many times as
/// large, and all angles smaller by one factor, so that the slowest pair turns as if positions were divided by all of it.
fn rotary(to: &mut Translation<'_>, dims: usize) -> Result<(), Error> {
    let config = to.config;
    if config.has("rope_parameters") {
        // transformers has no NTK, but what other models have.
        return position::translate(to, &["rope_theta"], 160_000.0);
    }
    let base = config.float(&["rope_theta"])?.unwrap_or(10_000.0);
    let Some(scaling) = config.object("rope_scaling")? else {
        to.set_float("rope.freq_base", "rope_theta", base);
        return Ok(());
    };
    let ty = scaling.string(&["type", "rope_type"])?.unwrap_or_default();
    if ty != "ntk" || scaling.has("mixed_b") {
        return Err(config.error("rope_scaling", "the type \"ntk\", without mixed_b", format!("{ty:?}")));
    }
    let factor = scaling.float(&["factor"])?.unwrap_or(0.0);
    if !factor.is_finite() || factor < 1.0 {
        return Err(config.error("rope_scaling.factor", "a number from 1 on", factor));
    }
    to.set_float("rope.freq_base", "rope_theta", base * factor);
    to.set_text("rope.scaling.type", "rope_scaling.type", "linear");
    to.set_float("rope.scaling.factor", "rope_scaling.factor", factor.powf(2.0 / dims.max(1) as f64));
    Ok(())
}

const HIDDEN_ACTIVATION: &str = "hidden_activation";

fn load(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Loaded, Error> {
    let sizes = encoder::sizes(settings, weights)?;
    let heads = Heads::new(sizes.heads, sizes.head_dim(settings.path())?);
    let activation = settings.activation(HIDDEN_ACTIVATION, Activation::Gelu)?;
    let rotary = encoder::rotary(settings, "rope.freq_base", &heads, sizes.positions)?;
    let attention = |layer: usize| {
        let projection = weights.query_key_value(layer, sizes.hidden, &heads)?;
        Ok(Attention::new(projection, &heads, None))
    };
    let feed_forward = |layer: usize| {
        let shape = (sizes.hidden, sizes.feed_forward);
        let block = match weights.has(&format!("blk.{layer}.ffn_gate.weight")) {
            true => FeedForward::gated(weights, layer, shape, activation),
            false => FeedForward::gated_in_one(weights, layer, shape, Gate::Second, activation),
        };
        block.map(Inner::FeedForward)
    };
    let encoder = Encoder::load(settings, weights, &sizes, Some(rotary), attention, feed_forward)?;
    let scorer = encoder::scorer(weights, sizes.hidden, Activation::Tanh)?;
    Ok(Loaded::encoder(encoder, sizes, scorer))
}

pub(crate) fn gguf_name(name: &str) -> HfName {
    const TABLES: &[(&str, &str)] = &[
        ("embeddings.word_embeddings", "token_embd"),
        ("embeddings.token_type_embeddings", "token_types"),
        ("embeddings.LayerNorm", "token_embd_norm"),
        ("pooler.dense", "cls"),
        ("classifier", "cls.output"),
    ];
    const LAYER: &[(&str, &str)] = &[
        ("attention.qkv_proj", "attn_qkv"),
        ("attention.q_proj", "attn_q"),
        ("attention.k_proj", "attn_k"),
        ("attention.v_proj", "attn_v"),
        ("attention.o_proj", "attn_output"),
        ("attn_ln", "attn_output_norm"),
        ("mlp.up_gate_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("mlp_ln", "layer_output_norm"),
    ];
    // What predicted words in training, and buffers.
    const UNUSED: &[&str] = &["lm_head.", "embeddings.position_ids", "embeddings.rotary_emb."];
    let name = ["new.", "gte."].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    if UNUSED.iter().any(|unused| name.starts_with(unused)) {
        return HfName::Unused;
    }
    match renamed(name, TABLES, "encoder.layer.", LAYER) {
        HfName::Unknown => transformers_names::gguf_name(name),
        known => known,
    }
}
