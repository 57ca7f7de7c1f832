//! What the formats of results have in common.

use docent::Embedding;

use crate::destination::Destination;
use crate::input::Id;

/// The result for one text.
pub(super) struct Item<'a> {
    /// The text's place in the input, from 0.
    pub(super) index: usize,
    pub(super) id: Option<&'a Id>,
    pub(super) embedding: &'a Embedding,
    /// Whether the text has one vector; without pooling it has one a token, be it only one.
    pub(super) is_pooled: bool,
}

/// Writes results one by one, so that no format holds more than one.
pub(super) trait Format {
    /// Before the first result. `has_ids` says whether the texts may have ids.
    fn begin(&mut self, out: &mut Destination<'_>, has_ids: bool) -> anyhow::Result<()>;

    /// The next result.
    fn item(&mut self, out: &mut Destination<'_>, item: &Item<'_>) -> anyhow::Result<()>;

    /// After the last result.
    fn end(&mut self, out: &mut Destination<'_>) -> anyhow::Result<()>;
}
