//! Texts as they come from Python, in the windows in which they are computed.

use std::ops::Range;
use std::time::Duration;

use pyo3::exceptions::{PyTypeError, PyUnicodeEncodeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyString, PyTuple};

/// Texts of a window at most: enough to use every thread well.
const WINDOW_TEXTS: usize = 512;

/// Texts of the first window; how long it takes decides about the next.
const FIRST_TEXTS: usize = 64;

/// Texts of a window at least, unless there are no more.
const LEAST_TEXTS: usize = 8;

/// What a window should take, so that signals are not kept waiting: models differ by a factor of a thousand.
const WINDOW_TIME: Duration = Duration::from_secs(1);

/// Bytes of UTF-8 of a window, the text aside that goes beyond.
const WINDOW_BYTES: usize = 1 << 20;

/// Texts of a call. `what` is their name in error messages.
pub(crate) struct Texts<'py> {
    what: &'static str,
    texts: Bound<'py, PyTuple>,
    /// Texts of the next window, and of any.
    window: usize,
    most: usize,
    done: usize,
}

impl<'py> Texts<'py> {
    /// Checks that every item is a `str`, before anything is computed.
    pub(crate) fn new(what: &'static str, texts: Bound<'py, PyTuple>) -> PyResult<Self> {
        for (index, item) in texts.iter_borrowed().enumerate() {
            if !item.is_instance_of::<PyString>() {
                return Err(not_a_str(what, index, &item.to_owned()));
            }
        }
        Ok(Texts { what, texts, window: FIRST_TEXTS, most: WINDOW_TEXTS, done: 0 })
    }

    /// Makes the windows smaller, for work that takes longer.
    pub(crate) fn in_windows_of(self, most: usize) -> Self {
        Texts { window: self.window.min(most), most, ..self }
    }

    /// Fits the next window to the time that the last one took.
    pub(crate) fn took(&mut self, time: Duration) {
        if time > WINDOW_TIME {
            self.window = (self.window / 2).max(LEAST_TEXTS);
        } else if time < WINDOW_TIME / 4 {
            self.window = (self.window * 2).min(self.most);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The next texts and their places in the call; `None` when there are no more.
    pub(crate) fn next_window(&mut self) -> PyResult<Option<(Range<usize>, Vec<PyBackedStr>)>> {
        let (start, mut bytes) = (self.done, 0);
        let mut texts = Vec::new();
        while self.done < self.len() && texts.len() < self.window && bytes < WINDOW_BYTES {
            let item = self.texts.get_borrowed_item(self.done)?;
            let text = item.extract::<PyBackedStr>();
            let text = text.map_err(|error| self.not_unicode(item.py(), error))?;
            bytes += text.len();
            texts.push(text);
            self.done += 1;
        }
        Ok((start < self.done).then_some((start..self.done, texts)))
    }

    /// A `str` may hold halves of surrogate pairs, which are no text. Says in which one.
    fn not_unicode(&self, py: Python<'_>, error: PyErr) -> PyErr {
        let value = error.value(py);
        let reason = value.getattr("reason").and_then(|reason| reason.extract::<String>());
        if let (true, Ok(reason)) = (error.is_instance_of::<PyUnicodeEncodeError>(py), reason) {
            // If it cannot be said, the exception is still the right one.
            let _ = value.setattr("reason", format!("{reason}, in {}[{}]", self.what, self.done));
        }
        error
    }
}

fn not_a_str(what: &str, index: usize, item: &Bound<'_, PyAny>) -> PyErr {
    let found = item.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    let advice = if item.is_instance_of::<PyBytes>() { ": decode it first, as in text.decode(\"utf-8\")" } else { "" };
    PyTypeError::new_err(format!("{what}[{index}] must be a str, not {found}{advice}"))
}
