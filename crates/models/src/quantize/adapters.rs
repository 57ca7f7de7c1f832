//! The adapters of a model's tasks, which stay as they are and go where those of the new file are looked for.

use std::path::{Path, PathBuf};

use docent_gguf::{Gguf, WriteError, Writer};

use super::Error;
use crate::source::tasks::{self, AdapterFile};
use crate::unchecked::{Unchecked, renamed};

/// Copies the adapters of the model at `input` beside the places that those of `out` have, which are returned with them. One that has
/// such a place already, because it is named after another number format than the input, is no copy.
pub(super) fn copy(
    input: &Path,
    out: &Path,
    model: &Gguf,
    overwrite: bool,
) -> Result<Vec<(Unchecked, PathBuf)>, Error> {
    let files = tasks::beside(input, model.metadata()).map_err(|source| Error::Adapter { source: Box::new(source) })?;
    let place = |task: &str| out.with_file_name(tasks::file_name(task, out.file_name().unwrap_or_default()));
    let files = files.into_iter().map(|file| (place(&file.task.name), file));
    let files: Vec<_> = files.filter(|(path, file)| !is_one_file(path, &file.path)).collect();
    if !overwrite && let Some((path, _)) = files.iter().find(|(path, _)| path.symlink_metadata().is_ok()) {
        return Err(Error::Exists { path: path.clone() });
    }
    let copies = files.into_iter().map(|(path, file)| Ok((copied(&file, &path)?, path)));
    copies.collect()
}

fn is_one_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn copied(file: &AdapterFile, path: &Path) -> Result<Unchecked, WriteError> {
    let mut writer = Writer::new();
    for (key, value) in file.gguf.metadata().iter() {
        writer.metadata(key, value)?;
    }
    for tensor in file.gguf.tensors() {
        writer.tensor(tensor.name(), tensor.dims(), tensor.tensor_type())?;
    }
    let mut tensors = file.gguf.tensors();
    let unchecked = Unchecked::beside(path)?;
    let saved = writer.save(&unchecked.path, |_, sink| {
        sink.write(tensors.next().expect("the writer has the tensors of the file, in its order").bytes())
    });
    saved.map_err(|error| renamed(error, path))?;
    Ok(unchecked)
}
