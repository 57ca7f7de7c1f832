//! ModernBERT (Warner et al., arXiv:2412.13663): a pre-norm encoder that mostly attends to the neighbourhood of a token.
//!
//! gte-modernbert, the granite embedders of the second generation, ettin and their rerankers are such models.
//!
//! ```text
//! x = LN(token[id])
//! for each layer:
//!     x = x + W_o attention(W_qkv LN(x))
//!     x = x + W_down (gelu(W_gate h) * W_up h),   h = LN(x)
//! x = LN(x)
//! score = W_out LN(gelu(W pooled)) + b_out
//! ```
//!
//! Every third layer, from the first on, attends to the whole sequence, the others to a window around each token and with
//! positions that turn faster. The first layer has no norm before its attention: that of the embeddings comes just before it.

use std::path::Path;

use docent_kernels::{
    Activation, EmbeddingTable, Epilogue, Executor, Heads, Linear, Mask, Matrix, Norm, Pooling, Rotary,
};

use super::{Architecture, Loaded, Network, renamed};
use crate::Error;
use crate::blocks::{Attention, FeedForward, Gate, encoder, position};
use crate::head::{Head, ScoreKind, Scorer, Step};
use crate::pass::Pass;
use crate::settings::{ACTIVATIONS, HfConfig, Settings, Translation, Whole, activation};
use crate::source::HfName;
use crate::weights::Weights;

pub(crate) const ARCHITECTURE: Architecture =
    Architecture { name: "modern-bert", recognises, translate, gguf_name, load };

/// Layers from one that attends to the whole sequence to the next.
const PERIOD: usize = 3;

struct ModernBert {
    tokens: EmbeddingTable,
    embedding_norm: Norm,
    layers: Vec<Layer>,
    window: Mask,
    whole_rotary: Rotary,
    window_rotary: Rotary,
    output_norm: Norm,
}

struct Layer {
    in_window: bool,
    attention_norm: Option<Norm>,
    attention: Attention,
    attention_output: Linear,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
}

impl Network for ModernBert {
    fn forward(&self, executor: &mut Executor, pass: &mut Pass<'_>) -> Matrix {
        let mut x = executor.matrix(pass.batch.ids().len(), self.tokens.columns());
        executor.embed(&[(&self.tokens, pass.batch.ids())], &mut x);
        executor.layer_norm(&mut x, &self.embedding_norm);
        for (index, layer) in self.layers.iter().enumerate() {
            let rows = pass.rows_of(index, self.layers.len());
            let (mask, rotary) = match layer.in_window {
                true => (self.window, &self.window_rotary),
                false => (Mask::Full, &self.whole_rotary),
            };
            let h = normalised(executor, &x, layer.attention_norm.as_ref());
            let context = layer.attention.gather(executor, pass, (index, rows), &h, mask, Some(rotary));
            executor.recycle(h);
            x = pass.keep(executor, x, rows);
            executor.linear(&context, &layer.attention_output, Epilogue::Add, &mut x);
            executor.recycle(context);
            let h = normalised(executor, &x, Some(&layer.feed_forward_norm));
            layer.feed_forward.run(executor, pass.batch.task(), &h, Epilogue::Add, &mut x);
            executor.recycle(h);
        }
        executor.layer_norm(&mut x, &self.output_norm);
        x
    }

    fn bytes(&self) -> usize {
        let layer =
            |layer: &Layer| layer.attention.bytes() + layer.attention_output.bytes() + layer.feed_forward.bytes();
        self.layers.iter().map(layer).sum()
    }
}

/// A copy, normalised if there is a norm.
fn normalised(executor: &mut Executor, x: &Matrix, norm: Option<&Norm>) -> Matrix {
    let mut h = executor.matrix(x.rows(), x.columns());
    executor.copy(x, &mut h);
    if let Some(norm) = norm {
        executor.layer_norm(&mut h, norm);
    }
    h
}

fn recognises(config: &HfConfig<'_>) -> Result<bool, Error> {
    Ok(config.model_type()? == Some("modernbert"))
}

