//! Where one sequence ends and the next begins in a packed batch.

use std::ops::Range;

/// The boundaries of sequences laid one after the other, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequences {
    /// Start of each sequence, then the end of the last.
    offsets: Vec<usize>,
}

impl Sequences {
    /// Sequences of the given lengths, in tokens.
    ///
    /// # Panics
    /// If the lengths add up to more than a `usize` holds.
    pub fn from_lengths(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut offsets = vec![0];
        let mut end = 0;
        offsets.extend(lengths.into_iter().map(|length| {
            end = usize::checked_add(end, length).expect("the tokens of a batch fit the address space");
            end
        }));
        Sequences { offsets }
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no sequence.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of all sequences together: the rows of their hidden states.
    pub fn tokens(&self) -> usize {
        self.offsets[self.len()]
    }

    /// Tokens of the longest sequence.
    pub fn longest(&self) -> usize {
        self.iter().map(|tokens| tokens.len()).max().unwrap_or(0)
    }

    /// The rows of sequence `index`.
    ///
    /// # Panics
    /// If there is no such sequence.
    pub fn range(&self, index: usize) -> Range<usize> {
        self.offsets[index]..self.offsets[index + 1]
    }

    /// The rows of each sequence.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Range<usize>> {
        self.offsets.windows(2).map(|pair| pair[0]..pair[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_follow_each_other() {
        let sequences = Sequences::from_lengths([3, 0, 5]);
        assert_eq!((sequences.len(), sequences.tokens(), sequences.longest()), (3, 8, 5));
        assert_eq!(sequences.iter().collect::<Vec<_>>(), [0..3, 3..3, 3..8]);
        assert_eq!(sequences.range(2), 3..8);
        assert!(Sequences::from_lengths([]).is_empty());
    }
}
