//! A mixture of experts in the place of a feed-forward block (Shazeer et al., arXiv:1701.06538).
//!
//! ```text
//! p = softmax(W_router x)
//! f(x) = sum over the experts e with the largest p_e of p_e W_down,e gelu(W_up,e x), + b
//! ```

use std::cmp::Ordering;

use docent_kernels::{Activation, Epilogue, Executor, Linear, Matrix};

/// Feed-forward blocks of which each token goes through few.
pub(crate) struct Experts {
    pub(crate) router: Linear,
    pub(crate) experts: Vec<Expert>,
    /// Experts that each token goes through.
    pub(crate) used: usize,
    pub(crate) activation: Activation,
    /// Added to the sum, whichever experts it is of.
    pub(crate) bias: Option<Vec<f32>>,
}

/// One of them.
pub(crate) struct Expert {
    pub(crate) up: Linear,
    pub(crate) down: Linear,
}

impl Experts {
    /// `x + f(x)` for every row.
    ///
    /// The rows are put together by expert, so each expert's weights are read once, and only rows that it was chosen for are computed
    /// with. Each row's experts add up in the order of their numbers: a row's bits do not depend on the others.
    pub(crate) fn residual(&self, executor: &mut Executor, mut x: Matrix) -> Matrix {
        let chosen = self.route(executor, &x);
        let mut sum = executor.matrix(x.rows(), x.columns());
        for row in 0..sum.rows() {
            match &self.bias {
                Some(bias) => sum.row_mut(row).copy_from_slice(bias),
                None => sum.row_mut(row).fill(0.0),
            }
        }
        for (expert, Chosen { rows, weights }) in self.experts.iter().zip(&chosen) {
            if rows.is_empty() {
                continue;
            }
            let mut input = executor.matrix(rows.len(), x.columns());
            executor.take_rows(&x, rows, &mut input);
            let mut inner = executor.matrix(rows.len(), expert.up.outputs());
            executor.linear(&input, &expert.up, Epilogue::Activate(self.activation), &mut inner);
            executor.linear(&inner, &expert.down, Epilogue::Assign, &mut input);
            executor.recycle(inner);
            executor.add_to_rows(&input, rows, weights, &mut sum);
            executor.recycle(input);
        }
        executor.add(&sum, &mut x);
        executor.recycle(sum);
        x
    }

    /// The rows that go through each expert, and by how much each counts.
    fn route(&self, executor: &mut Executor, x: &Matrix) -> Vec<Chosen> {
        let mut logits = executor.matrix(x.rows(), self.experts.len());
        executor.linear(x, &self.router, Epilogue::Assign, &mut logits);
        let mut chosen = vec![Chosen::default(); self.experts.len()];
        let mut ranked = Vec::new();
        for row in 0..logits.rows() {
            for (expert, weight) in largest(softmax(logits.row_mut(row)), self.used, &mut ranked) {
                chosen[expert].rows.push(row);
                chosen[expert].weights.push(weight);
            }
        }
        executor.recycle(logits);
        chosen
    }

    /// Bytes of memory that the packed weights take.
    pub(crate) fn bytes(&self) -> usize {
        let experts = self.experts.iter().map(|expert| expert.up.bytes() + expert.down.bytes());
        self.router.bytes() + experts.sum::<usize>()
    }
}

/// What goes through one expert.
#[derive(Clone, Default)]
struct Chosen {
    rows: Vec<usize>,
    weights: Vec<f32>,
}

fn softmax(values: &mut [f32]) -> &[f32] {
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter_mut().for_each(|value| *value = (*value - most).exp());
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
    values
}

/// The `count` largest values with their places; of equal ones those that come first.
fn largest<'r>(
    values: &[f32],
    count: usize,
    ranked: &'r mut Vec<(usize, f32)>,
) -> impl Iterator<Item = (usize, f32)> + 'r {
    ranked.clear();
    ranked.extend(values.iter().copied().enumerate());
    // Not a number only where the hidden state was none, and then every value of the row is.
    ranked.sort_by(|(_, a), (_, b)| b.partial_cmp(a).unwrap_or(Ordering::Equal));
    ranked.iter().copied().take(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_and_of_equal_ones_the_first() {
        let of = |values: &[f32], count| largest(values, count, &mut Vec::new()).map(|(place, _)| place).collect();
        let places: Vec<usize> = of(&[0.1, 0.4, 0.4, 0.1], 3);
        assert_eq!(places, [1, 2, 0]);
        let places: Vec<usize> = of(&[f32::NAN; 3], 2);
        assert_eq!(places, [0, 1]);
    }

    #[test]
    fn a_softmax_adds_up_to_one_whatever_the_range() {
        for mut values in [vec![1000.0, 999.0, -1000.0], vec![-90.0; 5], vec![0.25]] {
            assert!((softmax(&mut values).iter().sum::<f32>() - 1.0).abs() < 1e-6, "{values:?}");
        }
        let mut values = [0.0, 3f32.ln()];
        assert!((softmax(&mut values)[1] - 0.75).abs() < 1e-6);
    }
}
