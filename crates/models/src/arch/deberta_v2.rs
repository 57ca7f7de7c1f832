//! `DeBERTa` of the second and third version (He et al., arXiv:2006.03654, arXiv:2111.09543): a BERT whose attention tells distances.
//!
//! The rerankers mxbai-rerank v1 are such models. The forward pass is that of [`encoder`] with `feed_forward(x) = W_down gelu(W_up x + b) + b'`;
//! in its attention each score is a sum of three products,
//!
//! ```text
//! score(i, j) = (q_i . k_j + q_i . W_k e[b(i - j)] + W_q e[b(i - j)] . k_j) / sqrt(3 d)
//! score       = W_out gelu(W x_first + b) + b_out
//! ```
//!
//! where `e` are embeddings of distances, normalised, that all layers share, and `b` the bucket of a distance: near ones have one each, far ones
//! share it by their logarithm.
//!
//! GGUF has no name for this architecture; files with ours are read by Docent alone.

use docent_kernels::{Activation, Executor, Heads, Isa, Matrix};

use super::{Architecture, Loaded, Sizes, renamed};
use crate::Error;
use crate::blocks::encoder::{self, Encoder, Inner};
use crate::blocks::{Attention, FeedForward};
use crate::settings::{ACTIVATIONS, HfConfig, Settings, Translation, activation};
use crate::source::HfName;
use crate::weights::Weights;

pub(crate) const ARCHITECTURE: Architecture =
    Architecture { name: "deberta-v2", recognises, translate, gguf_name, load };

fn recognises(config: &HfConfig<'_>) -> Result<bool, Error> {
    Ok(config.model_type()? == Some("deberta-v2"))
}

/// The products of a score that tell the distance, beside the one that does not.
const PRODUCTS: f32 = 2.0;

fn translate(to: &mut Translation<'_>) -> Result<(), Error> {
    let config = to.config;
    to.size("block_count", &["num_hidden_layers"])?;
    let positions = to.size("context_length", &["max_position_embeddings"])?;
    let hidden = to.size("embedding_length", &["hidden_size"])?;
    to.size("feed_forward_length", &["intermediate_size"])?;
    to.size("attention.head_count", &["num_attention_heads"])?;
    to.float_or("attention.layer_norm_epsilon", &["layer_norm_eps"], 1e-7)?;
    to.set_bool("attention.causal", "is_decoder", false);
    for (field, expected) in [("relative_attention", true), ("share_att_key", true), ("position_biased_input", false)] {
        // What the field means where it is not there differs from what published models say.
        let default = if field == "position_biased_input" { !expected } else { false };
        let found = config.bool(field)?.unwrap_or(default);
        if found != expected {
            return Err(config.error(field, &expected.to_string(), found));
        }
    }
    let field = "pos_att_type";
    let mut kinds = match config.strings(field) {
        Ok(kinds) => kinds.unwrap_or_default(),
        // Older files have one string.
        Err(error) => config.string(&[field]).map_err(|_| error)?.unwrap_or_default().split('|').collect(),
    };
    kinds.sort_unstable();
    if kinds != ["c2p", "p2c"] {
        return Err(config.error(field, "\"c2p\" and \"p2c\"", format!("{kinds:?}")));
    }
    for (field, expected) in [("embedding_size", hidden), ("conv_kernel_size", 0)] {
        if let Some(found) = config.optional_size(&[field])?.filter(|&found| found != expected) {
            return Err(config.error(field, &expected.to_string(), found));
        }
    }
    distances(to, positions)?;
    for (key, field) in [(HIDDEN_ACTIVATION, "hidden_act"), (CLASSIFIER_ACTIVATION, "pooler_hidden_act")] {
        let name = config.string(&[field])?.unwrap_or("gelu");
        if activation(name).is_none() {
            return Err(config.error(field, ACTIVATIONS, format!("{name:?}")));
        }
        to.set_text(key, field, name);
    }
    Ok(())
}

