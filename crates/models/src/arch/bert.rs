//! BERT: a post-norm bidirectional encoder (Devlin et al., arXiv:1810.04805).
//!
//! bge, all-MiniLM, e5, gte (thenlper), mxbai-embed, arctic-embed and many more are BERTs; DistilBERT (Sanh et al.,
//! arXiv:1910.01108) is one without segments.
//!
//! ```text
//! x = LN(token[id] + position[p] + segment[0])
//! for each layer:
//!     x = LN(x + W_o attention(W_q x + b_q, W_k x + b_k, W_v x + b_v) + b_o)
//!     x = LN(x + W_down gelu(W_up x + b_up) + b_down)
//! ```

use std::path::Path;

use docent_gguf::Metadata;
use docent_kernels::{
    Activation, EmbeddingTable, Epilogue, Executor, Heads, Linear, Mask, Matrix, Norm, Queries, Rows,
};

use super::{Architecture, HfConfig, Loaded, Network, Sizes};
use crate::source::HfName;
use crate::weights::Weights;
use crate::{Batch, Error};

pub(crate) const ARCHITECTURE: Architecture =
    Architecture { name: "bert", hf_model_types: &["bert", "distilbert"], gguf_name, load_gguf, load_hf };

struct Config {
    sizes: Sizes,
    epsilon: f32,
    activation: Activation,
}

struct Bert {
    tokens: EmbeddingTable,
    positions: EmbeddingTable,
    segments: Option<EmbeddingTable>,
    embedding_norm: Norm,
    layers: Vec<Layer>,
    heads: Heads,
    activation: Activation,
}

struct Layer {
    query_key_value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    output_norm: Norm,
}

impl Network for Bert {
    fn forward(&self, executor: &mut Executor, batch: &Batch, rows: Rows) -> Matrix {
        let (tokens, width) = (batch.ids().len(), self.tokens.columns());
        let mut x = executor.matrix(tokens, width);

        // A text on its own is segment 0 throughout.
        let segment = vec![0; tokens];
        let mut embeddings = vec![(&self.tokens, batch.ids()), (&self.positions, batch.positions())];
        embeddings.extend(self.segments.as_ref().map(|table| (table, &segment[..])));
        executor.embed(&embeddings, &mut x);
        executor.layer_norm(&mut x, &self.embedding_norm);

        for (index, layer) in self.layers.iter().enumerate() {
            // Every token is read by the next layer, and of the last by whoever asked.
            let rows = if index + 1 == self.layers.len() { rows } else { Rows::All };
            let context;
            (x, context) = self.attend(executor, layer, batch, rows, x);
            executor.linear(&context, &layer.attention_output, Epilogue::Add, &mut x);
            executor.recycle(context);
            executor.layer_norm(&mut x, &layer.attention_norm);
            let mut inner = executor.matrix(x.rows(), layer.up.outputs());
            executor.linear(&x, &layer.up, Epilogue::Activate(self.activation), &mut inner);
            executor.linear(&inner, &layer.down, Epilogue::Add, &mut x);
            executor.recycle(inner);
            executor.layer_norm(&mut x, &layer.output_norm);
        }
        x
    }

    fn bytes(&self) -> usize {
        let layer = |layer: &Layer| {
            let Layer { query_key_value, attention_output, up, down, .. } = layer;
            [query_key_value, attention_output, up, down].into_iter().map(Linear::bytes).sum::<usize>()
        };
        self.layers.iter().map(layer).sum()
    }
}

impl Bert {
    /// The rows that are wanted, and what their tokens gather from all tokens of their sequence.
    fn attend(&self, executor: &mut Executor, layer: &Layer, batch: &Batch, rows: Rows, x: Matrix) -> (Matrix, Matrix) {
        let (projection, heads) = (&layer.query_key_value, &self.heads);
        let mut query_key_value = executor.matrix(x.rows(), projection.outputs());
        let mut context = executor.matrix(rows.count(batch.sequences()), x.columns());
        let x = if rows == Rows::All {
            executor.linear(&x, projection, Epilogue::Assign, &mut query_key_value);
            executor.attention(&query_key_value, batch.sequences(), heads, Mask::Full, &mut context);
            x
        } else {
            // Keys and values of all tokens, but queries of those alone.
            executor.linear_columns(&x, projection, heads.keys_and_values(), Epilogue::Assign, &mut query_key_value);
            let mut wanted = executor.matrix(context.rows(), x.columns());
            executor.gather(&x, batch.sequences(), rows, &mut wanted);
            executor.recycle(x);
            let mut queries = executor.matrix(wanted.rows(), projection.outputs());
            executor.linear_columns(&wanted, projection, heads.queries(), Epilogue::Assign, &mut queries);
            let of = Queries { matrix: &queries, rows };
            executor.attention_of(of, &query_key_value, batch.sequences(), heads, Mask::Full, &mut context);
            executor.recycle(queries);
            wanted
        };
        executor.recycle(query_key_value);
        (x, context)
    }
}

