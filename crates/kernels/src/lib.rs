//! kernels
mod buffer;
mod executor;
mod generic;
mod isa;
mod kernels;
mod pooling;
mod sequences;
mod threads;
mod unique;
mod weights;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use buffer::Matrix;
pub use executor::{Executor, Heads};
pub use generic::store::{Activation, Epilogue};
pub use isa::{ISA_VARIABLE, Isa, UnknownIsa};
pub use pooling::Pooling;
pub use sequences::Sequences;
pub use threads::{MAX_THREADS, ThreadPool};
pub use weights::{EmbeddingTable, Linear, Norm, RawMatrix, SharedBytes, WeightError, WeightType};
