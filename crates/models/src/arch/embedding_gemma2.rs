//! `EmbeddingGemma` 2, as transformers has it since 5.24 (`embedding_gemma2`): Gemma with attention to both sides whose layers are told anew what
//! the tokens were.
//!
//! ```text
//! t = sqrt(width) token[id],  x = t
//! for each layer l:
//!     x = x + RMS(W_o attention(RMS(W_q h), RMS(W_k h), RMS(W_v h))),   h = RMS(x)
//!     x = x + RMS(W_down (gelu(W_gate h) * W_up h)),                    h = RMS(x)
//!     x = s_l (x + RMS(W_out (gelu(W_in x) * RMS(W_l t / sqrt(width)))))
//! embedding = W mean(RMS(x))
//! ```
//!
//! Scores are not divided by anything. Of every six layers five attend to the tokens around a token; the last attends to all, and its heads are
//! wider and share keys and values. transformers projects every state, which comes to the same as projecting their mean. Of the model of texts, images and sounds
//! the part that reads text is what is loaded.
//!
//! GGUF has no name for this architecture that was known here; files with ours are read by Docent alone. Their tensors have the names that llama.cpp
//! gives those of other Gemmas.

use std::collections::BTreeMap;

use docent_kernels::{
    Activation, EmbeddingTable, Epilogue, Executor, Heads, Linear, Mask, Matrix, Norm, Rotary, RotaryStyle,
};

use super::{Architecture, Loaded, Network, find, layer_and_part};
use crate::Error;
use crate::blocks::gemma::{GemmaLayer, LAYER};
use crate::blocks::{decoder, position};
use crate::pass::Pass;
use crate::settings::{HfConfig, Settings, Translation, Unwritten, Whole};
use crate::source::HfName;
use crate::weights::Weights;

pub(crate) const ARCHITECTURE: Architecture =
    Architecture { name: "gemma-embedding2", recognises, translate, gguf_name, load };

/// Layers from one that attends to the whole sequence to the next.
const PERIOD: usize = 6;

/// Values that each layer is told of a token.
const TOLD: &str = "embedding_length_per_layer_input";

struct EmbeddingGemma2 {
    tokens: EmbeddingTable,
    layers: Vec<Layer>,
    /// What layers see that attend to all, and those that attend in a window.
    sights: [(Mask, Rotary); 2],
    output_norm: Norm,
}

struct Layer {
    /// Which of the two.
    sight: usize,
    layer: GemmaLayer,
    told: Told,
    scale: f32,
}

/// What a layer is told of the tokens ("per-layer embeddings"), and how it takes it in.
struct Told {
    /// From the embeddings of the tokens.
    projection: Linear,
    norm: Norm,
    gate: Linear,
    output: Linear,
    output_norm: Norm,
}

impl Network for EmbeddingGemma2 {
    fn forward(&self, executor: &mut Executor, pass: &mut Pass<'_>) -> Matrix {
        let (width, layers) = (self.tokens.columns(), self.layers.len());
        let mut tokens = executor.matrix(pass.batch.ids().len(), width);
        executor.embed(&[(&self.tokens, pass.batch.ids())], &mut tokens);
        executor.scale(&mut tokens, (width as f32).sqrt());
        let mut x = executor.matrix(tokens.rows(), width);
        executor.copy(&tokens, &mut x);
        for (index, layer) in self.layers.iter().enumerate() {
            let rows = pass.rows_of(index, layers);
            let (mask, rotary) = &self.sights[layer.sight];
            x = layer.layer.run(executor, pass, (index, layers), x, (*mask, rotary));
            tokens = pass.keep(executor, tokens, rows);
            let branch = layer.told.branch(executor, &tokens, &x);
            executor.add(&branch, &mut x);
            executor.recycle(branch);
            executor.scale(&mut x, layer.scale);
        }
        executor.recycle(tokens);
        executor.rms_norm(&mut x, &self.output_norm);
        x
    }

