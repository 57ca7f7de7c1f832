//! The settings of a model, whatever kind of file they come from.
//!
//! An architecture reads its settings by GGUF's keys alone. For a Hugging Face directory they are first translated, by a function of
//! the architecture that names for each key the fields of config.json which mean it: what is loaded from a directory is what would
//! be loaded from the GGUF file that it converts to. An error names what the reader has before them, key or field.

use std::collections::BTreeMap;
use std::path::Path;

use docent_gguf::{Gguf, Metadata, Value as GgufValue, WriteError, Writer};
use docent_kernels::Activation;
use serde_json::{Map, Value};

use crate::Error;
use crate::keys::Keys;

/// The settings of one architecture; keys are given without its name in front.
pub(crate) struct Settings<'a> {
    path: &'a Path,
    architecture: &'a str,
    metadata: Metadata<'a>,
    /// The field of config.json behind each key, where there is one.
    fields: Option<&'a BTreeMap<String, &'static str>>,
}

impl<'a> Settings<'a> {
    /// Those of a GGUF file.
    pub(crate) fn of_gguf(path: &'a Path, architecture: &'a str, metadata: Metadata<'a>) -> Self {
        Settings { path, architecture, metadata, fields: None }
    }

    pub(crate) fn path(&self) -> &Path {
        self.path
    }

    /// Whether the weights beside these settings are as Hugging Face's libraries lay them out, not as GGUF does.
    pub(crate) fn of_hugging_face(&self) -> bool {
        self.fields.is_some()
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// A whole number that must be there.
    pub(crate) fn size(&self, key: &str) -> Result<usize, Error> {
        Ok(self.metadata.require_u32(&self.key(key))? as usize)
    }

    pub(crate) fn optional_size(&self, key: &str) -> Result<Option<usize>, Error> {
        Ok(self.metadata.u32(&self.key(key))?.map(|value| value as usize))
    }

    /// A whole number that may be given for each layer anew, but is the same in all.
    pub(crate) fn uniform_size(&self, key: &str) -> Result<Option<usize>, Error> {
        if !matches!(self.metadata.get(&self.key(key)), Some(GgufValue::Array(_))) {
            return self.optional_size(key);
        }
        let values = self.metadata.u32s(&self.key(key))?.unwrap_or_default();
        match values.first() {
            Some(&first) if values.iter().all(|&value| value == first) => Ok(Some(first as usize)),
            _ => Err(self.error(key, "the same number for every layer", format!("{values:?}"))),
        }
    }

    pub(crate) fn u32s(&self, key: &str) -> Result<Option<Vec<u32>>, Error> {
        Ok(self.metadata.u32s(&self.key(key))?)
    }

    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>, Error> {
        Ok(self.metadata.f32(&self.key(key))?.map(f64::from))
    }

    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        Ok(self.metadata.bool(&self.key(key))?)
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        Ok(self.metadata.str(&self.key(key))?)
    }

    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<String>>, Error> {
        let texts = self.metadata.strings(&self.key(key))?;
        Ok(texts.map(|texts| texts.iter().map(str::to_owned).collect()))
    }

    /// Which layers attend in a window: told for each, or by a period of which `last` says whether its last layer or its first
    /// is the one that attends to all.
    pub(crate) fn window_layers(&self, layers: usize, period: usize, whole: Whole) -> Result<Vec<bool>, Error> {
        let key = "attention.sliding_window_pattern";
        if let Some(GgufValue::Array(_)) = self.metadata.get(&self.key(key)) {
            let name = self.key(key);
            let flags = match self.metadata.bools(&name) {
                Ok(flags) => flags.unwrap_or_default(),
                Err(_) => self.metadata.i32s(&name)?.unwrap_or_default().into_iter().map(|flag| flag != 0).collect(),
            };
            let found = flags.len();
            return match flags.get(..layers) {
                Some(flags) => Ok(flags.to_vec()),
                None => Err(self.error(key, format!("a value for each of {layers} layers"), found)),
            };
        }
        let period = self.optional_size(key)?.unwrap_or(period);
        let in_window = |layer: usize| match whole {
            _ if period == 0 => true,
            Whole::First => !layer.is_multiple_of(period),
            Whole::Last => layer % period < period - 1,
        };
        Ok((0..layers).map(in_window).collect())
    }

