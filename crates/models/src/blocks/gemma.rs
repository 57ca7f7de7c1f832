//! The layer of Gemma since its third version: a norm before and after attention, and before and after the feed-forward block.
//!
//! ```text
//! x = x + RMS(W_o attention(RMS(W_q h), RMS(W_k h), W_v h)),   h = RMS(x)
//! x = x + RMS(W_down (gelu(W_gate h) * W_up h)),               h = RMS(x)
//! ```

use docent_kernels::{Activation, Epilogue, Executor, Heads, Linear, Mask, Matrix, Norm, Rotary, ThreadPool};

use super::decoder::normalised;
use super::{Attention, FeedForward, QueryKeyNorm};
use crate::Error;
use crate::pass::Pass;
use crate::weights::Weights;

pub(crate) struct GemmaLayer {
    attention_norm: Norm,
    attention: Attention,
    attention_output: Linear,
    after_attention_norm: Norm,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
    after_feed_forward_norm: Norm,
}

impl GemmaLayer {
    /// Layer `index`, with `(hidden, inner)` values of a state and inside the feed-forward block; `value_norm` if values are divided by
    /// their root mean square as well.
    pub(crate) fn load(
        weights: &Weights<'_>,
        index: usize,
        (hidden, inner): (usize, usize),
        heads: &Heads,
        epsilon: f32,
        value_norm: bool,
    ) -> Result<Self, Error> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let norm = |part: &str, columns: usize| weights.norm(&name(part), columns, epsilon);
        let of_heads = QueryKeyNorm::RmsOfHeads {
            query: norm("attn_q_norm", heads.dim)?,
            key: norm("attn_k_norm", heads.dim)?,
            value: value_norm.then(|| weights.plain_norm(heads.dim, epsilon)).transpose()?,
        };
        Ok(GemmaLayer {
            attention_norm: norm("attn_norm", hidden)?,
            attention: Attention::new(weights.query_key_value(index, hidden, heads)?, heads, Some(of_heads)),
            attention_output: weights.linear(&name("attn_output"), heads.queries().len(), hidden)?,
            after_attention_norm: norm("post_attention_norm", hidden)?,
            feed_forward_norm: norm("ffn_norm", hidden)?,
            feed_forward: FeedForward::gated(weights, index, (hidden, inner), Activation::GeluTanh)?,
            after_feed_forward_norm: norm("post_ffw_norm", hidden)?,
        })
    }

    /// Takes `x` through layer `index` of `layers`; after the last one, the rows that the pass is for.
    pub(crate) fn run(
        &self,
        executor: &mut Executor,
        pass: &mut Pass<'_>,
        (index, layers): (usize, usize),
        mut x: Matrix,
        (mask, rotary): (Mask, &Rotary),
    ) -> Matrix {
        let rows = pass.rows_of(index, layers);
        let h = normalised(executor, &x, &self.attention_norm);
        let context = self.attention.gather(executor, pass, (index, rows), &h, mask, Some(rotary));
        executor.recycle(h);
        x = pass.keep(executor, x, rows);
        let mut branch = executor.matrix(x.rows(), x.columns());
        executor.linear(&context, &self.attention_output, Epilogue::Assign, &mut branch);
        executor.recycle(context);
        executor.rms_norm(&mut branch, &self.after_attention_norm);
        executor.add(&branch, &mut x);

        let h = normalised(executor, &x, &self.feed_forward_norm);
        self.feed_forward.run(executor, pass.batch.task(), &h, Epilogue::Assign, &mut branch);
        executor.recycle(h);
        executor.rms_norm(&mut branch, &self.after_feed_forward_norm);
        executor.add(&branch, &mut x);
        executor.recycle(branch);
        x
    }

    /// Bytes of memory that the packed weights take.
    pub(crate) fn bytes(&self) -> usize {
        self.attention.bytes() + self.attention_output.bytes() + self.feed_forward.bytes()
    }

    /// Expands weights that were left in the file's blocks.
    pub(crate) fn expand(&mut self, threads: &ThreadPool) {
        self.attention.projection.expand(threads);
        self.attention_output.expand(threads);
        self.feed_forward.expand(threads);
    }
}

/// The names of a layer's parts in Hugging Face's files, and in GGUF.
pub(crate) const LAYER: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];