    fn bytes(&self) -> usize {
        let layer = |layer: &Layer| {
            let told = &layer.told;
            layer.layer.bytes() + told.projection.bytes() + told.gate.bytes() + told.output.bytes()
        };
        self.layers.iter().map(layer).sum()
    }
}

impl Told {
    /// What is added to the states `x` for what is told of `tokens`.
    fn branch(&self, executor: &mut Executor, tokens: &Matrix, x: &Matrix) -> Matrix {
        let mut told = executor.matrix(x.rows(), self.projection.outputs());
        executor.linear(tokens, &self.projection, Epilogue::Assign, &mut told);
        executor.rms_norm(&mut told, &self.norm);
        let mut gate = executor.matrix(x.rows(), self.gate.outputs());
        executor.linear(x, &self.gate, Epilogue::Activate(Activation::GeluTanh), &mut gate);
        executor.multiply(&told, &mut gate);
        executor.recycle(told);
        let mut out = executor.matrix(x.rows(), x.columns());
        executor.linear(&gate, &self.output, Epilogue::Assign, &mut out);
        executor.recycle(gate);
        executor.rms_norm(&mut out, &self.output_norm);
        out
    }
}

fn recognises(config: &HfConfig<'_>) -> Result<bool, Error> {
    Ok(config.model_type()?.is_some_and(|ty| ["embedding_gemma2", "embedding_gemma2_text"].contains(&ty)))
}

fn translate(to: &mut Translation<'_>) -> Result<(), Error> {
    let whole = to.config;
    decoder::check_class(&whole)?;
    if let Some(text) = whole.object("text_config")? {
        to.config = text;
    }
    let translated = translate_text(to);
    to.config = whole;
    translated
}

/// The configuration of the part that reads text.
fn translate_text(to: &mut Translation<'_>) -> Result<(), Error> {
    let config = to.config;
    to.size("context_length", &["max_position_embeddings"])?;
    to.size("embedding_length", &["hidden_size"])?;
    let layers = to.size("block_count", &["num_hidden_layers"])?;
    to.size("feed_forward_length", &["intermediate_size"])?;
    to.size("attention.head_count", &["num_attention_heads"])?;
    to.float_or("attention.layer_norm_rms_epsilon", &["rms_norm_eps"], 1e-6)?;
    to.size("attention.sliding_window", &["sliding_window"])?;
    to.size(TOLD, &["hidden_size_per_layer_input"])?;
    to.set_bool("attention.causal", "model_type", false);
    to.size_or(decoder::PROJECTED, &["embedding_dim"], 768)?;
    to.leave_unwritten(decoder::PROJECTED, Unwritten::Implied);
    let field = "rope_parameters";
    if let Some(parameters) = config.object(field)?.filter(|parameters| !parameters.has("full_attention")) {
        let found = parameters.fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(config.error(field, "those of full_attention and of sliding_attention", found));
    }
    to.set_float("rope.freq_base", field, 1e6);
    to.set_float("rope.freq_base_swa", field, 1e4);
    position::translate_kinds(to, false)?;
    let field = "layer_types";
    let in_window = to.layers_in_window(layers)?;
    let mut in_window = in_window.ok_or_else(|| config.error(field, "a type for each layer", "nothing"))?;
    // Whatever its type is said to be.
    in_window.iter_mut().last().into_iter().for_each(|last| *last = false);
    translate_heads(to, &in_window)?;
    to.set_bools("attention.sliding_window_pattern", field, in_window);
    if config.bool("attention_bias")?.unwrap_or(false) {
        return Err(config.error("attention_bias", "false", "true"));
    }
    match config.string(&["hidden_activation"])?.unwrap_or("gelu_pytorch_tanh") {
        "gelu_pytorch_tanh" => Ok(()),
        found => Err(config.error("hidden_activation", "\"gelu_pytorch_tanh\"", format!("{found:?}"))),
    }
}

