//! Whether the kernels compute on this machine what they should.
//!
//! The tests of this crate run where it is built. A program runs on other machines, under other hypervisors, and perhaps
//! on instruction sets that its developers never had: [`self_test`] lets it find out there.

mod data;
mod reference;

use std::sync::Arc;

use crate::{
    Activation, DistanceBiases, Distances, EmbeddingTable, Epilogue, Executor, Frequencies, Heads, Isa, Linear, Mask,
    Matrix, Norm, Pooling, Queries, Rotary, RotaryStyle, Rows, Sequences, SharedBytes, ThreadPool, WeightType,
};
use data::{Encoded, Random};
use reference::{Bounded, EPSILON};

/// What became of a [`self_test`].
#[derive(Clone, Debug, PartialEq)]
pub struct SelfTest {
    /// The instruction set.
    pub isa: Isa,
    /// Each operation, with each kind of weights and each thing to do with its result.
    pub operations: Vec<OperationTest>,
}

/// An operation, compared with what it should compute.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationTest {
    /// Its name, with what else tells it from the others: `linear Q8_0 gelu`.
    pub operation: String,
    /// The largest difference from the right result, as a part of what rounding may make it there: up to 1 is right.
    /// Infinite if a result was no finite number, or one that must be exact was not.
    pub error: f64,
}

impl SelfTest {
    /// Whether every operation computes what it should.
    pub fn passed(&self) -> bool {
        self.operations.iter().all(OperationTest::passed)
    }

    /// The operation that came nearest to its bound, or went farthest beyond it.
    pub fn worst(&self) -> Option<&OperationTest> {
        self.operations.iter().max_by(|a, b| a.error.total_cmp(&b.error))
    }
}

impl OperationTest {
    /// Whether it computes what it should.
    pub fn passed(&self) -> bool {
        self.error <= 1.0
    }
}

/// Runs every operation of an [`Executor`] on the instruction set and compares each number with double-precision arithmetic
/// that is written down here as plainly as possible and shares nothing with the kernels.
///
/// The inputs are fixed, of awkward shapes: one row and many, rows that end inside a vector, blocks of zeros, codes of both
/// extremes. The bounds are what rounding to `f32` may do at worst. Rows that meet `Q8_0` weights may also lose half a
/// step of 1/127 of the largest value in each block of 32; rows that 8 bits hold exactly may not, so that a wrong sum has nowhere
/// to hide. Takes some twenty milliseconds, on the calling thread.
///
/// ```
/// use docent_kernels::{Isa, self_test};
///
/// for isa in Isa::available() {
///     let test = self_test(isa);
///     assert!(test.passed(), "{isa}: {:?}", test.worst());
/// }
/// ```
///
/// # Panics
/// If the host does not have the instruction set.
pub fn self_test(isa: Isa) -> SelfTest {
    let mut executor = Executor::inline(isa);
    let mut random = Random::new();
    let mut operations = Vec::new();
    for ty in TYPES {
        operations.push(embed(&mut executor, &mut random, ty));
    }
    operations.push(layer_norm(&mut executor, &mut random));
    operations.push(rms_norm(&mut executor, &mut random));
    for ty in TYPES {
        operations.extend(linear(&mut executor, &mut random, ty));
    }
    for style in [("rotary halves", RotaryStyle::Halves), ("rotary interleaved", RotaryStyle::Interleaved)] {
        operations.push(rotary(&mut executor, &mut random, style));
    }
    for kind in ATTENTIONS {
        operations.push(attention(&mut executor, &mut random, kind));
    }
    for pooling in Pooling::ALL {
        operations.push(pool(&mut executor, &mut random, pooling));
    }
    SelfTest { isa, operations }
}

const TYPES: [WeightType; 4] = [WeightType::F32, WeightType::F16, WeightType::Bf16, WeightType::Q8_0];

const EPILOGUES: [(&str, Epilogue); 9] = [
    ("assign", Epilogue::Assign),
    ("add", Epilogue::Add),
    ("gelu", Epilogue::Activate(Activation::Gelu)),
    ("gelu tanh", Epilogue::Activate(Activation::GeluTanh)),
    ("relu", Epilogue::Activate(Activation::Relu)),
    ("silu", Epilogue::Activate(Activation::Silu)),
    ("tanh", Epilogue::Activate(Activation::Tanh)),
    ("multiply", Epilogue::Multiply),
    ("add, gelu", Epilogue::AddActivate(Activation::Gelu)),
];

