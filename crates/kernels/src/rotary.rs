//! Rotary position embedding: how far each pair of columns turns from one position to the next, and which columns are a pair.

use std::f64::consts::TAU;

/// The angles by which the pairs of a head's columns turn from one position to the next, in radians (`RoPE`, Su et al.,
/// arXiv:2104.09864), and the ways of stretching them over longer texts than a model was first trained on.
///
/// ```
/// use docent_kernels::Frequencies;
///
/// let plain = Frequencies::new(64, 10_000.0);
/// assert_eq!((plain.angles().len(), plain.angles()[0]), (32, 1.0));
/// let stretched = plain.clone().divided_by(4.0);
/// assert_eq!(stretched.angles()[0], 0.25);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Frequencies {
    angles: Vec<f64>,
    magnitude: f64,
}

/// The settings of `YaRN` (Peng et al., arXiv:2309.00071).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// How many times longer texts are to be than the model was first trained on.
    pub factor: f64,
    /// The tokens that it was first trained on.
    pub original_positions: usize,
    /// Turns over those tokens from which a pair keeps its angle; 32 in the paper.
    pub fast: f64,
    /// Turns up to which it is stretched by the whole factor; 1 in the paper.
    pub slow: f64,
    /// Factor on what is turned; `None` for the paper's `0.1 ln(factor) + 1`.
    pub magnitude: Option<f64>,
}

impl Frequencies {
    /// `base^(-2i / dims)` for pair `i` of the `dims / 2` that `dims` columns make.
    pub fn new(dims: usize, base: f64) -> Self {
        Self::of((0..dims / 2).map(|pair| base.powf(-2.0 * pair as f64 / dims as f64)).collect())
    }

    /// These angles, whatever they come from.
    pub fn of(angles: Vec<f64>) -> Self {
        Frequencies { angles, magnitude: 1.0 }
    }

    /// Every angle divided by one factor: positions are interpolated linearly (Chen et al., arXiv:2306.15595).
    #[must_use]
    pub fn divided_by(mut self, factor: f64) -> Self {
        self.angles.iter_mut().for_each(|angle| *angle /= factor);
        self
    }

    /// Every angle divided by a factor of its own, which models ship as a tensor (`rope_freqs` in GGUF).
    ///
    /// # Errors
    /// If there is not one for each pair.
    pub fn divided_by_each(mut self, factors: &[f32]) -> Result<Self, RotaryError> {
        if factors.len() != self.angles.len() {
            return Err(RotaryError::Factors { expected: self.angles.len(), found: factors.len() });
        }
        self.angles.iter_mut().zip(factors).for_each(|(angle, &factor)| *angle /= f64::from(factor));
        Ok(self)
    }

    /// `YaRN`: pairs that turn often over the original length keep their angle, those that turn seldom are stretched, and what
    /// is turned grows a little.
    ///
    /// `base` is the one that the angles were made with.
    #[must_use]
    pub fn yarn(mut self, base: f64, yarn: &Yarn) -> Self {
        let pairs = self.angles.len() as f64;
        // The pair that makes so many turns, as a real number.
        let pair_of = |turns: f64| pairs * (yarn.original_positions as f64 / (turns * TAU)).ln() / base.ln();
        let first = pair_of(yarn.fast).floor().max(0.0);
        let last = pair_of(yarn.slow).ceil().min(2.0 * pairs - 1.0);
        let span = if first == last { 0.001 } else { last - first };
        for (pair, angle) in self.angles.iter_mut().enumerate() {
            let stretched = ((pair as f64 - first) / span).clamp(0.0, 1.0);
            *angle = *angle / yarn.factor * stretched + *angle * (1.0 - stretched);
        }
        self.magnitude = yarn.magnitude.unwrap_or(0.1 * yarn.factor.ln() + 1.0);
        self
    }

    /// Radians from one position to the next, for each pair.
    pub fn angles(&self) -> &[f64] {
        &self.angles
    }

    /// Factor on what is turned.
    pub fn magnitude(&self) -> f64 {
        self.magnitude
    }
}

/// Which columns of a head are a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotaryStyle {
    /// Column `i` and column `i + pairs`: `GPT-NeoX`, and all that transformers publishes.
    Halves,
    /// Columns `2i` and `2i + 1`: the paper, and GGUF files of the architecture `llama`.
    Interleaved,
}

/// Why queries and keys cannot be turned in this way.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum RotaryError {
    /// More columns than a head has.
    #[error("{pairs} pairs of columns cannot be turned in heads of {head_dim} columns")]
    Pairs {
        /// Pairs to turn.
        pairs: usize,
        /// Columns of a head.
        head_dim: usize,
    },
    /// Another number of factors than of pairs.
    #[error("expected {expected} factors of rotary frequencies, one for each pair of columns, found {found}")]
    Factors {
        /// Pairs.
        expected: usize,
        /// Factors.
        found: usize,
    },
    /// An angle that is no number.
    #[error("the rotary frequency of pair {pair} is {value}, not a finite number")]
    NotFinite {
        /// Its index.
        pair: usize,
        /// Its angle.
        value: f64,
    },
}

/// The turns of queries and keys by their positions, for [`Executor::rotary`](crate::Executor::rotary).
///
/// The first `2 * pairs` columns of each head are turned, the others left as they are.
#[derive(Clone, Debug)]
pub struct Rotary {
    style: RotaryStyle,
    head_dim: usize,
    pairs: usize,
    positions: usize,
    /// The cosines and then the sines of the multiples of `SPAN`, times the magnitude, and of the positions below it:
    /// a position's own follow from the two that add up to it.
    coarse: Vec<f64>,
    fine: Vec<f64>,
}