/// The heads of layers in a window, and those of the others, which `per_layer_config` has by their numbers.
fn translate_heads(to: &mut Translation<'_>, in_window: &[bool]) -> Result<(), Error> {
    let config = to.config;
    let field = "per_layer_config";
    let (dim, shared) = (config.size(&["head_dim"])?, config.size(&["num_key_value_heads"])?);
    let own = own_settings(&config, field, in_window.len())?;
    let of_layer = |layer: usize| -> Result<[usize; 2], Error> {
        let own = match &own {
            Some(own) => own.get(&layer),
            // What transformers takes where no layer is told anything.
            None if !in_window[layer] => return Ok([512, 1]),
            None => None,
        };
        let Some(own) = own else { return Ok([dim, shared]) };
        let size = |name: &str, usual: usize| own.optional_size(&[name]).map(|size| size.unwrap_or(usual));
        Ok([size("head_dim", dim)?, size("num_key_value_heads", shared)?])
    };
    let mut found: [Option<[usize; 2]>; 2] = [None; 2];
    for (layer, &windowed) in in_window.iter().enumerate() {
        let heads = of_layer(layer)?;
        if *found[usize::from(windowed)].get_or_insert(heads) != heads {
            return Err(config.error(field, "the same heads in all layers of a kind", format!("others in {layer}")));
        }
    }
    let [whole, windowed] = found.map(|heads| heads.unwrap_or([dim, shared]));
    for (key, size) in [
        ("attention.key_length", whole[0]),
        ("attention.key_length_swa", windowed[0]),
        ("attention.head_count_kv", whole[1]),
        ("attention.head_count_kv_swa", windowed[1]),
    ] {
        to.set_size(key, field, size)?;
    }
    Ok(())
}

/// What single layers have of their own, by their numbers, which may be written with zeros in front.
fn own_settings<'a>(
    config: &HfConfig<'a>,
    field: &'static str,
    layers: usize,
) -> Result<Option<BTreeMap<usize, HfConfig<'a>>>, Error> {
    const KNOWN: [&str; 2] = ["head_dim", "num_key_value_heads"];
    let Some(all) = config.object(field)? else { return Ok(None) };
    let mut own = BTreeMap::new();
    for number in all.fields.keys() {
        let Some(layer) = number.parse().ok().filter(|&layer: &usize| layer < layers) else {
            return Err(config.error(field, &format!("numbers of layers below {layers}"), format!("{number:?}")));
        };
        let Some(settings) = all.object(number)? else { continue };
        if let Some(other) = settings.fields.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(config.error(field, &KNOWN.join(" and "), format!("{other:?} of layer {layer}")));
        }
        own.insert(layer, settings);
    }
    Ok(Some(own))
}

