//! Adapters of a model's tasks, which a repository has as files beside the model's own.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{Error, Hub, Progress};

/// The one architecture that is published with such files.
const ARCHITECTURE: &[u8] = b"jina-bert-v3";

/// The bytes of a GGUF file among whose keys the architecture is looked for; converters write it first.
const FIRST_BYTES: u64 = 4 << 10;

impl Hub {
    /// Fetches the adapters that lie beside the GGUF model at `path` in its repository. Where there may be some the hub is asked once, and it
    /// is noted that it was. A model that is here is of use without them: what goes wrong is told and no error.
    pub(super) fn fetch_adapters(&self, repo: &str, revision: &str, path: &Path, progress: &dyn Progress) {
        if self.settings.offline || !may_have_adapters(path) {
            return;
        }
        if let Err(error) = self.try_fetch_adapters(repo, revision, path, progress) {
            tracing::warn!(%error, model = %path.display(), "cannot fetch the adapters of the model's tasks");
            progress.note(&format!("the adapters of the model's tasks are missing: {error}"));
        }
    }

    fn try_fetch_adapters(
        &self,
        repo: &str,
        revision: &str,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let cache = self.hub()?;
        let Some(commit) = cache.commit(repo, revision) else { return Ok(()) };
        // A model of another cache has none that we could put beside it.
        let Ok(file) = path.strip_prefix(cache.snapshot(repo, &commit)) else { return Ok(()) };
        let file = file.to_string_lossy().replace('\\', "/");
        // Where the hub's own library notes files that a repository does not have.
        let asked = format!("{file}.adapters");
        if cache.is_absent(repo, &commit, &asked) {
            return Ok(());
        }
        let (folder, name) = file.rsplit_once('/').map_or(("", file.as_str()), |(folder, name)| (folder, name));
        // Not for long: the model is here, and this may be a machine without a network.
        self.with_remote(progress, true, |remote| {
            let listing = remote.listing(repo, &commit)?;
            let files = listing.files();
            let beside = files.into_iter().filter_map(|file| match file.rsplit_once('/') {
                Some((other, name)) => (other == folder).then_some(name),
                None => folder.is_empty().then_some(file),
            });
            for adapter in docent_models::adapter_files(name, beside) {
                let adapter = if folder.is_empty() { adapter.to_owned() } else { format!("{folder}/{adapter}") };
                remote.file(repo, &commit, &adapter)?;
            }
            Ok(())
        })?;
        cache.mark_absent(repo, &commit, &asked)
    }
}

fn may_have_adapters(path: &Path) -> bool {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FIRST_BYTES).read_to_end(&mut bytes));
    read.is_ok() && bytes.starts_with(b"GGUF") && bytes.windows(ARCHITECTURE.len()).any(|window| window == ARCHITECTURE)
}