    /// The constant under the root of a norm.
    pub(crate) fn epsilon(&self, key: &str) -> Result<f32, Error> {
        let epsilon = f64::from(self.metadata.require_f32(&self.key(key))?);
        let single = epsilon as f32;
        if (f32::MIN_POSITIVE..1.0).contains(&single) {
            return Ok(single);
        }
        Err(self.error(key, "a number between 0 and 1", epsilon))
    }

    /// The activation of a feed-forward block, by the names that Hugging Face gives them.
    pub(crate) fn activation(&self, key: &str, default: Activation) -> Result<Activation, Error> {
        Ok(self.optional_activation(key)?.unwrap_or(default))
    }

    /// An activation that may be missing, by the same names.
    pub(crate) fn optional_activation(&self, key: &str) -> Result<Option<Activation>, Error> {
        let Some(name) = self.text(key)? else { return Ok(None) };
        activation(name).map(Some).ok_or_else(|| self.error(key, ACTIVATIONS, format!("{name:?}")))
    }

    pub(crate) fn error(&self, key: &str, expected: impl Into<String>, found: impl ToString) -> Error {
        let key = self.key(key);
        let name = self.fields.and_then(|fields| fields.get(&key)).map_or(key, |&field| field.to_owned());
        Error::config(self.path, name, expected, found.to_string())
    }
}

/// Which layer of a period attends to the whole sequence.
#[derive(Clone, Copy)]
pub(crate) enum Whole {
    First,
    Last,
}

/// What [`activation`] knows, for messages.
pub(crate) const ACTIVATIONS: &str = "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu, silu or tanh";

/// An activation by Hugging Face's name.
pub(crate) fn activation(name: &str) -> Option<Activation> {
    Some(match name {
        "gelu" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        "silu" | "swish" => Activation::Silu,
        "tanh" => Activation::Tanh,
        _ => return None,
    })
}

/// The settings of a config.json as they would stand in GGUF.
pub(crate) struct Translated {
    gguf: Gguf,
    fields: BTreeMap<String, &'static str>,
}

impl Translated {
    /// Those that an architecture makes of a config.json.
    pub(crate) fn new(translation: Translation<'_>) -> Result<Self, Error> {
        let (path, fields) = (translation.config.path, translation.fields);
        let unusable =
            |error: &dyn std::fmt::Display| Error::config(path, "config.json", "settings", error.to_string());
        let mut writer = Writer::new();
        let mut bytes = Vec::new();
        let written: Result<(), WriteError> = translation
            .keys
            .add_to(&mut writer)
            .and_then(|()| writer.write(&mut bytes, |_, _| Ok::<(), WriteError>(())));
        written.map_err(|error| unusable(&error))?;
        let gguf = Gguf::from_bytes(bytes).map_err(|error| unusable(&error))?;
        Ok(Translated { gguf, fields })
    }

    pub(crate) fn settings<'a>(&'a self, path: &'a Path, architecture: &'a str) -> Settings<'a> {
        Settings { path, architecture, metadata: self.gguf.metadata(), fields: Some(&self.fields) }
    }
}

/// A config.json on its way to GGUF's keys.
#[derive(Clone)]
pub(crate) struct Translation<'c> {
    pub(crate) config: HfConfig<'c>,
    architecture: &'static str,
    keys: Keys,
    fields: BTreeMap<String, &'static str>,
    unwritten: BTreeMap<String, Unwritten>,
}

/// What a GGUF file is without a setting that it has no key for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwritten {
    /// The same model: its tensors carry the setting, or it is what readers take for granted.
    Implied,
    /// A model that gives the same embeddings but scores pairs otherwise. Docent's own key for it is written for those that score.
    ScoresDiffer,
    /// Another model.
    Refused,
}

