//! Weights that the tasks of a model adapt: a low-rank sum for each task beside them (`LoRA`, Hu et al., arXiv:2106.09685).
//!
//! ```text
//! y = W x + b + s B (A x)        with A of r rows, B of r columns and s = alpha / r
//! ```
//!
//! The sum is computed beside the weights instead of being merged into them: of five tasks the weights are in memory once, quantised ones keep
//! their bits, and the two thin products cost `r (inputs + outputs)` where the weights cost `inputs * outputs`.

use std::ops::Range;

use docent_kernels::{EmbeddingTable, Epilogue, Executor, Linear, Matrix, ThreadPool};

/// A linear layer with what each task adds to it; nothing in models without tasks.
pub(crate) struct Adapted {
    base: Linear,
    tasks: Vec<Option<LowRank>>,
}

/// `s B (A x)`
pub(crate) struct LowRank {
    /// `A`: from the inputs to as many numbers as the rank.
    pub(crate) down: Linear,
    /// `s B`: from these to the outputs.
    pub(crate) up: Linear,
}

impl Adapted {
    pub(crate) fn new(base: Linear, tasks: Vec<Option<LowRank>>) -> Self {
        Adapted { base, tasks }
    }

    pub(crate) fn is_quantized(&self) -> bool {
        self.base.is_quantized()
    }

    pub(crate) fn outputs(&self) -> usize {
        self.base.outputs()
    }

    /// `out = epilogue(y)` for every row of `x`, for a task or without one.
    pub(crate) fn run(
        &self,
        executor: &mut Executor,
        task: Option<usize>,
        x: &Matrix,
        epilogue: Epilogue,
        out: &mut Matrix,
    ) {
        self.run_columns(executor, task, x, 0..self.outputs(), epilogue, out);
    }

    /// The columns `columns` of the same, in their places.
    pub(crate) fn run_columns(
        &self,
        executor: &mut Executor,
        task: Option<usize>,
        x: &Matrix,
        columns: Range<usize>,
        epilogue: Epilogue,
        out: &mut Matrix,
    ) {
        let Some(low_rank) = task.and_then(|task| self.tasks.get(task)?.as_ref()) else {
            return executor.linear_columns(x, &self.base, columns, epilogue, out);
        };
        let mut thin = executor.matrix(x.rows(), low_rank.down.outputs());
        executor.linear(x, &low_rank.down, Epilogue::Assign, &mut thin);
        // What the task adds goes first, so that an activation comes over both.
        let (first, second) = match epilogue {
            Epilogue::Assign => (Epilogue::Assign, Epilogue::Add),
            Epilogue::Add => (Epilogue::Add, Epilogue::Add),
            Epilogue::Activate(f) => (Epilogue::Assign, Epilogue::AddActivate(f)),
            Epilogue::AddActivate(f) => (Epilogue::Add, Epilogue::AddActivate(f)),
            Epilogue::Multiply => {
                unreachable!("a product of two sums; no layer with tasks is the second half of a gate")
            }
        };
        executor.linear_columns(&thin, &low_rank.up, columns.clone(), first, out);
        executor.recycle(thin);
        executor.linear_columns(x, &self.base, columns, second, out);
    }

    /// Expands weights that were left in the file's blocks.
    pub(crate) fn expand(&mut self, threads: &ThreadPool) {
        self.base.expand(threads);
    }

    /// Bytes of memory that the packed weights take.
    pub(crate) fn bytes(&self) -> usize {
        let adapters = self.tasks.iter().flatten().map(|low_rank| low_rank.down.bytes() + low_rank.up.bytes());
        self.base.bytes() + adapters.sum::<usize>()
    }
}

/// What a task adds to the embeddings of tokens and of segments.
#[derive(Default)]
pub(crate) struct AdaptedEmbeddings {
    /// A row of `A` for each token, left in the file, and `s B`.
    pub(crate) tokens: Option<(EmbeddingTable, Linear)>,
    /// The sum itself: there are one or two segments.
    pub(crate) segments: Option<EmbeddingTable>,
}

impl AdaptedEmbeddings {
    /// Adds to the embeddings `x` of tokens `ids` in segments `segments`.
    pub(crate) fn add(&self, executor: &mut Executor, ids: &[u32], segments: &[u32], x: &mut Matrix) {
        if let Some((table, up)) = &self.tokens {
            let mut thin = executor.matrix(x.rows(), table.columns());
            executor.embed(&[(table, ids)], &mut thin);
            executor.linear(&thin, up, Epilogue::Add, x);
            executor.recycle(thin);
        }
        if let Some(table) = &self.segments {
            let mut sum = executor.matrix(x.rows(), x.columns());
            executor.embed(&[(table, segments)], &mut sum);
            executor.add(&sum, x);
            executor.recycle(sum);
        }
    }

    /// Bytes of memory that it takes beside the file.
    pub(crate) fn bytes(&self) -> usize {
        self.tokens.as_ref().map_or(0, |(_, up)| up.bytes())
    }
}
