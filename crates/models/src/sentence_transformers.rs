//! What a sentence-transformers repository says about the use of its model: pooling, normalisation, length, prompts.

use std::collections::BTreeMap;

use docent_kernels::Pooling;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::source::Directory;
use crate::{Error, Prompts};

/// The settings of a repository; all absent if it is a plain transformers checkpoint.
#[derive(Debug, Default)]
pub(crate) struct SentenceTransformers {
    pub(crate) pooling: Option<Pooling>,
    /// Whether vectors are scaled to unit length; `None` if there is no modules.json to say so.
    pub(crate) normalize: Option<bool>,
    pub(crate) max_seq_length: Option<usize>,
    pub(crate) prompts: Prompts,
    /// Matrices between pooling and the embedding, in order.
    pub(crate) dense: Vec<DenseModule>,
}

/// A Dense module.
#[derive(Debug)]
pub(crate) struct DenseModule {
    /// The folder that has its weights.
    pub(crate) folder: String,
}

#[derive(Deserialize)]
struct DenseConfig {
    #[serde(default)]
    activation_function: Option<String>,
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
        if let Some(modules) = directory.json::<Vec<Module>>("modules.json")? {
            settings.normalize = Some(false);
            for Module { path, ty } in modules {
                match ty.rsplit('.').next().unwrap_or(&ty) {
                    "Transformer" => {}
                    "Normalize" => settings.normalize = Some(true),
                    "Pooling" => settings.pooling = Some(read_pooling(directory, &path)?),
                    "Dense" => settings.dense.push(read_dense(directory, path)?),
                    kind => {
                        let file = directory.file("modules.json");
                        let expected = "Transformer, Pooling, Dense or Normalize";
                        return Err(Error::config(file, "type", expected, format!("{kind:?}")));
                    }
                }
            }
        }
        let config: SentenceBertConfig = directory.json("sentence_bert_config.json")?.unwrap_or_default();
        settings.max_seq_length = config.max_seq_length;
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

/// A Dense module that only multiplies.
fn read_dense(directory: Directory<'_>, folder: String) -> Result<DenseModule, Error> {
    check_folder(directory, &folder)?;
    let name = format!("{folder}/config.json");
    let config: DenseConfig = directory.require_json(&name)?;
    match config.activation_function.as_deref() {
        None | Some("torch.nn.modules.linear.Identity") => Ok(DenseModule { folder }),
        Some(found) => {
            let expected = "torch.nn.modules.linear.Identity";
            Err(Error::config(directory.file(&name), "activation_function", expected, format!("{found:?}")))
        }
    }
}

/// That a module lies inside the model.
fn check_folder(directory: Directory<'_>, folder: &str) -> Result<(), Error> {
    if folder.split(['/', '\\']).any(|part| part == "..") || std::path::Path::new(folder).is_absolute() {
        let (file, expected) = (directory.file("modules.json"), "a folder of the model");
        return Err(Error::config(file, "path", expected, format!("{folder:?}")));
    }
    Ok(())
}
