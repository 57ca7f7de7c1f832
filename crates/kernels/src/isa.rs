//! The instruction sets the kernels are written for, and the choice among them.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::kernels::Kernels;

/// An instruction-set family with kernels of its own.
///
/// The order is the order of preference: a later variant is faster on a host that has it. There are all variants on every
/// architecture; those of another one are never available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, left to the compiler to vectorise for the build target; the reference for every other body.
    Portable,
    /// 64-bit Arm (NEON is part of its base).
    Neon,
    /// 64-bit Arm with `dotprod`, products of bytes (Arm's processors from Cortex-A75 and Neoverse N1, 2018, Apple's M1, 2020).
    NeonDot,
    /// x86-64 with AVX2, FMA and F16C (Intel Haswell 2013, AMD Excavator 2015, and later).
    Avx2,
    /// AVX2 and AVX-VNNI (Intel's client processors from Alder Lake, 2021).
    AvxVnni,
    /// AVX-512 F, BW, DQ, VL and VNNI (Intel's servers from Cascade Lake, 2019, and AMD's processors from Zen 4, 2022).
    Avx512Vnni,
}

/// The environment variable that caps the instruction set, for tests and for hunting a suspected kernel defect.
pub const ISA_VARIABLE: &str = "DOCENT_ISA";

impl Isa {
    /// Every instruction set this crate knows, slowest first.
    pub const ALL: [Isa; 6] = [Isa::Portable, Isa::Neon, Isa::NeonDot, Isa::Avx2, Isa::AvxVnni, Isa::Avx512Vnni];

    /// The best instruction set of this host, not above the one that `DOCENT_ISA` names.
    ///
    /// Decided once per process. A value of `DOCENT_ISA` that names no instruction set is reported as a warning in the
    /// log and otherwise ignored.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let cap = std::env::var(ISA_VARIABLE).ok().and_then(|name| match name.parse::<Isa>() {
                Ok(isa) => Some(isa),
                Err(error) => {
                    tracing::warn!("{ISA_VARIABLE} is ignored: {error}");
                    None
                }
            });
            Self::available().filter(|&isa| cap.is_none_or(|cap| isa <= cap)).last().unwrap_or(Isa::Portable)
        })
    }

    /// The instruction sets that this host can run, slowest first. Never empty.
    pub fn available() -> impl Iterator<Item = Isa> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// Whether this host can run the instruction set.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx2 = avx2 && is_x86_feature_detected!("f16c");
            let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
            let avx512 = avx512 && is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl");
            match self {
                Isa::Portable => true,
                Isa::Neon | Isa::NeonDot => false,
                Isa::Avx2 => avx2,
                Isa::AvxVnni => avx2 && is_x86_feature_detected!("avxvnni"),
                Isa::Avx512Vnni => avx2 && avx512 && is_x86_feature_detected!("avx512vnni"),
            }
        }
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        {
            use std::arch::is_aarch64_feature_detected;
            let neon = is_aarch64_feature_detected!("neon");
            match self {
                Isa::Portable => true,
                Isa::Neon => neon,
                Isa::NeonDot => neon && is_aarch64_feature_detected!("dotprod"),
                Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => false,
            }
        }
        #[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))))]
        {
            self == Isa::Portable
        }
    }

    /// The name that `DOCENT_ISA` takes: `portable`, `neon`, `neon-dot`, `avx2`, `avx-vnni`, `avx512-vnni`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Neon => "neon",
            Isa::NeonDot => "neon-dot",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avx-vnni",
            Isa::Avx512Vnni => "avx512-vnni",
        }
    }

    /// The kernels of this instruction set.
    ///
    /// # Panics
    /// If the host does not have the instruction set: running its kernels would be undefined behaviour.
    pub(crate) fn kernels(self) -> &'static Kernels {
        assert!(self.is_available(), "this host has no {self} instructions");
        match self {
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Isa::Neon => &crate::aarch64::neon::KERNELS,
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Isa::NeonDot => &crate::aarch64::neon_dot::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &crate::x86_64::avx2::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => &crate::x86_64::avx_vnni::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => &crate::x86_64::avx512::KERNELS,
            _ => &crate::generic::portable::KERNELS,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is not one of an instruction set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown instruction set `{name}`, expected one of portable, neon, neon-dot, avx2, avx-vnni, avx512-vnni")]
pub struct UnknownIsa {
    /// The name as given.
    pub name: String,
}

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|isa| isa.name().eq_ignore_ascii_case(name.trim()))
            .ok_or_else(|| UnknownIsa { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for isa in Isa::ALL {
            assert_eq!(isa.name().parse(), Ok(isa));
            assert_eq!(isa.name().to_uppercase().parse(), Ok(isa));
        }
        assert_eq!("avx9".parse::<Isa>(), Err(UnknownIsa { name: "avx9".into() }));
    }

    #[test]
    fn portable_is_always_there() {
        assert_eq!(Isa::available().next(), Some(Isa::Portable));
        assert!(Isa::best().is_available());
    }
}
