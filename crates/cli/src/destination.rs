//! Where results go: stdout, or a file that appears when all of it is written.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::NamedTempFile;

use crate::console::{Console, Out};

/// Takes results.
pub(crate) struct Destination<'c> {
    kind: Kind<'c>,
}

enum Kind<'c> {
    Stdout(Out<'c>),
    /// A regular file: written beside its place under another name, and then renamed.
    File {
        temporary: BufWriter<NamedTempFile>,
        target: PathBuf,
    },
    /// Something that cannot be replaced: a device, a named pipe.
    Special {
        file: BufWriter<File>,
        path: PathBuf,
    },
}

const BUFFER: usize = 64 << 10;

impl<'c> Destination<'c> {
    /// Opens a path for writing; `None` and `-` are stdout. A file that is there already stays as it is until
    /// [`finish`](Self::finish), and so does the want of one.
    pub(crate) fn open(path: Option<&Path>, console: &'c Console) -> anyhow::Result<Self> {
        let kind = match path {
            None => Kind::Stdout(console.out()),
            Some(path) if path.as_os_str() == "-" => Kind::Stdout(console.out()),
            Some(path) => open_path(path).with_context(|| format!("cannot write {}", path.display()))?,
        };
        Ok(Destination { kind })
    }

    /// Whether a person would see what is written.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.kind, Kind::Stdout(_)) && io::stdout().is_terminal()
    }

    /// Whether the beginning can be written again at the end. Never true of stdout: even where it is a file, it may
    /// have been opened for appending.
    pub(crate) fn is_rewritable(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }

    /// Writes over the first bytes.
    pub(crate) fn rewrite_start(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.kind {
            Kind::File { temporary, target } => {
                let mut write = || {
                    temporary.seek(SeekFrom::Start(0))?;
                    temporary.write_all(bytes)?;
                    temporary.seek(SeekFrom::End(0)).map(drop)
                };
                write().map_err(|error| about(target, error))
            }
            _ => Err(io::ErrorKind::NotSeekable.into()),
        }
    }

    /// Writes what is still in buffers, and gives a file its name.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        let Kind::File { temporary, target } = self.kind else { return Ok(()) };
        let publish = || {
            let temporary = temporary.into_inner().map_err(io::IntoInnerError::into_error)?;
            temporary.as_file().sync_all()?;
            temporary.persist(&target).map_err(|error| error.error)
        };
        publish().map(drop).map_err(|error| about(&target, error))
    }
}

fn open_path(path: &Path) -> io::Result<Kind<'static>> {
    // A link stays a link: it is its target that is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&target) {
        Ok(facts) if facts.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(facts) if !facts.is_file() => {
            let file = File::options().write(true).open(&target)?;
            Ok(Kind::Special { file: BufWriter::with_capacity(BUFFER, file), path: path.to_owned() })
        }
        _ => {
            let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let mut builder = tempfile::Builder::new();
            builder.prefix(".docent-").suffix(".part");
            // As any file that is created: what the user's mask leaves, not what a secret would have.
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
            let temporary = BufWriter::with_capacity(BUFFER, builder.tempfile_in(folder).map_err(plain_error)?);
            Ok(Kind::File { temporary, target })
        }
    }
}

/// The error of the system alone: the library adds the temporary file's name, which means nothing to anybody.
fn plain_error(error: io::Error) -> io::Error {
    error.kind().into()
}

fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()))
}

impl Write for Destination<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Stdout(out) => out.write(bytes),
            Kind::File { temporary, target } => temporary.write(bytes).map_err(|error| about(target, error)),
            Kind::Special { file, path } => file.write(bytes).map_err(|error| about(path, error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.kind {
            Kind::Stdout(out) => out.flush(),
            Kind::File { temporary, target } => temporary.flush().map_err(|error| about(target, error)),
            Kind::Special { file, path } => file.flush().map_err(|error| about(path, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn open(path: &Path) -> Destination<'static> {
        Destination { kind: open_path(path).unwrap() }
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "old").unwrap();
        let mut dropped = open(&path);
        dropped.write_all(b"half").unwrap();
        dropped.flush().unwrap();
        drop(dropped);
        assert_eq!((names(folder.path()), fs::read(&path).unwrap()), (vec!["a".to_owned()], b"old".to_vec()));

        let mut finished = open(&path);
        finished.write_all(b"0000 whole").unwrap();
        finished.rewrite_start(b"1234").unwrap();
        finished.write_all(b".").unwrap();
        finished.finish().unwrap();
        assert_eq!((names(folder.path()), fs::read(&path).unwrap()), (vec!["a".to_owned()], b"1234 whole.".to_vec()));
        assert!(open_path(folder.path()).is_err());
        assert!(open_path(&folder.path().join("missing").join("a")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_links_and_files_can_be_read_by_others() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        fs::write(&target, "old").unwrap();
        symlink(&target, &link).unwrap();
        let mut destination = open(&link);
        destination.write_all(b"new").unwrap();
        destination.finish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");

        // The same mode as a file that the process creates in the plain way.
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&target), mode(&plain));
    }
}