/// The largest error so far, as a part of what is allowed.
#[derive(Default)]
struct Comparison {
    error: f64,
}

impl Comparison {
    fn add(&mut self, found: f32, expected: Bounded) {
        let difference = (f64::from(found) - expected.value).abs();
        let error = if difference == 0.0 { 0.0 } else { difference / expected.error };
        // Nothing that is not a number may pass as one that is small.
        self.error = self.error.max(if error.is_nan() { f64::INFINITY } else { error });
    }

    fn add_row(&mut self, found: &[f32], expected: impl IntoIterator<Item = Bounded>) {
        found.iter().zip(expected).for_each(|(&found, expected)| self.add(found, expected));
    }

    fn of(self, operation: impl Into<String>) -> OperationTest {
        OperationTest { operation: operation.into(), error: self.error }
    }
}

/// A matrix of these rows, in memory that was full of NaN.
fn matrix(executor: &mut Executor, rows: usize, columns: usize, values: &[f32]) -> Matrix {
    let mut matrix = unwritten(executor, rows, columns);
    for row in 0..rows {
        matrix.row_mut(row).copy_from_slice(&values[row * columns..][..columns]);
    }
    matrix
}

/// A matrix in which what an operation forgets to write is NaN.
fn unwritten(executor: &mut Executor, rows: usize, columns: usize) -> Matrix {
    let mut matrix = executor.matrix(rows, columns);
    (0..rows).for_each(|row| matrix.row_mut(row).fill(f32::NAN));
    matrix
}

fn embed(executor: &mut Executor, random: &mut Random, ty: WeightType) -> OperationTest {
    const ROWS: usize = 11;
    let mut comparison = Comparison::default();
    // Whole blocks, the only rows that every type has.
    for columns in [32, 96] {
        let (tokens, places) =
            (Encoded::random(random, ty, 7, columns), Encoded::random(random, WeightType::F32, ROWS, columns));
        let ids: Vec<u32> = (0..ROWS).map(|_| random.below(7) as u32).collect();
        let order: Vec<u32> = (0..ROWS as u32).collect();
        let mut out = unwritten(executor, ROWS, columns);
        executor.embed(&[(&table(&tokens), &ids), (&table(&places), &order)], &mut out);
        for (row, &id) in ids.iter().enumerate() {
            let (token, place) = (tokens.row(id as usize), places.row(row));
            comparison.add_row(out.row(row), token.iter().zip(place).map(|(a, b)| reference::sum(&[*a, *b])));
        }
        executor.recycle(out);
    }
    comparison.of(format!("embed {}", ty.name()))
}

fn table(encoded: &Encoded) -> EmbeddingTable {
    // One byte further, as rows in a file may lie.
    let bytes: Vec<u8> = std::iter::once(0xff).chain(encoded.bytes.iter().copied()).collect();
    let range = 1..bytes.len();
    EmbeddingTable::new(SharedBytes::new(Arc::new(bytes), range), encoded.ty, encoded.rows, encoded.columns)
        .expect("the bytes were made for the shape")
}

fn layer_norm(executor: &mut Executor, random: &mut Random) -> OperationTest {
    const NORM_EPSILON: f32 = 1e-12;
    let mut comparison = Comparison::default();
    for (rows, columns) in [(1, 33), (9, 7), (3, 384)] {
        let (gain, shift) = (random.values(columns), random.values(columns));
        let values = random.values(rows * columns);
        let mut x = matrix(executor, rows, columns, &values);
        let norm = Norm::new(gain.clone(), Some(shift.clone()), NORM_EPSILON).expect("gain and shift are finite");
        executor.layer_norm(&mut x, &norm);
        for row in 0..rows {
            let expected = reference::layer_norm(&values[row * columns..][..columns], &gain, &shift, NORM_EPSILON);
            comparison.add_row(x.row(row), expected);
        }
        executor.recycle(x);
    }
    comparison.of("layer norm")
}

