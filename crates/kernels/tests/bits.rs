//! The guarantee that all of Docent rests on: a row's bits depend on the row alone, not on the batch it is in, its place
//! in it, the number of threads, or what the memory held before.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Random, TYPES, Weights, bits, bits_of, executors, matrix_of};
use docent_kernels::{
    Activation, EmbeddingTable, Epilogue, Executor, Heads, Isa, Linear, Mask, Matrix, Norm, Pooling, Sequences,
    SharedBytes, ThreadPool, WeightType,
};
use proptest::prelude::*;
use std::sync::Arc;

/// One layer of an encoder, with random weights.
struct Encoder {
    tokens: EmbeddingTable,
    norm: Norm,
    qkv: Linear,
    heads: Heads,
    mask: Mask,
    project: Linear,
    up: Linear,
    activation: Activation,
    down: Linear,
    pooling: Pooling,
}

impl Encoder {
    fn random(random: &mut Random, ty: WeightType) -> Self {
        let dim = [8, 12, 16, 32][random.below(4)];
        let count = 32 / dim.min(32) + random.below(2);
        let width = if ty == WeightType::Q8_0 { (count * dim).next_multiple_of(32) } else { count * dim };
        let heads = Heads::new(width / dim, dim).coded(ty == WeightType::Q8_0);
        let width = heads.count * dim;
        // 12 does not divide every multiple of 32.
        let ty = if width.is_multiple_of(32) { ty } else { WeightType::F32 };
        let inner = 32 * (1 + random.below(4));
        let mut linear = |outputs, inputs| {
            let weights = Weights::random(random, ty, outputs, inputs);
            let bias = random.values(outputs);
            Linear::pack(&[(weights.raw(), Some(&bias))], &ThreadPool::new(2)).unwrap()
        };
        let (qkv, project, up, down) =
            (linear(3 * width, width), linear(width, width), linear(inner, width), linear(width, inner));
        let table = Weights::random(random, ty, 40, width);
        let bytes = SharedBytes::new(Arc::new(table.bytes.clone()), 0..table.bytes.len());
        Encoder {
            tokens: EmbeddingTable::new(bytes, ty, 40, width).unwrap(),
            norm: Norm::new(random.values(width), Some(random.values(width)), 1e-5).unwrap(),
            qkv,
            heads,
            mask: [Mask::Full, Mask::Causal, Mask::Window { left: 5, right: 2 }][random.below(3)],
            project,
            up,
            activation: [Activation::Gelu, Activation::GeluTanh, Activation::Relu][random.below(3)],
            down,
            pooling: [Pooling::Cls, Pooling::Mean, Pooling::Max, Pooling::Last][random.below(4)],
        }
    }

    /// The bits of every intermediate row of every text, and of its vector: `[text][stage][row]`.
    fn run(&self, executor: &mut Executor, texts: &[&[u32]]) -> Vec<Vec<Vec<Vec<u32>>>> {
        let sequences = Sequences::from_lengths(texts.iter().map(|text| text.len()));
        let (rows, width) = (sequences.tokens(), self.project.outputs());
        let mut stages: Vec<Matrix> = Vec::new();
        let mut x = executor.matrix(rows, width);
        executor.embed(&[(&self.tokens, &texts.concat())], &mut x);
        executor.layer_norm(&mut x, &self.norm);
        stages.push(copy(executor, &x));
        let mut qkv = executor.matrix(rows, 3 * width);
        executor.linear(&x, &self.qkv, Epilogue::Assign, &mut qkv);
        let mut context = executor.matrix(rows, width);
        executor.attention(&qkv, &sequences, &self.heads, self.mask, &mut context);
        stages.push(qkv);
        executor.linear(&context, &self.project, Epilogue::Add, &mut x);
        stages.push(context);
        executor.layer_norm(&mut x, &self.norm);
        let mut inner = executor.matrix(rows, self.up.outputs());
        executor.linear(&x, &self.up, Epilogue::Activate(self.activation), &mut inner);
        executor.linear(&inner, &self.down, Epilogue::Add, &mut x);
        stages.push(inner);
        let mut pooled = executor.matrix(sequences.len(), width);
        executor.pool(&x, &sequences, self.pooling, &mut pooled);
        stages.push(x);
        let out = sequences.iter().enumerate().map(|(i, tokens)| {
            let rows = stages.iter().map(|stage| tokens.clone().map(|row| bits(stage.row(row))).collect());
            rows.chain([vec![bits(pooled.row(i))]]).collect()
        });
        let out = out.collect();
        stages.into_iter().chain([pooled]).for_each(|matrix| executor.recycle(matrix));
        out
    }
}

