//! The architectures, one file each, and the register that finds them.

pub(crate) mod bert;

use std::path::Path;

use docent_gguf::Metadata;
use docent_kernels::{Executor, Matrix, Rows};
use serde_json::{Map, Value};

use crate::weights::Weights;
use crate::{Batch, Error, source::HfName};

/// A loaded architecture: its weights and the way from token ids to hidden states.
pub(crate) trait Network: Send + Sync {
    /// The last hidden states of the tokens `rows` of each sequence, one row each. They have the same bits whichever are asked
    /// for; what the last layer would compute of the others may be left out.
    fn forward(&self, executor: &mut Executor, batch: &Batch, rows: Rows) -> Matrix;

    /// Bytes of memory that the packed weights take.
    fn bytes(&self) -> usize;
}

/// The sizes that any architecture has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) feed_forward: usize,
    /// Rows of the token embedding table.
    pub(crate) vocabulary: usize,
    /// Tokens that a sequence can have.
    pub(crate) positions: usize,
}

/// A loaded architecture and its sizes.
pub(crate) type Loaded = (Box<dyn Network>, Sizes);

/// How an architecture is recognised and loaded.
pub(crate) struct Architecture {
    /// Its name in GGUF.
    pub(crate) name: &'static str,
    /// The values of `model_type` in config.json that mean it.
    pub(crate) hf_model_types: &'static [&'static str],
    /// The GGUF name of a tensor of a Hugging Face file.
    pub(crate) gguf_name: fn(&str) -> HfName,
    pub(crate) load_gguf: fn(Metadata<'_>, &Path, &Weights<'_>) -> Result<Loaded, Error>,
    pub(crate) load_hf: fn(&HfConfig<'_>, &Weights<'_>) -> Result<Loaded, Error>,
}

/// Every architecture that this version runs.
pub(crate) static ARCHITECTURES: &[Architecture] = &[bert::ARCHITECTURE];

/// The names of all architectures that this version runs, as GGUF files spell them.
pub fn supported_architectures() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|architecture| architecture.name)
}

pub(crate) fn by_gguf_name(name: &str) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|architecture| architecture.name == name)
}

pub(crate) fn by_hf_model_type(model_type: &str) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|architecture| architecture.hf_model_types.contains(&model_type))
}

/// A config.json with errors that name the field.
pub(crate) struct HfConfig<'a> {
    pub(crate) path: &'a Path,
    pub(crate) fields: &'a Map<String, Value>,
}

impl HfConfig<'_> {
    /// The first of several names (writers differ) that is there and not null.
    fn field<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, &Value)> {
        keys.iter().find_map(|&key| self.fields.get(key).filter(|value| !value.is_null()).map(|value| (key, value)))
    }

    pub(crate) fn size(&self, keys: &[&str]) -> Result<usize, Error> {
        let expected = "a whole number";
        let (key, value) = self.field(keys).ok_or_else(|| self.error(keys[0], expected, "nothing"))?;
        let size = value.as_u64().and_then(|value| usize::try_from(value).ok());
        size.ok_or_else(|| self.error(key, expected, value))
    }

    pub(crate) fn float(&self, keys: &[&str]) -> Result<Option<f64>, Error> {
        let Some((key, value)) = self.field(keys) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.error(key, "a number", value))
    }

    pub(crate) fn string(&self, keys: &[&str]) -> Result<Option<&str>, Error> {
        let Some((key, value)) = self.field(keys) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.error(key, "a string", value))
    }

    pub(crate) fn error(&self, key: &str, expected: &str, found: impl ToString) -> Error {
        Error::config(self.path, key, expected, found.to_string())
    }
}

impl Sizes {
    /// Checks what holds for every architecture: sizes within reason, heads that divide the width.
    pub(crate) fn check(&self, path: &Path) -> Result<(), Error> {
        let limits = [
            ("number of layers", self.layers, 512),
            ("hidden size", self.hidden, 1 << 16),
            ("number of attention heads", self.heads, 1 << 10),
            ("feed-forward size", self.feed_forward, 1 << 20),
            ("number of token embeddings", self.vocabulary, 1 << 21),
            ("number of positions", self.positions, 1 << 20),
        ];
        for (key, found, limit) in limits {
            if found == 0 || found > limit {
                return Err(Error::config(path, key, format!("1 to {limit}"), found.to_string()));
            }
        }
        // Each may be large, but not all together: a text of the full length must fit in memory in its widest form.
        const MAX_VALUES: usize = 1 << 29;
        let widest = self.feed_forward.max(3 * self.hidden);
        if self.positions.saturating_mul(widest) > MAX_VALUES || self.feed_forward > 64 * self.hidden {
            let expected = format!("at most 64 times the hidden size {}, and {MAX_VALUES} values a text", self.hidden);
            let found = format!("{} for each of {} positions", self.feed_forward, self.positions);
            return Err(Error::config(path, "feed-forward size", expected, found));
        }
        if !self.hidden.is_multiple_of(self.heads) {
            let expected = format!("a divisor of the hidden size {}", self.hidden);
            return Err(Error::config(path, "number of attention heads", expected, self.heads.to_string()));
        }
        Ok(())
    }
}
