//! What the tests of the server share.

#![allow(dead_code, unreachable_pub)] // each test binary uses a part of it
#![allow(clippy::unwrap_used)] // as in any test

pub mod app;
pub mod http;

use std::path::{Path, PathBuf};

use docent::{ModelRef, OpenOptions};
use docent_server::{Config, Input, ModelsConfig, NamedModel, Service};

/// A file or folder of the project's fixtures.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

/// A configuration with a small embedder, `tiny`, and a small reranker, `judge`, on two threads.
pub fn config() -> Config {
    let named = |name: &str, path: &str| NamedModel { name: name.to_owned(), model: ModelRef::Path(fixture(path)) };
    let models = vec![named("tiny", "bert-tiny"), named("judge", "encoders/modern-bert-rerank")];
    let open = OpenOptions { threads: Some(2), offline: true, ..OpenOptions::default() };
    Config { models: ModelsConfig { models, open, ..ModelsConfig::default() }, ..Config::default() }
}

/// The service of a configuration, with its models loaded.
pub async fn service(config: &Config) -> Service {
    let service = Service::new(config);
    service.load().await.unwrap();
    service
}

pub fn texts<S: AsRef<str>>(texts: &[S]) -> Vec<Input> {
    texts.iter().map(|text| Input::Text(text.as_ref().to_owned())).collect()
}

/// Runs a test on a reactor of its own.
pub fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test)
}

/// An index of two notes, embedded with the fixture's model.
pub fn index(folder: &Path) -> docent_search::Index {
    use docent_search::{Collection, Index, Silent, UpdateOptions, Wait};

    let notes = folder.join("notes");
    std::fs::create_dir_all(&notes).unwrap();
    std::fs::write(notes.join("cat.md"), "# Cats\n\nThe cat sat on the mat.\n").unwrap();
    std::fs::write(notes.join("tides.md"), "# Tides\n\nThe moon pulls the water of the sea.\n").unwrap();
    let index = Index::open(folder.join("index.sqlite")).unwrap();
    index.add_collection(&Collection::new("notes", &notes)).unwrap();
    index.update(&UpdateOptions::default(), &Silent).unwrap();
    let embedder = docent::Embedder::open(fixture("bert-tiny").to_str().unwrap()).unwrap();
    index.embed(&embedder, Wait::Forever, &Silent).unwrap();
    index
}
