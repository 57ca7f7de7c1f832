//! From the hidden states of a sequence to one vector.

use std::ops::Range;

use crate::{Matrix, Sequences};

/// How the hidden states of a sequence become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// The first token's (`[CLS]`, `<s>`).
    Cls,
    /// The arithmetic mean over all tokens, special ones included.
    Mean,
    /// The largest value of each dimension.
    Max,
    /// The last token's.
    Last,
    /// Not at all: one vector for each token.
    None,
}

impl Pooling {
    /// Every way of pooling.
    pub const ALL: [Pooling; 5] = [Pooling::Cls, Pooling::Mean, Pooling::Max, Pooling::Last, Pooling::None];

    /// Its name: `cls`, `mean`, `max`, `last`, `none`.
    pub fn name(self) -> &'static str {
        match self {
            Pooling::Cls => "cls",
            Pooling::Mean => "mean",
            Pooling::Max => "max",
            Pooling::Last => "last",
            Pooling::None => "none",
        }
    }

    /// The tokens of a sequence that it reads.
    pub fn rows(self) -> Rows {
        match self {
            Pooling::Cls => Rows::First,
            Pooling::Last => Rows::Last,
            Pooling::Mean | Pooling::Max | Pooling::None => Rows::All,
        }
    }

    /// Vectors that a batch of these sequences is pooled to.
    pub fn vectors(self, sequences: &Sequences) -> usize {
        match self {
            Pooling::None => sequences.tokens(),
            _ => sequences.len(),
        }
    }
}

/// The tokens of each sequence that something is wanted of.
///
/// A model's last layer need compute only what is read of it: for the vector of the first or the last token, one row a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rows {
    /// All of them.
    All,
    /// The first of each sequence.
    First,
    /// The last of each sequence.
    Last,
    /// All but the first so many of each sequence, which must have them.
    After(usize),
}

impl Rows {
    /// Tokens of all sequences together.
    pub fn count(self, sequences: &Sequences) -> usize {
        match self {
            Rows::All => sequences.tokens(),
            Rows::First | Rows::Last => sequences.len(),
            Rows::After(first) => sequences.iter().map(|tokens| tokens.len().saturating_sub(first)).sum(),
        }
    }

    /// The tokens of a sequence of this length.
    ///
    /// # Panics
    /// If the sequence is too short to have them.
    pub(crate) fn of(self, length: usize) -> Range<usize> {
        let least = match self {
            Rows::All => 0,
            Rows::First | Rows::Last => 1,
            Rows::After(first) => first,
        };
        assert!(length >= least, "{self:?} of a sequence of {length} tokens");
        match self {
            Rows::All => 0..length,
            Rows::First => 0..1,
            Rows::Last => length - 1..length,
            Rows::After(first) => first..length,
        }
    }
}

/// Pools each sequence into its row of `out`, or its rows if there is no pooling.
pub(crate) fn pool(hidden: &Matrix, sequences: &Sequences, pooling: Pooling, out: &mut Matrix) {
    for (sequence, tokens) in sequences.iter().enumerate() {
        if pooling == Pooling::None {
            tokens.for_each(|row| out.row_mut(row).copy_from_slice(hidden.row(row)));
        } else {
            pool_sequence(hidden, tokens, pooling, out.row_mut(sequence));
        }
    }
}

/// Writes the pooled hidden state of the rows `tokens`.
fn pool_sequence(hidden: &Matrix, tokens: Range<usize>, pooling: Pooling, out: &mut [f32]) {
    assert!(!tokens.is_empty(), "pooling over an empty sequence");
    match pooling {
        Pooling::Cls | Pooling::None => out.copy_from_slice(hidden.row(tokens.start)),
        Pooling::Last => out.copy_from_slice(hidden.row(tokens.end - 1)),
        Pooling::Max => {
            out.copy_from_slice(hidden.row(tokens.start));
            for row in tokens.skip(1) {
                for (out, &value) in out.iter_mut().zip(hidden.row(row)) {
                    // A NaN stays: it is the caller's to find.
                    *out = if value > *out || value.is_nan() { value } else { *out };
                }
            }
        }
        Pooling::Mean => {
            let count = tokens.len() as f32;
            out.fill(0.0);
            for row in tokens {
                for (out, &value) in out.iter_mut().zip(hidden.row(row)) {
                    *out += value;
                }
            }
            for out in out {
                *out /= count;
            }
        }
    }
}
