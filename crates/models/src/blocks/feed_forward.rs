//! The feed-forward block of a layer.

use docent_kernels::{Activation, Epilogue, Executor, Linear, Matrix, ThreadPool};

use super::Adapted;
use crate::Error;
use crate::weights::Weights;

/// Two linear layers with an activation between them, or three with a gate.
pub(crate) enum FeedForward {
    /// `W_down f(W_up x)`
    Plain { up: Adapted, down: Adapted, activation: Activation },
    /// `W_down (f(W_gate x) * W_up x)` (GLU, Shazeer, arXiv:2002.05202)
    Gated { gate: Linear, up: Linear, down: Linear, activation: Activation },
}

/// Where the gate is in a matrix that has it and the projection up one above the other.
#[derive(Clone, Copy)]
pub(crate) enum Gate {
    First,
    Second,
}

impl FeedForward {
    /// A gated block of layer `layer` whose gate is a matrix of its own.
    pub(crate) fn gated(
        weights: &Weights<'_>,
        layer: usize,
        (hidden, inner): (usize, usize),
        activation: Activation,
    ) -> Result<Self, Error> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        Ok(FeedForward::Gated {
            gate: weights.linear(&name("ffn_gate"), hidden, inner)?,
            up: weights.linear(&name("ffn_up"), hidden, inner)?,
            down: weights.linear(&name("ffn_down"), inner, hidden)?,
            activation,
        })
    }

    /// A gated block of layer `layer` whose `ffn_up` has the gate too: `2 * inner` rows.
    pub(crate) fn gated_in_one(
        weights: &Weights<'_>,
        layer: usize,
        (hidden, inner): (usize, usize),
        gate: Gate,
        activation: Activation,
    ) -> Result<Self, Error> {
        let half = |first: bool| {
            let rows = if first { 0..inner } else { inner..2 * inner };
            weights.linear_part(&format!("blk.{layer}.ffn_up"), hidden, 2 * inner, rows)
        };
        let gate_first = matches!(gate, Gate::First);
        Ok(FeedForward::Gated {
            gate: half(gate_first)?,
            up: half(!gate_first)?,
            down: weights.linear(&format!("blk.{layer}.ffn_down"), inner, hidden)?,
            activation,
        })
    }

    /// `x + f(x)` for every row, of a block whose input is the residual itself, for a task of the model or none.
    pub(crate) fn residual(&self, executor: &mut Executor, task: Option<usize>, mut x: Matrix) -> Matrix {
        let inner = self.inner(executor, task, &x);
        self.down(executor, task, &inner, Epilogue::Add, &mut x);
        executor.recycle(inner);
        x
    }

    /// Applies the block to every row of `x`; `epilogue` says what becomes of `out`.
    pub(crate) fn run(
        &self,
        executor: &mut Executor,
        task: Option<usize>,
        x: &Matrix,
        epilogue: Epilogue,
        out: &mut Matrix,
    ) {
        let inner = self.inner(executor, task, x);
        self.down(executor, task, &inner, epilogue, out);
        executor.recycle(inner);
    }

    fn inner(&self, executor: &mut Executor, task: Option<usize>, x: &Matrix) -> Matrix {
        match self {
            FeedForward::Plain { up, activation, .. } => {
                let mut inner = executor.matrix(x.rows(), up.outputs());
                up.run(executor, task, x, Epilogue::Activate(*activation), &mut inner);
                inner
            }
            FeedForward::Gated { gate, up, activation, .. } => {
                let mut inner = executor.matrix(x.rows(), up.outputs());
                executor.linear(x, gate, Epilogue::Activate(*activation), &mut inner);
                executor.linear(x, up, Epilogue::Multiply, &mut inner);
                inner
            }
        }
    }

    fn down(&self, executor: &mut Executor, task: Option<usize>, inner: &Matrix, epilogue: Epilogue, out: &mut Matrix) {
        match self {
            FeedForward::Plain { down, .. } => down.run(executor, task, inner, epilogue, out),
            FeedForward::Gated { down, .. } => executor.linear(inner, down, epilogue, out),
        }
    }

    /// Expands weights that were left in the file's blocks.
    pub(crate) fn expand(&mut self, threads: &ThreadPool) {
        match self {
            FeedForward::Plain { up, down, .. } => [up, down].into_iter().for_each(|layer| layer.expand(threads)),
            FeedForward::Gated { gate, up, down, .. } => {
                [gate, up, down].into_iter().for_each(|linear| linear.expand(threads));
            }
        }
    }

    /// Bytes of memory that the packed weights take.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            FeedForward::Plain { up, down, .. } => up.bytes() + down.bytes(),
            FeedForward::Gated { gate, up, down, .. } => gate.bytes() + up.bytes() + down.bytes(),
        }
    }
}
