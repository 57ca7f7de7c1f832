//! How fast the kernels are on this machine, beside what its multipliers can do at most.

#![allow(unsafe_code)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use docent_gguf::TensorType;

use crate::buffer::AlignedBuffer;
use crate::generic::peak::DATA_BYTES;
use crate::{Activation, BlockMatrix, Epilogue, Executor, Heads, Isa, Linear, Mask, Matrix, Norm, RawMatrix};
use crate::{Sequences, SharedBytes, ThreadPool, WeightType};

/// The rates of an instruction set's kernels on one thread, as [`measure_rates`] finds them.
#[derive(Clone, Debug)]
pub struct Rates {
    /// The instruction set.
    pub isa: Isa,
    /// Multiply-accumulates a second of quantised codes, in a loop that does nothing else.
    pub peak_int8: f64,
    /// Multiply-accumulates a second of `f32`, in a loop that does nothing else.
    pub peak_f32: f64,
    /// Each kernel at each shape.
    pub kernels: Vec<KernelRate>,
}

/// How fast one kernel is at one shape.
#[derive(Clone, Debug)]
pub struct KernelRate {
    /// What it computes, such as `linear Q8_0`.
    pub kernel: String,
    /// On what, such as `128 x 384 x 1536` (rows, inputs, outputs).
    pub shape: String,
    /// The time of one call: the least of many.
    pub seconds: f64,
    /// Multiply-accumulates of one call; 0 where the kernel has none to speak of.
    pub macs: usize,
    /// Its rate as a part of the peak of its kind, `None` where it has no multiply-accumulates.
    pub share_of_peak: Option<f64>,
}

impl KernelRate {
    /// Multiply-accumulates a second.
    pub fn rate(&self) -> f64 {
        self.macs as f64 / self.seconds
    }
}

/// Which peak a kernel is measured against.
#[derive(Clone, Copy)]
enum Kind {
    Int8,
    /// That of bytes, of which an instruction multiplies twice as many.
    Int16,
    F32,
}

/// Measures the kernels of an instruction set on the calling thread, at the shapes of an encoder with hidden states of 384
/// values (MiniLM, bge-small), and the peak of its multipliers just before each.
///
/// Each is called for about `time`, and at least five times (once if `time` is zero); the least time counts, as the one with
/// the least of other programs' work in it.
///
/// # Panics
/// If the host does not have the instruction set.
pub fn measure_rates(isa: Isa, time: Duration) -> Rates {
    let mut bench = Bench { isa, time, executor: Executor::inline(isa), peaks: [0.0; 2], kernels: Vec::new() };
    for (rows, inputs, outputs) in [
        (1, 384, 1536),
        (10, 384, 384),
        (10, 384, 1536),
        (10, 1536, 384),
        (128, 384, 384),
        (128, 384, 1152),
        (128, 384, 1536),
        (128, 1536, 384),
    ] {
        bench.linear(WeightType::Q8_0, [rows, inputs, outputs], Epilogue::Assign);
    }
    bench.linear(WeightType::Q8_0, [128, 384, 1536], Epilogue::Activate(Activation::Gelu));
    for ty in [WeightType::F32, WeightType::F16, WeightType::Bf16] {
        for rows in [10, 128] {
            bench.linear(ty, [rows, 384, 1536], Epilogue::Assign);
        }
    }
    for ty in [TensorType::Q4_0, TensorType::Q4_K, TensorType::Q6_K] {
        bench.linear(WeightType::Blocks(ty), [128, 1536, 384], Epilogue::Assign);
    }
    for length in [10, 55, 128, 512] {
        bench.attention(length, false);
        if isa.kernels().fast_pairs {
            bench.attention(length, true);
        }
    }
    bench.norms();
    let Bench { peaks: [peak_int8, peak_f32], kernels, .. } = bench;
    Rates { isa, peak_int8, peak_f32, kernels }
}

struct Bench {
    isa: Isa,
    time: Duration,
    executor: Executor,
    /// The best so far of either kind.
    peaks: [f64; 2],
    kernels: Vec<KernelRate>,
}

impl Bench {
    fn linear(&mut self, ty: WeightType, [rows, inputs, outputs]: [usize; 3], epilogue: Epilogue) {
        let layer = layer(ty, outputs, inputs);
        let x = self.matrix(rows, inputs);
        let mut out = self.executor.matrix(rows, outputs);
        let kind = if ty.is_blocks() { Kind::Int8 } else { Kind::F32 };
        let activated = if let Epilogue::Activate(_) = epilogue { ", GELU" } else { "" };
        let kernel = format!("linear {}{activated}", ty.name());
        let shape = format!("{rows} x {inputs} x {outputs}");
        self.record(kernel, shape, rows * inputs * outputs, Some(kind), |executor| {
            executor.linear(&x, &layer, epilogue, &mut out);
        });
        self.executor.recycle(x);
        self.executor.recycle(out);
    }

    fn attention(&mut self, length: usize, coded: bool) {
        let heads = Heads::new(12, 32).coded(coded);
        let qkv = self.matrix(length, 3 * 384);
        let mut out = self.executor.matrix(length, 384);
        let sequences = Sequences::from_lengths([length]);
        let shape = format!("{length} tokens, 12 heads of 32");
        let (kernel, kind) = if coded { ("attention of codes", Kind::Int16) } else { ("attention", Kind::F32) };
        self.record(kernel.to_owned(), shape, 2 * length * length * 384, Some(kind), |executor| {
            executor.attention(&qkv, &sequences, &heads, Mask::Full, &mut out);
        });
        self.executor.recycle(qkv);
        self.executor.recycle(out);
    }

