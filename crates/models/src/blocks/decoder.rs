//! The decoder that Llama, Mistral, Qwen2 and Qwen3 are, and `EuroBERT` without the mask: pre-norm, rotary, gated, causal.
//!
//! ```text
//! x = token[id]
//! for each layer:
//!     x = x + W_o attention(W_q h, W_k h, W_v h),   h = RMS(x)
//!     x = x + W_down (silu(W_gate h) * W_up h),     h = RMS(x)
//! x = RMS(x)
//! ```

use docent_kernels::{
    Activation, EmbeddingTable, Epilogue, Executor, Heads, Linear, Mask, Matrix, Norm, Rotary, RotaryStyle, ThreadPool,
};

use super::{Attention, FeedForward, QueryKeyNorm, position};
use crate::Error;
use crate::arch::{Loaded, Network, Sizes, renamed};
use crate::head::{Head, Scorer};
use crate::pass::Pass;
use crate::settings::{HfConfig, Settings, Translation, Unwritten};
use crate::source::HfName;
use crate::weights::Weights;

/// What one of these models has of its own.
pub(crate) struct Variant {
    /// Which columns positions turn together.
    pub(crate) style: RotaryStyle,
    /// Whether queries and keys are normalised head by head.
    pub(crate) query_key_norm: bool,
    /// Whether a token sees only those before it, where the settings do not say.
    pub(crate) causal: bool,
}

struct Decoder {
    tokens: EmbeddingTable,
    layers: Vec<Layer>,
    rotary: Rotary,
    mask: Mask,
    output_norm: Norm,
}

struct Layer {
    attention_norm: Norm,
    attention: Attention,
    attention_output: Linear,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
}

impl Network for Decoder {
    fn forward(&self, executor: &mut Executor, pass: &mut Pass<'_>) -> Matrix {
        let mut x = executor.matrix(pass.batch.ids().len(), self.tokens.columns());
        executor.embed(&[(&self.tokens, pass.batch.ids())], &mut x);
        for (index, layer) in self.layers.iter().enumerate() {
            let rows = pass.rows_of(index, self.layers.len());
            let h = normalised(executor, &x, &layer.attention_norm);
            let context = layer.attention.gather(executor, pass, (index, rows), &h, self.mask, Some(&self.rotary));
            executor.recycle(h);
            x = pass.keep(executor, x, rows);
            executor.linear(&context, &layer.attention_output, Epilogue::Add, &mut x);
            executor.recycle(context);
            let h = normalised(executor, &x, &layer.feed_forward_norm);
            layer.feed_forward.run(executor, pass.batch.task(), &h, Epilogue::Add, &mut x);
            executor.recycle(h);
        }
        executor.rms_norm(&mut x, &self.output_norm);
        x
    }

    fn bytes(&self) -> usize {
        let layer =
            |layer: &Layer| layer.attention.bytes() + layer.attention_output.bytes() + layer.feed_forward.bytes();
        self.layers.iter().map(layer).sum()
    }

    fn expand(&mut self, threads: &ThreadPool) {
        for layer in &mut self.layers {
            layer.attention.projection.expand(threads);
            layer.attention_output.expand(threads);
            layer.feed_forward.expand(threads);
        }
    }
}

/// A normalised copy.
pub(crate) fn normalised(executor: &mut Executor, x: &Matrix, norm: &Norm) -> Matrix {
    let mut h = executor.matrix(x.rows(), x.columns());
    executor.copy(x, &mut h);
    executor.rms_norm(&mut h, norm);
    h
}

