//! The encoder that descendants of BERT with positions in their attention share: post-norm, bidirectional.
//!
//! ```text
//! x = LN(token[id] + segment[s])
//! for each layer:
//!     x = LN(x + W_o attention(W_q x, W_k x, W_v x))
//!     x = LN(x + feed_forward(x))
//! ```

use docent_kernels::{
    Activation, EmbeddingTable, Epilogue, Executor, Heads, Mask, Matrix, Norm, Pooling, Rotary, RotaryStyle,
};

use super::{Adapted, AdaptedEmbeddings, Attention, Experts, FeedForward, position};
use crate::Error;
use crate::arch::{Network, Sizes};
use crate::head::{Head, ScoreKind, Scorer, Step};
use crate::pass::Pass;
use crate::settings::Settings;
use crate::weights::Weights;

/// The whole of such an encoder.
pub(crate) struct Encoder {
    pub(crate) tokens: EmbeddingTable,
    pub(crate) segments: Option<EmbeddingTable>,
    /// What each task adds to both.
    pub(crate) adapted: Vec<AdaptedEmbeddings>,
    pub(crate) embedding_norm: Norm,
    pub(crate) layers: Vec<Layer>,
    /// How positions turn queries and keys, unless the scores tell them (`ALiBi`).
    pub(crate) rotary: Option<Rotary>,
}

/// A layer.
pub(crate) struct Layer {
    pub(crate) attention: Attention,
    pub(crate) attention_output: Adapted,
    pub(crate) attention_norm: Norm,
    /// A norm of what the first gives and the layer's input together.
    pub(crate) second_norm: Option<Norm>,
    pub(crate) feed_forward: Inner,
    pub(crate) output_norm: Norm,
}

/// What comes after the attention.
#[expect(clippy::large_enum_variant, reason = "there is one for each layer, and the weights lie elsewhere")]
pub(crate) enum Inner {
    FeedForward(FeedForward),
    Experts(Experts),
}

impl Inner {
    fn residual(&self, executor: &mut Executor, task: Option<usize>, x: Matrix) -> Matrix {
        match self {
            Inner::FeedForward(block) => block.residual(executor, task, x),
            Inner::Experts(experts) => experts.residual(executor, x),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Inner::FeedForward(block) => block.bytes(),
            Inner::Experts(experts) => experts.bytes(),
        }
    }
}

impl Network for Encoder {
    fn forward(&self, executor: &mut Executor, pass: &mut Pass<'_>) -> Matrix {
        let batch = pass.batch;
        let mut x = executor.matrix(batch.ids().len(), self.tokens.columns());
        let segments = batch.segments(self.segments.as_ref().map_or(0, EmbeddingTable::rows));
        let mut embeddings = vec![(&self.tokens, batch.ids())];
        embeddings.extend(self.segments.as_ref().map(|table| (table, &segments[..])));
        executor.embed(&embeddings, &mut x);
        if let Some(adapted) = batch.task().and_then(|task| self.adapted.get(task)) {
            adapted.add(executor, batch.ids(), &segments, &mut x);
        }
        executor.layer_norm(&mut x, &self.embedding_norm);

        for (index, layer) in self.layers.iter().enumerate() {
            let rows = pass.rows_of(index, self.layers.len());
            let context = layer.attention.gather(executor, pass, (index, rows), &x, Mask::Full, self.rotary.as_ref());
            x = pass.keep(executor, x, rows);
            let input = layer.second_norm.as_ref().map(|norm| {
                let mut input = executor.matrix(x.rows(), x.columns());
                executor.copy(&x, &mut input);
                (input, norm)
            });
            layer.attention_output.run(executor, batch.task(), &context, Epilogue::Add, &mut x);
            executor.recycle(context);
            executor.layer_norm(&mut x, &layer.attention_norm);
            if let Some((input, norm)) = input {
                executor.add(&input, &mut x);
                executor.recycle(input);
                executor.layer_norm(&mut x, norm);
            }
            x = layer.feed_forward.residual(executor, batch.task(), x);
            executor.layer_norm(&mut x, &layer.output_norm);
        }
        x
    }

    fn bytes(&self) -> usize {
        let layer =
            |layer: &Layer| layer.attention.bytes() + layer.attention_output.bytes() + layer.feed_forward.bytes();
        self.layers.iter().map(layer).sum::<usize>() + self.adapted.iter().map(AdaptedEmbeddings::bytes).sum::<usize>()
    }
}