    fn norms(&mut self) {
        let norm = Norm::new(vec![1.0; 384], None, 1e-12).expect("ones are finite");
        let mut x = self.matrix(128, 384);
        self.record("layer norm".to_owned(), "128 x 384".to_owned(), 0, None, |executor| {
            executor.layer_norm(&mut x, &norm);
        });
        self.record("RMS norm".to_owned(), "128 x 384".to_owned(), 0, None, |executor| {
            executor.rms_norm(&mut x, &norm);
        });
        self.executor.recycle(x);
    }

    /// Times a call of a kernel, right after the peak it is compared with: the clock of a processor changes over time.
    fn record(
        &mut self,
        kernel: String,
        shape: String,
        macs: usize,
        kind: Option<Kind>,
        mut call: impl FnMut(&mut Executor),
    ) {
        let share_of = kind.map(|kind| self.peak(kind));
        let seconds = least_time(self.time, || call(&mut self.executor));
        let share_of_peak = share_of.map(|peak| macs as f64 / seconds / peak);
        self.kernels.push(KernelRate { kernel, shape, seconds, macs, share_of_peak });
    }

    /// The multiply-accumulates a second of a loop of multiplications.
    fn peak(&mut self, kind: Kind) -> f64 {
        const ROUNDS: usize = 20_000;
        let kernels = self.isa.kernels();
        let data = AlignedBuffer::<f32>::zeroed(DATA_BYTES.div_ceil(size_of::<f32>()));
        let data = black_box(data.as_slice());
        let mut out = [0.0f32; 16];
        let (index, multiply) = match kind {
            Kind::Int8 => (0, kernels.multiply_codes),
            Kind::Int16 => return self.peak(Kind::Int8) / 2.0,
            Kind::F32 => (1, kernels.multiply_floats),
        };
        let mut macs = 0;
        let seconds = least_time(self.time / 4, || {
            // SAFETY: `kernels` has checked the instruction set; `data` has the bytes, aligned and finite, and `out`
            // sixteen values.
            macs = unsafe { multiply(ROUNDS, data.as_ptr().cast(), out.as_mut_ptr()) };
            black_box(&mut out);
        });
        let rate = macs as f64 / seconds;
        self.peaks[index] = rate.max(self.peaks[index]);
        rate
    }

    fn matrix(&mut self, rows: usize, columns: usize) -> Matrix {
        let mut matrix = self.executor.matrix(rows, columns);
        for row in 0..rows {
            for (to, byte) in matrix.row_mut(row).iter_mut().zip(bytes(row as u64)) {
                *to = f32::from(byte as i8) / 64.0;
            }
        }
        matrix
    }
}

/// The least time of many calls; of a single one if there is no time.
fn least_time(time: Duration, mut call: impl FnMut()) -> f64 {
    const LEAST_CALLS: usize = 5;
    if time.is_zero() {
        let start = Instant::now();
        call();
        return start.elapsed().as_secs_f64();
    }
    call();
    let (begin, mut least, mut calls) = (Instant::now(), Duration::MAX, 0);
    while calls < LEAST_CALLS || begin.elapsed() < time {
        let start = Instant::now();
        call();
        least = least.min(start.elapsed());
        calls += 1;
    }
    least.as_secs_f64()
}

/// Bytes without a pattern, always the same.
fn bytes(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    std::iter::repeat_with(move || {
        // A linear congruential generator (Knuth, MMIX); its high bits are good enough.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
}

fn layer(ty: WeightType, outputs: usize, inputs: usize) -> Linear {
    let row_bytes = ty.row_bytes(inputs).expect("inputs are whole blocks");
    let mut raw: Vec<u8> = bytes(7).take(outputs * row_bytes).collect();
    match ty {
        // Scales and values are made finite; the codes may be anything.
        WeightType::Q8_0 => raw.chunks_mut(34).for_each(|block| block[..2].copy_from_slice(&[0x00, 0x20])),
        WeightType::F32 => raw.chunks_mut(4).for_each(|value| value[3] = 0x3c),
        WeightType::F16 | WeightType::Bf16 => raw.chunks_mut(2).for_each(|value| value[1] = 0x2c),
        // It takes as long to expand zeros.
        WeightType::Blocks(_) => {
            let bytes = SharedBytes::new(Arc::new(vec![0; raw.len()]), 0..raw.len());
            let matrix = BlockMatrix::new(bytes, ty, outputs, inputs).expect("the bytes are those of the shape");
            return Linear::in_place(vec![(matrix, None)]).expect("there is no bias");
        }
    }
    let matrix = RawMatrix::new(&raw, ty, outputs, inputs).expect("the bytes are those of the shape");
    Linear::pack(&[(matrix, None)], &ThreadPool::new(1)).expect("the weights are finite")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_timed() {
        let rates = measure_rates(Isa::best(), Duration::ZERO);
        assert_eq!(rates.isa, Isa::best());
        assert!(rates.peak_int8 > 1e6 && rates.peak_f32 > 1e6, "{rates:?}");
        let attentions = if Isa::best().kernels().fast_pairs { 8 } else { 4 };
        assert_eq!(rates.kernels.len(), 8 + 1 + 6 + 3 + attentions + 2);
        for kernel in &rates.kernels {
            assert!(kernel.seconds > 0.0, "{kernel:?}");
            assert_eq!(kernel.share_of_peak.is_some(), kernel.macs > 0, "{kernel:?}");
        }
    }
}