/// The settings that these models share. `windows` says whether the window of the settings is in use, where that is a setting of its
/// own.
pub(crate) fn translate(to: &mut Translation<'_>, windows: Option<bool>) -> Result<(), Error> {
    check_class(&to.config)?;
    to.size("block_count", &["num_hidden_layers"])?;
    to.size("context_length", &["max_position_embeddings"])?;
    let hidden = to.size("embedding_length", &["hidden_size"])?;
    to.size("feed_forward_length", &["intermediate_size"])?;
    let heads = to.size("attention.head_count", &["num_attention_heads"])?;
    to.size_or("attention.head_count_kv", &["num_key_value_heads"], heads)?;
    position::translate(to, &["rope_theta"], 10_000.0)?;
    to.float_or("attention.layer_norm_rms_epsilon", &["rms_norm_eps"], 1e-6)?;
    let dim = to.config.optional_size(&["head_dim"])?.unwrap_or(hidden / heads.max(1));
    to.set_size("attention.key_length", "head_dim", dim)?;
    to.set_size("attention.value_length", "head_dim", dim)?;
    if let Some(name) = to.config.string(&["hidden_act"])?.filter(|&name| name != "silu") {
        return Err(to.config.error("hidden_act", "\"silu\"", format!("{name:?}")));
    }
    let window = to.config.optional_size(&["sliding_window"])?;
    if let Some(window) = window.filter(|_| windows.unwrap_or(true)) {
        to.set_size("attention.sliding_window", "sliding_window", window)?;
    }
    // Embedders that see both sides are saved so; transformers heeds it in every decoder since version 5.
    let field = "is_causal";
    if let Some(causal) = to.config.bool(field)? {
        to.set_bool("attention.causal", field, causal);
    }
    if own_class(&to.config)? {
        if to.config.bool(BOTH_SIDES)? == Some(false) {
            return Err(to.config.error(BOTH_SIDES, "true", "false"));
        }
        to.set_bool("attention.causal", BOTH_SIDES, false);
        if to.config.model_type()? != Some(PPLX) {
            to.size(PROJECTED, &["num_labels"])?;
            to.leave_unwritten(PROJECTED, Unwritten::Implied);
        }
    }
    Ok(())
}

/// What publishers' own classes call it when every token sees all others; classes of transformers do not heed it.
const BOTH_SIDES: &str = "use_bidirectional_attention";

/// How many values the matrix after the last norm must give, in the settings of a directory that says so.
pub(crate) const PROJECTED: &str = "projected_to";

/// Whether the checkpoint is of a class of its publisher's own code of which the configuration says all that differs from Qwen3: attention to both
/// sides (pplx-embed), and a matrix after the last norm (voyage-4-nano), of as many outputs as there are "labels".
fn own_class(config: &HfConfig<'_>) -> Result<bool, Error> {
    if config.model_type()? == Some(PPLX) {
        return Ok(true);
    }
    let qwen3 = config.model_type()? == Some("qwen3");
    Ok(qwen3 && config.has("auto_map") && config.bool(BOTH_SIDES)? == Some(true) && config.has("num_labels"))
}

/// That there is such a matrix, of as many outputs as are said.
pub(crate) fn check_projection(settings: &Settings<'_>, weights: &Weights<'_>, hidden: usize) -> Result<(), Error> {
    let name = "dense_2.weight";
    let found = weights.rows(name, hidden)?;
    match settings.optional_size(PROJECTED)?.filter(|&outputs| outputs != found) {
        Some(outputs) => Err(settings.error(PROJECTED, format!("{found}, the outputs of {name}"), outputs)),
        None => Ok(()),
    }
}

/// The models of NVIDIA: Llama that sees both sides.
pub(crate) const NEMOTRON: &str = "llama_bidirec";

/// The models of Perplexity: Qwen3 that sees both sides.
pub(crate) const PPLX: &str = "bidirectional_pplx_qwen3";

