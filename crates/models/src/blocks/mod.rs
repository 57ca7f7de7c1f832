//! Parts that several architectures share.

mod adapted;
pub(crate) mod answers;
mod attention;
pub(crate) mod decoder;
pub(crate) mod encoder;
mod experts;
mod feed_forward;
pub(crate) mod gemma;
pub(crate) mod position;
pub(crate) mod projection;

pub(crate) use adapted::{Adapted, AdaptedEmbeddings, LowRank};
pub(crate) use attention::{Attention, QueryKeyNorm};
pub(crate) use experts::{Expert, Experts};
pub(crate) use feed_forward::{FeedForward, Gate};