fn load_gguf(metadata: Metadata<'_>, path: &Path, weights: &Weights<'_>) -> Result<Loaded, Error> {
    let size = |key: &str| metadata.require_u32(&format!("bert.{key}")).map(|value| value as usize);
    let hidden = size("embedding_length")?;
    let sizes = Sizes {
        layers: size("block_count")?,
        hidden,
        heads: size("attention.head_count")?,
        feed_forward: size("feed_forward_length")?,
        vocabulary: weights.rows("token_embd.weight", hidden)?,
        positions: size("context_length")?,
    };
    if metadata.bool("bert.attention.causal")?.unwrap_or(false) {
        return Err(Error::config(path, "bert.attention.causal", "false", "true"));
    }
    let key = "bert.attention.layer_norm_epsilon";
    let epsilon = check_epsilon(path, key, metadata.require_f32(key)?.into())?;
    // GGUF has no key for it; every published BERT embedder uses the exact form.
    load(&Config { sizes, epsilon, activation: Activation::Gelu }, path, weights)
}

fn load_hf(config: &HfConfig<'_>, weights: &Weights<'_>) -> Result<Loaded, Error> {
    if let Some(found) = config.string(&["position_embedding_type"])?.filter(|&ty| ty != "absolute") {
        return Err(config.error("position_embedding_type", "\"absolute\"", format!("{found:?}")));
    }
    let key = "hidden_act";
    let activation = match config.string(&[key, "activation"])?.unwrap_or("gelu") {
        "gelu" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        found => {
            let expected = "gelu, gelu_new, gelu_pytorch_tanh or relu";
            return Err(config.error(key, expected, format!("{found:?}")));
        }
    };
    let hidden = config.size(&["hidden_size", "dim"])?;
    let sizes = Sizes {
        layers: config.size(&["num_hidden_layers", "n_layers"])?,
        hidden,
        heads: config.size(&["num_attention_heads", "n_heads"])?,
        feed_forward: config.size(&["intermediate_size", "hidden_dim"])?,
        vocabulary: weights.rows("token_embd.weight", hidden)?,
        positions: config.size(&["max_position_embeddings"])?,
    };
    // DistilBERT has no field for it and fixes this value in its code, BERT has it as the default.
    let key = "layer_norm_eps";
    let epsilon = check_epsilon(config.path, key, config.float(&[key])?.unwrap_or(1e-12))?;
    load(&Config { sizes, epsilon, activation }, config.path, weights)
}

fn check_epsilon(path: &Path, key: &str, epsilon: f64) -> Result<f32, Error> {
    let single = epsilon as f32;
    if (f32::MIN_POSITIVE..1.0).contains(&single) {
        return Ok(single);
    }
    Err(Error::config(path, key, "a number between 0 and 1", epsilon.to_string()))
}

fn load(config: &Config, path: &Path, weights: &Weights<'_>) -> Result<Loaded, Error> {
    let &Config { sizes, epsilon, activation } = config;
    sizes.check(path)?;
    let Sizes { hidden, feed_forward, .. } = sizes;
    let layer = |index: usize| -> Result<Layer, Error> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let query_key_value = if weights.has(&name("attn_qkv.weight")) {
            weights.linear(&name("attn_qkv"), hidden, 3 * hidden)?
        } else {
            let stems = ["attn_q", "attn_k", "attn_v"].map(name);
            weights.stacked_linear(&stems.each_ref().map(|stem| (stem.as_str(), hidden)), hidden)?
        };
        Ok(Layer {
            query_key_value,
            attention_output: weights.linear(&name("attn_output"), hidden, hidden)?,
            attention_norm: weights.norm(&name("attn_output_norm"), hidden, epsilon)?,
            up: weights.linear(&name("ffn_up"), hidden, feed_forward)?,
            down: weights.linear(&name("ffn_down"), feed_forward, hidden)?,
            output_norm: weights.norm(&name("layer_output_norm"), hidden, epsilon)?,
        })
    };
    let segments = match weights.has("token_types.weight") {
        true => {
            let rows = weights.rows("token_types.weight", hidden)?;
            Some(weights.embedding("token_types.weight", rows, hidden)?)
        }
        false => None,
    };
    let bert = Bert {
        tokens: weights.embedding("token_embd.weight", sizes.vocabulary, hidden)?,
        positions: weights.embedding("position_embd.weight", sizes.positions, hidden)?,
        segments,
        embedding_norm: weights.norm("token_embd_norm", hidden, epsilon)?,
        layers: (0..sizes.layers).map(layer).collect::<Result<_, _>>()?,
        heads: Heads::new(sizes.heads, hidden / sizes.heads),
        activation,
    };
    Ok((Box::new(bert), sizes))
}

