//! What can be wrong with a tokenizer file or a request to it.

use std::path::PathBuf;

/// Why a tokenizer could not be built or could not do what was asked. Every variant prints as one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something in the file is not as the format has it.
    #[error("{place}: expected {expected}, found {found}")]
    Unexpected {
        /// The key or the path within the document.
        place: String,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The file is sound but asks for something this crate does not do.
    #[error("{place}: {found} is not supported (supported: {supported})")]
    Unsupported {
        /// The key or the path within the document.
        place: String,
        /// What the file asks for.
        found: String,
        /// What could stand there instead.
        supported: &'static str,
    },
    /// A part of `tokenizer.json` that the `tokenizers` crate would not take.
    #[error("{place}: {message}")]
    Component {
        /// The key within the document.
        place: String,
        /// What the crate said.
        message: String,
    },
    /// A file could not be read.
    #[error("{}: cannot read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Any of the other errors, with the file it is about.
    #[error("{file}: {source}")]
    InFile {
        /// The file.
        file: String,
        /// What is wrong in it.
        source: Box<Error>,
    },
    /// A GGUF key has a value of the wrong type.
    #[error(transparent)]
    Metadata(#[from] docent_gguf::MetadataError),
    /// A truncation that leaves no room for the special tokens.
    #[error(
        "cannot truncate to {max_tokens} tokens: the special tokens alone are {special_tokens}; ask for at least that many"
    )]
    NoRoom {
        /// The limit asked for.
        max_tokens: usize,
        /// How many tokens the model wants around every text.
        special_tokens: usize,
    },
    /// A prompt that is too long even without the text that may be cut.
    #[error(
        "cannot truncate the prompt to {max_tokens} tokens: without its last text it still has {fixed_tokens}; ask for at least that many, or shorten the rest"
    )]
    PromptTooLong {
        /// The limit asked for.
        max_tokens: usize,
        /// How many tokens may not be cut.
        fixed_tokens: usize,
    },
    /// An id that no token has.
    #[error("token id {id} is not in the vocabulary (expected an id below {vocab_size} that is in use)")]
    UnknownId {
        /// The id.
        id: u32,
        /// One more than the highest id.
        vocab_size: usize,
    },
}

impl Error {
    pub(crate) fn unexpected(place: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Unexpected { place: place.into(), expected: expected.into(), found: found.into() }
    }

    pub(crate) fn in_file(self, file: impl Into<String>) -> Self {
        Self::InFile { file: file.into(), source: Box::new(self) }
    }
}

/// A text from a file as an error shows it: quoted, control characters escaped, at most 60 characters.
pub(crate) fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