fn translate(to: &mut Translation<'_>) -> Result<(), Error> {
    let config = to.config;
    let layers = to.size("block_count", &["num_hidden_layers"])?;
    to.size("context_length", &["max_position_embeddings"])?;
    to.size("embedding_length", &["hidden_size"])?;
    to.size("feed_forward_length", &["intermediate_size"])?;
    to.size("attention.head_count", &["num_attention_heads"])?;
    to.float_or("attention.layer_norm_epsilon", &["norm_eps", "layer_norm_eps"], 1e-5)?;
    to.set_bool("attention.causal", "is_decoder", config.bool("is_decoder")?.unwrap_or(false));
    to.size_or("attention.sliding_window", &["local_attention"], 128)?;
    match to.layers_in_window(layers)? {
        Some(in_window) => {
            to.set_bools("attention.sliding_window_pattern", "layer_types", in_window);
        }
        None => {
            to.size_or("attention.sliding_window_pattern", &["global_attn_every_n_layers"], PERIOD)?;
        }
    }
    rotary_bases(to)?;
    for (key, field) in [(HIDDEN_ACTIVATION, "hidden_activation"), (CLASSIFIER_ACTIVATION, "classifier_activation")] {
        let name = config.string(&[field])?.unwrap_or("gelu");
        if activation(name).is_none() {
            return Err(config.error(field, ACTIVATIONS, format!("{name:?}")));
        }
        to.set_text(key, field, name);
    }
    let field = "classifier_pooling";
    let pooling = match config.string(&[field])?.unwrap_or("cls") {
        "mean" => MEAN,
        "cls" => CLS,
        found => return Err(config.error(field, "\"mean\" or \"cls\"", format!("{found:?}"))),
    };
    to.set_size(CLASSIFIER_POOLING, field, pooling)
}

/// The settings of a head that is kept as modules of sentence-transformers, listed in `file`: the rerankers of the ettin family.
pub(crate) fn translate_modules(
    to: &mut Translation<'_>,
    file: &Path,
    architecture: &str,
    (pooling, activation): (Option<Pooling>, &str),
) -> Result<(), Error> {
    if architecture != ARCHITECTURE.name {
        let expected = format!("no scoring head for the architecture {architecture}");
        return Err(Error::config(file, "type", expected, "a Dense module with an activation"));
    }
    let pooling = match pooling {
        Some(Pooling::Mean) => MEAN,
        Some(Pooling::Cls) => CLS,
        found => return Err(Error::config(file, "pooling", "cls or mean before a head", format!("{found:?}"))),
    };
    to.set_text(CLASSIFIER_ACTIVATION, "activation_function", activation);
    to.set_size(CLASSIFIER_POOLING, "pooling_mode", pooling)
}

/// The bases of both kinds of layers.
fn rotary_bases(to: &mut Translation<'_>) -> Result<(), Error> {
    let whole = to.float_or("rope.freq_base", &["global_rope_theta"], 160_000.0)?;
    // Models whose layers all turn alike leave it out.
    to.float_or("rope.freq_base_swa", &["local_rope_theta"], whole)?;
    position::translate_kinds(to, false)
}

/// How the states of a sequence become what a classifier reads, in the numbers of `pooling_type`.
const CLASSIFIER_POOLING: &str = "classifier.pooling_type";
const MEAN: usize = 1;
const CLS: usize = 2;
const HIDDEN_ACTIVATION: &str = "hidden_activation";
/// GGUF has no key for it.
const CLASSIFIER_ACTIVATION: &str = "classifier.activation";