fn rms_norm(executor: &mut Executor, random: &mut Random) -> OperationTest {
    const NORM_EPSILON: f32 = 1e-6;
    let mut comparison = Comparison::default();
    for (rows, columns) in [(1, 33), (9, 7), (3, 384)] {
        let gain = random.values(columns);
        let values = random.values(rows * columns);
        let mut x = matrix(executor, rows, columns, &values);
        let norm = Norm::new(gain.clone(), None, NORM_EPSILON).expect("the gain is finite");
        executor.rms_norm(&mut x, &norm);
        for row in 0..rows {
            let expected = reference::rms_norm(&values[row * columns..][..columns], &gain, NORM_EPSILON);
            comparison.add_row(x.row(row), expected);
        }
        executor.recycle(x);
    }
    comparison.of("rms norm")
}

/// One result for each epilogue.
fn linear(executor: &mut Executor, random: &mut Random, ty: WeightType) -> Vec<OperationTest> {
    let quantized = ty == WeightType::Q8_0;
    let mut comparisons: Vec<Comparison> = EPILOGUES.iter().map(|_| Comparison::default()).collect();
    // Fewer rows than a tile and more than several, less than a panel and more than two, an odd number of blocks and an even.
    for (rows, inputs, outputs) in [(1, 96, 17), (2, 64, 33), (5, 32, 7), (29, 416, 48), (13, 1536, 16)] {
        let inputs = if quantized { inputs } else { inputs - 3 };
        let weights = Encoded::random(random, ty, outputs, inputs);
        let bias = random.values(outputs);
        let layer = Linear::pack(&[(weights.raw(), Some(&bias))], &ThreadPool::new(1)).expect("the weights are finite");
        let values: Vec<f32> = (0..rows)
            .flat_map(|row| if has_exact_codes(row) { random.extremes(inputs) } else { random.values(inputs) })
            .collect();
        let sums: Vec<Bounded> = (0..rows)
            .flat_map(|row| {
                let (x, weights, bias) = (&values[row * inputs..][..inputs], &weights, &bias);
                let lossy = quantized && !has_exact_codes(row);
                (0..outputs).map(move |channel| reference::product(x, weights.row(channel), bias[channel], lossy))
            })
            .collect();
        let x = matrix(executor, rows, inputs, &values);
        let before = random.values(rows * outputs);
        for ((_, epilogue), comparison) in EPILOGUES.iter().zip(&mut comparisons) {
            let mut out = match epilogue {
                Epilogue::Add | Epilogue::Multiply | Epilogue::AddActivate(_) => {
                    matrix(executor, rows, outputs, &before)
                }
                _ => unwritten(executor, rows, outputs),
            };
            executor.linear(&x, &layer, *epilogue, &mut out);
            for row in 0..rows {
                let at = row * outputs..(row + 1) * outputs;
                let expected = sums[at.clone()].iter().zip(&before[at]);
                comparison
                    .add_row(out.row(row), expected.map(|(sum, before)| reference::finish(*epilogue, *before, *sum)));
            }
            executor.recycle(out);
        }
        executor.recycle(x);
    }
    let named = EPILOGUES.iter().zip(comparisons);
    named.map(|((name, _), comparison)| comparison.of(format!("linear {} {name}", ty.name()))).collect()
}

/// Rows that are made so that codes of any number of bits hold them.
fn has_exact_codes(row: usize) -> bool {
    row.is_multiple_of(2)
}

