//! What comes after the last hidden state: projections of embeddings, and heads that score.

use docent_kernels::{Activation, Epilogue, Executor, Linear, Matrix, Norm, Pooling};

/// One step of a head.
pub(crate) enum Step {
    /// `f(Wx + b)`, or without an activation `Wx + b`.
    Linear(Linear, Option<Activation>),
    LayerNorm(Norm),
    /// `round(127 tanh(x))`, half to even.
    ToBytes,
}

impl Step {
    fn bytes(&self) -> usize {
        match self {
            Step::Linear(linear, _) => linear.bytes(),
            Step::LayerNorm(_) | Step::ToBytes => 0,
        }
    }
}

/// Steps from a pooled hidden state to what a model is asked for.
#[derive(Default)]
pub(crate) struct Head {
    pub(crate) steps: Vec<Step>,
}

impl Head {
    /// Takes every row of `x` through the steps.
    pub(crate) fn run(&self, executor: &mut Executor, mut x: Matrix) -> Matrix {
        for step in &self.steps {
            match step {
                Step::Linear(linear, activation) => {
                    let mut out = executor.matrix(x.rows(), linear.outputs());
                    let epilogue = activation.map_or(Epilogue::Assign, Epilogue::Activate);
                    executor.linear(&x, linear, epilogue, &mut out);
                    executor.recycle(std::mem::replace(&mut x, out));
                }
                Step::LayerNorm(norm) => executor.layer_norm(&mut x, norm),
                Step::ToBytes => executor.to_bytes(&mut x),
            }
        }
        x
    }

    /// Values of a row at the end, if any step changes their number.
    pub(crate) fn outputs(&self) -> Option<usize> {
        self.steps.iter().rev().find_map(|step| match step {
            Step::Linear(linear, _) => Some(linear.outputs()),
            Step::LayerNorm(_) | Step::ToBytes => None,
        })
    }

    /// Bytes of memory that the packed weights take.
    pub(crate) fn bytes(&self) -> usize {
        self.steps.iter().map(Step::bytes).sum()
    }
}

/// A head that scores a query with a document.
pub(crate) struct Scorer {
    /// What every state goes through first; nothing in most.
    pub(crate) tokens: Head,
    /// What of the sequence it reads.
    pub(crate) pooling: Pooling,
    pub(crate) head: Head,
    pub(crate) kind: ScoreKind,
}

/// How the outputs of a scoring head are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScoreKind {
    /// The first output is a logit: larger is more relevant, and a sigmoid makes a probability of it.
    Logit,
    /// Two outputs, the logits of the answers yes and no: a softmax makes a probability of the first.
    YesNo {
        /// The output for yes.
        yes: usize,
        /// The output for no.
        no: usize,
    },
}

impl ScoreKind {
    /// The raw score: the logit of relevance, in the odds of which the model was trained.
    pub fn raw(&self, outputs: &[f32]) -> f32 {
        match *self {
            ScoreKind::Logit => outputs[0],
            ScoreKind::YesNo { yes, no } => outputs[yes] - outputs[no],
        }
    }
}
