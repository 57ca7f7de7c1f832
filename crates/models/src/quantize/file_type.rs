//! What the matrices of a file are stored as, mostly.

use std::fmt;
use std::str::FromStr;

use docent_gguf::TensorType;

/// The type of a file: of most of its matrices, and by which rules some get more bits.
#[allow(non_camel_case_types)] // the names are the format's own
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileType {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// The upper half of single precision.
    BF16,
    /// 8 bits.
    Q8_0,
    /// 4 bits around zero.
    Q4_0,
    /// 4 bits with a minimum.
    Q4_1,
    /// 5 bits around zero.
    Q5_0,
    /// 5 bits with a minimum.
    Q5_1,
    /// `Q4_K`, with `Q5_K` in a few places.
    Q4_K_S,
    /// `Q4_K`, with `Q6_K` for half of the value and down projections.
    Q4_K_M,
    /// `Q5_K` throughout.
    Q5_K_S,
    /// `Q5_K`, with `Q6_K` for half of the value and down projections.
    Q5_K_M,
    /// `Q6_K` throughout.
    Q6_K,
}

impl FileType {
    /// Every type.
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4_K_S,
        Self::Q4_K_M,
        Self::Q5_K_S,
        Self::Q5_K_M,
        Self::Q6_K,
    ];

    /// The name: `Q8_0`, `Q4_K_M`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q4_K_S => "Q4_K_S",
            Self::Q4_K_M => "Q4_K_M",
            Self::Q5_K_S => "Q5_K_S",
            Self::Q5_K_M => "Q5_K_M",
            Self::Q6_K => "Q6_K",
        }
    }

    /// The type of most matrices.
    #[must_use]
    pub fn tensor_type(self) -> TensorType {
        match self {
            Self::F32 => TensorType::F32,
            Self::F16 => TensorType::F16,
            Self::BF16 => TensorType::BF16,
            Self::Q8_0 => TensorType::Q8_0,
            Self::Q4_0 => TensorType::Q4_0,
            Self::Q4_1 => TensorType::Q4_1,
            Self::Q5_0 => TensorType::Q5_0,
            Self::Q5_1 => TensorType::Q5_1,
            Self::Q4_K_S | Self::Q4_K_M => TensorType::Q4_K,
            Self::Q5_K_S | Self::Q5_K_M => TensorType::Q5_K,
            Self::Q6_K => TensorType::Q6_K,
        }
    }

    /// The value of `general.file_type`, which the GGUF specification assigns.
    #[must_use]
    pub fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q8_0 => 7,
            Self::Q5_0 => 8,
            Self::Q5_1 => 9,
            Self::Q4_K_S => 14,
            Self::Q4_K_M => 15,
            Self::Q5_K_S => 16,
            Self::Q5_K_M => 17,
            Self::Q6_K => 18,
            Self::BF16 => 32,
        }
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FileType {
    type Err = String;

    /// Reads a name in upper or lower case; `Q4_K` is `Q4_K_M` and `Q5_K` is `Q5_K_M`.
    fn from_str(name: &str) -> Result<Self, String> {
        let same = |other: &str| name.eq_ignore_ascii_case(other);
        match Self::ALL.into_iter().find(|ty| same(ty.name())) {
            Some(ty) => Ok(ty),
            None if same("Q4_K") => Ok(Self::Q4_K_M),
            None if same("Q5_K") => Ok(Self::Q5_K_M),
            None => {
                let names = Self::ALL.map(Self::name).join(", ");
                Err(format!("expected one of {names}, Q4_K, Q5_K, found `{name}`"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_the_short_ones_are_the_medium_mixes() {
        assert!(FileType::ALL.into_iter().all(|ty| ty.name().to_lowercase().parse() == Ok(ty)));
        assert_eq!(("Q4_K".parse(), "q5_k".parse()), (Ok(FileType::Q4_K_M), Ok(FileType::Q5_K_M)));
        assert!("Q3_K".parse::<FileType>().unwrap_err().ends_with("found `Q3_K`"));
    }
}
