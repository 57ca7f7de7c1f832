//! The weights of a model directory, in the order in which llama.cpp's converter takes them.

use std::path::{Path, PathBuf};

use docent_gguf::{TensorType, codec};
use serde_json::{Map, Value as Json};

use super::Error;
use super::json::Document;
use crate::source::TensorView;
use crate::source::safetensors::Safetensors;

/// The weight files of a directory, mapped into memory.
pub(super) struct Source {
    files: Safetensors,
    /// Name and file of every tensor: file by file, by name within each.
    places: Vec<(PathBuf, String)>,
    /// The same of modules.
    modules: Vec<(PathBuf, String)>,
}

/// One tensor and the file it is in.
pub(super) struct RawTensor<'a> {
    pub(super) file: &'a Path,
    pub(super) view: TensorView<'a>,
}

impl Source {
    pub(super) fn open(dir: &Path) -> Result<Self, Error> {
        let single = dir.join("model.safetensors");
        let index = if single.is_file() { None } else { Document::read(dir, "model.safetensors.index.json")? };
        if index.is_none() && !single.is_file() {
            return Err(missing(dir));
        }
        let files = Safetensors::open_directory(dir)?;
        let weight_map = index.as_ref().and_then(|i| i.get("weight_map")).and_then(Json::as_object);
        if let (Some(index), Some(weight_map)) = (&index, weight_map) {
            check_index(index, weight_map, &files)?;
        }
        let place = |name: &str| match weight_map.and_then(|map| map.get(name)).and_then(Json::as_str) {
            Some(file) => dir.join(file),
            None => single.clone(),
        };
        let mut places: Vec<(PathBuf, String)> = files.names().map(|name| (place(name), name.to_owned())).collect();
        places.sort();
        Ok(Self { files, places, modules: Vec::new() })
    }

    /// Adds the weights of a module of sentence-transformers, their names with `folder/` in front.
    pub(super) fn add_module(&mut self, dir: &Path, folder: &str) -> Result<(), Error> {
        self.files.add_module(dir, folder)?;
        let (file, prefix) = (dir.join(folder).join("model.safetensors"), format!("{folder}/"));
        let names = self.files.names().filter(|name| name.starts_with(&prefix));
        let places: Vec<(PathBuf, String)> = names.map(|name| (file.clone(), name.to_owned())).collect();
        // The converter writes what lies beside the model before the model itself.
        self.modules.extend(places);
        Ok(())
    }

    /// The tensors of the modules, then those of the model.
    pub(super) fn tensors(&self) -> impl Iterator<Item = RawTensor<'_>> {
        let places = self.modules.iter().chain(&self.places);
        places.filter_map(|(file, name)| Some(RawTensor { file, view: self.files.tensor(name)? }))
    }

    /// Another view of a tensor.
    pub(super) fn again<'a>(&'a self, tensor: &RawTensor<'a>) -> Option<RawTensor<'a>> {
        Some(RawTensor { file: tensor.file, view: self.files.tensor(tensor.view.name)? })
    }
}

/// Every tensor of the index must be in some shard, or a shard is not the one that the index was made for.
fn check_index(index: &Document, weight_map: &Map<String, Json>, files: &Safetensors) -> Result<(), Error> {
    match weight_map.iter().find(|(name, _)| files.tensor(name).is_none()) {
        Some((name, file)) => {
            let shard = file.as_str().unwrap_or_default().to_owned();
            Err(Error::Shard { path: index.path.clone(), name: name.clone(), shard })
        }
        None => Ok(()),
    }
}

fn missing(dir: &Path) -> Error {
    let old = std::fs::read_dir(dir).is_ok_and(|mut entries| {
        entries.any(|e| e.is_ok_and(|e| e.file_name().to_string_lossy().starts_with("pytorch_model")))
    });
    let hint = if old {
        "pytorch_model.bin can hold code and is not read; save the model again with transformers"
    } else {
        "give the folder that holds the model"
    };
    Error::MissingFile { dir: dir.to_owned(), expected: "model.safetensors", hint }
}

impl RawTensor<'_> {
    /// Refuses types that weights are not stored in. `whole` are those of tables of token vectors alone.
    pub(super) fn check_type(&self, whole: bool) -> Result<(), Error> {
        match self.view.ty {
            TensorType::I8 if whole => Ok(()),
            TensorType::F64 | TensorType::F32 | TensorType::F16 | TensorType::BF16 => Ok(()),
            found => Err(Error::Dtype { file: self.file.to_owned(), name: self.view.name.to_owned(), found }),
        }
    }

    /// Decodes the elements from `start` on into `out`, as many as it takes, and checks that each is finite.
    pub(super) fn decode(&self, start: usize, out: &mut [f32]) -> Result<(), Error> {
        let size = self.view.ty.block_bytes();
        let bytes = &self.view.bytes[start * size..][..out.len() * size];
        let name = || self.view.name.to_owned();
        let not_finite = |index: usize, value: f64| Error::NotFinite {
            file: self.file.to_owned(),
            name: name(),
            index: (start + index) as u64,
            value,
        };
        if self.view.ty == TensorType::I8 {
            bytes.iter().zip(out).for_each(|(byte, slot)| *slot = f32::from(byte.cast_signed()));
            return Ok(());
        }
        if self.view.ty == TensorType::F64 {
            for (index, (chunk, slot)) in bytes.as_chunks().0.iter().zip(out).enumerate() {
                let value = f64::from_le_bytes(*chunk);
                *slot = value as f32;
                if !slot.is_finite() {
                    return Err(not_finite(index, value));
                }
            }
            return Ok(());
        }
        let codec = |source| Error::Codec { file: self.file.to_owned(), name: name(), source };
        codec::dequantize(self.view.ty, bytes, out).map_err(codec)?;
        match out.iter().position(|v| !v.is_finite()) {
            Some(index) => Err(not_finite(index, f64::from(out[index]))),
            None => Ok(()),
        }
    }
}
