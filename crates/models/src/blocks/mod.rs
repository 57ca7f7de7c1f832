//! Parts that several architectures share.

mod attention;
pub(crate) mod decoder;
mod feed_forward;
pub(crate) mod position;

pub(crate) use attention::{Attention, QueryKeyNorm};
pub(crate) use feed_forward::FeedForward;