fn attention(executor: &mut Executor, random: &mut Random, (name, kind): (&str, Attention)) -> OperationTest {
    let mut comparison = Comparison::default();
    // The last has more keys than are gathered from at a time.
    for (lengths, kv_count, dim) in
        [(&[1usize, 17, 0, 5][..], 3, 32), (&[40, 9], 2, 12), (&[33], 1, 64), (&[150], 1, 256)]
    {
        let heads = match kind {
            Attention::Alibi => Heads::new(kv_count, dim).with_alibi(8.0),
            Attention::Grouped => Heads::new(2 * kv_count, dim).grouped(kv_count),
            Attention::Masked(_) | Attention::Relative => Heads::new(kv_count, dim),
            Attention::Coded => Heads::new(kv_count, dim).coded(true),
            Attention::Biased => Heads::new(kv_count, dim).biased(DistanceBiases::new(kv_count, 150, bias_of)),
        };
        let mask = if let Attention::Masked(mask) = kind { mask } else { Mask::Full };
        let sequences = Sequences::from_lengths(lengths.iter().copied());
        let values = random.values(sequences.tokens() * heads.columns());
        let qkv = matrix(executor, sequences.tokens(), heads.columns(), &values);
        let mut out = unwritten(executor, sequences.tokens(), heads.count * dim);
        let relative = matches!(kind, Attention::Relative);
        let embeddings =
            matrix(executor, EMBEDDINGS, 2 * heads.keys().start, &random.values(2 * EMBEDDINGS * heads.keys().start));
        if relative {
            let distances = Distances::new(&embeddings, &heads, sequences.longest(), embedding_of);
            let queries = Queries { matrix: &qkv, rows: Rows::All };
            executor.relative_attention_of(queries, &qkv, &sequences, &heads, &distances, &mut out);
        } else {
            executor.attention(&qkv, &sequences, &heads, mask, &mut out);
        }
        for tokens in sequences.iter() {
            for (token, head) in tokens.clone().flat_map(|token| (0..heads.count).map(move |head| (token, head))) {
                let shared = head * kv_count / heads.count;
                let part = |token: usize, head: usize| &qkv.row(token)[head * dim..][..dim];
                let visible = || tokens.clone().filter(|&key| sees(mask, token, key));
                let keys: Vec<&[f32]> = visible().map(|key| part(key, heads.count + shared)).collect();
                let values: Vec<&[f32]> = visible().map(|key| part(key, heads.count + kv_count + shared)).collect();
                let slope = f64::from(heads.slopes.get(head).copied().unwrap_or(0.0));
                let gain = |key: usize| match heads.biases {
                    Some(_) => f64::from(bias_of(head, key as i64 - token as i64)),
                    None => 0.0,
                };
                let losses: Vec<f64> = visible().map(|key| slope * key.abs_diff(token) as f64 - gain(key)).collect();
                let (query, method) = (part(token, head), (heads.scale, heads.coded));
                let expected = if relative {
                    let of = |key: usize| embeddings.row(embedding_of(token as i64 - key as i64));
                    let [as_keys, as_queries] = [heads.keys().start, 0]
                        .map(|first| visible().map(|key| &of(key)[first + head * dim..][..dim]).collect::<Vec<_>>());
                    reference::relative_attention(query, &keys, &values, method, [&as_keys, &as_queries])
                } else {
                    reference::attention(query, &keys, &values, method, &losses)
                };
                comparison.add_row(&out.row(token)[head * dim..][..dim], expected);
            }
        }
        [qkv, out, embeddings].into_iter().for_each(|matrix| executor.recycle(matrix));
    }
    comparison.of(name)
}

/// A bias that has another sign before a token than after it, and another size in each head.
fn bias_of(head: usize, distance: i64) -> f32 {
    (head + 1) as f32 * distance as f32 / 64.0
}

/// Embeddings of distances.
const EMBEDDINGS: usize = 21;

/// That of a distance: far ones share the last to either side.
fn embedding_of(distance: i64) -> usize {
    (distance.clamp(-10, 10) + 10) as usize
}

/// What is particular about an attention.
#[derive(Clone, Copy)]
enum Attention {
    Masked(Mask),
    Grouped,
    Alibi,
    Biased,
    Coded,
    Relative,
}

const ATTENTIONS: [(&str, Attention); 8] = [
    ("attention", Attention::Masked(Mask::Full)),
    ("attention causal", Attention::Masked(Mask::Causal)),
    ("attention window", Attention::Masked(Mask::Window { left: 7, right: 4 })),
    ("attention grouped", Attention::Grouped),
    ("attention alibi", Attention::Alibi),
    ("attention biased", Attention::Biased),
    ("attention of codes", Attention::Coded),
    ("attention relative", Attention::Relative),
];

