//! How attention divides into heads, and what a token attends to.

use std::ops::Range;
use std::sync::Arc;

use crate::distance_biases::DistanceBiases;

/// How the columns of a query-key-value matrix divide into heads, and how a head scores.
///
/// A row has the queries of all heads first, then the keys, then the values: `count`, `kv_count` and `kv_count` heads of
/// `dim` columns each.
///
/// ```
/// use docent_kernels::Heads;
///
/// // Sixteen heads of queries on eight of keys and values.
/// let heads = Heads::new(16, 128).grouped(8);
/// assert_eq!(heads.queries(), 0..2048);
/// assert_eq!(heads.keys(), 2048..3072);
/// assert_eq!(heads.columns(), 4096);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Heads {
    /// Heads of queries.
    pub count: usize,
    /// Heads of keys and of values, a divisor of `count`: so many neighbouring heads of queries share each (grouped-query
    /// attention, Ainslie et al., arXiv:2305.13245). The same as `count` in models that do not group.
    pub kv_count: usize,
    /// Columns of one head.
    pub dim: usize,
    /// Factor on the scores before the softmax.
    pub scale: f32,
    /// What a score loses for each token between query and key, for each head of queries (`ALiBi`, Press, Smith and Lewis,
    /// arXiv:2108.12409): `-slope * |i - j|`. Empty for none.
    pub slopes: Vec<f32>,
    /// What a score gains by the distance between query and key, for each head of queries; none in most models.
    pub biases: Option<Arc<DistanceBiases>>,
    /// Whether queries, keys and values may be rounded to codes of 12 to 15 bits, and the softmax's weights of 16, where an instruction set
    /// multiplies those faster: for models whose weights are quantised, beside which it is not noticed.
    pub coded: bool,
}

impl Heads {
    /// Heads of `dim` columns, each with keys and values of its own, that scale scores by `1 / sqrt(dim)`.
    pub fn new(count: usize, dim: usize) -> Self {
        let scale = 1.0 / (dim as f32).sqrt();
        Heads { count, kv_count: count, dim, scale, slopes: Vec::new(), biases: None, coded: false }
    }

    /// The same, sharing `kv_count` heads of keys and values.
    #[must_use]
    pub fn grouped(self, kv_count: usize) -> Self {
        Heads { kv_count, ..self }
    }

    /// The same with [`coded`](Self::coded) set so.
    #[must_use]
    pub fn coded(self, coded: bool) -> Self {
        Heads { coded, ..self }
    }

    /// The same with [`biases`](Self::biases).
    #[must_use]
    pub fn biased(self, biases: DistanceBiases) -> Self {
        Heads { biases: Some(Arc::new(biases)), ..self }
    }

    /// The same with the slopes that `ALiBi`'s authors fix by the number of heads: the powers of `2^(-max_bias / n)` where `n` heads
    /// are a power of two, and every other power of its root for the heads beyond the last such `n`. Models have a
    /// `max_bias` of 8.
    #[must_use]
    pub fn with_alibi(self, max_bias: f32) -> Self {
        let whole = if self.count == 0 { 1 } else { 1 << self.count.ilog2() };
        let slope = |head: usize| {
            let power = if head < whole { (head + 1) as f64 } else { (head - whole) as f64 + 0.5 };
            (-f64::from(max_bias) * power / whole as f64).exp2() as f32
        };
        Heads { slopes: (0..self.count).map(slope).collect(), ..self }
    }

    /// Columns of a query-key-value matrix.
    ///
    /// # Panics
    /// If they are more than the address space has; so do the other functions that tell columns.
    pub fn columns(&self) -> usize {
        self.values().end
    }

    /// The columns of all queries.
    pub fn queries(&self) -> Range<usize> {
        self.part(0, self.count)
    }

    /// The columns of all keys.
    pub fn keys(&self) -> Range<usize> {
        self.part(self.count, self.kv_count)
    }

