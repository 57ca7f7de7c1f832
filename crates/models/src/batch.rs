//! What a forward pass runs on.

use docent_kernels::Sequences;

/// Token ids of several sequences laid one after the other, without padding.
#[derive(Clone, Debug)]
pub struct Batch {
    ids: Vec<u32>,
    positions: Vec<u32>,
    sequences: Sequences,
}

/// Why a model cannot run a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// A sequence without tokens: every model needs at least its special tokens.
    #[error("sequence {sequence} has no tokens")]
    Empty {
        /// Its index.
        sequence: usize,
    },
    /// A sequence with more tokens than the model has positions.
    #[error("sequence {sequence} has {tokens} tokens, the model takes at most {limit}")]
    TooLong {
        /// Its index.
        sequence: usize,
        /// Its tokens.
        tokens: usize,
        /// The model's positions.
        limit: usize,
    },
    /// An id for which there is no embedding.
    #[error("sequence {sequence} has the token id {id}, the model has {rows} embeddings")]
    UnknownId {
        /// Index of the sequence.
        sequence: usize,
        /// The id.
        id: u32,
        /// Rows of the embedding table.
        rows: usize,
    },
}

impl Batch {
    /// Packs sequences of token ids, special tokens included.
    pub fn new<'a>(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let (mut ids, mut positions, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for sequence in sequences {
            ids.extend_from_slice(sequence);
            // Beyond `u32` no model has positions, and `check` refuses the sequence by its length.
            positions.extend((0..sequence.len()).map(|position| position as u32));
            lengths.push(sequence.len());
        }
        Batch { ids, positions, sequences: Sequences::from_lengths(lengths) }
    }

    /// The token ids of all sequences.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The place of each token in its sequence, from 0.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The boundaries of the sequences.
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    /// Checks that every sequence has tokens, at most `limit`, each below `rows`.
    pub(crate) fn check(&self, limit: usize, rows: usize) -> Result<(), BatchError> {
        for (sequence, tokens) in self.sequences.iter().enumerate() {
            if tokens.is_empty() {
                return Err(BatchError::Empty { sequence });
            }
            if tokens.len() > limit {
                return Err(BatchError::TooLong { sequence, tokens: tokens.len(), limit });
            }
            if let Some(&id) = self.ids[tokens].iter().find(|&&id| id as usize >= rows) {
                return Err(BatchError::UnknownId { sequence, id, rows });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_start_anew_in_every_sequence() {
        let batch = Batch::new([&[5, 6, 7][..], &[8]]);
        assert_eq!(batch.ids(), [5, 6, 7, 8]);
        assert_eq!(batch.positions(), [0, 1, 2, 0]);
        assert_eq!(batch.sequences().range(1), 3..4);
    }

    #[test]
    fn batches_are_checked() {
        let batch = Batch::new([&[1, 2][..], &[3]]);
        assert_eq!(batch.check(2, 4), Ok(()));
        assert_eq!(batch.check(1, 4), Err(BatchError::TooLong { sequence: 0, tokens: 2, limit: 1 }));
        assert_eq!(batch.check(2, 3), Err(BatchError::UnknownId { sequence: 1, id: 3, rows: 3 }));
        assert_eq!(Batch::new([&[][..]]).check(2, 4), Err(BatchError::Empty { sequence: 0 }));
    }
}
