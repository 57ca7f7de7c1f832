//! A cache for one test, and what the tests fetch into it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use docent::ModelRef;
use docent::hub::{Error, Hub, Silent};

use super::{Repos, sha256};

pub(crate) const FILE: &str = "m-Q8_0.gguf";

/// A model's file: long enough to be cut anywhere.
pub(crate) fn content() -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend((0..100_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()));
    bytes
}

pub(crate) fn repos() -> Repos {
    Repos::default().with("u/r", FILE, content())
}

pub(crate) fn model() -> ModelRef {
    "hf:u/r/m-Q8_0.gguf".parse().unwrap()
}

/// A cache that ends with the test, and a hub that uses it.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn hub(&self, endpoint: &str) -> Hub {
        hub_at(self.dir.path(), endpoint)
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.dir.path().join("hub/models--u--r")
    }

    pub(crate) fn blob(&self) -> PathBuf {
        self.repo().join("blobs").join(sha256(&content()))
    }

    pub(crate) fn incomplete(&self) -> PathBuf {
        self.repo().join("blobs").join(format!("{}.incomplete", sha256(&content())))
    }

    pub(crate) fn put_incomplete(&self, bytes: &[u8]) {
        std::fs::create_dir_all(self.repo().join("blobs")).unwrap();
        std::fs::write(self.incomplete(), bytes).unwrap();
    }
}

pub(crate) fn hub_at(dir: &Path, endpoint: &str) -> Hub {
    Hub::from_env()
        .hub_cache(dir.join("hub"))
        .docent_cache(dir.join("docent"))
        .endpoints([endpoint])
        .token(None)
        .timeouts(Duration::from_secs(2), Duration::from_millis(500))
        .retries(2, Duration::from_millis(5))
        .pip(vec![vec!["there-is-no-such-program".to_owned()]])
}

pub(crate) fn fetch(hub: &Hub) -> Result<PathBuf, Error> {
    hub.fetch(&model(), None, &Silent)
}

pub(crate) fn assert_content(path: &Path) {
    assert_eq!(std::fs::read(path).unwrap(), content());
}

pub(crate) fn message(error: &Error) -> String {
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}
