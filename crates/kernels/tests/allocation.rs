//! An executor that has seen its largest batch asks the system for no more memory.

#![allow(unsafe_code, clippy::unwrap_used)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Random, TYPES, Weights};
use docent_kernels::{
    Activation, DistanceBiases, EmbeddingTable, Epilogue, Executor, Frequencies, Heads, Isa, Mask, Norm, Pooling,
    Queries, Rotary, RotaryStyle, Rows, Sequences, SharedBytes, ThreadPool, WeightType,
};

/// Counts the allocations of all threads.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: passed on from the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: passed on from the caller.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: passed on from the caller.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// The only test of its file: others would allocate on their own threads meanwhile.
#[test]
fn operations_allocate_nothing_once_warm() {
    const WIDTH: usize = 64;
    let mut random = Random(31);
    let table = Weights::random(&mut random, WeightType::Q8_0, 40, WIDTH);
    let bytes = SharedBytes::new(Arc::new(table.bytes.clone()), 0..table.bytes.len());
    let table = EmbeddingTable::new(bytes, WeightType::Q8_0, 40, WIDTH).unwrap();
    let norm = Norm::new(vec![1.0; WIDTH], None, 1e-5).unwrap();
    let layers = TYPES.map(|ty| {
        [(3 * WIDTH, WIDTH), (WIDTH, WIDTH), (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH)]
            .map(|(outputs, inputs)| Weights::random(&mut random, ty, outputs, inputs).pack())
    });
    let heads = Heads::new(2, 32).coded(true);
    let by_distance = heads.clone().with_alibi(8.0).biased(DistanceBiases::new(2, 100, |_, distance| distance as f32));
    let head_norm = Norm::new(vec![1.0; 32], None, 1e-5).unwrap();
    let rotary = Rotary::new(RotaryStyle::Halves, 32, &Frequencies::new(32, 1e4), 100).unwrap();
    let masks = [Mask::Causal, Mask::Window { left: 9, right: 9 }, Mask::Full];
    let batches = [&[3, 70, 1][..], &[100], &[5], &[30, 30, 30]].map(|lengths| {
        let sequences = Sequences::from_lengths(lengths.iter().copied());
        let ids: Vec<u32> = (0..sequences.tokens()).map(|_| random.below(40) as u32).collect();
        let positions: Vec<u32> = sequences.iter().flat_map(|tokens| 0..tokens.len() as u32).collect();
        (sequences, ids, positions)
    });
    let forward = |executor: &mut Executor| {
        for (sequences, ids, positions) in &batches {
            let rows = sequences.tokens();
            let mut x = executor.matrix(rows, WIDTH);
            executor.embed(&[(&table, ids)], &mut x);
            for [qkv_layer, project, up, down] in &layers {
                executor.layer_norm(&mut x, &norm);
                let mut qkv = executor.matrix(rows, 3 * WIDTH);
                executor.linear(&x, qkv_layer, Epilogue::Assign, &mut qkv);
                let mut context = executor.matrix(rows, WIDTH);
                executor.rms_norm_columns(&mut qkv, heads.queries_and_keys(), &head_norm);
                executor.rotary(&mut qkv, heads.queries_and_keys(), positions, &rotary);
                executor.attention(&qkv, sequences, &heads, Mask::Full, &mut context);
                for mask in masks {
                    executor.attention(&qkv, sequences, &by_distance, mask, &mut context);
                }
                let mut last = executor.matrix(sequences.len(), 3 * WIDTH);
                executor.gather(&qkv, sequences, Rows::Last, &mut last);
                let mut of_last = executor.matrix(sequences.len(), WIDTH);
                let queries = Queries { matrix: &last, rows: Rows::Last };
                executor.attention_of(queries, &qkv, sequences, &heads, Mask::Causal, &mut of_last);
                executor.recycle(last);
                executor.recycle(of_last);
                executor.recycle(qkv);
                executor.linear(&context, project, Epilogue::Add, &mut x);
                executor.recycle(context);
                let mut inner = executor.matrix(rows, 4 * WIDTH);
                executor.linear(&x, up, Epilogue::Activate(Activation::Gelu), &mut inner);
                executor.linear(&inner, down, Epilogue::Add, &mut x);
                executor.recycle(inner);
            }
            let mut pooled = executor.matrix(sequences.len(), WIDTH);
            executor.pool(&x, sequences, Pooling::Mean, &mut pooled);
            executor.recycle(x);
            executor.recycle(pooled);
        }
    };
    let pool = Arc::new(ThreadPool::new(3));
    for isa in Isa::available() {
        for mut executor in [Executor::inline(isa), Executor::on_pool(isa, Arc::clone(&pool))] {
            // Buffers change roles until each is large enough for any.
            (0..4).for_each(|_| forward(&mut executor));
            let before = ALLOCATIONS.load(Ordering::SeqCst);
            (0..5).for_each(|_| forward(&mut executor));
            assert_eq!(ALLOCATIONS.load(Ordering::SeqCst) - before, 0, "{isa}");

            // And gives it back when told to.
            executor.release(usize::MAX);
            forward(&mut executor);
            assert_eq!(ALLOCATIONS.load(Ordering::SeqCst) - before, 0, "{isa}: nothing was to be released");
            executor.release(0);
            forward(&mut executor);
            assert!(ALLOCATIONS.load(Ordering::SeqCst) > before, "{isa}: everything was to be released");
        }
    }
}
