//! The operations of a forward pass, one by one, on one thread, at the shapes of a 384-wide encoder.
//!
//! `cargo bench -p docent-kernels`; `DOCENT_ISA` caps the instruction set. A linear layer's figure is in
//! multiply-accumulates a second ("item" = one).

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use docent_kernels::{Activation, Epilogue, Executor, Heads, Isa, Linear, Mask, Matrix, Norm, RawMatrix, Sequences};
use docent_kernels::{ThreadPool, VectorRows, WeightType, nearest};

fn main() {
    println!("instruction set: {}", Isa::best());
    divan::main();
}

/// A fixed sequence of bytes that looks random.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

fn weights(ty: WeightType, outputs: usize, inputs: usize) -> Linear {
    let mut raw = bytes(ty.row_bytes(inputs).unwrap() * outputs);
    match ty {
        // Scales and values are made finite; the codes may be anything.
        WeightType::Q8_0 => raw.chunks_mut(34).for_each(|block| block[..2].copy_from_slice(&[0x00, 0x20])),
        WeightType::F32 => raw.chunks_mut(4).for_each(|value| value[3] = 0x3c),
        WeightType::F16 | WeightType::Bf16 => raw.chunks_mut(2).for_each(|value| value[1] = 0x2c),
        WeightType::Blocks(_) => unreachable!("not timed here"),
    }
    let matrix = RawMatrix::new(&raw, ty, outputs, inputs).unwrap();
    Linear::pack(&[(matrix, None)], &ThreadPool::new(1)).unwrap()
}

fn matrix(executor: &mut Executor, rows: usize, columns: usize) -> Matrix {
    let mut matrix = executor.matrix(rows, columns);
    let values = bytes(rows * columns);
    for row in 0..rows {
        for (to, from) in matrix.row_mut(row).iter_mut().zip(&values[row * columns..]) {
            *to = f32::from(*from as i8) / 64.0;
        }
    }
    matrix
}

#[divan::bench(args = [1, 10, 128], consts = [384, 1536])]
fn linear_q8_0<const K: usize>(bencher: Bencher, rows: usize) {
    linear(bencher, WeightType::Q8_0, rows, K, 1920 - K, Epilogue::Assign);
}

#[divan::bench(args = [10, 128])]
fn linear_q8_0_gelu(bencher: Bencher, rows: usize) {
    linear(bencher, WeightType::Q8_0, rows, 384, 1536, Epilogue::Activate(Activation::Gelu));
}

/// Layers of 16 MB in turn, as a text passes through a model: the weights come from the third-level cache or from memory.
#[divan::bench(args = [10, 128])]
fn linear_q8_0_of_a_model(bencher: Bencher, rows: usize) {
    let mut executor = Executor::inline(Isa::best());
    let layers: Vec<_> = (0..24).map(|_| weights(WeightType::Q8_0, 1536, 384)).collect();
    let x = matrix(&mut executor, rows, 384);
    let mut out = executor.matrix(rows, 1536);
    bencher.counter(ItemsCount::new(layers.len() * rows * 384 * 1536)).bench_local(|| {
        for layer in &layers {
            executor.linear(&x, layer, Epilogue::Assign, &mut out);
        }
    });
}

/// 256 rows through 100 MB of layers of a 1024-wide model, which no cache holds, on so many threads.
#[divan::bench(args = [1, 2], consts = [1024, 4096], sample_count = 20)]
fn linear_q8_0_of_a_large_model<const K: usize>(bencher: Bencher, threads: usize) {
    let mut executor = Executor::on_pool(Isa::best(), Arc::new(ThreadPool::new(threads)));
    let layers: Vec<_> = (0..24).map(|_| weights(WeightType::Q8_0, 5120 - K, K)).collect();
    let x = matrix(&mut executor, 256, K);
    let mut out = executor.matrix(256, 5120 - K);
    bencher.counter(ItemsCount::new(layers.len() * 256 * K * (5120 - K))).bench_local(|| {
        for layer in &layers {
            executor.linear(&x, layer, Epilogue::Assign, &mut out);
        }
    });
}