/// That the checkpoint is of a class of transformers. Classes of a publisher's own code keep the configuration of these models and compute
/// something else with it: attention to both sides, lists of documents at once.
pub(crate) fn check_class(config: &HfConfig<'_>) -> Result<(), Error> {
    const LANGUAGE_MODEL: [&str; 3] = ["Model", "ForCausalLM", "ForSequenceClassification"];
    let (stem, ends): (&str, &[&str]) = match config.model_type()? {
        Some("llama") => ("Llama", &LANGUAGE_MODEL),
        Some("mistral") => ("Mistral", &LANGUAGE_MODEL),
        Some("qwen2") => ("Qwen2", &LANGUAGE_MODEL),
        Some("gemma3_text") => ("Gemma3", &["TextModel", "ForCausalLM"]),
        Some("embedding_gemma2") => ("EmbeddingGemma2", &["Model"]),
        Some("embedding_gemma2_text") => ("EmbeddingGemma2", &["TextModel"]),
        Some("eurobert") => ("EuroBert", &["Model", "ForMaskedLM", "ForSequenceClassification"]),
        // The prompt and the temperature of its reranker stand in its code alone, as what its models of contexts do with lists of texts.
        Some(NEMOTRON) => ("LlamaBidirectional", &["Model"]),
        Some(PPLX) => ("PPLXQwen3", &["Model"]),
        _ if own_class(config)? => return Ok(()),
        _ => ("Qwen3", &LANGUAGE_MODEL),
    };
    let known: Vec<String> = ends.iter().map(|end| format!("{stem}{end}")).collect();
    match config.classes()?.first() {
        Some(class) if !known.iter().any(|known| known == class) => {
            Err(config.error("architectures", &known.join(" or "), class))
        }
        _ => Ok(()),
    }
}

/// Whether a Qwen model attends in a window. The published ones do not; the library would let the first `max_window_layers` layers see
/// all and the others a window, which is one of two kinds for all layers here.
pub(crate) fn qwen_windows(config: &HfConfig<'_>) -> Result<bool, Error> {
    if !config.bool("use_sliding_window")?.unwrap_or(false) {
        return Ok(false);
    }
    let layers = config.size(&["num_hidden_layers"])?;
    match config.optional_size(&["max_window_layers"])?.unwrap_or(layers) {
        0 => Ok(true),
        whole if whole >= layers => Ok(false),
        whole => Err(config.error("max_window_layers", &format!("0, or all {layers} layers"), whole)),
    }
}

/// How many heads there are, and of how many columns.
pub(crate) fn heads(settings: &Settings<'_>, sizes: &Sizes) -> Result<Heads, Error> {
    let dim = match settings.optional_size("attention.key_length")? {
        Some(dim) => dim,
        None => sizes.head_dim(settings.path())?,
    };
    if dim == 0 || dim > 1024 {
        return Err(settings.error("attention.key_length", "1 to 1024", dim));
    }
    if let Some(found) = settings.optional_size("attention.value_length")?.filter(|&found| found != dim) {
        return Err(settings.error("attention.value_length", format!("the length of keys, {dim}"), found));
    }
    let key = "attention.head_count_kv";
    let shared = settings.uniform_size(key)?.unwrap_or(sizes.heads);
    if shared == 0 || !sizes.heads.is_multiple_of(shared) {
        return Err(settings.error(key, format!("a divisor of the {} heads", sizes.heads), shared));
    }
    Ok(Heads::new(sizes.heads, dim).grouped(shared))
}

