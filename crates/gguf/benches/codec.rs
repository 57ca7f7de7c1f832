//! Block formats: decoding, expansion to 8-bit codes and encoding, on one thread.
//!
//! `cargo bench -p docent-gguf`. "Bytes" are those of the blocks, "items" elements.

#![allow(clippy::unwrap_used)]

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use docent_gguf::TensorType::{self, *};
use docent_gguf::codec;

/// As many as a row of a large matrix has; blocks and results stay in the first caches, as they do in front of a product.
const ELEMENTS: usize = 4096;
const BLOCK_FORMATS: [TensorType; 14] =
    [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K, IQ4_NL, IQ4_XS, MXFP4];

fn main() {
    divan::main();
}

/// Numbers that look random, between -1 and 1.
fn values() -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..ELEMENTS)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Blocks of a type: bytes of encoded numbers, which have ordinary scales in all the places where any format has one.
fn blocks(ty: TensorType) -> Vec<u8> {
    let bytes = ty.bytes_for(ELEMENTS as u64).unwrap() as usize;
    (0..bytes).map(|i| if i % 2 == 1 { 0x2c } else { (i * 37 % 251) as u8 }).collect()
}

fn counted<'a, 'b>(bencher: Bencher<'a, 'b>, ty: TensorType) -> Bencher<'a, 'b> {
    bencher.counter(BytesCount::new(ty.bytes_for(ELEMENTS as u64).unwrap())).counter(ItemsCount::new(ELEMENTS))
}

#[divan::bench(args = BLOCK_FORMATS)]
fn expand_q8(bencher: Bencher, ty: TensorType) {
    let bytes = blocks(ty);
    let (mut codes, mut scales) = (vec![0; ELEMENTS], vec![0.0; ELEMENTS / 32]);
    counted(bencher, ty).bench_local(|| codec::expand_q8(ty, &bytes, &mut codes, &mut scales).unwrap());
}

#[divan::bench(args = BLOCK_FORMATS)]
fn dequantize(bencher: Bencher, ty: TensorType) {
    let bytes = blocks(ty);
    let mut out = vec![0.0; ELEMENTS];
    counted(bencher, ty).bench_local(|| codec::dequantize(ty, &bytes, &mut out).unwrap());
}

#[divan::bench(args = BLOCK_FORMATS.into_iter().filter(|ty| ty.can_be_written()))]
fn quantize(bencher: Bencher, ty: TensorType) {
    let values = values();
    let mut out = vec![];
    counted(bencher, ty).bench_local(|| {
        out.clear();
        codec::quantize(ty, &values, &mut out).unwrap();
    });
}
