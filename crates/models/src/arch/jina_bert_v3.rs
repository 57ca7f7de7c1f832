//! jina-embeddings-v3 (Sturua et al., arXiv:2409.10173): an XLM-R whose positions turn queries and keys.
//!
//! The forward pass is that of [`encoder`] with `feed_forward(x) = W_down gelu(W_up x + b) + b'`. Every linear layer, and the embeddings, have
//! low-rank adapters for tasks (retrieval.query, retrieval.passage, separation, classification, text-matching): a directory has them beside the
//! weights, llama.cpp's converter puts them into files of their own. A batch is run for a task, or without one as the base model.

use docent_kernels::{Activation, Heads};

use super::{Architecture, Loaded, find, layer_and_part, transformers_names};
use crate::Error;
use crate::blocks::encoder::{self, Encoder, Inner};
use crate::blocks::{Attention, FeedForward, position};
use crate::settings::{ACTIVATIONS, HfConfig, Settings, Translation, Unwritten, activation};
use crate::source::HfName;
use crate::weights::Weights;

pub(crate) const ARCHITECTURE: Architecture =
    Architecture { name: "jina-bert-v3", recognises, translate, gguf_name, load };

fn recognises(config: &HfConfig<'_>) -> Result<bool, Error> {
    match config.model_type()? {
        // What transformers calls it since version 5.
        Some("jina_embeddings_v3") => Ok(true),
        Some("xlm-roberta") => Ok(config.string(&["position_embedding_type"])? == Some("rotary")),
        _ => Ok(false),
    }
}

fn translate(to: &mut Translation<'_>) -> Result<(), Error> {
    let config = to.config;
    to.size("block_count", &["num_hidden_layers"])?;
    to.size("embedding_length", &["hidden_size"])?;
    to.size("feed_forward_length", &["intermediate_size"])?;
    to.size("attention.head_count", &["num_attention_heads"])?;
    to.float_or("attention.layer_norm_epsilon", &["layer_norm_eps"], 1e-5)?;
    position::translate(to, &["rotary_emb_base"], 10_000.0)?;
    to.set_bool("attention.causal", "is_decoder", config.bool("is_decoder")?.unwrap_or(false));
    // As RoBERTa counts: positions begin after that of the padding token.
    let field = "max_position_embeddings";
    let rows = config.size(&[field])?;
    let skipped = config.optional_size(&["pad_token_id"])?.unwrap_or(1).saturating_add(1);
    let positions = rows.checked_sub(skipped);
    to.set_size(
        "context_length",
        field,
        positions.ok_or_else(|| config.error(field, &format!("more than {skipped}"), rows))?,
    )?;
    let field = "hidden_act";
    let name = config.string(&[field])?.unwrap_or("gelu");
    if activation(name).is_none() {
        return Err(config.error(field, ACTIVATIONS, format!("{name:?}")));
    }
    to.set_text(HIDDEN_ACTIVATION, field, name);
    let effect = if name.starts_with("gelu") { Unwritten::Implied } else { Unwritten::Refused };
    to.leave_unwritten(HIDDEN_ACTIVATION, effect);
    Ok(())
}

/// GGUF has no key for it: every published model has the default.
const HIDDEN_ACTIVATION: &str = "hidden_activation";

fn load(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Loaded, Error> {
    let sizes = encoder::sizes(settings, weights)?;
    let (hidden, inner) = (sizes.hidden, sizes.feed_forward);
    let heads = Heads::new(sizes.heads, sizes.head_dim(settings.path())?);
    let activation = settings.activation(HIDDEN_ACTIVATION, Activation::Gelu)?;
    let rotary = encoder::rotary(settings, "rope.freq_base", &heads, sizes.positions)?;
    let attention = |layer: usize| {
        let projection = weights.query_key_value(layer, hidden, &heads)?;
        Ok(Attention::new(projection, &heads, None))
    };
    let feed_forward = |layer: usize| {
        Ok(Inner::FeedForward(FeedForward::Plain {
            up: weights.adapted(&format!("blk.{layer}.ffn_up"), hidden, inner)?,
            down: weights.adapted(&format!("blk.{layer}.ffn_down"), inner, hidden)?,
            activation,
        }))
    };
    let encoder = Encoder::load(settings, weights, &sizes, Some(rotary), attention, feed_forward)?;
    // A pooler that embeddings do without.
    weights.pass_over("cls");
    Ok(Loaded::encoder(encoder, sizes, None))
}

/// The name of the task whose adapter is in a folder of this name: the authors', which cannot all be names of adapters in PEFT.
pub(crate) fn task_of_folder(folder: &str) -> &str {
    match folder {
        "retrieval_query" => "retrieval.query",
        "retrieval_passage" => "retrieval.passage",
        "text_matching" => "text-matching",
        name => name,
    }
}

/// The parts of a layer of Jina's XLM-R, in whichever way positions are told.
pub(super) const LAYER: &[(&str, &str)] = &[
    ("mixer.Wqkv", "attn_qkv"),
    ("mixer.out_proj", "attn_output"),
    ("norm1", "attn_output_norm"),
    ("mlp.fc1", "ffn_up"),
    ("mlp.fc2", "ffn_down"),
    ("norm2", "layer_output_norm"),
];

pub(crate) fn gguf_name(name: &str) -> HfName {
    const TABLES: &[(&str, &str)] = &[
        ("embeddings.word_embeddings", "token_embd"),
        ("embeddings.token_type_embeddings", "token_types"),
        ("emb_ln", "token_embd_norm"),
        ("pooler.dense", "cls"),
    ];
    let name = name.strip_prefix("roberta.").unwrap_or(name);
    if name.starts_with("lm_head.") {
        return HfName::Unused;
    }
    let (stem, kind) = match name.split_once(".parametrizations.weight.") {
        // The pooler is of no use to embeddings.
        Some(("pooler.dense", "0.lora_A" | "0.lora_B")) => return HfName::Unused,
        // A weight with adapters beside it.
        Some((stem, "original")) => (stem, "weight"),
        // The authors' code exchanges the factors of embeddings. GGUF does that where it looks the first one up, with tokens alone.
        Some((stem @ "embeddings.token_type_embeddings", "0.lora_A")) => (stem, "weight.lora_b"),
        Some((stem @ "embeddings.token_type_embeddings", "0.lora_B")) => (stem, "weight.lora_a"),
        Some((stem, "0.lora_A")) => (stem, "weight.lora_a"),
        Some((stem, "0.lora_B")) => (stem, "weight.lora_b"),
        Some(_) => return HfName::Unknown,
        None => match name.rsplit_once('.') {
            Some((stem, kind @ ("weight" | "bias"))) => (stem, kind),
            _ => return HfName::Unknown,
        },
    };
    if let Some(gguf) = find(TABLES, stem) {
        return HfName::Gguf(format!("{gguf}.{kind}"));
    }
    match layer_and_part(stem, &["encoder.layers."]).and_then(|(index, part)| Some((index, find(LAYER, part)?))) {
        Some((index, gguf)) => HfName::Gguf(format!("blk.{index}.{gguf}.{kind}")),
        None => transformers_names::gguf_name(name),
    }
}
