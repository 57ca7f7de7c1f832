//! `JinaBERT` (Günther et al., arXiv:2310.19923): a BERT that takes distance into account by what it takes off the scores (`ALiBi`).
//!
//! jina-embeddings-v2 in all languages, for code, and the jina rerankers v1. The forward pass is that of [`encoder`] with
//!
//! ```text
//! scores of head h = q k^T / sqrt(d) - slope_h |i - j|
//! feed_forward(x) = W_down (gelu(W_gate x) * W_up x) + b
//! score = W_out tanh(W x_first + b) + b_out
//! ```
//!
//! The model for code also normalises queries and keys, all heads together, and adds the input of a layer once more:
//! `x = LN(x + LN(x + W_o attention(x)))`. Gate and projection up are one matrix, in the model for code with the projection first;
//! files say nothing about it, so it is told by the second norm. (llama.cpp takes the first half for the gate there too, and gives other vectors
//! for this one model than its authors' code.)
//!
//! llama.cpp's converter leaves the dense layer of the score out: of such a file the score is `W_out x_first + b_out`.

use docent_kernels::{Activation, Heads, Pooling};

use super::{Architecture, Loaded, bert, find, layer_and_part};
use crate::Error;
use crate::blocks::encoder::{self, Encoder, Inner};
use crate::blocks::{Attention, FeedForward, Gate, QueryKeyNorm};
use crate::head::{Head, ScoreKind, Scorer, Step};
use crate::settings::{ACTIVATIONS, HfConfig, Settings, Translation, Unwritten, activation};
use crate::source::HfName;
use crate::weights::Weights;

pub(crate) const ARCHITECTURE: Architecture =
    Architecture { name: "jina-bert-v2", recognises, translate, gguf_name, load };

/// What `ALiBi`'s authors divide among the heads; no model has another.
const MAX_BIAS: f32 = 8.0;

fn recognises(config: &HfConfig<'_>) -> Result<bool, Error> {
    let bert = matches!(config.model_type()?, Some("bert" | "jina_bert" | "jina-bert-v2"));
    Ok(bert && config.string(&["position_embedding_type"])? == Some("alibi"))
}

fn translate(to: &mut Translation<'_>) -> Result<(), Error> {
    let config = to.config;
    to.size("block_count", &["num_hidden_layers"])?;
    to.size("context_length", &["max_position_embeddings"])?;
    to.size("embedding_length", &["hidden_size"])?;
    to.size("feed_forward_length", &["intermediate_size"])?;
    to.size("attention.head_count", &["num_attention_heads"])?;
    to.float_or("attention.layer_norm_epsilon", &["layer_norm_eps"], 1e-12)?;
    to.set_bool("attention.causal", "is_decoder", config.bool("is_decoder")?.unwrap_or(false));
    let field = "feed_forward_type";
    let name = match config.string(&[field])?.unwrap_or("original") {
        "geglu" => "gelu",
        "reglu" => "relu",
        "original" => {
            let name = config.string(&["hidden_act"])?.unwrap_or("gelu");
            if activation(name).is_none() {
                return Err(config.error("hidden_act", ACTIVATIONS, format!("{name:?}")));
            }
            name
        }
        found => return Err(config.error(field, "\"original\", \"geglu\" or \"reglu\"", format!("{found:?}"))),
    };
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
    let heads = Heads::new(sizes.heads, sizes.head_dim(settings.path())?).with_alibi(MAX_BIAS);
    let epsilon = settings.epsilon("attention.layer_norm_epsilon")?;
    let activation = settings.activation(HIDDEN_ACTIVATION, Activation::Gelu)?;
    let attention = |layer: usize| {
        let norm = |part: &str| weights.norm_if_present(&format!("blk.{layer}.{part}"), hidden, epsilon);
        let norm = match (norm("attn_q_norm")?, norm("attn_k_norm")?) {
            (Some(query), Some(key)) => Some(QueryKeyNorm::LayerNorm { query, key }),
            (None, None) => None,
            // Says which of the two is missing.
            (Some(_), None) => weights.norm(&format!("blk.{layer}.attn_k_norm"), hidden, epsilon).map(|_| None)?,
            (None, Some(_)) => weights.norm(&format!("blk.{layer}.attn_q_norm"), hidden, epsilon).map(|_| None)?,
        };
        Ok(Attention::new(weights.query_key_value(layer, hidden, &heads)?, &heads, norm))
    };
    let feed_forward = |layer: usize| {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let up = name("ffn_up");
        if weights.has(&name("ffn_gate.weight")) {
            return FeedForward::gated(weights, layer, (hidden, inner), activation).map(Inner::FeedForward);
        }
        if weights.rows(&format!("{up}.weight"), hidden)? != inner {
            let gate = if weights.has(&name("attn_norm_2.weight")) { Gate::Second } else { Gate::First };
            let block = FeedForward::gated_in_one(weights, layer, (hidden, inner), gate, activation)?;
            return Ok(Inner::FeedForward(block));
        }
        Ok(Inner::FeedForward(FeedForward::Plain {
            up: weights.adapted(&up, hidden, inner)?,
            down: weights.adapted(&name("ffn_down"), inner, hidden)?,
            activation,
        }))
    };
    let encoder = Encoder::load(settings, weights, &sizes, None, attention, feed_forward)?;
    let scorer = match scorer_of_old_files(weights, hidden)? {
        Some(scorer) => Some(scorer),
        None => encoder::scorer(weights, hidden, Activation::Tanh)?,
    };
    Ok(Loaded::encoder(encoder, sizes, scorer))
}

/// Files of the first converters have the outermost layer of a reranker under the name of the dense one.
fn scorer_of_old_files(weights: &Weights<'_>, hidden: usize) -> Result<Option<Scorer>, Error> {
    if weights.has("cls.output.weight") || !weights.has("cls.weight") || weights.rows("cls.weight", hidden)? != 1 {
        return Ok(None);
    }
    let head = Head { steps: vec![Step::Linear(weights.linear("cls", hidden, 1)?, None)] };
    Ok(Some(Scorer { tokens: Head::default(), pooling: Pooling::Cls, head, kind: ScoreKind::Logit }))
}

pub(crate) fn gguf_name(name: &str) -> HfName {
    const LAYER: &[(&str, &str)] = &[
        ("mlp.gated_layers", "ffn_up"),
        ("mlp.wo", "ffn_down"),
        ("mlp.layernorm", "layer_output_norm"),
        // The model for code
        ("attention.self.layer_norm_q", "attn_q_norm"),
        ("attention.self.layer_norm_k", "attn_k_norm"),
        ("layer_norm_1", "attn_norm_2"),
        ("mlp.up_gated_layer", "ffn_up"),
        ("mlp.down_layer", "ffn_down"),
        ("layer_norm_2", "layer_output_norm"),
    ];
    let short = name.strip_prefix("bert.").unwrap_or(name);
    let own = short.rsplit_once('.').filter(|(_, kind)| ["weight", "bias"].contains(kind)).and_then(|(stem, kind)| {
        let (layer, part) = layer_and_part(stem, &["encoder.layer."])?;
        Some(format!("blk.{layer}.{}.{kind}", find(LAYER, part)?))
    });
    own.map_or_else(|| bert::gguf_name(name), HfName::Gguf)
}
