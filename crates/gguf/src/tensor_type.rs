//! The table of tensor types: every id that GGUF has ever assigned.

use std::fmt;

/// Builds the enum and its table from one list, so that they cannot disagree.
macro_rules! tensor_types {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $elements:literal, $bytes:literal;)+) => {
        /// How the elements of a tensor are stored (`ggml_type` in the format).
        ///
        /// A type packs a fixed number of consecutive elements of a row ([`block_elements`](Self::block_elements)) into a
        /// fixed number of bytes ([`block_bytes`](Self::block_bytes)). The table is complete: a type without a codec here
        /// can still be named, sized and skipped; [`is_supported`](Self::is_supported) tells the two apart.
        ///
        /// Source: the GGUF specification and ggml's type table.
        #[allow(non_camel_case_types)] // the names are the format's own
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum TensorType {
            $($(#[$doc])* $name = $id,)+
        }

        impl TensorType {
            /// Every type, by ascending id.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The type of an id, or `None` when the id was never assigned or its type was removed
            /// (see [`removed_name`](Self::removed_name)).
            #[must_use]
            pub const fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// The name, as the format spells it: `F32`, `Q8_0`, `Q4_K`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// Elements a block. Rows are whole numbers of blocks.
            #[must_use]
            pub const fn block_elements(self) -> usize {
                match self {
                    $(Self::$name => $elements,)+
                }
            }

            /// Bytes a block.
            #[must_use]
            pub const fn block_bytes(self) -> usize {
                match self {
                    $(Self::$name => $bytes,)+
                }
            }
        }
    };
}

tensor_types! {
    /// IEEE single precision.
    F32 = 0, 1, 4;
    /// IEEE half precision.
    F16 = 1, 1, 2;
    /// 4-bit, one scale per 32.
    Q4_0 = 2, 32, 18;
    /// 4-bit, scale and minimum per 32.
    Q4_1 = 3, 32, 20;
    /// 5-bit, one scale per 32.
    Q5_0 = 6, 32, 22;
    /// 5-bit, scale and minimum per 32.
    Q5_1 = 7, 32, 24;
    /// 8-bit, one scale per 32.
    Q8_0 = 8, 32, 34;
    /// 8-bit with block sums; activations only.
    Q8_1 = 9, 32, 36;
    /// 2-bit K-quant.
    Q2_K = 10, 256, 84;
    /// 3-bit K-quant.
    Q3_K = 11, 256, 110;
    /// 4-bit K-quant.
    Q4_K = 12, 256, 144;
    /// 5-bit K-quant.
    Q5_K = 13, 256, 176;
    /// 6-bit K-quant.
    Q6_K = 14, 256, 210;
    /// 8-bit K-quant; activations only.
    Q8_K = 15, 256, 292;
    /// 2.06 bits an element, codebook.
    IQ2_XXS = 16, 256, 66;
    /// 2.31 bits an element, codebook.
    IQ2_XS = 17, 256, 74;
    /// 3.06 bits an element, codebook.
    IQ3_XXS = 18, 256, 98;
    /// 1.56 bits an element, codebook.
    IQ1_S = 19, 256, 50;
    /// 4-bit, non-linear levels, one scale per 32.
    IQ4_NL = 20, 32, 18;
    /// 3.44 bits an element, codebook.
    IQ3_S = 21, 256, 110;
    /// 2.56 bits an element, codebook.
    IQ2_S = 22, 256, 82;
    /// 4-bit, non-linear levels, 6-bit scales.
    IQ4_XS = 23, 256, 136;
    /// Signed 8-bit integer.
    I8 = 24, 1, 1;
    /// Signed 16-bit integer.
    I16 = 25, 1, 2;
    /// Signed 32-bit integer.
    I32 = 26, 1, 4;
    /// Signed 64-bit integer.
    I64 = 27, 1, 8;
    /// IEEE double precision.
    F64 = 28, 1, 8;
    /// 1.75 bits an element, codebook.
    IQ1_M = 29, 256, 56;
    /// The upper half of a single-precision number.
    BF16 = 30, 1, 2;
    /// Ternary, 1.69 bits an element.
    TQ1_0 = 34, 256, 54;
    /// Ternary, 2.06 bits an element.
    TQ2_0 = 35, 256, 66;
    /// 4-bit floating point with a power-of-two scale per 32 (OCP microscaling).
    MXFP4 = 39, 32, 17;
    /// 4-bit floating point with an 8-bit floating-point scale per 16.
    NVFP4 = 40, 64, 36;
    /// 1-bit, one scale per 128.
    Q1_0 = 41, 128, 18;
    /// 2-bit, one scale per 64.
    Q2_0 = 42, 64, 18;
}

impl TensorType {
    /// The id in the file.
    #[must_use]
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The former name of an id whose type was withdrawn from the format, or `None`. Such ids are never assigned again.
    #[must_use]
    pub const fn removed_name(id: u32) -> Option<&'static str> {
        Some(match id {
            4 => "Q4_2",
            5 => "Q4_3",
            31 => "Q4_0_4_4",
            32 => "Q4_0_4_8",
            33 => "Q4_0_8_8",
            36 => "IQ4_NL_4_4",
            37 => "IQ4_NL_4_8",
            38 => "IQ4_NL_8_8",
            _ => return None,
        })
    }

    /// Whether [`codec::dequantize`](crate::codec::dequantize) can decode this type.
    #[must_use]
    pub const fn is_supported(self) -> bool {
        use TensorType::*;
        matches!(
            self,
            F32 | F16
                | BF16
                | Q4_0
                | Q4_1
                | Q5_0
                | Q5_1
                | Q8_0
                | Q2_K
                | Q3_K
                | Q4_K
                | Q5_K
                | Q6_K
                | Q8_K
                | IQ4_NL
                | IQ4_XS
                | MXFP4
        )
    }

    /// Whether [`codec::quantize`](crate::codec::quantize) can encode this type.
    #[must_use]
    pub const fn can_be_written(self) -> bool {
        use TensorType::*;
        matches!(self, F32 | F16 | BF16 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q4_K | Q5_K | Q6_K)
    }

    /// Whether an element takes part in a block with a shared scale, as opposed to standing for itself.
    #[must_use]
    pub const fn is_quantized(self) -> bool {
        self.block_elements() > 1
    }

    /// Bytes that `elements` consecutive elements take, or `None` when they are not whole blocks or the size does not fit
    /// in 64 bits.
    #[must_use]
    pub const fn bytes_for(self, elements: u64) -> Option<u64> {
        let block = self.block_elements() as u64;
        if !elements.is_multiple_of(block) {
            return None;
        }
        (elements / block).checked_mul(self.block_bytes() as u64)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_assigned_removed_or_unknown_and_nothing_twice() {
        for id in 0..100 {
            let (current, removed) = (TensorType::from_id(id), TensorType::removed_name(id));
            assert!(!(current.is_some() && removed.is_some()), "id {id}");
            assert_eq!(current.is_some() || removed.is_some(), id <= 42, "id {id}");
            if let Some(ty) = current {
                assert_eq!(ty.id(), id);
            }
        }
        assert_eq!(TensorType::ALL.len(), 43 - 8);
    }

    #[test]
    fn sizes_are_whole_blocks_without_overflow() {
        assert_eq!(TensorType::Q8_0.bytes_for(384), Some(384 / 32 * 34));
        assert_eq!(TensorType::Q8_0.bytes_for(33), None);
        assert_eq!(TensorType::Q4_K.bytes_for(384), None);
        assert_eq!(TensorType::F32.bytes_for(u64::MAX), None);
        assert_eq!(TensorType::F32.bytes_for(0), Some(0));
    }

    #[test]
    fn names_are_the_formats() {
        assert_eq!(TensorType::IQ2_XXS.to_string(), "IQ2_XXS");
        assert_eq!(TensorType::from_id(8).map(TensorType::name), Some("Q8_0"));
        assert_eq!(TensorType::removed_name(4), Some("Q4_2"));
    }
}