fn copy(executor: &mut Executor, matrix: &Matrix) -> Matrix {
    let values: Vec<f32> = (0..matrix.rows()).flat_map(|row| matrix.row(row).to_vec()).collect();
    matrix_of(executor, matrix.rows(), matrix.columns(), &values)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_text_has_the_same_bits_alone_and_in_any_batch_order_and_number_of_threads(
        seed: u64,
        ty in 0usize..4,
        lengths in prop::collection::vec(1usize..40, 1..7),
    ) {
        let mut random = Random(seed);
        let encoder = Encoder::random(&mut random, TYPES[ty]);
        let texts: Vec<Vec<u32>> =
            lengths.iter().map(|&length| (0..length).map(|_| random.below(40) as u32).collect()).collect();
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|_| random.bits());
        let shuffled: Vec<&[u32]> = order.iter().map(|&i| texts[i]).collect();
        for isa in Isa::available() {
            let mut alone = Executor::inline(isa);
            let expected: Vec<_> = texts.iter().map(|text| encoder.run(&mut alone, &[text]).remove(0)).collect();
            prop_assert!(expected.iter().flatten().flatten().flatten().all(|&bits| f32::from_bits(bits).is_finite()));
            for mut executor in executors(isa) {
                prop_assert!(encoder.run(&mut executor, &texts) == expected, "{isa}: in a batch");
                let batch = encoder.run(&mut executor, &shuffled);
                for (place, &text) in order.iter().enumerate() {
                    prop_assert!(batch[place] == expected[text], "{isa}: text {text} at place {place}");
                }
            }
        }
    }

    #[test]
    fn a_row_of_a_linear_layer_does_not_depend_on_the_number_of_rows(
        seed: u64,
        ty in 0usize..4,
        k in 1usize..300,
        outputs in 1usize..100,
        rows in prop_oneof![2usize..30, 60usize..300],
    ) {
        let mut random = Random(seed);
        let inputs = if TYPES[ty] == WeightType::Q8_0 { k.next_multiple_of(32) } else { k };
        let linear = Weights::random(&mut random, TYPES[ty], outputs, inputs).pack();
        let values = random.values(rows * inputs);
        for isa in Isa::available() {
            let mut alone = Executor::inline(isa);
            let expected: Vec<Vec<u32>> = values
                .chunks(inputs)
                .map(|row| {
                    let x = matrix_of(&mut alone, 1, inputs, row);
                    let mut out = alone.matrix(1, outputs);
                    alone.linear(&x, &linear, Epilogue::Activate(Activation::Gelu), &mut out);
                    bits(out.row(0))
                })
                .collect();
            for mut executor in executors(isa) {
                let x = matrix_of(&mut executor, rows, inputs, &values);
                let mut out = common::dirty(&mut executor, rows, outputs);
                executor.linear(&x, &linear, Epilogue::Activate(Activation::Gelu), &mut out);
                prop_assert!(bits_of(&out) == expected, "{isa} {:?} {rows}x{inputs}x{outputs}", TYPES[ty]);
            }
        }
    }

    #[test]
    fn some_columns_of_a_linear_layer_have_the_bits_of_all(
        seed: u64,
        ty in 0usize..4,
        outputs in 1usize..130,
        ends in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        rows in 1usize..90,
    ) {
        let mut random = Random(seed);
        let linear = Weights::random(&mut random, TYPES[ty], outputs, 96).pack();
        let (a, b) = (ends.0.index(outputs + 1), ends.1.index(outputs + 1));
        let columns = a.min(b)..a.max(b);
        let values = random.values(rows * 96);
        for isa in Isa::available() {
            for mut executor in executors(isa) {
                let x = matrix_of(&mut executor, rows, 96, &values);
                let mut all = common::dirty(&mut executor, rows, outputs);
                executor.linear(&x, &linear, Epilogue::Assign, &mut all);
                let mut some = common::dirty(&mut executor, rows, outputs);
                executor.linear_columns(&x, &linear, columns.clone(), Epilogue::Assign, &mut some);
                for row in 0..rows {
                    let (all, some) = (&all.row(row)[columns.clone()], &some.row(row)[columns.clone()]);
                    prop_assert!(bits(some) == bits(all), "{} {:?} {:?} of {}", isa, TYPES[ty], columns, outputs);
                }
            }
        }
    }
}

/// Such layers are split in other ways, and their sums are made in parts.
#[test]
fn the_bits_of_a_row_stay_in_layers_that_no_cache_holds() {
    const ROWS: usize = 270;
    let mut random = Random(7);
    for ty in [WeightType::Q8_0, WeightType::F16] {
        let (outputs, inputs) = (9 * 64 - 5, 2048);
        let weights = Weights::random(&mut random, ty, outputs, inputs);
        let bias = random.values(outputs);
        let linear = Linear::pack(&[(weights.raw(), Some(&bias))], &ThreadPool::new(2)).unwrap();
        let (values, before) = (random.values(ROWS * inputs), random.values(ROWS * outputs));
        for isa in Isa::available() {
            for epilogue in [Epilogue::Add, Epilogue::Multiply, Epilogue::Activate(Activation::Gelu)] {
                let run = |executor: &mut Executor, rows: std::ops::Range<usize>| {
                    let x = matrix_of(executor, rows.len(), inputs, &values[rows.start * inputs..rows.end * inputs]);
                    let before = &before[rows.start * outputs..rows.end * outputs];
                    let mut out = matrix_of(executor, rows.len(), outputs, before);
                    executor.linear(&x, &linear, epilogue, &mut out);
                    bits_of(&out)
                };
                let mut alone = Executor::inline(isa);
                for mut executor in executors(isa) {
                    let found = run(&mut executor, 0..ROWS);
                    for row in [0, 1, 131, 200, ROWS - 1] {
                        let expected = run(&mut alone, row..row + 1);
                        assert_eq!(found[row], expected[0], "{isa} {ty:?} {epilogue:?} row {row}");
                    }
                }
            }
        }
    }
}