/// The buckets to either side and the distance from which all share the last; -1 stands for what is usual.
fn distances(to: &mut Translation<'_>, positions: usize) -> Result<(), Error> {
    let number = |field: &str| {
        to.config.float(&[field]).map(|found| found.filter(|&found| found >= 1.0).map(|found| found as usize))
    };
    let farthest = number("max_relative_positions")?.unwrap_or(positions);
    let buckets = number("position_buckets")?.unwrap_or(0);
    to.set_size(FARTHEST, "max_relative_positions", farthest)?;
    to.set_size(BUCKETS, "position_buckets", buckets)
}

const BUCKETS: &str = "attention.relative_buckets_count";
const FARTHEST: &str = "attention.relative_distance_max";
const HIDDEN_ACTIVATION: &str = "hidden_activation";
const CLASSIFIER_ACTIVATION: &str = "classifier.activation";

/// How distances have rows of embeddings.
#[derive(Clone, Copy)]
struct Buckets {
    /// Rows for distances to one side; as many again for those to the other.
    span: usize,
    /// Buckets to one side, if far distances share them.
    logarithmic: Option<usize>,
    farthest: usize,
}

impl Buckets {
    fn read(settings: &Settings<'_>, sizes: &Sizes) -> Result<Self, Error> {
        // Far above any published model, and so low that what is kept of distances fits in memory.
        const MOST: usize = 1 << 12;
        const MOST_BYTES: usize = 1 << 30;
        if sizes.positions > MOST {
            return Err(settings.error("context_length", format!("at most {MOST}"), sizes.positions));
        }
        let farthest = settings.size(FARTHEST)?;
        let buckets = settings.optional_size(BUCKETS)?.unwrap_or(0);
        if !(2..=MOST).contains(&farthest) {
            return Err(settings.error(FARTHEST, format!("2 to {MOST}"), farthest));
        }
        // Half of them are for distances that have one each; the others reach up to the farthest.
        if buckets != 0 && (buckets < 4 || buckets / 2 + 1 >= farthest) {
            let expected = format!("0, or 4 to less than {}", 2 * (farthest - 1));
            return Err(settings.error(BUCKETS, expected, buckets));
        }
        let span = if buckets == 0 { farthest } else { buckets };
        // As keys and as queries, in every layer.
        let bytes = (2 * span * 2 * size_of::<f32>()).saturating_mul(sizes.hidden).saturating_mul(sizes.layers);
        if bytes > MOST_BYTES {
            let expected = format!("embeddings of distances that take up to {MOST_BYTES} bytes in all layers");
            return Err(settings.error(BUCKETS, expected, bytes));
        }
        Ok(Buckets { span, logarithmic: (buckets != 0).then_some(buckets), farthest })
    }

    /// The row of a distance.
    fn row_of(self, distance: i64) -> usize {
        let bucket = match self.logarithmic {
            Some(buckets) => logarithmic(distance, buckets, self.farthest),
            None => distance,
        };
        (bucket + self.span as i64).clamp(0, 2 * self.span as i64 - 1) as usize
    }
}

/// `make_log_bucket_position` of the authors' code, in the precision that it has there.
fn logarithmic(distance: i64, buckets: usize, farthest: usize) -> i64 {
    let middle = (buckets / 2) as i64;
    let magnitude = distance.abs();
    if magnitude <= middle {
        return distance;
    }
    let (near, last) = (middle as f32, (farthest - 1) as f32);
    let shared = ((magnitude as f32 / near).ln() / (last / near).ln() * (near - 1.0)).ceil() as i64;
    distance.signum() * (shared + middle)
}