/// Positions between two that have a row in the coarse table.
const SPAN: usize = 128;

impl Rotary {
    /// The turns for positions below `positions`, in heads of `head_dim` columns.
    ///
    /// Angles are taken in `f64` and rounded once, to `f32`, as turned: at position 8192 angles in `f32` would be off by half a
    /// thousandth. Takes memory for one position in 128.
    ///
    /// # Errors
    /// If a head has fewer columns than are to be turned, or an angle is not finite.
    pub fn new(
        style: RotaryStyle,
        head_dim: usize,
        frequencies: &Frequencies,
        positions: usize,
    ) -> Result<Self, RotaryError> {
        let angles = frequencies.angles();
        let pairs = angles.len();
        if pairs > head_dim / 2 {
            return Err(RotaryError::Pairs { pairs, head_dim });
        }
        let magnitude = frequencies.magnitude();
        if let Some(pair) = angles.iter().position(|angle| !(angle * magnitude).is_finite()) {
            return Err(RotaryError::NotFinite { pair, value: angles[pair] * magnitude });
        }
        let table = |step: usize, count: usize, magnitude: f64| -> Vec<f64> {
            let row = |position: f64| {
                let of = move |f: fn(f64) -> f64| angles.iter().map(move |angle| magnitude * f(position * angle));
                of(f64::cos).chain(of(f64::sin))
            };
            (0..count).flat_map(|index| row((index * step) as f64)).collect()
        };
        let coarse = table(SPAN, positions.div_ceil(SPAN), magnitude);
        Ok(Rotary { style, head_dim, pairs, positions, coarse, fine: table(1, SPAN.min(positions), 1.0) })
    }

    /// Positions that it can turn by, from 0.
    pub fn positions(&self) -> usize {
        self.positions
    }

    pub(crate) fn head_dim(&self) -> usize {
        self.head_dim
    }

    pub(crate) fn pairs(&self) -> usize {
        self.pairs
    }

    pub(crate) fn style(&self) -> RotaryStyle {
        self.style
    }

    /// The rows of the coarse and of the fine table whose angles add up to a position's.
    pub(crate) fn rows(&self, position: usize) -> (&[f64], &[f64]) {
        let row = 2 * self.pairs;
        (&self.coarse[position / SPAN * row..][..row], &self.fine[position % SPAN * row..][..row])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_are_those_of_the_paper_and_of_its_extensions() {
        let plain = Frequencies::new(8, 10_000.0);
        for (angle, expected) in plain.angles().iter().zip([1.0, 0.1, 0.01, 0.001]) {
            assert!((angle - expected).abs() < 1e-15);
        }
        let halved = plain.clone().divided_by_each(&[1.0, 2.0, 4.0, 8.0]).unwrap();
        assert!((halved.angles()[3] - 0.000_125).abs() < 1e-15);
        let error = plain.clone().divided_by_each(&[1.0]).unwrap_err();
        assert_eq!(error, RotaryError::Factors { expected: 4, found: 1 });
        let none = plain.divided_by_each(&[1.0, 1.0, 0.0, 1.0]).unwrap();
        let error = Rotary::new(RotaryStyle::Halves, 8, &none, 4).unwrap_err();
        assert_eq!(error, RotaryError::NotFinite { pair: 2, value: f64::INFINITY });
        let error = Rotary::new(RotaryStyle::Halves, 7, &Frequencies::new(8, 1e4), 4).unwrap_err();
        assert_eq!(error, RotaryError::Pairs { pairs: 4, head_dim: 7 });
    }

    /// `rope_parameters` of transformers 4.57 for a head of 128 with `rope_theta` 1e6, a factor of 4 over 32768.
    #[test]
    fn yarn_keeps_fast_pairs_and_stretches_slow_ones() {
        let yarn = Yarn { factor: 4.0, original_positions: 32_768, fast: 32.0, slow: 1.0, magnitude: None };
        let plain = Frequencies::new(128, 1e6);
        let stretched = plain.clone().yarn(1e6, &yarn);
        assert!((stretched.magnitude() - (0.1 * 4f64.ln() + 1.0)).abs() < 1e-15);
        // 32 turns are made by pair 23.59, and one by pair 39.65.
        let part = |pair: usize| stretched.angles()[pair] / plain.angles()[pair];
        assert_eq!((part(0), part(23)), (1.0, 1.0));
        assert!((part(40) - 0.25).abs() < 1e-15 && (part(63) - 0.25).abs() < 1e-15);
        let mixed = 5.0 / 17.0;
        assert!((part(28) - (mixed / 4.0 + 1.0 - mixed)).abs() < 1e-12, "{}", part(28));
    }

    #[test]
    fn tables_take_a_row_for_one_position_in_128() {
        let rotary = Rotary::new(RotaryStyle::Halves, 128, &Frequencies::new(128, 1e6), 40_960).unwrap();
        assert_eq!((rotary.coarse.len(), rotary.fine.len()), (320 * 128, 128 * 128));
        assert_eq!(Rotary::new(RotaryStyle::Halves, 4, &Frequencies::new(4, 1e4), 3).unwrap().fine.len(), 3 * 4);
    }
}
