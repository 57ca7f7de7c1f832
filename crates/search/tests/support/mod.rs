//! What the tests share: an index of a folder of small documents, and the models of the fixtures.

#![allow(dead_code, unreachable_pub)] // each test binary uses a part of it
#![allow(clippy::unwrap_used)] // as in any test

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use docent::hub::Silent;
use docent::{Embedder, ModelRef, OpenOptions, Reranker};
use docent_search::{Collection, EmbedReport, Index, UpdateOptions, UpdateReport, Wait};
use tempfile::TempDir;

/// A file or folder of the project's fixtures.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

/// A small model with random weights: 64 components, 96 tokens.
pub static EMBEDDER: LazyLock<Embedder> = LazyLock::new(|| open("bert-tiny"));

/// A small reranker with random weights.
pub static RERANKER: LazyLock<Reranker> = LazyLock::new(|| {
    let model = ModelRef::Path(fixture("encoders/modern-bert-rerank"));
    Reranker::open_with(&model, &options(), &Silent).unwrap()
});

pub fn open(name: &str) -> Embedder {
    Embedder::open_with(&ModelRef::Path(fixture(name)), &options(), &Silent).unwrap()
}

fn options() -> OpenOptions {
    OpenOptions { threads: Some(2), offline: true, ..OpenOptions::default() }
}

/// An index and the folder of its collection `notes`, which go with the value.
pub struct Place {
    pub folder: TempDir,
    pub index: Index,
}

impl Place {
    /// An index of a collection of these files.
    pub fn new(files: &[(&str, &str)]) -> Place {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("notes")).unwrap();
        let index = Index::open(folder.path().join("index/index.sqlite")).unwrap();
        index.add_collection(&Collection::new("notes", folder.path().join("notes"))).unwrap();
        let place = Place { folder, index };
        for (path, text) in files {
            place.write(path, text);
        }
        place.update();
        place
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("notes").join(path)
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn update(&self) -> UpdateReport {
        self.index.update(&UpdateOptions::default(), &docent_search::Silent).unwrap()
    }

    pub fn embed(&self) -> EmbedReport {
        self.index.embed(&EMBEDDER, Wait::No, &docent_search::Silent).unwrap()
    }
}
