//! BERT: a post-norm bidirectional encoder (Devlin et al., arXiv:1810.04805).
//!
//! bge, all-MiniLM, e5, gte (thenlper), mxbai-embed, arctic-embed and many more are BERTs; DistilBERT (Sanh et al.,
//! arXiv:1910.01108) is one without segments, ELECTRA (Clark et al., arXiv:2003.10555) one that was trained in another way. `RoBERTa` (Liu et al., arXiv:1907.11692) and XLM-R (Conneau et al., arXiv:1911.02116), hence
//! bge-m3, multilingual-e5 and the bge rerankers, are BERTs with another tokenizer, whose positions begin after that of the
//! padding token; GGUF leaves the rows before out.
//!
//! ```text
//! x = LN(token[id] + position[p] + segment[s])
//! for each layer:
//!     x = LN(x + W_o attention(W_q x + b_q, W_k x + b_k, W_v x + b_v) + b_o)
//!     x = LN(x + W_down gelu(W_up x + b_up) + b_down)
//! score = W_out tanh(W x_first + b) + b_out
//! ```
//!
//! The dense layer of the score is BERT's pooler and the first of `RoBERTa`'s two; in place of `tanh`, `DistilBERT` has `max(x, 0)` and
//! ELECTRA GELU. llama.cpp's converter leaves the pooler out: of such a file the score is `W_out x_first + b_out`, which orders documents in
//! much the same way but is not what was trained.

use docent_kernels::{Activation, EmbeddingTable, Epilogue, Executor, Heads, Linear, Mask, Matrix, Norm, Pooling};

use super::{Architecture, Loaded, Network, Sizes, find, jina_bert_v3, layer_and_part};
use crate::Error;
use crate::blocks::{Attention, FeedForward};
use crate::head::{Head, ScoreKind, Scorer, Step};
use crate::pass::Pass;
use crate::settings::{ACTIVATIONS, HfConfig, Settings, Translation, Unwritten, activation};
use crate::source::HfName;
use crate::weights::Weights;

pub(crate) const ARCHITECTURE: Architecture = Architecture { name: "bert", recognises, translate, gguf_name, load };

struct Bert {
    tokens: EmbeddingTable,
    positions: EmbeddingTable,
    segments: Option<EmbeddingTable>,
    embedding_norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    attention: Attention,
    attention_output: Linear,
    attention_norm: Norm,
    feed_forward: FeedForward,
    output_norm: Norm,
}

impl Network for Bert {
    fn forward(&self, executor: &mut Executor, pass: &mut Pass<'_>) -> Matrix {
        let batch = pass.batch;
        let mut x = executor.matrix(batch.ids().len(), self.tokens.columns());
        // A text on its own is segment 0 throughout.
        let segments = batch.segments(self.segments.as_ref().map_or(0, EmbeddingTable::rows));
        let mut embeddings = vec![(&self.tokens, batch.ids()), (&self.positions, batch.positions())];
        embeddings.extend(self.segments.as_ref().map(|table| (table, &segments[..])));
        executor.embed(&embeddings, &mut x);
        executor.layer_norm(&mut x, &self.embedding_norm);

        for (index, layer) in self.layers.iter().enumerate() {
            let rows = pass.rows_of(index, self.layers.len());
            let context = layer.attention.gather(executor, pass, (index, rows), &x, Mask::Full, None);
            x = pass.keep(executor, x, rows);
            executor.linear(&context, &layer.attention_output, Epilogue::Add, &mut x);
            executor.recycle(context);
            executor.layer_norm(&mut x, &layer.attention_norm);
            x = layer.feed_forward.residual(executor, batch.task(), x);
            executor.layer_norm(&mut x, &layer.output_norm);
        }
        x
    }

    fn bytes(&self) -> usize {
        let layer =
            |layer: &Layer| layer.attention.bytes() + layer.attention_output.bytes() + layer.feed_forward.bytes();
        self.layers.iter().map(layer).sum()
    }
}

/// The tokens and segments of RoBERTa models are BERT's, their positions begin at 1 after the padding token's id; so do `MPNet`'s.
const ROBERTA: [&str; 3] = ["roberta", "xlm-roberta", "camembert"];

fn recognises(config: &HfConfig<'_>) -> Result<bool, Error> {
    let model_type = config.model_type()?.unwrap_or_default();
    let absolute = config.string(&["position_embedding_type"])?.is_none_or(|ty| !["alibi", "rotary"].contains(&ty));
    Ok(absolute && (ROBERTA.contains(&model_type) || ["bert", "distilbert", "electra"].contains(&model_type)))
}

