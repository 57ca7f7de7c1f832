//! What a sentence-transformers repository says about the use of its model: pooling, normalisation, length, prompts.

use std::collections::BTreeMap;
use std::path::Path;

use docent_kernels::Pooling;
use docent_tokenizer::Tokenizer;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::arch::modern_bert;
use crate::blocks::{answers, projection};
use crate::settings::Translation;
use crate::source::{Directory, HfName};
use crate::{Error, Prompts};

/// The settings of a repository; all absent if it is a plain transformers checkpoint.
#[derive(Debug, Default)]
pub(crate) struct SentenceTransformers {
    /// The folder of the first module: of configuration, tokenizer and weights. Empty if they lie beside modules.json.
    pub(crate) folder: String,
    /// Whether the first module is a table of token vectors.
    pub(crate) is_table: bool,
    pub(crate) pooling: Option<Pooling>,
    /// Whether vectors are scaled to unit length; `None` if there is no modules.json to say so.
    pub(crate) normalize: Option<bool>,
    pub(crate) max_seq_length: Option<usize>,
    /// Whether texts are to be in small letters before they are tokenized.
    pub(crate) do_lower_case: bool,
    pub(crate) prompts: Prompts,
    /// Modules with weights of their own, in order: matrices between pooling and the embedding, or the head of a reranker.
    pub(crate) weights: Vec<WeightModule>,
    /// The activation of each layer that projects embeddings, by Hugging Face's names.
    pub(crate) projection: Vec<Option<&'static str>>,
    /// Whether embeddings are made into signed bytes.
    pub(crate) to_bytes: bool,
    /// The activation of the head's first layer, by Hugging Face's name, if there is such a head.
    pub(crate) scoring: Option<&'static str>,
    /// The tokens whose odds are the score, if the model is a reranker that answers.
    pub(crate) answers: Option<AnswerTokens>,
    /// How pairs are put into the model's chat template, if that is where they go.
    pub(crate) messages: Messages,
}

/// The tokens that a reranker answers with: `LogitScore`, whose score is the logit of the first, less that of the second if there is one.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct AnswerTokens {
    #[serde(rename = "true_token_id")]
    pub(crate) yes: u32,
    #[serde(rename = "false_token_id", default)]
    pub(crate) no: Option<u32>,
}

/// How a pair becomes the messages of a chat.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// Whether the content of a message is a list of parts, and not a text.
    pub(crate) structured: bool,
    /// What else the template is rendered with.
    pub(crate) variables: Map<String, Value>,
}

/// A module with weights.
#[derive(Debug)]
pub(crate) struct WeightModule {
    /// The folder that has them.
    pub(crate) folder: String,
    /// What GGUF calls the layer.
    pub(crate) gguf: String,
}

/// The GGUF name of a tensor that belongs to one of these modules.
pub(crate) fn name_in_module(modules: &[WeightModule], name: &str) -> Option<HfName> {
    let inside = |module: &&WeightModule| name.strip_prefix(&module.folder).is_some_and(|rest| rest.starts_with('/'));
    let module = modules.iter().find(inside)?;
    let part = name.rsplit_once('.').map_or("", |(_, part)| part);
    Some(HfName::Gguf(format!("{}.{part}", module.gguf)))
}

/// A layer after pooling.
#[derive(Clone, Copy)]
enum Layer {
    /// A matrix with the name of the activation behind it, if there is one, and the number of its outputs, if the file says it.
    Dense(Option<&'static str>, Option<u64>),
    LayerNorm,
}

#[derive(Deserialize)]
struct DenseConfig {
    activation_function: Option<String>,
    out_features: Option<u64>,
}

#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    ty: String,
}

#[derive(Deserialize, Default)]
struct SentenceBertConfig {
    max_seq_length: Option<usize>,
    do_lower_case: Option<bool>,
    modality_config: Option<Modalities>,
    processing_kwargs: Option<Processing>,
}

#[derive(Deserialize, Default)]
struct Modalities {
    message: Option<MessageModality>,
    text: Option<TextModality>,
}

#[derive(Deserialize)]
struct TextModality {
    method_output_name: Option<String>,
}

#[derive(Deserialize)]
struct MessageModality {
    format: Option<String>,
}

/// What the tokenizer is called with beside the text.
#[derive(Deserialize, Default)]
struct Processing {
    chat_template: Option<Map<String, Value>>,
    #[serde(default)]
    common: Map<String, Value>,
    #[serde(default)]
    text: Map<String, Value>,
}