fn sees(mask: Mask, query: usize, key: usize) -> bool {
    match mask {
        Mask::Full => true,
        Mask::Causal => key <= query,
        Mask::Window { left, right } => key <= query + right && query <= key + left,
    }
}

fn rotary(executor: &mut Executor, random: &mut Random, (name, style): (&str, RotaryStyle)) -> OperationTest {
    const ROWS: usize = 9;
    let mut comparison = Comparison::default();
    // Pairs of whole vectors and of less, and columns that are left alone.
    for (head_dim, pairs) in [(64, 32), (20, 10), (80, 20)] {
        let frequencies = Frequencies::new(2 * pairs, 10_000.0);
        let rotary = Rotary::new(style, head_dim, &frequencies, 8192).expect("a head has columns for the pairs");
        let positions: Vec<u32> = (0..ROWS).map(|_| random.below(8192) as u32).collect();
        let values = random.values(ROWS * 3 * head_dim);
        let mut x = matrix(executor, ROWS, 3 * head_dim, &values);
        // All heads but the first.
        executor.rotary(&mut x, head_dim..3 * head_dim, &positions, &rotary);
        for ((row, values), &position) in values.chunks(3 * head_dim).enumerate().zip(&positions) {
            let angle = |pair: usize| f64::from(position) * frequencies.angles()[pair];
            let turned = values.chunks(head_dim).enumerate().flat_map(|(head, values)| {
                let interleaved = style == RotaryStyle::Interleaved;
                (0..head_dim).map(move |column| match column {
                    _ if head == 0 || column >= 2 * pairs => Bounded::exact(f64::from(values[column])),
                    _ if interleaved => {
                        reference::turn(values[column & !1], values[column | 1], angle(column / 2), column % 2)
                    }
                    _ => {
                        let pair = column % pairs;
                        reference::turn(values[pair], values[pair + pairs], angle(pair), column / pairs)
                    }
                })
            });
            comparison.add_row(x.row(row), turned);
        }
        executor.recycle(x);
    }
    comparison.of(name)
}

