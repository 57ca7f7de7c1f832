//! What a model's files say about themselves, whether or not this version can run them.
//!
//! [`Model::open`](crate::Model::open) is strict: it stops at the first thing that does not fit. A person who asks what a
//! file *is* wants the opposite, all that can be read from its headers. Nothing here decides whether a model runs.

use std::path::{Path, PathBuf};

use docent_gguf::codec::{self, CodecError};
use docent_gguf::{Gguf, Metadata, TensorType, Value};
use serde::Deserialize;
use serde_json::Map;

use crate::repository::Repository;
use crate::settings::own_code;
use crate::source::{Directory, Safetensors};
use crate::{Error, Format};

/// A model's files, opened for reading what they say.
///
/// Every fact is `None` where the files do not state it, or state it in a way that makes no sense.
pub struct Inspection {
    /// The file or directory.
    pub path: PathBuf,
    /// The kind of file.
    pub format: Format,
    /// The name the files give the model.
    pub name: Option<String>,
    /// The architecture as the files spell it: `general.architecture`, or `model_type` of config.json.
    pub architecture: Option<String>,
    /// Transformer layers.
    pub layers: Option<u64>,
    /// Values of a hidden state.
    pub hidden_size: Option<u64>,
    /// Attention heads of a layer.
    pub heads: Option<u64>,
    /// Values between the two linear layers of a feed-forward block.
    pub feed_forward_size: Option<u64>,
    /// Tokens that a sequence can have.
    pub positions: Option<u64>,
    /// Tokens of the vocabulary.
    pub vocabulary: Option<u64>,
    /// How hidden states become one vector: `none`, `mean`, `cls`, `last`, `max`, or `rank` for a reranker.
    pub pooling: Option<String>,
    /// The family of the tokenizer: `WordPiece`, `BPE`, `Unigram`, or whatever word the files use.
    pub tokenizer: Option<String>,
    /// Bytes of the weight files, all parts together.
    pub file_bytes: u64,
    /// Why the weights of a directory cannot be listed, if they cannot.
    pub weights_error: Option<Error>,
    files: Files,
}

enum Files {
    Gguf(Gguf),
    Safetensors(Option<Safetensors>),
}

/// A tensor as it lies in its file.
#[derive(Clone, Debug)]
pub struct TensorInfo<'a> {
    /// The name in the file.
    pub name: &'a str,
    /// The shape, outermost dimension first.
    pub shape: Vec<u64>,
    /// How the elements are stored. Integer and truth types of safetensors that GGUF does not have show as `I8`.
    pub tensor_type: TensorType,
    /// The data.
    pub bytes: &'a [u8],
}

/// Opens the files of a model for inspection: a `.gguf` file or a Hugging Face directory.
///
/// # Errors
/// If the file is no sound GGUF file, or the directory has no config.json that parses. An architecture, a tensor type or a
/// tokenizer that this version cannot run is no error, and neither are missing weights
/// ([`weights_error`](Inspection::weights_error) says so).
pub fn inspect(path: impl AsRef<Path>) -> Result<Inspection, Error> {
    let path = path.as_ref();
    if path.is_dir() { inspect_directory(path) } else { Ok(inspect_gguf(path, Gguf::open(path)?)) }
}

fn inspect_gguf(path: &Path, gguf: Gguf) -> Inspection {
    let metadata = gguf.metadata();
    let text = |key: &str| metadata.str(key).ok().flatten().map(str::to_owned);
    let architecture = text("general.architecture");
    let of_architecture = |key: &str| format!("{}.{key}", architecture.as_deref().unwrap_or_default());
    let number = |key: &str| number(metadata, &of_architecture(key));
    let pooling = match number("pooling_type") {
        Some(0) => Some("none"),
        Some(1) => Some("mean"),
        Some(2) => Some("cls"),
        Some(3) => Some("last"),
        Some(4) => Some("rank"),
        _ => None,
    };
    Inspection {
        path: path.to_owned(),
        format: Format::Gguf,
        name: text("general.name"),
        layers: number("block_count"),
        hidden_size: number("embedding_length"),
        heads: number("attention.head_count"),
        feed_forward_size: number("feed_forward_length"),
        positions: number("context_length"),
        vocabulary: metadata.strings("tokenizer.ggml.tokens").ok().flatten().map(|tokens| tokens.len() as u64),
        pooling: pooling.map(str::to_owned),
        tokenizer: text("tokenizer.ggml.model").map(|model| tokenizer_family(&model).to_owned()),
        file_bytes: parts(path).iter().map(|part| length(part)).sum(),
        weights_error: None,
        architecture,
        files: Files::Gguf(gguf),
    }
}

