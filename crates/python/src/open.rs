//! Opening a model: on a thread of its own, so that a download can be watched and interrupted.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use docent::Error;
use docent::hub::Progress;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::errors::exception;
use crate::log;

/// How often signals are looked for.
const SIGNALS: Duration = Duration::from_millis(50);

/// Opens a model with the interpreter free. `progress(file, done, total)` is called as bytes of a download arrive; what it
/// raises ends the wait, as Ctrl-C does. The download itself then goes on, and the next call continues it.
pub(crate) fn open<M: Send + 'static>(
    py: Python<'_>,
    open: impl FnOnce(&dyn Progress) -> Result<M, Error> + Send + 'static,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<M> {
    log::start();
    let (sender, mut events) = mpsc::channel();
    let opening = thread::Builder::new().name("docent-open".to_owned()).spawn(move || open(&Events { sender }))?;
    let mut file = File::default();
    loop {
        // The receiver is lent to the closure: it may be sent to another thread, but not shared.
        let lent = &mut events;
        match py.detach(move || next(lent)) {
            Ok(event) => {
                // What has piled up meanwhile is one step.
                let is_step = std::iter::once(event).chain(events.try_iter()).fold(false, |step, event| {
                    file.take(event);
                    step | file.changed()
                });
                if let Some(progress) = progress.filter(|_| is_step) {
                    progress.call1((&file.name, file.done, file.total))?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        py.check_signals()?;
    }
    match py.detach(|| opening.join()) {
        Ok(Ok(model)) => Ok(model),
        Ok(Err(error)) => Err(exception(py, &error)),
        Err(_) => Err(PyRuntimeError::new_err("the model could not be opened: a bug of Docent, please report it")),
    }
}

fn next(events: &mut Receiver<Transfer>) -> Result<Transfer, RecvTimeoutError> {
    events.recv_timeout(SIGNALS)
}

/// What happens to the files that are fetched.
enum Transfer {
    Start { file: String, total: Option<u64>, done: u64 },
    Advance(u64),
    Note(String),
}

/// Sends what happens to the thread that waits; if it has gone, to nobody.
struct Events {
    sender: Sender<Transfer>,
}

impl Progress for Events {
    fn start(&self, file: &str, total: Option<u64>, resumed_from: u64) {
        let _ = self.sender.send(Transfer::Start { file: file.to_owned(), total, done: resumed_from });
    }

    fn advance(&self, bytes: u64) {
        let _ = self.sender.send(Transfer::Advance(bytes));
    }

    fn finish(&self) {}

    fn note(&self, text: &str) {
        let _ = self.sender.send(Transfer::Note(text.to_owned()));
    }
}

/// How far the file that is fetched has come.
#[derive(Default)]
struct File {
    name: String,
    total: Option<u64>,
    done: u64,
    changed: bool,
}

impl File {
    fn take(&mut self, event: Transfer) {
        match event {
            Transfer::Start { file, total, done } => *self = File { name: file, total, done, changed: true },
            Transfer::Advance(bytes) => {
                self.done += bytes;
                self.changed = true;
            }
            Transfer::Note(text) => log::log("info", &text),
        }
    }

    /// Whether there is news, once.
    fn changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}
