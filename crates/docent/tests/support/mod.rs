//! What the tests of the library share: fixtures, and ways to compare vectors.

#![allow(dead_code, unreachable_pub)] // each test binary uses a part of it
#![allow(clippy::unwrap_used)] // as in any test

use std::io::Write;
use std::path::{Path, PathBuf};

use docent::catalog::DEFAULT_MODEL;
use docent::convert::{self, OutputType};
use docent::hub::{Hub, Quant, Silent};
use docent::{Embedder, Embedding, ModelRef, OpenOptions};
use serde::Deserialize;

/// A file or folder of the project's fixtures.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

/// `reference.json` of a small model.
#[derive(Deserialize)]
pub struct Reference {
    pub pooling: Option<String>,
    pub max_length: usize,
    pub cases: Vec<Case>,
}

/// One text with what transformers makes of it.
#[derive(Deserialize)]
pub struct Case {
    pub text: String,
    pub prompt: Option<String>,
    pub max_length: usize,
    pub tokens_before_cut: usize,
    pub ids: Vec<u32>,
    pub hidden_row_sums: Vec<f64>,
    pub hidden: Option<Vec<Vec<f32>>>,
    pub pooled: ByPooling,
    pub normalised: ByPooling,
}

#[derive(Deserialize)]
pub struct ByPooling {
    pub cls: Vec<f32>,
    pub mean: Vec<f32>,
    pub max: Vec<f32>,
    pub last: Vec<f32>,
}

pub fn reference(model: &str) -> Reference {
    let path = fixture(model).join("reference.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Opens a path on the given number of threads.
pub fn open(path: &Path, threads: usize) -> Embedder {
    let options = OpenOptions { threads: Some(threads), offline: true, ..OpenOptions::default() };
    Embedder::open_with(&ModelRef::Path(path.to_owned()), &options, &Silent).unwrap_or_else(|error| panic!("{error}"))
}

/// Converts a directory to a GGUF file in `folder`.
pub fn converted(directory: &Path, ty: OutputType, folder: &Path) -> PathBuf {
    let out = folder.join(format!("model-{ty}.gguf"));
    convert::convert(directory, &out, ty, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    out
}

/// The safetensors folder of all-MiniLM-L6-v2, or `None`, with the reason printed, if it cannot be had here.
///
/// With `DOCENT_TEST_REQUIRE_MODEL` set, as in CI, not having it is a failure.
pub fn minilm() -> Option<PathBuf> {
    match Hub::from_env().fetch(&ModelRef::Name(DEFAULT_MODEL.to_owned()), Some(Quant::Original), &Silent) {
        Ok(path) => Some(path),
        Err(error) => {
            assert!(std::env::var_os("DOCENT_TEST_REQUIRE_MODEL").is_none(), "{DEFAULT_MODEL} is required: {error}");
            // Not `eprintln!`, which the test harness keeps to itself when a test passes.
            let _ = writeln!(std::io::stderr(), "skipped: {DEFAULT_MODEL} cannot be fetched: {error}");
            None
        }
    }
}

/// The largest difference of two components.
pub fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

pub fn bits(embedding: &Embedding) -> Vec<u32> {
    embedding.vector().iter().map(|value| value.to_bits()).collect()
}

/// The rows of a two-dimensional `float32` array in NumPy's format (version 1.0).
pub fn read_npy(path: &Path) -> Vec<Vec<f32>> {
    let file = std::fs::read(path).unwrap();
    assert_eq!(&file[..8], b"\x93NUMPY\x01\x00");
    let start = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    let header = std::str::from_utf8(&file[10..start]).unwrap();
    assert!(header.contains("'descr': '<f4'") && header.contains("'fortran_order': False"), "{header}");
    let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let shape: Vec<usize> = shape.split(',').map(|dim| dim.trim().parse().unwrap()).collect();
    let values: Vec<f32> = file[start..].as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    assert_eq!(values.len(), shape[0] * shape[1]);
    values.chunks(shape[1]).map(<[f32]>::to_vec).collect()
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if path.is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_folder(&path, &target);
        } else {
            std::fs::write(target, std::fs::read(path).unwrap()).unwrap();
        }
    }
}