impl<'c> Translation<'c> {
    pub(crate) fn new(config: HfConfig<'c>, architecture: &'static str) -> Self {
        let (keys, fields, unwritten) = (Keys::default(), BTreeMap::new(), BTreeMap::new());
        Translation { config, architecture, keys, fields, unwritten }
    }

    /// The keys so far, with the architecture's name in front.
    pub(crate) fn into_keys(self) -> Keys {
        self.keys
    }

    /// Marks a setting that stands in no file: it has no key there, or need not be said.
    pub(crate) fn leave_unwritten(&mut self, key: &str, effect: Unwritten) {
        self.unwritten.insert(format!("{}.{key}", self.architecture), effect);
    }

    /// What a file is without a setting that was marked so.
    pub(crate) fn unwritten(&self, key: &str) -> Option<Unwritten> {
        self.unwritten.get(key).copied()
    }

    /// The field of config.json behind a key.
    pub(crate) fn field(&self, key: &str) -> Option<&'static str> {
        self.fields.get(key).copied()
    }

    fn note(&mut self, key: &str, field: &'static str) -> String {
        let key = format!("{}.{key}", self.architecture);
        self.fields.insert(key.clone(), field);
        key
    }

    /// A whole number, from the first of several fields (writers differ) that is there.
    pub(crate) fn size(&mut self, key: &str, fields: &[&'static str]) -> Result<usize, Error> {
        let size = self.config.size(fields)?;
        self.set_size(key, self.config.present(fields), size)?;
        Ok(size)
    }

    /// The same with a value for when none of the fields is there.
    pub(crate) fn size_or(&mut self, key: &str, fields: &[&'static str], default: usize) -> Result<usize, Error> {
        let size = self.config.optional_size(fields)?.unwrap_or(default);
        self.set_size(key, self.config.present(fields), size)?;
        Ok(size)
    }

    /// A whole number that follows from `field`.
    pub(crate) fn set_size(&mut self, key: &str, field: &'static str, size: usize) -> Result<(), Error> {
        let value = u32::try_from(size).map_err(|_| self.config.error(field, "at most 4294967295", size))?;
        let key = self.note(key, field);
        self.keys.u32(&key, value);
        Ok(())
    }

    /// Which layers attend in a window, if config.json says it for each.
    pub(crate) fn layers_in_window(&self, layers: usize) -> Result<Option<Vec<bool>>, Error> {
        let field = "layer_types";
        let Some(types) = self.config.strings(field)? else { return Ok(None) };
        if types.len() != layers {
            return Err(self.config.error(field, &format!("a type for each of {layers} layers"), types.len()));
        }
        let in_window = |ty: &str| match ty {
            "sliding_attention" => Ok(true),
            "full_attention" => Ok(false),
            found => Err(self.config.error(field, "full_attention and sliding_attention", format!("{found:?}"))),
        };
        types.into_iter().map(in_window).collect::<Result<_, _>>().map(Some)
    }

    /// A number, from the first of several fields that is there, or else the default.
    pub(crate) fn float_or(&mut self, key: &str, fields: &[&'static str], default: f64) -> Result<f64, Error> {
        let value = self.config.float(fields)?.unwrap_or(default);
        self.set_float(key, self.config.present(fields), value);
        Ok(value)
    }

    pub(crate) fn set_float(&mut self, key: &str, field: &'static str, value: f64) {
        let key = self.note(key, field);
        self.keys.f32(&key, value as f32);
    }

    pub(crate) fn set_bool(&mut self, key: &str, field: &'static str, value: bool) {
        let key = self.note(key, field);
        self.keys.bool(&key, value);
    }

    pub(crate) fn set_bools(&mut self, key: &str, field: &'static str, values: Vec<bool>) {
        let key = self.note(key, field);
        self.keys.bools(&key, values);
    }

    pub(crate) fn set_u32s(&mut self, key: &str, field: &'static str, values: Vec<u32>) {
        let key = self.note(key, field);
        self.keys.u32s(&key, values);
    }

    pub(crate) fn set_text(&mut self, key: &str, field: &'static str, value: &str) {
        let key = self.note(key, field);
        self.keys.text(&key, value);
    }
}

/// The `model_type` that a class of configuration stands for which the publisher has written: `auto_map` has it as
/// `[repository--]file.class`.
pub(crate) fn own_code(fields: &Map<String, Value>) -> Option<&'static str> {
    let class = fields.get("auto_map")?.get("AutoConfig")?.as_str()?.rsplit('.').next()?;
    (class == "XLMRobertaFlashConfig").then_some("xlm-roberta")
}

/// A config.json with errors that name the field.
#[derive(Clone, Copy)]
pub(crate) struct HfConfig<'a> {
    pub(crate) path: &'a Path,
    pub(crate) fields: &'a Map<String, Value>,
}