/// The sizes of such an encoder.
pub(crate) fn sizes(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Sizes, Error> {
    let hidden = settings.size("embedding_length")?;
    let required =
        |key: &str| settings.uniform_size(key)?.ok_or_else(|| settings.error(key, "a whole number", "nothing"));
    let sizes = Sizes {
        layers: settings.size("block_count")?,
        hidden,
        heads: required("attention.head_count")?,
        feed_forward: required("feed_forward_length")?,
        vocabulary: weights.rows("token_embd.weight", hidden)?,
        positions: settings.size("context_length")?,
    };
    sizes.check(settings.path())?;
    if settings.bool("attention.causal")?.unwrap_or(false) {
        return Err(settings.error("attention.causal", "false", "true"));
    }
    let key = "attention.head_count_kv";
    if let Some(found) = settings.uniform_size(key)?.filter(|&found| found != sizes.heads) {
        return Err(settings.error(key, format!("as many as there are heads, {}", sizes.heads), found));
    }
    Ok(sizes)
}

/// The turns of queries and keys, their base under `key`.
pub(crate) fn rotary(settings: &Settings<'_>, key: &str, heads: &Heads, positions: usize) -> Result<Rotary, Error> {
    let dims = settings.optional_size("rope.dimension_count")?.unwrap_or(heads.dim);
    if dims == 0 || dims > heads.dim || dims % 2 == 1 {
        return Err(settings.error("rope.dimension_count", format!("an even number up to {}", heads.dim), dims));
    }
    let frequencies = position::frequencies(settings, dims, position::base(settings, key)?)?;
    position::rotary(settings, RotaryStyle::Halves, heads.dim, &frequencies, positions)
}

impl Encoder {
    /// An encoder of the usual tensors; `attention` and `feed_forward` add what an architecture has of its own to layer after layer.
    pub(crate) fn load(
        settings: &Settings<'_>,
        weights: &Weights<'_>,
        sizes: &Sizes,
        rotary: Option<Rotary>,
        attention: impl Fn(usize) -> Result<Attention, Error>,
        feed_forward: impl Fn(usize) -> Result<Inner, Error>,
    ) -> Result<Self, Error> {
        let hidden = sizes.hidden;
        let epsilon = settings.epsilon("attention.layer_norm_epsilon")?;
        let layer = |index: usize| -> Result<Layer, Error> {
            let name = |part: &str| format!("blk.{index}.{part}");
            Ok(Layer {
                attention: attention(index)?,
                attention_output: weights.adapted(&name("attn_output"), hidden, hidden)?,
                attention_norm: weights.norm(&name("attn_output_norm"), hidden, epsilon)?,
                second_norm: weights.norm_if_present(&name("attn_norm_2"), hidden, epsilon)?,
                feed_forward: feed_forward(index)?,
                output_norm: weights.norm(&name("layer_output_norm"), hidden, epsilon)?,
            })
        };
        Ok(Encoder {
            tokens: weights.embedding("token_embd.weight", sizes.vocabulary, hidden)?,
            segments: weights.embedding_if_present("token_types.weight", hidden)?,
            adapted: weights.adapted_embeddings(sizes.vocabulary, hidden)?,
            embedding_norm: weights.norm("token_embd_norm", hidden, epsilon)?,
            layers: (0..sizes.layers).map(layer).collect::<Result<_, _>>()?,
            rotary,
        })
    }
}

/// BERT's classifier with one output, if there is one: of the first token, through a dense layer with an activation (BERT's is tanh) if
/// there is one.
pub(crate) fn scorer(weights: &Weights<'_>, hidden: usize, activation: Activation) -> Result<Option<Scorer>, Error> {
    if !weights.has("cls.output.weight") || weights.rows("cls.output.weight", hidden)? != 1 {
        // A pooler that an embedding model does not read, or a classifier of something else than relevance.
        weights.pass_over("cls");
        weights.pass_over("cls.output");
        return Ok(None);
    }
    let mut head = Head::default();
    if weights.has("cls.weight") {
        head.steps.push(Step::Linear(weights.linear("cls", hidden, hidden)?, Some(activation)));
    }
    head.steps.push(Step::Linear(weights.linear("cls.output", hidden, 1)?, None));
    Ok(Some(Scorer { tokens: Head::default(), pooling: Pooling::Cls, head, kind: ScoreKind::Logit }))
}
