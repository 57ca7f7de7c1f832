//! The table of entry points that an instruction set fills.

use crate::generic::attention::AttentionJob;
use crate::generic::dot::DotRows;
use crate::generic::gemm_float::GemmFloat;
use crate::generic::gemm_q8::GemmQ8;
use crate::generic::quantize::QuantizeRows;
use crate::generic::relative_attention::DistanceEmbeddings;
use crate::generic::rotary::RotaryRow;
use crate::weights::quantized::Layout;
use crate::weights::{BlockPanels, WeightType};

/// One instruction set's entry points, at the granularity of some panels, a row or a head: coarse enough that the indirect
/// call costs nothing, fine enough that the executor decides how work is split.
///
/// All are unsafe to call: the instruction set must be present (which `Isa::kernels` has checked) and the arguments
/// must describe memory as their types say.
pub(crate) struct Kernels {
    pub(crate) isa: crate::Isa,
    /// Panels that a GEMM is best given at a time.
    pub(crate) strip: usize,
    /// How quantised weights must lie for `gemm_q8`.
    pub(crate) layout: Layout,
    pub(crate) gemm_q8: unsafe fn(&GemmQ8),
    /// Writes the records of a panel for `gemm_q8`, as [`BlockPanels::expand`] does.
    pub(crate) expand: unsafe fn(&BlockPanels, panel: usize, records: &mut [u8], codes: &mut [i8], scales: &mut [f32]),
    pub(crate) gemm_f32: unsafe fn(&GemmFloat<f32>),
    pub(crate) gemm_f16: unsafe fn(&GemmFloat<half::f16>),
    pub(crate) gemm_bf16: unsafe fn(&GemmFloat<half::bf16>),
    /// Rows that the product of a block's codes is right for are those that this quantised.
    pub(crate) quantize: unsafe fn(&QuantizeRows),
    pub(crate) layer_norm: unsafe fn(row: *mut f32, columns: usize, weight: *const f32, bias: *const f32, epsilon: f32),
    pub(crate) rms_norm: unsafe fn(row: *mut f32, columns: usize, weight: *const f32, epsilon: f32),
    pub(crate) add_decoded: unsafe fn(ty: WeightType, bytes: *const u8, columns: usize, out: *mut f32),
    pub(crate) rotate: unsafe fn(&RotaryRow),
    pub(crate) dot_i8: unsafe fn(&DotRows<i8>),
    pub(crate) dot_f32: unsafe fn(&DotRows<f32>),
    /// For jobs of the plainest kind; the other is for all.
    pub(crate) attention: unsafe fn(&AttentionJob),
    pub(crate) masked_attention: unsafe fn(&AttentionJob),
    /// The plainest kind with products of codes.
    pub(crate) coded_attention: unsafe fn(&AttentionJob),
    pub(crate) relative_attention: unsafe fn(&AttentionJob, &DistanceEmbeddings),
    /// Whether products of codes of 16 bits are faster than those of floats.
    pub(crate) fast_pairs: bool,
    /// The loops of [`crate::generic::peak`]: multiply-accumulates of codes and of `f32`.
    pub(crate) multiply_codes: unsafe fn(rounds: usize, data: *const u8, out: *mut f32) -> usize,
    pub(crate) multiply_floats: unsafe fn(rounds: usize, data: *const u8, out: *mut f32) -> usize,
    /// Elementary functions, for the tests of their errors: each replaces `count` values, a multiple of sixteen.
    #[cfg(test)]
    pub(crate) exp: unsafe fn(values: *mut f32, count: usize),
    #[cfg(test)]
    pub(crate) exp2_of_negative: unsafe fn(values: *mut f32, count: usize),
    #[cfg(test)]
    pub(crate) rough_exp2_of_negative: unsafe fn(values: *mut f32, count: usize),
}