    /// The columns of all values.
    pub fn values(&self) -> Range<usize> {
        self.part(self.keys().end / self.dim.max(1), self.kv_count)
    }

    /// The columns that the rotation of positions applies to.
    pub fn queries_and_keys(&self) -> Range<usize> {
        0..self.keys().end
    }

    /// The columns that every token must have for any to attend to it.
    pub fn keys_and_values(&self) -> Range<usize> {
        self.queries().end..self.columns()
    }

    fn part(&self, first: usize, count: usize) -> Range<usize> {
        let column =
            |heads: usize| heads.checked_mul(self.dim).expect("the columns of all heads fit the address space");
        column(first)..column(first.checked_add(count).expect("the number of heads fits the address space"))
    }
}

/// The tokens of its own sequence that a token attends to.
///
/// Windows are given by how far they reach to either side. Models state them by one number, which they read in different
/// ways, and implementations agree on these:
///
/// | model | its window `w` | here |
/// |---|---|---|
/// | ModernBERT's local layers | `\|i - j\| <= w / 2`, rounded down | `Window { left: w / 2, right: w / 2 }` |
/// | `EmbeddingGemma`'s sliding layers | `\|i - j\| < w / 2 + 1` | the same |
/// | Mistral and other decoders | `i - w < j <= i` | `Window { left: w - 1, right: 0 }` |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// All tokens.
    Full,
    /// Itself and the tokens before it.
    Causal,
    /// Itself, `left` tokens before it and `right` after it, as far as there are any.
    Window {
        /// Tokens before it.
        left: usize,
        /// Tokens after it.
        right: usize,
    },
}

impl Mask {
    /// The tokens that token `query` of a sequence of `length` attends to. Neither end ever falls as `query` rises.
    pub fn visible(self, query: usize, length: usize) -> Range<usize> {
        match self {
            Mask::Full => 0..length,
            Mask::Causal => 0..query + 1,
            Mask::Window { left, right } => {
                query.saturating_sub(left)..length.min(query.saturating_add(right).saturating_add(1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_published_code() {
        let slopes = |count: usize| Heads::new(count, 8).with_alibi(8.0).slopes;
        assert_eq!(slopes(1), [2f32.powi(-8)]);
        assert_eq!(slopes(8), [1, 2, 3, 4, 5, 6, 7, 8].map(|power| 2f32.powi(-power)));
        // Twelve heads: the powers of eight, then every other of those that sixteen would have.
        let expected = [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0, -0.5, -1.5, -2.5, -3.5].map(f32::exp2);
        assert!(slopes(12).iter().zip(expected).all(|(slope, expected)| (slope / expected - 1.0).abs() < 1e-6));
        assert_eq!(slopes(0), [0.0; 0]);
    }

    #[test]
    fn columns_are_queries_then_keys_then_values() {
        let heads = Heads::new(6, 10).grouped(2);
        assert_eq!((heads.queries(), heads.keys(), heads.values()), (0..60, 60..80, 80..100));
        assert_eq!((heads.queries_and_keys(), heads.keys_and_values(), heads.columns()), (0..80, 60..100, 100));
    }

    #[test]
    fn windows_are_cut_at_the_ends_of_a_sequence() {
        let window = Mask::Window { left: 2, right: 1 };
        let visible: Vec<_> = (0..5).map(|query| window.visible(query, 5)).collect();
        assert_eq!(visible, [0..2, 0..3, 0..4, 1..5, 2..5]);
        let all = Mask::Window { left: usize::MAX, right: usize::MAX };
        for query in 0..5 {
            assert_eq!(all.visible(query, 5), Mask::Full.visible(query, 5));
            assert_eq!(Mask::Window { left: usize::MAX, right: 0 }.visible(query, 5), Mask::Causal.visible(query, 5));
            assert_eq!(Mask::Window { left: 0, right: 0 }.visible(query, 5), query..query + 1);
        }
    }
}