#[derive(Deserialize, Default)]
struct SentenceTransformersConfig {
    #[serde(default)]
    prompts: Option<BTreeMap<String, String>>,
    #[serde(default)]
    default_prompt_name: Option<String>,
}

impl SentenceTransformers {
    /// Reads `modules.json` and the files it names, `sentence_bert_config.json` and `config_sentence_transformers.json`.
    ///
    /// # Errors
    /// If a module is of a kind that would change the vectors and is not known here, or a file is malformed.
    pub(crate) fn read(directory: Directory<'_>) -> Result<Self, Error> {
        let mut settings = SentenceTransformers::default();
        let mut layers = Vec::new();
        if let Some(modules) = directory.json::<Vec<Module>>("modules.json")? {
            settings.normalize = Some(false);
            for (index, Module { path, ty }) in modules.into_iter().enumerate() {
                match ty.rsplit('.').next().unwrap_or(&ty) {
                    kind @ ("Transformer" | "StaticEmbedding") if index == 0 => {
                        check_folder(directory, &path)?;
                        settings.is_table = kind == "StaticEmbedding";
                        // The mean of its rows is all that is made of a text.
                        settings.pooling = settings.is_table.then_some(Pooling::Mean);
                        settings.folder = if path == "." { String::new() } else { path };
                    }
                    "Normalize" => settings.normalize = Some(true),
                    "Pooling" if !settings.is_table => settings.pooling = Some(read_pooling(directory, &path)?),
                    "LogitScore" => settings.answers = Some(read_logit_score(directory, &path)?),
                    "Dense" | "LayerNorm"
                        if settings.pooling.is_none() || settings.normalize == Some(true) || settings.to_bytes =>
                    {
                        let (file, expected) = (directory.file("modules.json"), "layers between Pooling and Normalize");
                        return Err(Error::config(file, "type", expected, format!("{ty:?} at {path:?}")));
                    }
                    "Dense" => layers.push((read_dense(directory, &path)?, path)),
                    "LayerNorm" => {
                        check_folder(directory, &path)?;
                        layers.push((Layer::LayerNorm, path));
                    }
                    // Of a module of the publisher's own: <https://huggingface.co/perplexity-ai>, `st_quantize.py`, its default.
                    "FlexibleQuantizer"
                        if settings.pooling.is_some() && settings.normalize == Some(false) && !settings.to_bytes =>
                    {
                        settings.to_bytes = true;
                    }
                    kind => {
                        let file = directory.file("modules.json");
                        let expected = "Transformer or StaticEmbedding first, then Pooling, Dense, LayerNorm, Normalize or FlexibleQuantizer, or LogitScore";
                        return Err(Error::config(file, "type", expected, format!("{kind:?}")));
                    }
                }
            }
        }
        if settings.answers.is_some() && (settings.pooling.is_some() || !layers.is_empty()) {
            let (file, expected) = (directory.file("modules.json"), "LogitScore alone after the Transformer");
            return Err(Error::config(file, "type", expected, "further modules"));
        }
        settings.name_layers(directory, layers)?;
        let inner = directory.file(&settings.folder);
        let config: SentenceBertConfig = Directory::new(&inner).json("sentence_bert_config.json")?.unwrap_or_default();
        let processing = config.processing_kwargs.unwrap_or_default();
        let file = || inner.join("sentence_bert_config.json");
        settings.max_seq_length = processing.max_length(&file())?.or(config.max_seq_length);
        settings.do_lower_case = config.do_lower_case == Some(true);
        if let Some(modalities) = config.modality_config.as_ref().filter(|_| settings.pooling.is_some()) {
            modalities.check_text(&file())?;
        }
        let variables = processing.chat_template.unwrap_or_default();
        let message = config.modality_config.and_then(|modalities| modalities.message);
        let structured = message.is_some_and(|message| message.format.as_deref() == Some("structured"));
        settings.messages = Messages { structured, variables };
        let config: SentenceTransformersConfig =
            directory.json("config_sentence_transformers.json")?.unwrap_or_default();
        settings.prompts =
            Prompts { named: config.prompts.unwrap_or_default(), default_name: config.default_prompt_name };
        if let Some(name) =
            settings.prompts.default_name.as_ref().filter(|&name| !settings.prompts.named.contains_key(name))
        {
            let file = directory.file("config_sentence_transformers.json");
            return Err(Error::config(
                file,
                "default_prompt_name",
                "the name of one of `prompts`",
                format!("{name:?}"),
            ));
        }
        Ok(settings)
    }
}