fn load(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Loaded, Error> {
    let sizes = decoder::sizes(settings, weights)?;
    sizes.check(settings.path())?;
    decoder::check_projection(settings, weights, sizes.hidden)?;
    let hidden = sizes.hidden;
    let heads = [heads(settings, sizes.heads, "")?, heads(settings, sizes.heads, "_swa")?];
    let epsilon = settings.epsilon("attention.layer_norm_rms_epsilon")?;
    let in_window = settings.window_layers(sizes.layers, PERIOD, Whole::Last)?;
    let radius = settings.size("attention.sliding_window")?;
    let told = settings.size(TOLD)?;
    if told == 0 || told > 1 << 16 {
        return Err(settings.error(TOLD, "1 to 65536", told));
    }
    let rotary = |heads: &Heads, key: &str| -> Result<Rotary, Error> {
        let frequencies = position::frequencies(settings, heads.dim, position::base(settings, key)?)?;
        position::rotary(settings, RotaryStyle::Halves, heads.dim, &frequencies, sizes.positions)
    };
    let window = Mask::Window { left: radius, right: radius };
    let sights =
        [(Mask::Full, rotary(&heads[0], "rope.freq_base")?), (window, rotary(&heads[1], "rope.freq_base_swa")?)];
    // What is told is divided by the root of the width before its norm: to a norm that is another constant under the root.
    let told_norm = || weights.norm("per_layer_proj_norm", told, epsilon * hidden as f32);
    let layer = |index: usize| -> Result<Layer, Error> {
        let sight = usize::from(in_window[index]);
        let heads = &heads[sight];
        let name = |part: &str| format!("blk.{index}.{part}");
        let norm = |part: &str, columns: usize| weights.norm(&name(part), columns, epsilon);
        Ok(Layer {
            sight,
            layer: GemmaLayer::load(weights, index, (hidden, sizes.feed_forward), heads, epsilon, true)?,
            told: Told {
                projection: weights.linear_part(
                    "per_layer_model_proj",
                    hidden,
                    sizes.layers * told,
                    index * told..(index + 1) * told,
                )?,
                norm: told_norm()?,
                gate: weights.linear(&name("inp_gate"), hidden, told)?,
                output: weights.linear(&name("proj"), told, hidden)?,
                output_norm: norm("post_norm", hidden)?,
            },
            scale: weights.vector(&name("layer_output_scale.weight"), 1)?[0],
        })
    };
    let network = EmbeddingGemma2 {
        tokens: weights.embedding("token_embd.weight", sizes.vocabulary, hidden)?,
        layers: (0..sizes.layers).map(layer).collect::<Result<_, _>>()?,
        sights,
        output_norm: weights.norm("output_norm", hidden, epsilon)?,
    };
    Ok(Loaded::encoder(network, sizes, None))
}

/// The heads of the layers of a kind, whose keys end in `kind`. Scores are what queries and keys give.
fn heads(settings: &Settings<'_>, count: usize, kind: &str) -> Result<Heads, Error> {
    let key = format!("attention.key_length{kind}");
    let dim = settings.size(&key)?;
    if dim == 0 || dim > 1024 || dim % 2 == 1 {
        return Err(settings.error(&key, "an even number up to 1024", dim));
    }
    let key = format!("attention.head_count_kv{kind}");
    let shared = settings.size(&key)?;
    if shared == 0 || !count.is_multiple_of(shared) {
        return Err(settings.error(&key, format!("a divisor of the {count} heads"), shared));
    }
    let mut heads = Heads::new(count, dim).grouped(shared);
    heads.scale = 1.0;
    Ok(heads)
}

fn gguf_name(name: &str) -> HfName {
    const TABLES: &[(&str, &str)] = &[
        ("embed_tokens", "token_embd"),
        ("norm", "output_norm"),
        ("ple.per_layer_model_projection", "per_layer_model_proj"),
        ("ple.per_layer_projection_norm", "per_layer_proj_norm"),
        ("embedding_projection", "dense_2"),
    ];
    const OF_TOLD: &[(&str, &str)] = &[
        ("ple_block.per_layer_input_gate", "inp_gate"),
        ("ple_block.per_layer_projection", "proj"),
        ("ple_block.post_per_layer_input_norm", "post_norm"),
    ];
    /// What sees and hears.
    const OTHERS: [&str; 4] = ["vision_tower.", "audio_tower.", "embed_vision.", "embed_audio."];
    let name = name.strip_prefix("model.").unwrap_or(name);
    if OTHERS.iter().any(|part| name.starts_with(part)) {
        return HfName::Unused;
    }
    let name = name.strip_prefix("language_model.").unwrap_or(name);
    if let Some((index, "layer_scalar")) = layer_and_part(name, &["layers."]) {
        return HfName::Gguf(format!("blk.{index}.layer_output_scale.weight"));
    }
    let Some(stem) = name.strip_suffix(".weight") else { return HfName::Unknown };
    let gguf = match layer_and_part(stem, &["layers."]) {
        Some((index, part)) => {
            find(LAYER, part).or_else(|| find(OF_TOLD, part)).map(|gguf| format!("blk.{index}.{gguf}.weight"))
        }
        None => find(TABLES, stem).map(|gguf| format!("{gguf}.weight")),
    };
    gguf.map_or(HfName::Unknown, HfName::Gguf)
}
