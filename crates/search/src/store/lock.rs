//! One process at a time writes documents and vectors.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::beside;
use crate::Error;

/// What to do while another process updates the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Wait until it is done.
    #[default]
    Forever,
    /// Return [`Error::Locked`].
    No,
}

/// Held by the process that updates an index; the system takes it away from one that ends in any way.
///
/// It is no part of SQLite's own locking, which lasts for a transaction: an update is many of them.
pub(crate) struct WriterLock {
    _file: File,
}

impl WriterLock {
    /// Takes the lock of an index. `waiting` is called, with the process that has it, before a wait.
    pub(crate) fn acquire(index: &Path, wait: Wait, waiting: impl FnOnce(Option<u32>)) -> Result<WriterLock, Error> {
        let path = beside(index, "lock");
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file);
                if wait == Wait::No {
                    return Err(Error::Locked { path: index.to_owned(), holder });
                }
                waiting(holder);
                file.lock().map_err(Error::io("lock", &path))?;
            }
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
        }
        // The number is for messages alone; failing to write it harms nobody.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(WriterLock { _file: file })
    }
}

/// The process that says it holds the lock.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_or_waits() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("index.sqlite");
        let first = WriterLock::acquire(&index, Wait::No, |_| ()).unwrap();
        let second = WriterLock::acquire(&index, Wait::No, |_| ());
        let process = std::process::id();
        assert!(matches!(second, Err(Error::Locked { holder: Some(holder), .. }) if holder == process));
        std::thread::scope(|scope| {
            let (told, hear) = std::sync::mpsc::channel();
            let index = &index;
            let waiter = scope.spawn(move || {
                WriterLock::acquire(index, Wait::Forever, |holder| told.send(holder).unwrap()).map(drop)
            });
            assert_eq!(hear.recv().unwrap(), Some(process));
            drop(first);
            waiter.join().unwrap().unwrap();
        });
    }
}
