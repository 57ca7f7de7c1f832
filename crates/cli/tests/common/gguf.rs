//! GGUF files of the small model, sound and otherwise.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::path::Path;

use docent::gguf::{Gguf, OwnedValue, TensorType, WriteError, Writer};
use tempfile::{NamedTempFile, TempPath};

use super::{docent, fixture};

/// A file that is gone with the value.
pub struct File(TempPath);

impl File {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// A model taken apart.
pub struct Parts {
    pub metadata: Vec<(String, OwnedValue)>,
    pub tensors: Vec<Part>,
}

/// A tensor of a model taken apart.
pub struct Part {
    pub name: String,
    /// Fastest-varying first.
    pub dims: Vec<u64>,
    pub ty: TensorType,
    pub data: Vec<u8>,
}

impl Parts {
    /// Replaces a value.
    pub fn set(&mut self, key: &str, value: impl Into<OwnedValue>) {
        let (_, old) = self.metadata.iter_mut().find(|(known, _)| known == key).expect("the key is there");
        *old = value.into();
    }

    /// The tensor of a name.
    pub fn tensor(&mut self, name: &str) -> &mut Part {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).expect("the tensor is there")
    }
}

impl Part {
    /// Replaces an element of an F32 tensor.
    pub fn set_f32(&mut self, index: usize, value: f32) {
        assert_eq!(self.ty, TensorType::F32);
        self.data[4 * index..4 * index + 4].copy_from_slice(&value.to_le_bytes());
    }
}

/// The small model as `docent convert` writes it.
pub fn tiny(ty: &str) -> File {
    let file = new_file();
    docent()
        .arg("convert")
        .arg(fixture("bert-tiny"))
        .arg(&file)
        .args(["--force", "--name", "tiny", "--type", ty])
        .assert()
        .success();
    File(file)
}

/// The small model in F32, changed by `edit`.
pub fn edited(edit: impl FnOnce(&mut Parts)) -> File {
    let whole = tiny("f32");
    let model = Gguf::open(whole.path()).unwrap();
    let mut parts = Parts {
        metadata: model.metadata().iter().map(|(key, value)| (key.to_owned(), value.into())).collect(),
        tensors: model
            .tensors()
            .map(|tensor| Part {
                name: tensor.name().to_owned(),
                dims: tensor.dims().to_vec(),
                ty: tensor.tensor_type(),
                data: tensor.bytes().to_vec(),
            })
            .collect(),
    };
    edit(&mut parts);

    let mut writer = Writer::new();
    for (key, value) in parts.metadata {
        writer.metadata(key, value).unwrap();
    }
    for Part { name, dims, ty, .. } in &parts.tensors {
        writer.tensor(name, dims, *ty).unwrap();
    }
    let file = new_file();
    let mut data = parts.tensors.iter();
    writer
        .save(&file, |_, sink| {
            sink.write(&data.next().expect("one a tensor").data)?;
            Ok::<_, WriteError>(())
        })
        .unwrap();
    File(file)
}

fn new_file() -> TempPath {
    NamedTempFile::with_suffix(".gguf").unwrap().into_temp_path()
}
