//! What a forward pass runs on.

use std::ops::Range;

use docent_kernels::{Rows, Sequences};

/// Token ids of several sequences laid one after the other, without padding.
#[derive(Clone, Debug)]
pub struct Batch {
    ids: Vec<u32>,
    /// One for each token, or none if all are 0.
    segments: Vec<u32>,
    positions: Vec<u32>,
    sequences: Sequences,
    task: Option<usize>,
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
    /// A task that the model has no adapter for.
    #[error("the batch is for task {task}, the model has adapters for {tasks}")]
    UnknownTask {
        /// Its index.
        task: usize,
        /// Tasks of the model.
        tasks: usize,
    },
}

impl Batch {
    /// Packs sequences of token ids, special tokens included.
    pub fn new<'a>(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        Self::after(0, sequences)
    }

    /// The same for sequences that each go on from `first` tokens which are not in them.
    pub fn after<'a>(first: usize, sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let (mut ids, mut positions, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for sequence in sequences {
            ids.extend_from_slice(sequence);
            // Beyond `u32` no model has positions, and `check` refuses the sequence by its length.
            positions.extend((0..sequence.len()).map(|place| (first + place) as u32));
            lengths.push(sequence.len());
        }
        Batch { ids, segments: Vec::new(), positions, sequences: Sequences::from_lengths(lengths), task: None }
    }

    /// The same with a segment for each token, in one run after the other: 1 for the document of a pair, in models that tell it from
    /// the query so.
    ///
    /// # Panics
    /// If there is not one for each token.
    #[must_use]
    pub fn with_segments(self, segments: Vec<u32>) -> Self {
        assert_eq!(segments.len(), self.ids.len(), "segments of tokens");
        Batch { segments, ..self }
    }

    /// The same to be run with the adapters of one of the model's [tasks](crate::Description::tasks), or with none.
    #[must_use]
    pub fn for_task(self, task: Option<usize>) -> Self {
        Batch { task, ..self }
    }

    /// The task whose adapters it is to be run with.
    pub(crate) fn task(&self) -> Option<usize> {
        self.task
    }

    /// The token ids of all sequences.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The place of each token in its sequence, from 0 or from where the sequences go on.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The positions of some tokens of each sequence.
    pub(crate) fn positions_of(&self, rows: Rows) -> Vec<u32> {
        let of = |tokens: Range<usize>| match rows {
            Rows::All => tokens,
            Rows::First => tokens.start..tokens.start + 1,
            Rows::Last => tokens.end - 1..tokens.end,
            Rows::After(first) => tokens.start + first..tokens.end,
        };
        self.sequences.iter().flat_map(of).map(|row| self.positions[row]).collect()
    }

    /// The segment of each token; no more than `limit` are told apart.
    pub(crate) fn segments(&self, limit: usize) -> Vec<u32> {
        if self.segments.is_empty() || limit < 2 {
            return vec![0; self.ids.len()];
        }
        self.segments.clone()
    }

    /// The boundaries of the sequences.
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    /// Checks that every sequence has tokens, at most `limit`, each below `rows`, and that there is its task among `tasks`.
    pub(crate) fn check(&self, limit: usize, rows: usize, tasks: usize) -> Result<(), BatchError> {
        if let Some(task) = self.task.filter(|&task| task >= tasks) {
            return Err(BatchError::UnknownTask { task, tasks });
        }
        for (sequence, tokens) in self.sequences.iter().enumerate() {
            if tokens.is_empty() {
                return Err(BatchError::Empty { sequence });
            }
            let end = tokens.len() + self.positions[tokens.start] as usize;
            if end > limit {
                return Err(BatchError::TooLong { sequence, tokens: end, limit });
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
        assert_eq!(batch.check(2, 4, 0), Ok(()));
        assert_eq!(batch.check(1, 4, 0), Err(BatchError::TooLong { sequence: 0, tokens: 2, limit: 1 }));
        assert_eq!(batch.check(2, 3, 0), Err(BatchError::UnknownId { sequence: 1, id: 3, rows: 3 }));
        assert_eq!(Batch::new([&[][..]]).check(2, 4, 0), Err(BatchError::Empty { sequence: 0 }));
        assert_eq!(batch.clone().for_task(Some(1)).check(2, 4, 2), Ok(()));
        assert_eq!(batch.for_task(Some(2)).check(2, 4, 2), Err(BatchError::UnknownTask { task: 2, tasks: 2 }));
    }
}
