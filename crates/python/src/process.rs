//! A model that survives a fork.

use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

/// A model, and the process that it works in.
///
/// A forked child has the memory of its parent, but none of its threads: a lock that one of them held at that moment stays
/// locked, and the workers are gone. The child therefore opens the model anew when it first uses it, which takes no longer
/// than mapping a file.
pub(crate) struct PerProcess<M> {
    // Locked for moments only, while the interpreter is held: a fork of Python holds it too, so the child finds it open.
    current: Mutex<(u32, Arc<M>)>,
}

impl<M> PerProcess<M> {
    pub(crate) fn new(model: M) -> Self {
        PerProcess { current: Mutex::new((process::id(), Arc::new(model))) }
    }

    /// The model as it was opened last, good for all questions that need no threads.
    pub(crate) fn last(&self) -> Arc<M> {
        Arc::clone(&self.lock().1)
    }

    /// The model of this process, opened by `open` if this is a fork of the one that it was opened in.
    pub(crate) fn get(&self, open: impl FnOnce() -> PyResult<M>) -> PyResult<Arc<M>> {
        let (process, model) = self.lock().clone();
        if process == process::id() {
            return Ok(model);
        }
        // Not under the lock: opening lets other threads have the interpreter.
        let model = Arc::new(open()?);
        *self.lock() = (process::id(), Arc::clone(&model));
        Ok(model)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (u32, Arc<M>)> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
