//! Files that are written whole, and checked, before they have their names.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use docent_gguf::WriteError;

/// A written file that has not its name yet; dropped before it has, it is removed.
pub(crate) struct Unchecked {
    pub(crate) path: PathBuf,
}

impl Unchecked {
    /// A file to be written beside `out`.
    pub(crate) fn beside(out: &Path) -> Result<Self, WriteError> {
        let refused = |source| WriteError::Io { file: out.display().to_string(), action: "create the file", source };
        let Some(name) = out.file_name() else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a file name");
            return Err(refused(source));
        };
        if out.is_dir() {
            return Err(refused(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.unchecked", std::process::id()));
        Ok(Unchecked { path: out.with_file_name(hidden) })
    }

    /// Gives the file its name.
    pub(crate) fn commit(self, out: &Path) -> Result<(), WriteError> {
        let action = "finish the file";
        let refused = |source| WriteError::Io { file: out.display().to_string(), action, source };
        fs::rename(&self.path, out).map_err(refused)?;
        // Makes the name durable where the system can; the contents are on the disk already.
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if cfg!(unix) {
            let _ = fs::File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }
}

impl Drop for Unchecked {
    fn drop(&mut self) {
        // Gone if it has its name by now.
        let _ = fs::remove_file(&self.path);
    }
}

/// An error of writing, in the name that the caller knows.
pub(crate) fn renamed(error: WriteError, out: &Path) -> WriteError {
    let file = out.display().to_string();
    match error {
        WriteError::Io { action, source, .. } => WriteError::Io { file, action, source },
        WriteError::DiskFull { needed, .. } => WriteError::DiskFull { file, needed },
        error => error,
    }
}