/// Compiles the generic bodies for one [`crate::generic::Simd`] and one way of multiplying quantised blocks, and lists them in a table named `KERNELS`.
///
/// The functions and the table are the whole of what an instruction set adds to its vector operations.
macro_rules! kernel_table {
    ($simd:ty, $product:ty, $isa:expr $(, $(#[$attribute:meta])*)?) => {
        use crate::generic::{
            attention::AttentionJob, dot::DotRows, gemm_float::GemmFloat, gemm_q8::GemmQ8, quantize::QuantizeRows,
            relative_attention::DistanceEmbeddings, rotary::RotaryRow,
        };

        $($(#[$attribute])*)?
        unsafe fn gemm_q8(args: &GemmQ8) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::gemm_q8::gemm::<$simd, $product>(args) }
        }
        $($(#[$attribute])*)?
        unsafe fn expand(
            panels: &crate::weights::BlockPanels,
            panel: usize,
            records: &mut [u8],
            codes: &mut [i8],
            scales: &mut [f32],
        ) {
            let layout = <$product as crate::generic::block_product::BlockProduct<$simd>>::LAYOUT;
            panels.expand(panel, layout, records, codes, scales);
        }
        $($(#[$attribute])*)?
        unsafe fn gemm_f32(args: &GemmFloat<f32>) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::gemm_float::gemm::<$simd, f32>(args) }
        }
        $($(#[$attribute])*)?
        unsafe fn gemm_f16(args: &GemmFloat<half::f16>) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::gemm_float::gemm::<$simd, half::f16>(args) }
        }
        $($(#[$attribute])*)?
        unsafe fn gemm_bf16(args: &GemmFloat<half::bf16>) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::gemm_float::gemm::<$simd, half::bf16>(args) }
        }
        $($(#[$attribute])*)?
        unsafe fn quantize(args: &QuantizeRows) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::quantize::quantize::<$simd, $product>(args) }
        }
        $($(#[$attribute])*)?
        unsafe fn layer_norm(row: *mut f32, columns: usize, weight: *const f32, bias: *const f32, epsilon: f32) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::rows::layer_norm::<$simd>(row, columns, weight, bias, epsilon) }
        }
        $($(#[$attribute])*)?
        unsafe fn rms_norm(row: *mut f32, columns: usize, weight: *const f32, epsilon: f32) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::rows::rms_norm::<$simd>(row, columns, weight, epsilon) }
        }
        $($(#[$attribute])*)?
        unsafe fn add_decoded(ty: crate::weights::WeightType, bytes: *const u8, columns: usize, out: *mut f32) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::rows::add_decoded::<$simd>(ty, bytes, columns, out) }
        }
        $($(#[$attribute])*)?
        unsafe fn rotate(args: &RotaryRow) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::rotary::rotate::<$simd>(args) }
        }
        $($(#[$attribute])*)?
        unsafe fn dot_i8(args: &DotRows<i8>) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::dot::dot_rows::<$simd, i8>(args) }
        }
        $($(#[$attribute])*)?
        unsafe fn dot_f32(args: &DotRows<f32>) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::dot::dot_rows::<$simd, f32>(args) }
        }
        $($(#[$attribute])*)?
        unsafe fn attention(args: &AttentionJob) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::attention::attention::<$simd>(args) }
        }
        $($(#[$attribute])*)?
        unsafe fn masked_attention(args: &AttentionJob) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::attention::masked_attention::<$simd>(args) }
        }
        $($(#[$attribute])*)?
        unsafe fn coded_attention(args: &AttentionJob) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::coded_attention::coded_attention::<$simd>(args) }
        }
        $($(#[$attribute])*)?
        unsafe fn relative_attention(args: &AttentionJob, distances: &DistanceEmbeddings) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::relative_attention::relative_attention::<$simd>(args, distances) }
        }
        $($(#[$attribute])*)?
        unsafe fn multiply_codes(rounds: usize, data: *const u8, out: *mut f32) -> usize {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::peak::multiply_codes::<$simd, $product>(rounds, data, out) }
        }
        $($(#[$attribute])*)?
        unsafe fn multiply_floats(rounds: usize, data: *const u8, out: *mut f32) -> usize {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::peak::multiply_floats::<$simd>(rounds, data, out) }
        }
        #[cfg(test)]
        $($(#[$attribute])*)?
        unsafe fn exp(values: *mut f32, count: usize) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::math::tests::map_exp::<$simd>(values, count) }
        }
        #[cfg(test)]
        $($(#[$attribute])*)?
        unsafe fn exp2_of_negative(values: *mut f32, count: usize) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::math::tests::map_exp2_of_negative::<$simd>(values, count) }
        }
        #[cfg(test)]
        $($(#[$attribute])*)?
        unsafe fn rough_exp2_of_negative(values: *mut f32, count: usize) {
            // SAFETY: passed on from the caller, compiled for the instruction set.
            unsafe { crate::generic::math::tests::map_rough_exp2_of_negative::<$simd>(values, count) }
        }

        pub(crate) static KERNELS: crate::kernels::Kernels = crate::kernels::Kernels {
            isa: $isa,
            strip: <$simd as crate::generic::Simd>::STRIP,
            layout: <$product as crate::generic::block_product::BlockProduct<$simd>>::LAYOUT,
            gemm_q8,
            expand,
            gemm_f32,
            gemm_f16,
            gemm_bf16,
            quantize,
            layer_norm,
            rms_norm,
            add_decoded,
            rotate,
            dot_i8,
            dot_f32,
            attention,
            masked_attention,
            coded_attention,
            relative_attention,
            fast_pairs: <$simd as crate::generic::Simd>::FAST_PAIRS,
            multiply_codes,
            multiply_floats,
            #[cfg(test)]
            exp,
            #[cfg(test)]
            exp2_of_negative,
            #[cfg(test)]
            rough_exp2_of_negative,
        };
    };
}
pub(crate) use kernel_table;
