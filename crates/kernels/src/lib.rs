//! The arithmetic of transformer encoders on a CPU.
//!
//! A forward pass through a model such as MiniLM or BGE is a few dozen calls of a handful of operations. This crate is those
//! operations, and nothing else: it knows no file format, no architecture and no model name. [`Executor`] is the way in.
//!
//! | operation | what it computes |
//! |---|---|
//! | [`Executor::embed`] | sums of rows looked up in tables (tokens, positions, segments) |
//! | [`Executor::layer_norm`], [`Executor::rms_norm`] | LayerNorm or RMSNorm of every row, in place |
//! | [`Executor::linear`] | `W x + b` for every row, with an [`Epilogue`] that stores, adds to a residual, multiplies a gate, or activates |
//! | [`Executor::rotary`] | queries and keys turned by the positions of their tokens ([`Rotary`]) |
//! | [`Executor::attention`] | softmax attention within each sequence of a packed batch, under a [`Mask`], with grouped [`Heads`], `ALiBi` and [`DistanceBiases`] |
//! | [`Executor::linear_columns`], [`Executor::layer_norm_columns`], [`Executor::rms_norm_columns`] | the same for some columns: queries, keys, single heads |
//! | [`Executor::gather`], [`Executor::attention_of`] | the same for the [`Rows`] that something is wanted of: a last layer need compute no others |
//! | [`Executor::relative_attention_of`] | attention whose scores also tell how far query and key are apart, by embeddings of [`Distances`] |
//! | [`Executor::scale`] | every value times one factor |
//! | [`Executor::pool`] | one vector a sequence out of its hidden states |
//! | [`nearest`] | the rows whose product with a vector is largest: search |
//! | [`Executor::matrix`], [`Executor::recycle`] | memory for hidden states, given out and taken back |
//!
//! Hidden states are [`Matrix`]es: one row of `f32` a token. The texts of a batch follow one another without padding,
//! and [`Sequences`] says where each begins, so a batch costs what its tokens cost. Weights are packed once, when a
//! model is loaded: [`RawMatrix`] is a matrix as it lies in a file, [`Linear`] the same in the layout of the kernels.
//!
//! ```
//! use docent_kernels::{Activation, Epilogue, Executor, Isa, Linear, RawMatrix, ThreadPool, WeightType};
//!
//! // A layer of two inputs and three outputs, from the bytes of a file.
//! let weights: Vec<u8> = [1.0f32, 0.0, 0.0, 1.0, -1.0, -1.0].iter().flat_map(|w| w.to_le_bytes()).collect();
//! let matrix = RawMatrix::new(&weights, WeightType::F32, 3, 2)?;
//! let layer = Linear::pack(&[(matrix, Some(&[0.5, 0.0, 0.0]))], &ThreadPool::new(1))?;
//!
//! // Two tokens through it.
//! let mut executor = Executor::inline(Isa::best());
//! let mut x = executor.matrix(2, layer.inputs());
//! x.row_mut(0).copy_from_slice(&[2.0, 3.0]);
//! x.row_mut(1).copy_from_slice(&[-4.0, 1.0]);
//! let mut y = executor.matrix(2, layer.outputs());
//! executor.linear(&x, &layer, Epilogue::Activate(Activation::Relu), &mut y);
//! assert_eq!(y.row(0), [2.5, 3.0, 0.0]);
//! assert_eq!(y.row(1), [0.0, 1.0, 3.0]);
//!
//! // The memory is there for the next matrix.
//! executor.recycle(y);
//! # Ok::<(), docent_kernels::WeightError>(())
//! ```
//!
//! # The guarantee on bits
//!
//! A row of a result is a function of that row's own input (in attention of the tokens of its own sequence that it sees, in
//! pooling of its sequence) and of the weights. It has **the same bits** whatever else is in the batch, wherever it stands
//! in it, on however many threads, whichever other rows are asked for, and whatever the memory held before. Callers may
//! therefore batch, split and reorder as they like, and cache vectors by text. The rule that makes it hold: the terms of an
//! output are added in an order that depends on the shape of the weights, the place in the sequence and its length alone, never on the tile,
//! the panel or the thread that the output falls to. What a mask hides is not a term with weight 0, but none.
//!
//! Between instruction sets results differ by roundings. What is integer is equal: the codes that rows are quantised
//! to and the sum over a block of 32.
//!
//! # Precision
//!
//! Arithmetic is `f32`, but for quantised weights. Weights in `f32`, `f16` or `bf16` are widened to `f32` without loss as they are loaded.
//! Against `Q8_0` weights (blocks of 32 signed bytes with one scale) a row is quantised to blocks of the same kind on
//! the fly, the sum inside a block is exact in integers, and blocks are added in `f32`; that is the precision that the
//! weights' own blocks have, and what llama.cpp computes with, but for two things: the scales of rows stay `f32`, and a block
//! whose largest value is more than 2.5 times the mean of its row's other blocks' takes codes of 13 bits instead of 8. It
//! costs a second product for some three blocks in a hundred, and most of the error that quantising rows would add.
//!
//! With [`Heads::coded`], which is for models of such weights, attention under [`Mask::Full`] among 32 to 1024 tokens multiplies whole
//! numbers too, where an instruction set does that faster (AVX-512 VNNI): queries, keys and values in 12 to 15 bits, weights in as many of 16 as their
//! sum leaves room for. Beside the 8 bits of the rows it is not noticed.
//!
//! The elementary functions state their bounds where they are defined, and the tests sweep them.
//!
//! NaN and infinity are not treated specially, and not lost: a row that has one gets a result that is not finite, and so do the
//! tokens that see it, and no others.
//! Packing refuses weights that are not finite ([`WeightError`]), with the place of the first.
//!
//! # Layouts
//!
//! A [`Matrix`] is row-major. Its rows begin on cache lines and are padded to whole vectors of sixteen, so kernels
//! write whole vectors and never ask where a row ends; nothing that is read again depends on the padding.
//!
//! A packed layer consists of panels of sixteen output channels (the last one filled up with zeros), each stored in
//! the order in which a kernel consumes it, so that multiplying a row with a panel is one forward pass over memory:
//! `[k][16 channels]` for floats; for `Q8_0` one record per block of 32 inputs, the sixteen scales and then the codes.
//! The layouts are private to this crate and never stored. Those of floats are the same for every instruction set. The codes of
//! `Q8_0` lie as the instructions of [`Isa::best`] multiply them, in pairs of inputs or in fours; an executor of an instruction
//! set that wants the other order has them reordered once, at its first use of the layer, which then takes twice the memory.
//!
//! On Linux, packed layers and large matrices lie in anonymous mappings that ask for huge pages: a model is loaded with a page
//! fault for every 2 MiB, not every 4 KiB. Layers share such mappings, because most are smaller than a huge page; a mapping is given
//! back with the last layer in it, so that of two models loaded one after the other, one may keep up to 32 MiB of the
//! other. Small layers and matrices, other systems, and a system that refuses: plain heap memory.
//!
//! # Threads
//!
//! An executor runs inline or on a [`ThreadPool`], whose workers spin for some microseconds between the phases of a
//! pass before they sleep. Long batches are split by rows, short ones and layers that no cache holds by output channels, attention by
//! sequence, head of keys and, where those are few, rows. One pool may serve many executors; their phases then take turns, and so do those of all pools that come from
//! [`ThreadPool::shared`], which share their workers. [`host`] counts the processors that a pool is worth having for.
//!
//! # Instruction sets
//!
//! [`Isa`] is what the crate has kernels for; [`Isa::best`] picks one at run time, capped by the environment variable
//! `DOCENT_ISA`, so one binary for the oldest processors uses the newest instructions. Every algorithm is written once,
//! in the module `generic`, over a trait of some thirty vector operations. To add an instruction set:
//!
//! 1. implement the trait for it in a module of its own, beside `x86_64::avx2`;
//! 2. end that module with `kernel_table!`, which compiles each algorithm for the instruction set and lists them;
//! 3. add a variant to [`Isa`], with its name, its test for the host, and its table.
//!
//! The tests run on everything in [`Isa::available`], so they need no change; nor does [`self_test`], which compares every operation with
//! plain arithmetic on the machine that a program ends up on. What a developer's machine does not have, `.ci/emulate` runs in emulators:
//! AVX-512 and AVX-VNNI in one, 64-bit Arm in another.
//!
//! # What the caller may rely on
//!
//! - An operation panics if shapes do not agree, and for nothing else; it says so under its name. What comes out of
//!   a file or a document is checked when it enters ([`RawMatrix::new`], [`Linear::pack`], [`EmbeddingTable::new`]) and
//!   answered with an error.
//! - Once an executor has seen its largest batch, operations allocate nothing.
//! - No operation depends on global state, other than the choice of [`Isa::best`].
//!
//! # What is not here
//!
//! Reading files, tokens and text, the order of operations that makes an architecture, training, general tensor
//! algebra, and back ends other than the CPU. The set of operations is kept small so that another back end can
//! implement it.

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod aarch64;
mod buffer;
mod distance_biases;
mod distances;
mod executor;
mod generic;
mod heads;
pub mod host;
mod isa;
mod kernels;
mod memory;
mod pooling;
mod rates;
mod rotary;
mod scan;
mod self_test;
mod sequences;
mod threads;
mod unique;
mod weights;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use buffer::Matrix;
pub use distance_biases::DistanceBiases;
pub use distances::Distances;
pub use executor::{Executor, Queries};
pub use generic::store::{Activation, Epilogue};
pub use heads::{Heads, Mask};
pub use isa::{ISA_VARIABLE, Isa, UnknownIsa};
pub use pooling::{Pooling, Rows};
pub use rates::{KernelRate, Rates, measure_rates};
pub use rotary::{Frequencies, Rotary, RotaryError, RotaryStyle, Yarn};
pub use scan::{Neighbour, VectorRows, nearest, quantize_vector};
pub use self_test::{OperationTest, SelfTest, self_test};
pub use sequences::Sequences;
pub use threads::{MAX_THREADS, ThreadPool};
pub use weights::{BlockMatrix, EmbeddingTable, Linear, Norm, RawMatrix, SharedBytes, WeightError, WeightType};
