//! GGUF metadata under way, in order.

use docent_gguf::{OwnedValue, WriteError, Writer};

/// Collects keys and values. Setting a key again replaces its value and keeps its place, as in the converter's dictionary.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys(Vec<(String, OwnedValue)>);

impl Keys {
    pub(crate) fn set(&mut self, key: &str, value: impl Into<OwnedValue>) {
        let value = value.into();
        match self.0.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    pub(crate) fn u32(&mut self, key: &str, value: u32) {
        self.set(key, value);
    }

    pub(crate) fn f32(&mut self, key: &str, value: f32) {
        self.set(key, value);
    }

    pub(crate) fn bool(&mut self, key: &str, value: bool) {
        self.set(key, value);
    }

    /// A value for each layer.
    pub(crate) fn bools(&mut self, key: &str, values: Vec<bool>) {
        self.set(key, values);
    }

    /// An empty text is left out.
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.set(key, value);
        }
    }

    pub(crate) fn optional_text(&mut self, key: &str, value: Option<&str>) {
        self.text(key, value.unwrap_or_default());
    }

    /// An empty list is left out.
    pub(crate) fn texts(&mut self, key: &str, values: &[String]) {
        if !values.is_empty() {
            self.set(key, values.to_vec());
        }
    }

    pub(crate) fn u32s(&mut self, key: &str, values: Vec<u32>) {
        if !values.is_empty() {
            self.set(key, values);
        }
    }

    pub(crate) fn i32s(&mut self, key: &str, values: Vec<i32>) {
        if !values.is_empty() {
            self.set(key, values);
        }
    }

    pub(crate) fn f32s(&mut self, key: &str, values: Vec<f32>) {
        if !values.is_empty() {
            self.set(key, values);
        }
    }

    pub(crate) fn u8s(&mut self, key: &str, values: Vec<u8>) {
        if !values.is_empty() {
            self.set(key, values);
        }
    }

    /// The keys and values, in order.
    pub(crate) fn into_entries(self) -> Vec<(String, OwnedValue)> {
        self.0
    }

    pub(crate) fn add_to(self, writer: &mut Writer) -> Result<(), WriteError> {
        for (key, value) in self.0 {
            writer.metadata(key, value)?;
        }
        Ok(())
    }
}
