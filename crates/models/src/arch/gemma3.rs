//! Gemma 3 (Gemma Team, arXiv:2503.19786) as embedder, with attention to both sides, which is `EmbeddingGemma` (Schechter Vera et al.,
//! arXiv:2509.20354), or to what comes before alone (harrier).
//!
//! ```text
//! x = sqrt(width) token[id]
//! for each layer:
//!     x = x + RMS(W_o attention(RMS(W_q h), RMS(W_k h), W_v h)),   h = RMS(x)
//!     x = x + RMS(W_down (gelu(W_gate h) * W_up h)),               h = RMS(x)
//! embedding = W_3 W_2 mean(RMS(x))
//! ```
//!
//! Of every six layers five attend to the tokens around a token, or before it, the last to all. The two matrices of the embedding are modules of
//! `EmbeddingGemma`'s own; some GGUF files lack them, and then give other vectors than those that were trained.

use docent_kernels::{EmbeddingTable, Executor, Frequencies, Mask, Matrix, Norm, Rotary, RotaryStyle, ThreadPool};

use super::{Architecture, Loaded, Network, find, layer_and_part};
use crate::Error;
use crate::blocks::gemma::{GemmaLayer, LAYER};
use crate::blocks::{decoder, position};
use crate::head::Head;
use crate::pass::Pass;
use crate::settings::{HfConfig, Settings, Translation, Unwritten, Whole};
use crate::source::HfName;
use crate::weights::Weights;

/// Every token sees those around it.
pub(crate) const EMBEDDING: Architecture = Architecture {
    name: "gemma-embedding",
    recognises: |config| Ok(is_gemma(config)? && sees_both_sides(config)?),
    translate,
    gguf_name,
    load: |settings, weights| load(settings, weights, false),
};

/// A token sees those before it.
pub(crate) const DECODER: Architecture = Architecture {
    name: "gemma3",
    recognises: |config| Ok(is_gemma(config)? && !sees_both_sides(config)?),
    translate,
    gguf_name,
    load: |settings, weights| load(settings, weights, true),
};

/// Layers from one that attends to the whole sequence to the next.
const PERIOD: usize = 6;

/// Layers of the 27B model.
const LARGEST: usize = 62;

struct Gemma {
    tokens: EmbeddingTable,
    layers: Vec<Layer>,
    /// What layers see that do not attend in a window.
    whole: Mask,
    window: Mask,
    whole_rotary: Rotary,
    window_rotary: Rotary,
    output_norm: Norm,
}

struct Layer {
    in_window: bool,
    layer: GemmaLayer,
}

impl Network for Gemma {
    fn forward(&self, executor: &mut Executor, pass: &mut Pass<'_>) -> Matrix {
        let width = self.tokens.columns();
        let mut x = executor.matrix(pass.batch.ids().len(), width);
        executor.embed(&[(&self.tokens, pass.batch.ids())], &mut x);
        executor.scale(&mut x, (width as f32).sqrt());
        for (index, Layer { in_window, layer }) in self.layers.iter().enumerate() {
            let sight = match in_window {
                true => (self.window, &self.window_rotary),
                false => (self.whole, &self.whole_rotary),
            };
            x = layer.run(executor, pass, (index, self.layers.len()), x, sight);
        }
        executor.rms_norm(&mut x, &self.output_norm);
        x
    }

    fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.layer.bytes()).sum()
    }

    fn expand(&mut self, threads: &ThreadPool) {
        self.layers.iter_mut().for_each(|layer| layer.layer.expand(threads));
    }
}

fn is_gemma(config: &HfConfig<'_>) -> Result<bool, Error> {
    Ok(config.model_type()? == Some("gemma3_text"))
}

fn sees_both_sides(config: &HfConfig<'_>) -> Result<bool, Error> {
    Ok(config.bool("use_bidirectional_attention")?.unwrap_or(false))
}