pub(super) fn translate(to: &mut Translation<'_>) -> Result<(), Error> {
    let config = to.config;
    if let Some(found) = config.string(&["position_embedding_type"])?.filter(|&ty| ty != "absolute") {
        return Err(config.error("position_embedding_type", "\"absolute\"", format!("{found:?}")));
    }
    let model_type = config.model_type()?.unwrap_or_default();
    to.size("block_count", &["num_hidden_layers", "n_layers"])?;
    to.size("embedding_length", &["hidden_size", "dim"])?;
    to.size("feed_forward_length", &["intermediate_size", "hidden_dim"])?;
    to.size("attention.head_count", &["num_attention_heads", "n_heads"])?;
    // DistilBERT has no field for it and fixes this value in its code, BERT has it as the default.
    to.float_or("attention.layer_norm_epsilon", &["layer_norm_eps"], 1e-12)?;
    to.set_bool("attention.causal", "is_decoder", config.bool("is_decoder")?.unwrap_or(false));

    let field = "max_position_embeddings";
    let rows = config.size(&[field])?;
    let skipped = match ROBERTA.contains(&model_type) || model_type == "mpnet" {
        true => config.optional_size(&["pad_token_id"])?.unwrap_or(1).saturating_add(1),
        false => 0,
    };
    let positions = rows.checked_sub(skipped);
    let positions = positions.ok_or_else(|| config.error(field, &format!("more than {skipped}"), rows))?;
    to.set_size("context_length", field, positions)?;
    to.set_size(POSITIONS_SKIPPED, "pad_token_id", skipped)?;
    to.leave_unwritten(POSITIONS_SKIPPED, Unwritten::Implied);

    let field = "hidden_act";
    let name = config.string(&[field, "activation"])?.unwrap_or("gelu");
    if activation(name).is_none() {
        return Err(config.error(field, ACTIVATIONS, format!("{name:?}")));
    }
    to.set_text(HIDDEN_ACTIVATION, field, name);
    // The forms of GELU differ by less than a file's rounding does.
    let effect = if name.starts_with("gelu") { Unwritten::Implied } else { Unwritten::Refused };
    to.leave_unwritten(HIDDEN_ACTIVATION, effect);
    let of_classifier = match model_type {
        "distilbert" => Some("relu"),
        "electra" => Some("gelu"),
        _ => None,
    };
    if let Some(name) = of_classifier {
        to.set_text(CLASSIFIER_ACTIVATION, "model_type", name);
        to.leave_unwritten(CLASSIFIER_ACTIVATION, Unwritten::ScoresDiffer);
    }
    // ELECTRA's small model has narrower embeddings, and a layer that widens them.
    let (field, hidden) = ("embedding_size", config.optional_size(&["hidden_size"])?);
    if let Some(found) =
        config.optional_size(&[field])?.filter(|&found| model_type == "electra" && Some(found) != hidden)
    {
        return Err(config.error(field, "hidden_size", found));
    }
    Ok(())
}

/// Settings that GGUF has no keys for: files of this architecture have no such rows, and what they do not say is the rule.
pub(crate) const POSITIONS_SKIPPED: &str = "position_embedding_skipped";
const HIDDEN_ACTIVATION: &str = "hidden_activation";
const CLASSIFIER_ACTIVATION: &str = "classifier.activation";