fn load(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Loaded, Error> {
    let sizes = encoder::sizes(settings, weights)?;
    let (hidden, inner) = (sizes.hidden, sizes.feed_forward);
    let mut heads = Heads::new(sizes.heads, sizes.head_dim(settings.path())?);
    heads.scale /= (1.0 + PRODUCTS).sqrt();
    let activation = settings.activation(HIDDEN_ACTIVATION, Activation::Gelu)?;
    let buckets = Buckets::read(settings, &sizes)?;
    let mut executor = Executor::inline(Isa::best());
    let embeddings = embeddings(settings, weights, buckets, hidden, &mut executor)?;
    let executor = std::cell::RefCell::new(executor);
    let attention = |layer: usize| {
        let attention = Attention::new(weights.query_key_value(layer, hidden, &heads)?, &heads, None);
        // Values that were not read make no embeddings.
        if weights.checking() {
            return Ok(attention);
        }
        let row_of = |distance| buckets.row_of(distance);
        Ok(attention.with_distances(&mut executor.borrow_mut(), &embeddings, sizes.positions, row_of))
    };
    let feed_forward = |layer: usize| {
        Ok(Inner::FeedForward(FeedForward::Plain {
            up: weights.adapted(&format!("blk.{layer}.ffn_up"), hidden, inner)?,
            down: weights.adapted(&format!("blk.{layer}.ffn_down"), inner, hidden)?,
            activation,
        }))
    };
    let encoder = Encoder::load(settings, weights, &sizes, None, attention, feed_forward)?;
    let activation = settings.activation(CLASSIFIER_ACTIVATION, Activation::Gelu)?;
    let scorer = encoder::scorer(weights, hidden, activation)?;
    Ok(Loaded::encoder(encoder, sizes, scorer))
}

/// The embeddings of distances, normalised if the model does that.
fn embeddings(
    settings: &Settings<'_>,
    weights: &Weights<'_>,
    buckets: Buckets,
    hidden: usize,
    executor: &mut Executor,
) -> Result<Matrix, Error> {
    let rows = 2 * buckets.span;
    let table = weights.embedding("relative_embd.weight", rows, hidden)?;
    let epsilon = settings.epsilon("attention.layer_norm_epsilon")?;
    let norm = weights.norm_if_present("relative_embd_norm", hidden, epsilon)?;
    let mut embeddings = executor.matrix(rows, hidden);
    if !weights.checking() {
        executor.embed(&[(&table, &(0..rows as u32).collect::<Vec<_>>())], &mut embeddings);
    }
    if let Some(norm) = norm {
        executor.layer_norm(&mut embeddings, &norm);
    }
    Ok(embeddings)
}

pub(crate) fn gguf_name(name: &str) -> HfName {
    const TABLES: &[(&str, &str)] = &[
        ("embeddings.word_embeddings", "token_embd"),
        ("embeddings.token_type_embeddings", "token_types"),
        ("embeddings.LayerNorm", "token_embd_norm"),
        ("encoder.rel_embeddings", "relative_embd"),
        ("encoder.LayerNorm", "relative_embd_norm"),
        ("pooler.dense", "cls"),
        ("classifier", "cls.output"),
    ];
    const LAYER: &[(&str, &str)] = &[
        ("attention.self.query_proj", "attn_q"),
        ("attention.self.key_proj", "attn_k"),
        ("attention.self.value_proj", "attn_v"),
        ("attention.output.dense", "attn_output"),
        ("attention.output.LayerNorm", "attn_output_norm"),
        ("intermediate.dense", "ffn_up"),
        ("output.dense", "ffn_down"),
        ("output.LayerNorm", "layer_output_norm"),
    ];
    // What predicted words in training, and positions that are in use in the attention alone.
    const UNUSED: &[&str] = &[
        "lm_predictions.",
        "mask_predictions.",
        "cls.predictions.",
        "embeddings.position_ids",
        "embeddings.position_embeddings.",
    ];
    let name = name.strip_prefix("deberta.").unwrap_or(name);
    if UNUSED.iter().any(|unused| name.starts_with(unused)) {
        return HfName::Unused;
    }
    renamed(name, TABLES, "encoder.layer.", LAYER)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `make_log_bucket_position` of transformers 4.57 for 256 buckets and 512 positions, as the published models have them.
    #[test]
    fn far_distances_share_buckets_by_their_logarithm() {
        for (distance, expected) in
            [(0, 0), (1, 1), (-128, -128), (129, 129), (130, 130), (200, 169), (-300, -207), (511, 255), (5000, 465)]
        {
            assert_eq!(logarithmic(distance, 256, 512), expected, "{distance}");
        }
        let buckets = Buckets { span: 256, logarithmic: Some(256), farthest: 512 };
        assert_eq!([-511, 0, 511, 5000].map(|distance| buckets.row_of(distance)), [1, 256, 511, 511]);
    }
}