fn load(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Loaded, Error> {
    let sizes = encoder::sizes(settings, weights)?;
    let hidden = sizes.hidden;
    let heads = Heads::new(sizes.heads, sizes.head_dim(settings.path())?);
    let epsilon = settings.epsilon("attention.layer_norm_epsilon")?;
    let activation = settings.activation(HIDDEN_ACTIVATION, Activation::Gelu)?;
    let (window, in_window) = windows(settings, sizes.layers)?;
    let layer = |index: usize| -> Result<Layer, Error> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let attention_norm = name("attn_norm");
        Ok(Layer {
            in_window: in_window[index],
            attention_norm: match index {
                0 => weights.norm_if_present(&attention_norm, hidden, epsilon)?,
                _ => Some(weights.norm(&attention_norm, hidden, epsilon)?),
            },
            attention: Attention::new(weights.query_key_value(index, hidden, &heads)?, &heads, None),
            attention_output: weights.linear(&name("attn_output"), hidden, hidden)?,
            feed_forward_norm: weights.norm(&name("ffn_norm"), hidden, epsilon)?,
            feed_forward: FeedForward::gated_in_one(
                weights,
                index,
                (hidden, sizes.feed_forward),
                Gate::First,
                activation,
            )?,
        })
    };
    let modern_bert = ModernBert {
        tokens: weights.embedding("token_embd.weight", sizes.vocabulary, hidden)?,
        embedding_norm: weights.norm("token_embd_norm", hidden, epsilon)?,
        layers: (0..sizes.layers).map(layer).collect::<Result<_, _>>()?,
        window,
        whole_rotary: encoder::rotary(settings, "rope.freq_base", &heads, sizes.positions)?,
        window_rotary: encoder::rotary(settings, "rope.freq_base_swa", &heads, sizes.positions)?,
        output_norm: weights.norm("output_norm", hidden, epsilon)?,
    };
    let scorer = scorer(settings, weights, (hidden, epsilon))?;
    Ok(Loaded::encoder(modern_bert, sizes, scorer))
}

/// What a layer with a window sees, and which layers have one.
fn windows(settings: &Settings<'_>, layers: usize) -> Result<(Mask, Vec<bool>), Error> {
    let key = "attention.sliding_window";
    match settings.optional_size(key)? {
        None => Ok((Mask::Full, vec![false; layers])),
        Some(0) => Err(settings.error(key, "at least 1", 0)),
        Some(window) => {
            let half = window / 2;
            Ok((Mask::Window { left: half, right: half }, settings.window_layers(layers, PERIOD, Whole::First)?))
        }
    }
}

/// The head of a reranker, if there is one with a single output.
fn scorer(
    settings: &Settings<'_>,
    weights: &Weights<'_>,
    (hidden, epsilon): (usize, f32),
) -> Result<Option<Scorer>, Error> {
    if !weights.has("cls.output.weight") || weights.rows("cls.output.weight", hidden)? != 1 {
        // What predicted words in training has the same first layers; more outputs than one do not tell relevance.
        ["cls", "cls.norm", "cls.output"].into_iter().for_each(|stem| weights.pass_over(stem));
        return Ok(None);
    }
    let pooling = match settings.optional_size(CLASSIFIER_POOLING)? {
        // As llama.cpp has it for files from before there was the key.
        None | Some(MEAN) => Pooling::Mean,
        Some(CLS) => Pooling::Cls,
        Some(found) => return Err(settings.error(CLASSIFIER_POOLING, "1 (mean) or 2 (first token)", found)),
    };
    let mut head = Head::default();
    if weights.has("cls.weight") {
        let activation = settings.activation(CLASSIFIER_ACTIVATION, Activation::Gelu)?;
        head.steps.push(Step::Linear(weights.linear("cls", hidden, hidden)?, Some(activation)));
    }
    head.steps.extend(weights.norm_if_present("cls.norm", hidden, epsilon)?.map(Step::LayerNorm));
    head.steps.push(Step::Linear(weights.linear("cls.output", hidden, 1)?, None));
    Ok(Some(Scorer { tokens: Head::default(), pooling, head, kind: ScoreKind::Logit }))
}

pub(crate) fn gguf_name(name: &str) -> HfName {
    const TABLES: &[(&str, &str)] = &[
        ("embeddings.tok_embeddings", "token_embd"),
        ("embeddings.norm", "token_embd_norm"),
        ("final_norm", "output_norm"),
        ("head.dense", "cls"),
        ("head.norm", "cls.norm"),
        ("classifier", "cls.output"),
    ];
    const LAYER: &[(&str, &str)] = &[
        ("attn_norm", "attn_norm"),
        ("attn.Wqkv", "attn_qkv"),
        ("attn.Wo", "attn_output"),
        ("mlp_norm", "ffn_norm"),
        ("mlp.Wi", "ffn_up"),
        ("mlp.Wo", "ffn_down"),
    ];
    let name = name.strip_prefix("model.").unwrap_or(name);
    if name.starts_with("decoder.") {
        // What predicted words in training.
        return HfName::Unused;
    }
    renamed(name, TABLES, "layers.", LAYER)
}