/// A whole number, or the largest of an array that has one for each layer.
fn number(metadata: Metadata<'_>, key: &str) -> Option<u64> {
    match metadata.get(key)? {
        Value::Array(_) => metadata.u32s(key).ok()??.into_iter().max().map(u64::from),
        _ => metadata.u64(key).ok()?,
    }
}

/// The family behind the word that GGUF has for a tokenizer.
fn tokenizer_family(model: &str) -> &str {
    match model {
        "bert" => "WordPiece",
        "gpt2" | "llama" | "gemma4" => "BPE",
        "t5" => "Unigram",
        other => other,
    }
}

/// The files of a model: the one, or all parts of a split one beside its first.
fn parts(first: &Path) -> Vec<PathBuf> {
    let split = || {
        let name = first.file_name()?.to_str()?;
        let (prefix, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let prefix = prefix.strip_suffix("-00001")?;
        // The reader has opened every one of them.
        let parts = count.parse::<u16>().ok()?;
        Some((1..=parts).map(|part| first.with_file_name(format!("{prefix}-{part:05}-of-{count}.gguf"))).collect())
    };
    split().unwrap_or_else(|| vec![first.to_owned()])
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

fn inspect_directory(path: &Path) -> Result<Inspection, Error> {
    // Prompts, lengths and modules that make no sense are for the loader to complain about.
    let repository = Repository::read(path);
    let folder = repository.as_ref().map_or(path, |repository| &repository.folder);
    let directory = Directory::new(folder);
    let config: Map<String, serde_json::Value> = match &repository {
        Ok(repository) => repository.config().fields.clone(),
        Err(_) => match directory.json("config.json")? {
            Some(config) => config,
            None => return Err(repository.err().expect("matched just above")),
        },
    };
    // Of a model that sees and hears as well, the part that reads text.
    let text = config.get("text_config").and_then(serde_json::Value::as_object).unwrap_or(&config);
    let number = |names: &[&str]| names.iter().find_map(|&name| text.get(name)?.as_u64());
    let named = config.get("model_type").and_then(serde_json::Value::as_str);
    let (weights, weights_error) = match Safetensors::open_directory(folder) {
        Ok(files) => (Some(files), None),
        Err(error) => (None, Some(error)),
    };
    let pooling = repository.as_ref().ok().and_then(|repository| repository.modules.pooling);
    Ok(Inspection {
        path: path.to_owned(),
        format: Format::Safetensors,
        name: path.file_name().map(|name| name.to_string_lossy().into_owned()),
        architecture: named.or_else(|| own_code(&config)).map(str::to_owned),
        layers: number(&["num_hidden_layers", "n_layers"]),
        hidden_size: number(&["hidden_size", "dim", "n_embd"]),
        heads: number(&["num_attention_heads", "n_heads", "n_head"]),
        feed_forward_size: number(&["intermediate_size", "hidden_dim", "n_inner"]),
        positions: number(&["max_position_embeddings", "n_positions"]),
        vocabulary: number(&["vocab_size"]),
        pooling: pooling.map(|pooling| pooling.name().to_owned()),
        tokenizer: directory_tokenizer(directory),
        file_bytes: weight_files(folder).iter().map(|file| length(file)).sum(),
        weights_error,
        files: Files::Safetensors(weights),
    })
}

/// The model type in tokenizer.json; a vocabulary alone is WordPiece's, and the files of SentencePiece tell by their names.
fn directory_tokenizer(directory: Directory<'_>) -> Option<String> {
    #[derive(Deserialize)]
    struct TokenizerJson {
        model: TokenizerModel,
    }
    #[derive(Deserialize)]
    struct TokenizerModel {
        #[serde(rename = "type")]
        family: Option<String>,
    }
    match directory.json::<TokenizerJson>("tokenizer.json") {
        Ok(Some(tokenizer)) => tokenizer.model.family,
        Ok(None) => {
            let kinds =
                [("vocab.txt", "WordPiece"), ("tokenizer.model", "BPE"), ("sentencepiece.bpe.model", "Unigram")];
            kinds.iter().find(|(name, _)| directory.file(name).is_file()).map(|(_, kind)| (*kind).to_owned())
        }
        Err(_) => None,
    }
}

/// The single weight file, or every part.
fn weight_files(path: &Path) -> Vec<PathBuf> {
    let single = path.join("model.safetensors");
    if single.is_file() {
        return vec![single];
    }
    let files = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "safetensors")).collect()
}