/// The sizes of a decoder; texts as long as the settings allow must fit in memory.
pub(crate) fn sizes(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Sizes, Error> {
    /// Values of a text in its widest form.
    const MAX_VALUES: usize = 1 << 29;
    let hidden = settings.size("embedding_length")?;
    let required =
        |key: &str| settings.uniform_size(key)?.ok_or_else(|| settings.error(key, "a whole number", "nothing"));
    let feed_forward = required("feed_forward_length")?;
    let positions = settings.size("context_length")?;
    Ok(Sizes {
        layers: settings.size("block_count")?,
        hidden,
        heads: required("attention.head_count")?,
        feed_forward,
        vocabulary: weights.rows("token_embd.weight", hidden)?,
        positions: positions.min(MAX_VALUES / feed_forward.max(3 * hidden).max(1)),
    })
}

/// Loads a decoder; `scorer` adds the head that scores, if there is one.
pub(crate) fn load(
    settings: &Settings<'_>,
    weights: &Weights<'_>,
    variant: &Variant,
    scorer: impl FnOnce(usize) -> Result<Option<Scorer>, Error>,
) -> Result<Loaded, Error> {
    let sizes = sizes(settings, weights)?;
    sizes.check(settings.path())?;
    let (hidden, heads) = (sizes.hidden, heads(settings, &sizes)?);
    let epsilon = settings.epsilon("attention.layer_norm_rms_epsilon")?;
    let causal = settings.bool("attention.causal")?.unwrap_or(variant.causal);
    let window = settings.optional_size("attention.sliding_window")?.filter(|&window| window > 0);
    let mask = match (causal, window) {
        (true, None) => Mask::Causal,
        // Itself is one of them.
        (true, Some(window)) => Mask::Window { left: window - 1, right: 0 },
        (false, None) => Mask::Full,
        (false, Some(_)) => {
            return Err(settings.error("attention.sliding_window", "none, as attention is not causal", "a window"));
        }
    };
    let dims = settings.optional_size("rope.dimension_count")?.unwrap_or(heads.dim);
    if dims == 0 || dims > heads.dim || dims % 2 == 1 {
        return Err(settings.error("rope.dimension_count", format!("an even number up to {}", heads.dim), dims));
    }
    let base = position::base(settings, "rope.freq_base")?;
    let mut frequencies = position::frequencies(settings, dims, base)?;
    if let Some(factors) = weights.vector_if_present("rope_freqs.weight", dims / 2)? {
        let count = factors.len();
        frequencies = frequencies
            .divided_by_each(&factors)
            .map_err(|_| settings.error("rope_freqs.weight", format!("{} factors", dims / 2), count))?;
    }
    let rotary = position::rotary(settings, variant.style, heads.dim, &frequencies, sizes.positions)?;
    let layer = |index: usize| -> Result<Layer, Error> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let head_norm = |part: &str| weights.norm(&name(part), heads.dim, epsilon);
        let norm = match variant.query_key_norm {
            true => Some(QueryKeyNorm::RmsOfHeads {
                query: head_norm("attn_q_norm")?,
                key: head_norm("attn_k_norm")?,
                value: None,
            }),
            false => None,
        };
        Ok(Layer {
            attention_norm: weights.norm(&name("attn_norm"), hidden, epsilon)?,
            attention: Attention::new(weights.query_key_value(index, hidden, &heads)?, &heads, norm),
            attention_output: weights.linear(&name("attn_output"), heads.queries().len(), hidden)?,
            feed_forward_norm: weights.norm(&name("ffn_norm"), hidden, epsilon)?,
            feed_forward: FeedForward::gated(weights, index, (hidden, sizes.feed_forward), Activation::Silu)?,
        })
    };
    let decoder = Decoder {
        tokens: weights.embedding("token_embd.weight", sizes.vocabulary, hidden)?,
        layers: (0..sizes.layers).map(layer).collect::<Result<_, _>>()?,
        rotary,
        mask,
        output_norm: weights.norm("output_norm", hidden, epsilon)?,
    };
    let scorer = scorer(sizes.vocabulary)?;
    // Of no use but to a model that writes; what may be wrong with it concerns no other.
    weights.pass_over("output");
    let output = causal.then(|| weights.output(sizes.vocabulary, hidden));
    Ok(Loaded { network: Box::new(decoder), sizes, projection: Head::default(), scorer, causal, output })
}

/// The names that these models share.
pub(crate) fn gguf_name(name: &str) -> HfName {
    const TABLES: &[(&str, &str)] =
        &[("embed_tokens", "token_embd"), ("norm", "output_norm"), ("lm_head", "output"), ("score", "cls.output")];
    const LAYER: &[(&str, &str)] = &[
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("self_attn.o_proj", "attn_output"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    let name = name.strip_prefix("model.").unwrap_or(name);
    // A buffer of old checkpoints.
    if name.ends_with("rotary_emb.inv_freq") {
        return HfName::Unused;
    }
    renamed(name, TABLES, "layers.", LAYER)
}