/// The GGUF name of a tensor of a BERT or DistilBERT checkpoint: with or without the prefix of the model class, and with
/// the `gamma` and `beta` of TensorFlow's day for a norm's weight and bias.
pub(crate) fn gguf_name(name: &str) -> HfName {
    const TABLES: &[(&str, &str)] = &[
        ("embeddings.word_embeddings", "token_embd"),
        ("embeddings.position_embeddings", "position_embd"),
        ("embeddings.token_type_embeddings", "token_types"),
        ("embeddings.LayerNorm", "token_embd_norm"),
    ];
    const LAYER: &[(&str, &str)] = &[
        ("attention.self.query", "attn_q"),
        ("attention.self.key", "attn_k"),
        ("attention.self.value", "attn_v"),
        ("attention.output.dense", "attn_output"),
        ("attention.output.LayerNorm", "attn_output_norm"),
        ("intermediate.dense", "ffn_up"),
        ("output.dense", "ffn_down"),
        ("output.LayerNorm", "layer_output_norm"),
        // DistilBERT
        ("attention.q_lin", "attn_q"),
        ("attention.k_lin", "attn_k"),
        ("attention.v_lin", "attn_v"),
        ("attention.out_lin", "attn_output"),
        ("sa_layer_norm", "attn_output_norm"),
        ("ffn.lin1", "ffn_up"),
        ("ffn.lin2", "ffn_down"),
        ("output_layer_norm", "layer_output_norm"),
    ];
    // Heads of pre-training, the pooler that only they and classifiers read, and a buffer.
    const UNUSED: &[&str] = &[
        "embeddings.position_ids",
        "pooler.",
        "cls.predictions.",
        "cls.seq_relationship.",
        "vocab_transform.",
        "vocab_layer_norm.",
        "vocab_projector.",
    ];
    let name = name.strip_prefix("bert.").or_else(|| name.strip_prefix("distilbert.")).unwrap_or(name);
    if UNUSED.iter().any(|unused| name.starts_with(unused)) {
        return HfName::Unused;
    }
    let Some((stem, kind)) = name.rsplit_once('.') else { return HfName::Unknown };
    let kind = match kind {
        "weight" | "gamma" => "weight",
        "bias" | "beta" => "bias",
        _ => return HfName::Unknown,
    };
    let find =
        |names: &[(&str, &'static str)], stem: &str| names.iter().find(|(hf, _)| *hf == stem).map(|&(_, gguf)| gguf);
    if let Some(gguf) = find(TABLES, stem) {
        return HfName::Gguf(format!("{gguf}.{kind}"));
    }
    let layer = stem.strip_prefix("encoder.layer.").or_else(|| stem.strip_prefix("transformer.layer."));
    match layer.and_then(|layer| layer.split_once('.')) {
        Some((index, part)) if index.parse::<u16>().is_ok_and(|layer| layer.to_string() == index) => {
            match find(LAYER, part) {
                Some(gguf) => HfName::Gguf(format!("blk.{index}.{gguf}.{kind}")),
                None => HfName::Unknown,
            }
        }
        _ => HfName::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_generation_are_known() {
        let gguf = |name: &str| HfName::Gguf(name.to_owned());
        for (hf, expected) in [
            ("embeddings.word_embeddings.weight", gguf("token_embd.weight")),
            ("bert.embeddings.LayerNorm.gamma", gguf("token_embd_norm.weight")),
            ("bert.encoder.layer.11.output.LayerNorm.beta", gguf("blk.11.layer_output_norm.bias")),
            ("encoder.layer.0.attention.self.query.bias", gguf("blk.0.attn_q.bias")),
            ("distilbert.transformer.layer.3.ffn.lin2.weight", gguf("blk.3.ffn_down.weight")),
            ("bert.pooler.dense.weight", HfName::Unused),
            ("embeddings.position_ids", HfName::Unused),
            ("encoder.layer.x.output.dense.weight", HfName::Unknown),
            ("classifier.weight", HfName::Unknown),
            ("weight", HfName::Unknown),
        ] {
            assert_eq!(gguf_name(hf), expected, "{hf}");
        }
    }
}