impl<'a> HfConfig<'a> {
    /// The first of several names (writers differ) that is there and not null.
    fn field<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, &'a Value)> {
        keys.iter().find_map(|&key| self.fields.get(key).filter(|value| !value.is_null()).map(|value| (key, value)))
    }

    /// The name that a message should have: that of the field that is there, or else the first.
    fn present(&self, keys: &[&'static str]) -> &'static str {
        self.field(keys).map_or(keys[0], |(key, _)| key)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.field(&[key]).is_some()
    }

    pub(crate) fn size(&self, keys: &[&str]) -> Result<usize, Error> {
        self.optional_size(keys)?.ok_or_else(|| self.error(keys[0], "a whole number", "nothing"))
    }

    pub(crate) fn optional_size(&self, keys: &[&str]) -> Result<Option<usize>, Error> {
        let Some((key, value)) = self.field(keys) else { return Ok(None) };
        let size = value.as_u64().and_then(|value| usize::try_from(value).ok());
        size.map(Some).ok_or_else(|| self.error(key, "a whole number", value))
    }

    pub(crate) fn float(&self, keys: &[&str]) -> Result<Option<f64>, Error> {
        let Some((key, value)) = self.field(keys) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.error(key, "a number", value))
    }

    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        let Some((key, value)) = self.field(&[key]) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.error(key, "true or false", value))
    }

    pub(crate) fn string(&self, keys: &[&str]) -> Result<Option<&'a str>, Error> {
        let Some((key, value)) = self.field(keys) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.error(key, "a string", value))
    }

    /// A list of strings, such as one type for each layer.
    pub(crate) fn strings(&self, key: &str) -> Result<Option<Vec<&'a str>>, Error> {
        let Some((key, value)) = self.field(&[key]) else { return Ok(None) };
        let strings = value.as_array().and_then(|values| values.iter().map(Value::as_str).collect());
        strings.map(Some).ok_or_else(|| self.error(key, "a list of strings", value))
    }

    /// An object within, its fields to be read in the same way.
    pub(crate) fn object(&self, key: &str) -> Result<Option<HfConfig<'a>>, Error> {
        let Some((key, value)) = self.field(&[key]) else { return Ok(None) };
        let fields = value.as_object().ok_or_else(|| self.error(key, "an object", value))?;
        Ok(Some(HfConfig { path: self.path, fields }))
    }

    /// The architecture's name. Jina's models of XLM-R have code of their own and give its class alone.
    pub(crate) fn model_type(&self) -> Result<Option<&'a str>, Error> {
        let named = self.string(&["model_type"])?;
        Ok(named.or_else(|| own_code(self.fields)))
    }

    /// The class names that the checkpoint was saved from.
    pub(crate) fn classes(&self) -> Result<Vec<&'a str>, Error> {
        Ok(self.strings("architectures")?.unwrap_or_default())
    }

    /// Whether the checkpoint is that of a sequence classifier.
    pub(crate) fn is_classifier(&self) -> Result<bool, Error> {
        Ok(self.classes()?.iter().any(|class| class.ends_with("ForSequenceClassification")))
    }

    pub(crate) fn error(&self, key: &str, expected: &str, found: impl ToString) -> Error {
        Error::config(self.path, key, expected, found.to_string())
    }
}