#[divan::bench(args = [10, 128])]
fn linear_f32(bencher: Bencher, rows: usize) {
    linear(bencher, WeightType::F32, rows, 384, 1536, Epilogue::Assign);
}

#[divan::bench(args = [10, 128])]
fn linear_f16(bencher: Bencher, rows: usize) {
    linear(bencher, WeightType::F16, rows, 384, 1536, Epilogue::Assign);
}

fn linear(bencher: Bencher, ty: WeightType, rows: usize, inputs: usize, outputs: usize, epilogue: Epilogue) {
    let mut executor = Executor::inline(Isa::best());
    let weights = weights(ty, outputs, inputs);
    let x = matrix(&mut executor, rows, inputs);
    let mut out = executor.matrix(rows, outputs);
    bencher
        .counter(ItemsCount::new(rows * inputs * outputs))
        .bench_local(|| executor.linear(&x, &weights, epilogue, &mut out));
}

#[divan::bench(args = [10, 128, 512, 2048])]
fn attention(bencher: Bencher, length: usize) {
    attention_with(bencher, length, &Heads::new(12, 32), Mask::Full);
}

/// That of a model with quantised weights.
#[divan::bench(args = [10, 128, 512, 2048])]
fn attention_of_codes(bencher: Bencher, length: usize) {
    attention_with(bencher, length, &Heads::new(12, 32).coded(true), Mask::Full);
}

/// Half the pairs of the above; the figure of a pair counts those that are computed.
#[divan::bench(args = [10, 128, 512, 2048])]
fn attention_causal(bencher: Bencher, length: usize) {
    attention_with(bencher, length, &Heads::new(12, 32), Mask::Causal);
}

/// Local layers of ModernBERT: a cost in proportion to the length.
#[divan::bench(args = [128, 512, 2048])]
fn attention_window(bencher: Bencher, length: usize) {
    attention_with(bencher, length, &Heads::new(12, 64), Mask::Window { left: 64, right: 64 });
}

/// Qwen3's heads.
#[divan::bench(args = [128, 512])]
fn attention_grouped(bencher: Bencher, length: usize) {
    attention_with(bencher, length, &Heads::new(16, 128).grouped(8), Mask::Causal);
}

/// The heads of jina-embeddings-v2-small.
#[divan::bench(args = [128, 512])]
fn attention_alibi(bencher: Bencher, length: usize) {
    attention_with(bencher, length, &Heads::new(8, 64).with_alibi(8.0), Mask::Full);
}

fn attention_with(bencher: Bencher, length: usize, heads: &Heads, mask: Mask) {
    let mut executor = Executor::inline(Isa::best());
    let qkv = matrix(&mut executor, length, heads.columns());
    let width = heads.count * heads.dim;
    let mut out = executor.matrix(length, width);
    let sequences = Sequences::from_lengths([length]);
    let pairs: usize = (0..length).map(|query| mask.visible(query, length).len()).sum();
    bencher
        .counter(ItemsCount::new(2 * pairs * width))
        .bench_local(|| executor.attention(&qkv, &sequences, heads, mask, &mut out));
}

#[divan::bench(args = [128])]
fn layer_norm(bencher: Bencher, rows: usize) {
    let norm = Norm::new(vec![1.0; 384], None, 1e-12).unwrap();
    let mut executor = Executor::inline(Isa::best());
    let mut x = matrix(&mut executor, rows, 384);
    bencher.counter(ItemsCount::new(rows * 384)).bench_local(|| executor.layer_norm(&mut x, &norm));
}

/// A search through vectors of 384 bytes on two threads; "item" = one vector.
#[divan::bench(args = [10_000, 1_000_000], sample_count = 20)]
fn nearest_of_bytes(bencher: Bencher, rows: usize) {
    let codes: Vec<i8> = bytes(rows * 384).into_iter().map(|byte| byte as i8).collect();
    let (scales, query) = (vec![1e-3; rows], vec![0.05; 384]);
    let pool = ThreadPool::new(2);
    let vectors = VectorRows::Bytes { codes: &codes, scales: &scales };
    bencher.counter(ItemsCount::new(rows)).bench_local(|| nearest(Isa::best(), &pool, vectors, &query, 100, |_| true));
}