fn pool(executor: &mut Executor, random: &mut Random, pooling: Pooling) -> OperationTest {
    const COLUMNS: usize = 33;
    let sequences = Sequences::from_lengths([1, 17, 2]);
    let values = random.values(sequences.tokens() * COLUMNS);
    let hidden = matrix(executor, sequences.tokens(), COLUMNS, &values);
    let mut out = unwritten(executor, pooling.vectors(&sequences), COLUMNS);
    executor.pool(&hidden, &sequences, pooling, &mut out);
    let mut comparison = Comparison::default();
    let column = |tokens: std::ops::Range<usize>, column: usize| -> Vec<f64> {
        tokens.map(|token| f64::from(values[token * COLUMNS + column])).collect()
    };
    for (sequence, tokens) in sequences.iter().enumerate() {
        let rows = if pooling == Pooling::None { tokens.clone() } else { sequence..sequence + 1 };
        for (row, token) in rows.zip(tokens.start..) {
            let expected = (0..COLUMNS).map(|at| match pooling {
                Pooling::Cls => Bounded::exact(column(tokens.clone(), at)[0]),
                Pooling::Last => Bounded::exact(column(tokens.end - 1..tokens.end, at)[0]),
                Pooling::Max => {
                    Bounded::exact(column(tokens.clone(), at).into_iter().fold(f64::NEG_INFINITY, f64::max))
                }
                Pooling::Mean => {
                    let (sum, count) = (reference::sum(&column(tokens.clone(), at)), tokens.len() as f64);
                    Bounded { value: sum.value / count, error: (sum.error + EPSILON * sum.value.abs()) / count }
                }
                Pooling::None => Bounded::exact(column(token..token + 1, at)[0]),
            });
            comparison.add_row(out.row(row), expected);
        }
    }
    executor.recycle(hidden);
    executor.recycle(out);
    comparison.of(format!("pool {}", pooling.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_of_this_host_passes() {
        for isa in Isa::available() {
            let test = self_test(isa);
            let failed: Vec<&OperationTest> = test.operations.iter().filter(|operation| !operation.passed()).collect();
            assert!(test.passed() && failed.is_empty(), "{isa}: {failed:?}");
            // Every operation once, and each compared with something that it is near to but not equal.
            let names: std::collections::HashSet<&str> =
                test.operations.iter().map(|operation| operation.operation.as_str()).collect();
            assert_eq!(names.len(), 4 + 2 + 4 * 9 + 2 + 8 + 5);
            assert_eq!(names.len(), test.operations.len());
            for name in [
                "embed Q8_0",
                "layer norm",
                "linear Q8_0 assign",
                "linear F32 gelu",
                "attention causal",
                "rotary halves",
                "pool mean",
            ] {
                assert!(names.contains(name), "{name}");
            }
            let rounds = ["layer norm", "linear", "rotary", "attention", "pool mean"];
            for operation in &test.operations {
                if rounds.iter().any(|name| operation.operation.starts_with(name)) {
                    assert!(operation.error > 1e-4, "{isa} {operation:?} was compared with nothing");
                }
            }
            assert_eq!(self_test(isa), test, "{isa}: not the same twice");
        }
    }

    #[test]
    fn what_is_wrong_is_found() {
        let error = |found: f32, expected: f64, bound: f64| {
            let mut comparison = Comparison::default();
            comparison.add(1.0, Bounded { value: 1.0, error: 0.5 });
            comparison.add(found, Bounded { value: expected, error: bound });
            comparison.add(2.0, Bounded { value: 2.0, error: 0.5 });
            comparison.of("x")
        };
        assert_eq!(error(1.0, 1.0, 0.0).error, 0.0);
        assert_eq!(error(1.25, 1.0, 0.5).error, 0.5);
        assert!(error(1.5, 1.0, 0.5).passed() && !error(1.51, 1.0, 0.5).passed());
        for (found, expected, bound) in
            [(f32::NAN, 1.0, 0.5), (f32::INFINITY, 1.0, 0.5), (1.0, f64::NAN, 0.5), (1.1, 1.0, 0.0)]
        {
            assert_eq!(error(found, expected, bound).error, f64::INFINITY, "{found} {expected}");
            assert!(!error(found, expected, bound).passed());
        }
        let test = |errors: &[f64]| SelfTest {
            isa: Isa::Portable,
            operations: errors.iter().map(|&error| OperationTest { operation: error.to_string(), error }).collect(),
        };
        assert!(test(&[0.0, 1.0, 0.5]).passed());
        assert!(!test(&[0.0, 1.1, 0.5]).passed() && !test(&[f64::INFINITY, 0.0]).passed());
        assert_eq!(test(&[0.5, 3.0, 1.0]).worst().unwrap().operation, "3");
        assert_eq!(test(&[]).worst(), None);
    }

    /// A layer in which one code of one weight is off by one step is told from the right one.
    #[test]
    fn one_wrong_code_in_a_layer_is_found() {
        let (rows, inputs, outputs) = (3, 96, 17);
        let mut random = Random::new();
        let weights = Encoded::random(&mut random, WeightType::Q8_0, outputs, inputs);
        let values: Vec<f32> = (0..rows).flat_map(|_| random.extremes(inputs)).collect();
        let worst = |bytes: &[u8]| {
            let mut executor = Executor::inline(Isa::best());
            let raw = crate::RawMatrix::new(bytes, WeightType::Q8_0, outputs, inputs).unwrap();
            let layer = Linear::pack(&[(raw, None)], &ThreadPool::new(1)).unwrap();
            let x = matrix(&mut executor, rows, inputs, &values);
            let mut out = unwritten(&mut executor, rows, outputs);
            executor.linear(&x, &layer, Epilogue::Assign, &mut out);
            let mut comparison = Comparison::default();
            for row in 0..rows {
                let x = &values[row * inputs..][..inputs];
                let expected = (0..outputs).map(|channel| reference::product(x, weights.row(channel), 0.0, false));
                comparison.add_row(out.row(row), expected);
            }
            comparison.error
        };
        assert!(worst(&weights.bytes) <= 1.0);
        let nonzero = values.iter().take(32).position(|&value| value != 0.0).unwrap();
        let mut wrong = weights.bytes.clone();
        wrong[2 + nonzero] ^= 1;
        assert!(worst(&wrong) > 1.0);
    }
}