impl Modalities {
    /// That the states of a text are pooled, and not those of a chat that it is put into, nor another output.
    fn check_text(&self, file: &Path) -> Result<(), Error> {
        let field = "modality_config.text";
        let Some(text) = &self.text else {
            return Err(Error::config(file, field, "texts that are read as they are", "nothing"));
        };
        match text.method_output_name.as_deref() {
            None | Some("last_hidden_state") => Ok(()),
            Some(found) => Err(Error::config(file, field, "the output last_hidden_state", found)),
        }
    }
}

impl Processing {
    /// The limit of a text's tokens, if there is one.
    ///
    /// # Errors
    /// If a text is to be tokenized in another way than is usual.
    fn max_length(&self, file: &Path) -> Result<Option<usize>, Error> {
        /// What changes no embedding here: there is no padding, and nothing but ids is asked for.
        const IDLE: [&str; 7] = [
            "padding",
            "padding_side",
            "pad_to_multiple_of",
            "return_tensors",
            "return_attention_mask",
            "return_token_type_ids",
            "logits_to_keep",
        ];
        let mut length = None;
        for (key, value) in self.common.iter().chain(&self.text) {
            match (key.as_str(), value) {
                ("max_length", value) if value.as_u64().is_some() => {
                    length = value.as_u64().and_then(|value| usize::try_from(value).ok());
                }
                ("truncation" | "add_special_tokens", Value::Bool(true)) => {}
                ("truncation_side", Value::String(side)) if side == "right" => {}
                (key, _) if IDLE.contains(&key) => {}
                (key, found) => {
                    let field = format!("processing_kwargs.text.{key}");
                    return Err(Error::config(file, field, "the tokenizer's usual way", found.to_string()));
                }
            }
        }
        Ok(length)
    }
}

impl SentenceTransformers {
    /// Adds what the modules say of the head to the settings of the model.
    ///
    /// # Errors
    /// If the architecture has no such head.
    pub(crate) fn translate(
        &self,
        to: &mut Translation<'_>,
        directory: Directory<'_>,
        architecture: &str,
    ) -> Result<(), Error> {
        let file = directory.file("modules.json");
        if let Some(activation) = self.scoring {
            modern_bert::translate_modules(to, &file, architecture, (self.pooling, activation))?;
        }
        projection::translate(to, architecture, &self.projection, self.to_bytes);
        if let Some(tokens) = self.answers {
            answers::translate(to, &file, architecture, tokens)?;
        }
        Ok(())
    }

    /// That texts need not be changed for the tokenizer.
    ///
    /// # Errors
    /// If they are to be in small letters, and the tokenizer reads others.
    pub(crate) fn check_case(&self, directory: Directory<'_>, tokenizer: &Tokenizer) -> Result<(), Error> {
        let ids = |text: &str| tokenizer.ids(text).ok();
        if self.do_lower_case && ids("The QUICK Fox Ää") != ids("the quick fox ää") {
            let (file, expected) =
                (directory.file("sentence_bert_config.json"), "false, or a tokenizer of small letters");
            return Err(Error::config(file, "do_lower_case", expected, "true"));
        }
        Ok(())
    }

    /// Tells what the layers after pooling are for: dense layers project embeddings; one with an activation, perhaps a norm, and a matrix of
    /// one row are the head of a reranker.
    fn name_layers(&mut self, directory: Directory<'_>, layers: Vec<(Layer, String)>) -> Result<(), Error> {
        let (kinds, folders): (Vec<Layer>, Vec<String>) = layers.into_iter().unzip();
        let names: Vec<String> = match kinds[..] {
            [Layer::Dense(Some(activation), _), Layer::LayerNorm, Layer::Dense(None, _)] => {
                self.scoring = Some(activation);
                ["cls", "cls.norm", "cls.output"].map(str::to_owned).to_vec()
            }
            [Layer::Dense(Some(activation), _), Layer::Dense(None, None | Some(1))] => {
                self.scoring = Some(activation);
                ["cls", "cls.output"].map(str::to_owned).to_vec()
            }
            _ => {
                let activations = kinds.iter().map(|kind| match kind {
                    Layer::Dense(activation, _) => Some(*activation),
                    Layer::LayerNorm => None,
                });
                let Some(activations) = activations.collect() else {
                    let expected = "dense layers after pooling, or Dense with activation, LayerNorm and Dense";
                    let file = directory.file("modules.json");
                    return Err(Error::config(file, "type", expected, format!("{folders:?}")));
                };
                self.projection = activations;
                projection::stems().take(kinds.len()).collect()
            }
        };
        let modules = folders.into_iter().zip(names);
        self.weights = modules.map(|(folder, gguf)| WeightModule { folder, gguf }).collect();
        Ok(())
    }
}