fn translate(to: &mut Translation<'_>) -> Result<(), Error> {
    let config = to.config;
    decoder::check_class(&config)?;
    // transformers heeds it since version 5; no published model says so.
    if config.bool("is_causal")? == Some(false) && !sees_both_sides(&config)? {
        return Err(config.error("is_causal", "true, or use_bidirectional_attention", "false"));
    }
    to.size("context_length", &["max_position_embeddings"])?;
    to.size("embedding_length", &["hidden_size"])?;
    let layers = to.size("block_count", &["num_hidden_layers"])?;
    to.size("feed_forward_length", &["intermediate_size"])?;
    let heads = to.size("attention.head_count", &["num_attention_heads"])?;
    to.size_or("attention.head_count_kv", &["num_key_value_heads"], heads)?;
    to.float_or("attention.layer_norm_rms_epsilon", &["rms_norm_eps"], 1e-6)?;
    let dim = to.size_or("attention.key_length", &["head_dim"], 256)?;
    to.set_size("attention.value_length", "head_dim", dim)?;
    to.float_or("rope.freq_base", &["rope_theta"], 1e6)?;
    to.float_or("rope.freq_base_swa", &["rope_local_base_freq"], 1e4)?;
    position::translate_kinds(to, true)?;
    to.size("attention.sliding_window", &["sliding_window"])?;
    let field = "query_pre_attn_scalar";
    let scalar = config.float(&[field])?.unwrap_or(dim as f64);
    if !scalar.is_finite() || scalar <= 0.0 {
        return Err(config.error(field, "a number above 0", scalar));
    }
    to.set_float("attention.scale", field, 1.0 / scalar.sqrt());
    if scalar == dim as f64 {
        to.leave_unwritten("attention.scale", Unwritten::Implied);
    }
    let key = "attention.sliding_window_pattern";
    match to.layers_in_window(layers)? {
        Some(in_window) => {
            if in_window.iter().enumerate().all(|(layer, &window)| window == (layer % PERIOD < PERIOD - 1)) {
                to.leave_unwritten(key, Unwritten::Implied);
            }
            to.set_bools(key, "layer_types", in_window);
        }
        None => {
            let fields = &["sliding_window_pattern", "_sliding_window_pattern"];
            if to.size_or(key, fields, PERIOD)? == PERIOD {
                to.leave_unwritten(key, Unwritten::Implied);
            }
        }
    }
    if let Some(scaling) = config.object("rope_scaling")? {
        position::translate_linear(to, &scaling, "rope_scaling.rope_type")?;
    }
    for field in ["attn_logit_softcapping", "final_logit_softcapping"] {
        if let Some(found) = config.float(&[field])? {
            return Err(config.error(field, "null", found));
        }
    }
    match config.string(&["hidden_activation"])?.unwrap_or("gelu_pytorch_tanh") {
        "gelu_pytorch_tanh" => Ok(()),
        found => Err(config.error("hidden_activation", "\"gelu_pytorch_tanh\"", format!("{found:?}"))),
    }
}

fn load(settings: &Settings<'_>, weights: &Weights<'_>, causal: bool) -> Result<Loaded, Error> {
    let sizes = decoder::sizes(settings, weights)?;
    sizes.check(settings.path())?;
    let hidden = sizes.hidden;
    let mut heads = decoder::heads(settings, &sizes)?;
    if let Some(found) = settings.bool("attention.causal")?.filter(|&found| found != causal) {
        return Err(settings.error("attention.causal", causal.to_string(), found));
    }
    match settings.float("attention.scale")?.filter(|&scale| scale != 0.0) {
        Some(scale) => heads.scale = scale as f32,
        // GGUF files of the largest model do not say it: its scores are divided by the root of the width over the heads.
        None if causal && sizes.layers == LARGEST => {
            heads.scale = 1.0 / (hidden as f32 / sizes.heads as f32).sqrt();
        }
        None => {}
    }
    let epsilon = settings.epsilon("attention.layer_norm_rms_epsilon")?;
    let in_window = settings.window_layers(sizes.layers, PERIOD, Whole::Last)?;
    let key = "attention.sliding_window";
    let window = match (causal, settings.size(key)?) {
        // Itself is one of them.
        (true, 1..) => Mask::Window { left: settings.size(key)? - 1, right: 0 },
        (true, 0) => return Err(settings.error(key, "at least 1", 0)),
        (false, window) => Mask::Window { left: window / 2, right: window / 2 },
    };
    let layer = |index: usize| -> Result<Layer, Error> {
        let layer = GemmaLayer::load(weights, index, (hidden, sizes.feed_forward), &heads, epsilon, false)?;
        Ok(Layer { in_window: in_window[index], layer })
    };
    let rotary = |frequencies: &Frequencies| {
        position::rotary(settings, RotaryStyle::Halves, heads.dim, frequencies, sizes.positions)
    };
    let whole = position::frequencies(settings, heads.dim, position::base(settings, "rope.freq_base")?)?;
    // In a window positions are never stretched.
    let in_windows = Frequencies::new(heads.dim, position::base(settings, "rope.freq_base_swa")?);
    let gemma = Gemma {
        tokens: weights.embedding("token_embd.weight", sizes.vocabulary, hidden)?,
        layers: (0..sizes.layers).map(layer).collect::<Result<_, _>>()?,
        whole: if causal { Mask::Causal } else { Mask::Full },
        window,
        whole_rotary: rotary(&whole)?,
        window_rotary: rotary(&in_windows)?,
        output_norm: weights.norm("output_norm", hidden, epsilon)?,
    };
    // Of no use but to a model that writes.
    weights.pass_over("output");
    let output = causal.then(|| weights.output(sizes.vocabulary, hidden));
    Ok(Loaded { network: Box::new(gemma), sizes, projection: Head::default(), scorer: None, causal, output })
}

pub(crate) fn gguf_name(name: &str) -> HfName {
    const TABLES: &[(&str, &str)] = &[("embed_tokens", "token_embd"), ("norm", "output_norm"), ("lm_head", "output")];
    let name = name.strip_prefix("model.").unwrap_or(name);
    let Some(stem) = name.strip_suffix(".weight") else { return HfName::Unknown };
    let gguf = match layer_and_part(stem, &["layers."]) {
        Some((index, part)) => find(LAYER, part).map(|gguf| format!("blk.{index}.{gguf}.weight")),
        None => find(TABLES, stem).map(|gguf| format!("{gguf}.weight")),
    };
    // Gemma's norms multiply by one more than their weights say; GGUF files say it outright.
    match gguf {
        Some(gguf) if gguf.ends_with("norm.weight") => HfName::GgufPlusOne(gguf),
        Some(gguf) => HfName::Gguf(gguf),
        None => HfName::Unknown,
    }
}
