//! What attention's scores gain by the distance between two tokens.

use crate::generic::simd::LANES;

/// A number for each head of queries and each distance between a query and a key, for [`Heads::biased`](crate::Heads::biased): the relative
/// position biases of T5 (Raffel et al., arXiv:1910.10683) and `MPNet` (Song et al., arXiv:2004.09297), which are added to scores
/// that are scaled already.
///
/// ```
/// use docent_kernels::{DistanceBiases, Heads};
///
/// // Two heads: one that favours near keys, one that favours earlier ones.
/// let biases = DistanceBiases::new(2, 512, |head, distance| match head {
///     0 => -(distance.abs() as f32),
///     _ => if distance < 0 { 1.0 } else { 0.0 },
/// });
/// let heads = Heads::new(2, 32).biased(biases);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DistanceBiases {
    /// Head after head, those of the distances from `1 - positions` to `positions - 1`, and then padding: a vector may be read
    /// from any of them on.
    values: Vec<f32>,
    heads: usize,
    positions: usize,
}

impl DistanceBiases {
    /// `bias(head, d)` is what a score gains in a head if the key stands `d` tokens behind the query (before it, if `d` is below 0), for
    /// sequences of up to `positions` tokens.
    ///
    /// # Panics
    /// If so many values do not fit the address space.
    pub fn new(heads: usize, positions: usize, bias: impl Fn(usize, i64) -> f32) -> Self {
        let last = positions.saturating_sub(1) as i64;
        let of_head = |head| (-last..=last).map(move |distance| (head, distance));
        let mut biases = DistanceBiases { values: Vec::new(), heads, positions };
        let len = biases.head_len().checked_mul(heads).expect("the biases fit the address space");
        biases.values.reserve_exact(len);
        for head in 0..heads {
            biases.values.extend(of_head(head).map(|(head, distance)| bias(head, distance)));
            biases.values.resize((head + 1) * biases.head_len(), 0.0);
        }
        biases
    }

    /// Tokens that a sequence may have.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Heads of queries.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// From the value of a head to that of the next.
    pub(crate) fn head_len(&self) -> usize {
        2 * self.positions.max(1) - 1 + LANES
    }

    /// The values of a head from that of the distance 0 on; those of distances below 0 lie before.
    ///
    /// # Panics
    /// If there is no such head.
    pub(crate) fn at_zero(&self, head: usize) -> *const f32 {
        assert!(head < self.heads, "head {head} of {} heads of biases", self.heads);
        // A pointer into all values, not into a part of them: those before it are read through it too.
        self.values.as_ptr().wrapping_add(head * self.head_len() + self.positions.max(1) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_distance_has_its_place_and_a_vector_after_it() {
        for positions in [0, 1, 2, 17] {
            let biases = DistanceBiases::new(3, positions, |head, distance| (100 * head) as f32 + distance as f32);
            assert_eq!(
                (biases.heads(), biases.positions(), biases.values.len()),
                (3, positions, 3 * biases.head_len())
            );
            let last = positions.saturating_sub(1) as i64;
            for (head, distance) in (0..3).flat_map(|head| (-last..=last).map(move |distance| (head, distance))) {
                let zero = head * biases.head_len() + positions.max(1) - 1;
                assert_eq!(biases.values[zero..].as_ptr(), biases.at_zero(head));
                let place = zero.checked_add_signed(distance as isize).unwrap();
                assert_eq!(biases.values[place], (100 * head) as f32 + distance as f32);
                assert!(place + LANES <= biases.values.len());
            }
        }
    }
}