/// The pooling of a Pooling module: one of the `pooling_mode_*` switches, or in newer files a name.
fn read_pooling(directory: Directory<'_>, path: &str) -> Result<Pooling, Error> {
    let name = if path.is_empty() { "config.json".to_owned() } else { format!("{path}/config.json") };
    let file = directory.file(&name);
    check_folder(directory, path)?;
    let fields: Map<String, Value> = directory.require_json(&name)?;
    // Vectors would be pooled over the prompt all the same.
    if fields.get("include_prompt").and_then(Value::as_bool) == Some(false) {
        return Err(Error::config(file, "include_prompt", "true", "false"));
    }
    let mut modes: Vec<&str> = Vec::new();
    if let Some(mode) = fields.get("pooling_mode").and_then(Value::as_str) {
        modes.push(mode);
    } else {
        let switched_on = fields.iter().filter(|(_, value)| value.as_bool() == Some(true));
        modes.extend(switched_on.filter_map(|(key, _)| key.strip_prefix("pooling_mode_")));
    }
    match modes[..] {
        ["cls_token" | "cls"] => Ok(Pooling::Cls),
        ["mean_tokens" | "mean"] => Ok(Pooling::Mean),
        ["max_tokens" | "max"] => Ok(Pooling::Max),
        ["lasttoken" | "last"] => Ok(Pooling::Last),
        _ => Err(Error::config(file, "pooling mode", "one of cls, mean, max, lasttoken", format!("{modes:?}"))),
    }
}

/// The tokens of a `LogitScore` module.
fn read_logit_score(directory: Directory<'_>, folder: &str) -> Result<AnswerTokens, Error> {
    check_folder(directory, folder)?;
    let name = format!("{folder}/config.json");
    let fields: Map<String, Value> = directory.require_json(&name)?;
    if let Some(input) = fields.get("module_input_name").filter(|&input| input != "causal_logits") {
        return Err(Error::config(directory.file(&name), "module_input_name", "\"causal_logits\"", input.to_string()));
    }
    serde_json::from_value(Value::Object(fields)).map_err(|source| Error::Json { path: directory.file(&name), source })
}

/// A Dense module.
fn read_dense(directory: Directory<'_>, folder: &str) -> Result<Layer, Error> {
    const PREFIX: &str = "torch.nn.modules.";
    check_folder(directory, folder)?;
    let name = format!("{folder}/config.json");
    let config: DenseConfig = directory.require_json(&name)?;
    let function = config.activation_function.as_deref().unwrap_or("torch.nn.modules.linear.Identity");
    match function.strip_prefix(PREFIX) {
        Some("linear.Identity") => Ok(Layer::Dense(None, config.out_features)),
        Some("activation.GELU") => Ok(Layer::Dense(Some("gelu"), config.out_features)),
        Some("activation.ReLU") => Ok(Layer::Dense(Some("relu"), config.out_features)),
        Some("activation.SiLU") => Ok(Layer::Dense(Some("silu"), config.out_features)),
        Some("activation.Tanh") => Ok(Layer::Dense(Some("tanh"), config.out_features)),
        _ => {
            let expected = "torch.nn.modules.linear.Identity or torch.nn.modules.activation.GELU, ReLU, SiLU or Tanh";
            Err(Error::config(directory.file(&name), "activation_function", expected, format!("{function:?}")))
        }
    }
}

/// That a module lies inside the model.
fn check_folder(directory: Directory<'_>, folder: &str) -> Result<(), Error> {
    if folder.split(['/', '\\']).any(|part| part == "..") || Path::new(folder).is_absolute() {
        let (file, expected) = (directory.file("modules.json"), "a folder of the model");
        return Err(Error::config(file, "path", expected, format!("{folder:?}")));
    }
    Ok(())
}