fn load(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Loaded, Error> {
    load_with(settings, weights, |heads, _| Ok(heads))
}

/// Loads a BERT whose heads are what `adapt` makes of BERT's, and of the number of positions.
pub(super) fn load_with(
    settings: &Settings<'_>,
    weights: &Weights<'_>,
    adapt: impl FnOnce(Heads, usize) -> Result<Heads, Error>,
) -> Result<Loaded, Error> {
    let hidden = settings.size("embedding_length")?;
    let sizes = Sizes {
        layers: settings.size("block_count")?,
        hidden,
        heads: settings.size("attention.head_count")?,
        feed_forward: settings.size("feed_forward_length")?,
        vocabulary: weights.rows("token_embd.weight", hidden)?,
        positions: settings.size("context_length")?,
    };
    if settings.bool("attention.causal")?.unwrap_or(false) {
        return Err(settings.error("attention.causal", "false", "true"));
    }
    let epsilon = settings.epsilon("attention.layer_norm_epsilon")?;
    // GGUF has no key for it; every published BERT embedder uses the exact form.
    let activation = settings.activation(HIDDEN_ACTIVATION, Activation::Gelu)?;
    sizes.check(settings.path())?;
    let heads = adapt(Heads::new(sizes.heads, sizes.head_dim(settings.path())?), sizes.positions)?;
    let layer = |index: usize| -> Result<Layer, Error> {
        let name = |part: &str| format!("blk.{index}.{part}");
        Ok(Layer {
            attention: Attention::new(weights.query_key_value(index, hidden, &heads)?, &heads, None),
            attention_output: weights.linear(&name("attn_output"), hidden, hidden)?,
            attention_norm: weights.norm(&name("attn_output_norm"), hidden, epsilon)?,
            feed_forward: FeedForward::Plain {
                up: weights.adapted(&name("ffn_up"), hidden, sizes.feed_forward)?,
                down: weights.adapted(&name("ffn_down"), sizes.feed_forward, hidden)?,
                activation,
            },
            output_norm: weights.norm(&name("layer_output_norm"), hidden, epsilon)?,
        })
    };
    let skipped = settings.optional_size(POSITIONS_SKIPPED)?.unwrap_or(0);
    let bert = Bert {
        tokens: weights.embedding("token_embd.weight", sizes.vocabulary, hidden)?,
        positions: weights.embedding_after("position_embd.weight", skipped, sizes.positions, hidden)?,
        segments: weights.embedding_if_present("token_types.weight", hidden)?,
        embedding_norm: weights.norm("token_embd_norm", hidden, epsilon)?,
        layers: (0..sizes.layers).map(layer).collect::<Result<_, _>>()?,
    };
    let scorer = scorer(settings, weights, hidden)?;
    Ok(Loaded::encoder(bert, sizes, scorer))
}

/// The head of a cross-encoder, if there is one with a single output.
fn scorer(settings: &Settings<'_>, weights: &Weights<'_>, hidden: usize) -> Result<Option<Scorer>, Error> {
    if !weights.has("cls.output.weight") {
        // BERT's pooler, which an embedding model does not read.
        weights.pass_over("cls");
        return Ok(None);
    }
    let outputs = weights.rows("cls.output.weight", hidden)?;
    if outputs != 1 {
        // A classifier: what it tells apart is not relevance.
        weights.pass_over("cls");
        weights.pass_over("cls.output");
        return Ok(None);
    }
    let mut head = Head::default();
    if weights.has("cls.weight") {
        let activation = settings.activation(CLASSIFIER_ACTIVATION, Activation::Tanh)?;
        head.steps.push(Step::Linear(weights.linear("cls", hidden, hidden)?, Some(activation)));
    }
    head.steps.push(Step::Linear(weights.linear("cls.output", hidden, outputs)?, None));
    Ok(Some(Scorer { tokens: Head::default(), pooling: Pooling::Cls, head, kind: ScoreKind::Logit }))
}

/// The GGUF name of a tensor of a BERT or DistilBERT checkpoint: with or without the prefix of the model class, and with
/// the `gamma` and `beta` of TensorFlow's day for a norm's weight and bias.
pub(crate) fn gguf_name(name: &str) -> HfName {
    const TABLES: &[(&str, &str)] = &[
        ("embeddings.word_embeddings", "token_embd"),
        ("embeddings.position_embeddings", "position_embd"),
        ("embeddings.token_type_embeddings", "token_types"),
        ("embeddings.LayerNorm", "token_embd_norm"),
        ("pooler.dense", "cls"),
        ("classifier", "cls.output"),
        // RoBERTa
        ("classifier.dense", "cls"),
        ("classifier.out_proj", "cls.output"),
        // DistilBERT
        ("pre_classifier", "cls"),
        // XLM-R of Jina
        ("emb_ln", "token_embd_norm"),
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
    // Heads of pre-training, and a buffer.
    const UNUSED: &[&str] = &[
        "embeddings.position_ids",
        "cls.predictions.",
        "cls.seq_relationship.",
        "vocab_transform.",
        "vocab_layer_norm.",
        "vocab_projector.",
        "discriminator_predictions.",
        "generator_predictions.",
        "generator_lm_head.",
        "lm_head.",
    ];
    let name = ["bert.", "distilbert.", "electra.", "roberta."]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    if UNUSED.iter().any(|unused| name.starts_with(unused)) {
        return HfName::Unused;
    }
    let Some((stem, kind)) = name.rsplit_once('.') else { return HfName::Unknown };
    let kind = match kind {
        "weight" | "gamma" => "weight",
        "bias" | "beta" => "bias",
        _ => return HfName::Unknown,
    };
    if let Some(gguf) = find(TABLES, stem) {
        return HfName::Gguf(format!("{gguf}.{kind}"));
    }
    let Some((index, part)) = layer_and_part(stem, &["encoder.layer.", "transformer.layer.", "encoder.layers."]) else {
        return HfName::Unknown;
    };
    // Jina's reranker has the layers' names of its embedder.
    find(LAYER, part)
        .or_else(|| find(jina_bert_v3::LAYER, part))
        .map_or(HfName::Unknown, |gguf| HfName::Gguf(format!("blk.{index}.{gguf}.{kind}")))
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
            ("bert.pooler.dense.weight", gguf("cls.weight")),
            ("roberta.emb_ln.bias", gguf("token_embd_norm.bias")),
            ("roberta.encoder.layers.3.mixer.Wqkv.weight", gguf("blk.3.attn_qkv.weight")),
            ("roberta.encoder.layer.0.output.dense.bias", gguf("blk.0.ffn_down.bias")),
            ("classifier.out_proj.weight", gguf("cls.output.weight")),
            ("electra.encoder.layer.0.output.dense.bias", gguf("blk.0.ffn_down.bias")),
            ("discriminator_predictions.dense.weight", HfName::Unused),
            ("cls.predictions.bias", HfName::Unused),
            ("embeddings.position_ids", HfName::Unused),
            ("encoder.layer.x.output.dense.weight", HfName::Unknown),
            ("classifier.weight", gguf("cls.output.weight")),
            ("weight", HfName::Unknown),
        ] {
            assert_eq!(gguf_name(hf), expected, "{hf}");
        }
    }
}
