//! In which number format a model is wanted.

use std::fmt;
use std::str::FromStr;

/// The number format of a model file, by the name that file names carry.
///
/// GGUF files say it in their name (`bge-small-en-v1.5-q8_0.gguf`); that is a label of the mixture inside, not a promise
/// that every tensor has this type. [`Quant::Original`] stands for the authors' own safetensors folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // the variants are the names of the formats
#[allow(non_camel_case_types)]
pub enum Quant {
    Q8_0,
    F16,
    BF16,
    F32,
    Q6_K,
    Q5_K_M,
    Q5_K_S,
    Q5_1,
    Q5_0,
    Q4_K_M,
    Q4_K_S,
    Q4_1,
    Q4_0,
    IQ4_NL,
    IQ4_XS,
    Q3_K_L,
    Q3_K_M,
    Q3_K_S,
    Q2_K,
    /// The safetensors folder as its authors published it.
    Original,
}

/// Every format with its name and its bits per weight (block scales included, mixtures by their main type), in the order
/// in which one is taken when none is asked for: `Q8_0` first, which costs next to nothing in quality and is the fastest on a
/// CPU; then the exact ones; then the smaller, larger before smaller.
const TABLE: [(Quant, &str, f64); 20] = [
    (Quant::Q8_0, "Q8_0", 8.5),
    (Quant::F16, "F16", 16.0),
    (Quant::BF16, "BF16", 16.0),
    (Quant::F32, "F32", 32.0),
    (Quant::Q6_K, "Q6_K", 6.5625),
    (Quant::Q5_K_M, "Q5_K_M", 5.5),
    (Quant::Q5_K_S, "Q5_K_S", 5.5),
    (Quant::Q5_1, "Q5_1", 6.0),
    (Quant::Q5_0, "Q5_0", 5.5),
    (Quant::Q4_K_M, "Q4_K_M", 4.5),
    (Quant::Q4_K_S, "Q4_K_S", 4.5),
    (Quant::Q4_1, "Q4_1", 5.0),
    (Quant::Q4_0, "Q4_0", 4.5),
    (Quant::IQ4_NL, "IQ4_NL", 4.5),
    (Quant::IQ4_XS, "IQ4_XS", 4.25),
    (Quant::Q3_K_L, "Q3_K_L", 3.4375),
    (Quant::Q3_K_M, "Q3_K_M", 3.4375),
    (Quant::Q3_K_S, "Q3_K_S", 3.4375),
    (Quant::Q2_K, "Q2_K", 2.625),
    (Quant::Original, "original", 32.0),
];

impl Quant {
    /// The format taken when none is asked for.
    pub const DEFAULT: Quant = Quant::Q8_0;

    /// Every format, in the order of preference.
    pub fn all() -> impl Iterator<Item = Quant> {
        TABLE.iter().map(|row| row.0)
    }

    /// The name in the usual spelling: `Q8_0`, `F16`, `Q4_K_M`, `original`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Bits that a weight takes, roughly: the mixtures (`_M`, `_L`) and small models have tensors of more bits. Good for
    /// an estimate of a file's size before it is there.
    pub fn bits_per_weight(self) -> f64 {
        self.row().2
    }

    /// Whether the project's converter can write this format from safetensors.
    pub fn is_convertible(self) -> bool {
        matches!(self, Quant::Q8_0 | Quant::F16 | Quant::BF16 | Quant::F32)
    }

    /// Reads the format off a file name (or a path): the last one that stands there as a word of its own.
    ///
    /// ```
    /// use docent::hub::Quant;
    /// assert_eq!(Quant::of_file_name("gguf/bge-small-en-v1.5-q8_0.gguf"), Some(Quant::Q8_0));
    /// assert_eq!(Quant::of_file_name("nomic-embed-text-v1.5.Q4_K_M.gguf"), Some(Quant::Q4_K_M));
    /// assert_eq!(Quant::of_file_name("model.gguf"), None);
    /// ```
    pub fn of_file_name(path: &str) -> Option<Quant> {
        let name = path.rsplit('/').next().unwrap_or(path).to_ascii_uppercase();
        // "_" belongs to the names themselves, so words end at anything else that is not a letter or digit.
        let words = name.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.filter(|word| !word.is_empty()).find_map(|word| {
            let word = word.replace("FP16", "F16").replace("FP32", "F32");
            let exact = TABLE.iter().find(|row| row.0 != Quant::Original && row.1 == word);
            // Some publishers join with "_" too: "model_f16.gguf", "ggml_model_q8_0.gguf".
            let joined = || {
                let rows = TABLE.iter().filter(|row| row.0 != Quant::Original);
                rows.filter(|row| word.strip_suffix(row.1).is_some_and(|rest| rest.ends_with('_')))
                    .max_by_key(|row| row.1.len())
            };
            exact.or_else(joined).map(|row| row.0)
        })
    }

    fn row(self) -> &'static (Quant, &'static str, f64) {
        TABLE.iter().find(|row| row.0 == self).expect("the table has every format; a test says so")
    }
}

impl fmt::Display for Quant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A format was asked for that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown quantisation {found:?}: expected one of {}", Quant::all().map(Quant::name).collect::<Vec<_>>().join(", "))]
pub struct UnknownQuant {
    /// What was asked for.
    pub found: String,
}

impl FromStr for Quant {
    type Err = UnknownQuant;

    /// Any case, `-` for `_`, and the short forms `q8`, `fp16`, `fp32`, `safetensors`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim().to_ascii_uppercase().replace('-', "_");
        let name = match name.as_str() {
            "Q8" => "Q8_0",
            "FP16" => "F16",
            "FP32" => "F32",
            "SAFETENSORS" => "ORIGINAL",
            other => other,
        };
        TABLE
            .iter()
            .find(|row| row.1.eq_ignore_ascii_case(name))
            .map(|row| row.0)
            .ok_or_else(|| UnknownQuant { found: text.to_owned() })
    }
}

impl serde::Serialize for Quant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for Quant {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <String as serde::Deserialize>::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for quant in Quant::all() {
            assert_eq!(quant.name().parse(), Ok(quant));
            assert_eq!(quant.name().to_lowercase().parse(), Ok(quant));
        }
        assert_eq!("fp16".parse(), Ok(Quant::F16));
        assert_eq!("q4-k-m".parse(), Ok(Quant::Q4_K_M));
        let error = "Q9".parse::<Quant>().unwrap_err().to_string();
        assert!(error.contains("\"Q9\"") && error.contains("Q8_0") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn file_names_in_the_wild() {
        let cases = [
            ("embeddinggemma-300M-Q8_0.gguf", Some(Quant::Q8_0)),
            ("qwen3-reranker-0.6b-q8_0.gguf", Some(Quant::Q8_0)),
            ("nomic-embed-text-v1.5.f16.gguf", Some(Quant::F16)),
            ("Qwen3-Embedding-8B-Q4_K_M-00001-of-00002.gguf", Some(Quant::Q4_K_M)),
            ("model_bf16.gguf", Some(Quant::BF16)),
            ("ggml-model-f16.gguf", Some(Quant::F16)),
            ("my_model_q5_k_m.gguf", Some(Quant::Q5_K_M)),
            ("original.gguf", None),
            ("bge-reranker-v2-m3-FP16.gguf", Some(Quant::F16)),
            ("f16/model.gguf", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(Quant::of_file_name(name), expected, "{name}");
        }
    }
}
