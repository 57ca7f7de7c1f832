//! From the last hidden state of a token to the logits of the next.

use std::path::PathBuf;

use docent_kernels::{BlockMatrix, Linear, RawMatrix, SharedBytes, ThreadPool, WeightError, WeightType};

use crate::Error;

/// The output matrix of a language model, left in the file until a model is asked to write: embedders and rerankers have no use for a
/// matrix that may be larger than all their layers.
pub(crate) struct Output {
    pub(crate) path: PathBuf,
    /// The tensor: a matrix of its own, or the embeddings of the tokens where the two are tied.
    pub(crate) name: String,
    pub(crate) bytes: SharedBytes,
    pub(crate) ty: WeightType,
    pub(crate) bias: Option<Vec<f32>>,
    pub(crate) vocabulary: usize,
    pub(crate) hidden: usize,
}

impl Output {
    /// The layer, ready to compute with.
    pub(crate) fn load(self, threads: &ThreadPool) -> Result<Linear, Error> {
        let Output { path, name, bytes, ty, bias, vocabulary, hidden } = self;
        let load = || -> Result<Linear, WeightError> {
            if let WeightType::Blocks(_) = ty {
                let mut linear = Linear::in_place(vec![(BlockMatrix::new(bytes, ty, vocabulary, hidden)?, bias)])?;
                linear.expand(threads);
                return Ok(linear);
            }
            Linear::pack(&[(RawMatrix::new(&bytes, ty, vocabulary, hidden)?, bias.as_deref())], threads)
        };
        load().map_err(|source| Error::Weight { path, name, source })
    }
}
