//! What the block formats have in common: small integers, and for each run of them a scale and a minimum.
//!
//! A format states how one block unpacks into a [`Block`]. Everything else is done here, once: the numbers that the block stands for.
//! The functions are generic over the format and inlined into one loop each, so that the compiler can use vector instructions.

/// One block, unpacked: element `e` stands for `codes[e] * scales[g] - minima[g]`, where `g` is the run that `e` is in when the
/// elements are divided into `GROUPS` runs of equal length.
pub(super) struct Block<const ELEMENTS: usize, const GROUPS: usize> {
    pub(super) codes: [i8; ELEMENTS],
    pub(super) scales: [f32; GROUPS],
    /// 0 in formats without minima, where subtracting it changes nothing, not even the sign of a zero.
    pub(super) minima: [f32; GROUPS],
}

/// Decodes whole blocks.
#[inline(always)]
pub(super) fn decode<const BYTES: usize, const ELEMENTS: usize, const GROUPS: usize>(
    bytes: &[u8],
    out: &mut [f32],
    unpack: impl Fn(&[u8; BYTES]) -> Block<ELEMENTS, GROUPS>,
) {
    for (values, bytes) in out.as_chunks_mut::<ELEMENTS>().0.iter_mut().zip(bytes.as_chunks::<BYTES>().0) {
        let block = unpack(bytes);
        let runs = values.chunks_exact_mut(ELEMENTS / GROUPS).zip(block.codes.chunks_exact(ELEMENTS / GROUPS));
        for ((values, codes), (scale, minimum)) in runs.zip(block.scales.iter().zip(&block.minima)) {
            for (value, &code) in values.iter_mut().zip(codes) {
                *value = f32::from(code) * scale - minimum;
            }
        }
    }
}

/// A half-precision number from its two bytes. NaN stays NaN.
///
/// Without a branch or a call: the blocks' scales are read one by one, where looking up whether the processor has an instruction for it
/// costs more than the conversion.
#[inline(always)]
pub(super) fn half(bytes: [u8; 2]) -> f32 {
    /// 2^112, the distance between the exponents' biases: the bits of a half, moved to where those of a single belong, are a number
    /// that is smaller by this factor. It holds for subnormal halves too.
    const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(u16::from_le_bytes(bytes));
    let magnitude = (f32::from_bits((bits & 0x7fff) << 13) * REBIAS).to_bits();
    let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude | special | (bits & 0x8000) << 16)
}

/// The bytes `FROM..FROM + N` of a block. The compiler sees the bounds, as both are constants.
#[inline(always)]
pub(super) fn part<const N: usize>(block: &[u8], from: usize) -> &[u8; N] {
    block[from..].first_chunk().expect("formats name parts inside their blocks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_converted_as_the_half_crate_does() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (half(bits.to_le_bytes()), ::half::f16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{bits:04x}");
        }
    }
}