impl Inspection {
    /// The tensors: of a GGUF file in the order of the file, of a directory by name.
    pub fn tensors(&self) -> Vec<TensorInfo<'_>> {
        match &self.files {
            Files::Gguf(gguf) => gguf
                .tensors()
                .map(|tensor| TensorInfo {
                    name: tensor.name(),
                    shape: tensor.dims().iter().rev().copied().collect(),
                    tensor_type: tensor.tensor_type(),
                    bytes: tensor.bytes(),
                })
                .collect(),
            Files::Safetensors(files) => files
                .iter()
                .flat_map(|files| files.names().filter_map(|name| files.tensor(name)))
                .map(|view| TensorInfo { name: view.name, shape: view.shape, tensor_type: view.ty, bytes: view.bytes })
                .collect(),
        }
    }

    /// The metadata of a GGUF file; `None` for a directory.
    pub fn metadata(&self) -> Option<Metadata<'_>> {
        match &self.files {
            Files::Gguf(gguf) => Some(gguf.metadata()),
            Files::Safetensors(_) => None,
        }
    }
}

impl std::fmt::Debug for Inspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspection")
            .field("path", &self.path)
            .field("architecture", &self.architecture)
            .finish_non_exhaustive()
    }
}

impl TensorInfo<'_> {
    /// The number of elements.
    pub fn elements(&self) -> u64 {
        // Both readers have checked that the product is what the bytes hold.
        self.shape.iter().product()
    }

    /// The first element that is NaN or infinite, by its position in row-major order, and its value. The data are decoded
    /// piece by piece.
    ///
    /// # Errors
    /// [`CodecError::Unsupported`] for a type that cannot be decoded. Integers are finite by nature and are not looked at.
    pub fn first_not_finite(&self) -> Result<Option<(u64, f64)>, CodecError> {
        use TensorType::{F64, I8, I16, I32, I64};
        const ELEMENTS_PER_PIECE: usize = 16 << 10; // a multiple of every block

        let ty = self.tensor_type;
        match ty {
            I8 | I16 | I32 | I64 => return Ok(None),
            F64 => {
                let values = self.bytes.as_chunks::<8>().0.iter().map(|&bytes| f64::from_le_bytes(bytes));
                return Ok((0..).zip(values).find(|(_, value)| !value.is_finite()));
            }
            _ => {}
        }
        let mut values = vec![0.0; ELEMENTS_PER_PIECE];
        let piece_bytes = ELEMENTS_PER_PIECE / ty.block_elements() * ty.block_bytes();
        for (piece, bytes) in self.bytes.chunks(piece_bytes).enumerate() {
            let values = &mut values[..bytes.len() / ty.block_bytes() * ty.block_elements()];
            codec::dequantize(ty, bytes, values)?;
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                let position = (piece * ELEMENTS_PER_PIECE + index) as u64;
                return Ok(Some((position, f64::from(values[index]))));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(ty: TensorType, values: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        codec::quantize(ty, values, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_first_bad_value_is_found_in_any_piece() {
        let mut values = vec![0.5; 40_000];
        values[39_000] = f32::NEG_INFINITY;
        values[39_500] = f32::NAN;
        for ty in [TensorType::F32, TensorType::F16, TensorType::BF16] {
            let bytes = tensor(ty, &values);
            let info = TensorInfo { name: "x", shape: vec![40, 1000], tensor_type: ty, bytes: &bytes };
            assert_eq!(info.first_not_finite(), Ok(Some((39_000, f64::NEG_INFINITY))), "{ty}");
        }
        let mut blocks = tensor(TensorType::Q8_0, &[0.5; 40_000]);
        fn info(bytes: &[u8]) -> TensorInfo<'_> {
            TensorInfo { name: "x", shape: vec![40_000], tensor_type: TensorType::Q8_0, bytes }
        }
        assert_eq!(info(&blocks).first_not_finite(), Ok(None));
        // The scale of the last block becomes NaN.
        let scale = blocks.len() - 34;
        blocks[scale..scale + 2].copy_from_slice(&[0xff, 0x7f]);
        let (index, value) = info(&blocks).first_not_finite().unwrap().unwrap();
        assert!(index == 40_000 - 32 && value.is_nan());
    }

    #[test]
    fn types_without_a_codec_are_named_and_integers_are_finite() {
        let of = |tensor_type, bytes| TensorInfo { name: "x", shape: vec![1], tensor_type, bytes };
        assert!(matches!(
            of(TensorType::IQ3_S, &[0; 110]).first_not_finite(),
            Err(CodecError::Unsupported { ty: TensorType::IQ3_S })
        ));
        assert_eq!(of(TensorType::I64, &[0xff; 8]).first_not_finite(), Ok(None));
        assert!(of(TensorType::F64, &f64::NAN.to_le_bytes()).first_not_finite().unwrap().is_some());
    }

    #[test]
    fn parts_of_a_split_model_are_counted() {
        assert_eq!(parts(Path::new("a/b.gguf")), [PathBuf::from("a/b.gguf")]);
        let expected = [PathBuf::from("a/b-00001-of-00002.gguf"), PathBuf::from("a/b-00002-of-00002.gguf")];
        assert_eq!(parts(Path::new("a/b-00001-of-00002.gguf")), expected);
    }
}
