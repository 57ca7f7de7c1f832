//! What the machine, and the share of it that this process has, offer to the kernels.
//!
//! Processors are counted in four ways, of which the least decides how many threads are worth starting: those of the machine,
//! those that the process may run on (CPU affinity), the processor time that its control group may use, and the physical
//! cores behind them. Everything is read anew at each call. Where a system does not tell, which is everywhere
//! but on Linux for most of it, the answer is `None` or empty, never a guess and never a panic.
//!
//! ```
//! use docent_kernels::host::Cpus;
//!
//! let cpus = Cpus::of_this_process();
//! assert!(cpus.threads() >= 1 && cpus.threads() <= cpus.available);
//! ```

mod cgroup;
mod cpu_list;

use std::collections::HashSet;

use cgroup::Cgroups;
use cpu_list::CpuList;

/// The text of a file that the kernel makes up as it is read, or `None` if there is none such.
type Read<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The processors of the machine, and what the process may use of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cpus {
    /// Logical processors that are switched on.
    pub logical: usize,
    /// Those of them that the process may run on: its CPU affinity.
    pub allowed: usize,
    /// Processors' worth of time that its control group may use, of cgroup v1 or v2; `None` for no limit.
    pub quota: Option<f64>,
    /// Physical cores behind the allowed ones, where the system tells.
    pub cores: Option<usize>,
    /// What the standard library makes of affinity and quota.
    pub available: usize,
}

impl Cpus {
    /// Those of this process.
    pub fn of_this_process() -> Self {
        let available = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::read(&read_file, available)
    }

    fn read(read: &Read<'_>, available: usize) -> Self {
        let list = |text: Option<String>| text.and_then(|text| text.parse::<CpuList>().ok());
        let online = list(read("/sys/devices/system/cpu/online"));
        let affinity = list(read("/proc/self/status").as_deref().and_then(|status| field(status, "Cpus_allowed_list")));
        // An affinity may name processors that are switched off or were never there.
        let allowed = match (&online, affinity) {
            (Some(online), Some(affinity)) => Some(affinity.intersection(online)).filter(|both| !both.is_empty()),
            (_, affinity) => affinity,
        };
        Cpus {
            logical: online.map_or(available, |online| online.len()),
            allowed: allowed.as_ref().map_or(available, CpuList::len),
            quota: Cgroups::of_this_process(read).cpu_quota(read),
            cores: allowed.and_then(|allowed| cores(&allowed, read)),
            available,
        }
    }

    /// Threads worth computing on: as many as the process may use, but no more than there are physical cores.
    ///
    /// Two threads of one core share the units that a matrix product keeps busy, so the second adds next to nothing and takes
    /// half of the first-level cache. Where all is said to be a single core, though, its threads count: a small virtual
    /// machine often shows two processors of the host as threads of one core, and to believe it would halve the speed, while to
    /// doubt it costs little.
    pub fn threads(&self) -> usize {
        match self.cores {
            Some(cores) if cores > 1 => self.available.min(cores),
            _ => self.available,
        }
        .max(1)
    }
}

/// Distinct cores of the processors; `None` if the system does not tell for each of them.
fn cores(cpus: &CpuList, read: &Read<'_>) -> Option<usize> {
    let mut cores = HashSet::new();
    for cpu in cpus.iter() {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        let siblings: CpuList = read(&path)?.parse().ok()?;
        // The same for every sibling, whatever the notation.
        cores.insert(siblings.first()?);
    }
    Some(cores.len())
}

/// A cache of the first processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Its level, and `d` or `i` if it is for data or instructions alone: `L1d`, `L1i`, `L2`, `L3`.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Logical processors that use it.
    pub shared_by: usize,
}

/// The caches that the first processor uses, from the nearest; empty where the system does not tell.
pub fn caches() -> Vec<Cache> {
    read_caches(&read_file)
}

fn read_caches(read: &Read<'_>) -> Vec<Cache> {
    /// More levels than any processor has.
    const MOST: usize = 16;
    let cache = |index: usize| {
        let part = |name: &str| read(&format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{name}"));
        let level: u8 = part("level")?.trim().parse().ok()?;
        let kind = match part("type")?.trim() {
            "Data" => "d",
            "Instruction" => "i",
            _ => "",
        };
        let bytes = size(part("size")?.trim())?;
        let shared_by = part("shared_cpu_list").and_then(|list| list.parse::<CpuList>().ok());
        Some(Cache { name: format!("L{level}{kind}"), bytes, shared_by: shared_by.map_or(1, |list| list.len()) })
    };
    (0..MOST).map_while(cache).collect()
}

/// A number of bytes with the kernel's binary suffix: `32K`, `1M`.
fn size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(digits) => (digits, [10, 20, 30]["KMG".find(&text[digits.len()..])?]),
        None => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The bytes of memory that the process's control group may use, of cgroup v1 or v2; `None` for no limit.
pub fn memory_limit() -> Option<u64> {
    Cgroups::of_this_process(&read_file).memory_limit(&read_file)
}

/// An extension of the instruction set that the kernels have use for, or that tells processors apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name, as compilers write it: `avx2`.
    pub name: &'static str,
    /// Whether this processor has it, and the system lets programs use it.
    pub present: bool,
}

/// The extensions that matter on this architecture; empty where none is known.
pub fn features() -> Vec<Feature> {
    #[cfg(target_arch = "x86_64")]
    macro_rules! detect {
        ($($name:tt),*) => { vec![$(Feature { name: $name, present: is_x86_feature_detected!($name) }),*] };
    }
    #[cfg(target_arch = "x86_64")]
    return detect!("avx2", "fma", "f16c", "avxvnni", "avx512f", "avx512bw", "avx512vl", "avx512vnni");

    #[cfg(target_arch = "aarch64")]
    macro_rules! detect {
        ($($name:tt),*) => {
            vec![$(Feature { name: $name, present: std::arch::is_aarch64_feature_detected!($name) }),*]
        };
    }
    #[cfg(target_arch = "aarch64")]
    return detect!("neon", "dotprod", "i8mm", "fp16");

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    Vec::new()
}

fn read_file(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The value of the first `NAME: VALUE` line.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that consists of these files.
    fn machine<'a>(files: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |path| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
    }

    #[test]
    fn this_machine_is_read_without_contradictions() {
        let cpus = Cpus::of_this_process();
        assert!(cpus.allowed >= 1 && cpus.allowed <= cpus.logical, "{cpus:?}");
        assert!(cpus.cores.is_none_or(|cores| cores >= 1 && cores <= cpus.allowed), "{cpus:?}");
        assert!(cpus.quota.is_none_or(|quota| quota > 0.0), "{cpus:?}");
        assert!(caches().iter().all(|cache| cache.bytes > 0 && cache.shared_by > 0));
        assert!(memory_limit().is_none_or(|limit| limit > 0));
        #[cfg(target_arch = "x86_64")]
        assert_eq!(
            features().iter().filter(|f| ["avx2", "fma", "f16c"].contains(&f.name)).all(|f| f.present),
            crate::Isa::Avx2.is_available()
        );
    }

    #[test]
    fn cores_are_counted_among_the_allowed_processors() {
        let topology = |cpu: usize| format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        let siblings = [topology(0), topology(1), topology(2), topology(4), topology(5), topology(6)];
        let mut files = vec![
            ("/sys/devices/system/cpu/online", "0-6\n"),
            ("/proc/self/status", "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-2,4-6,100-127\n"),
        ];
        files.extend(siblings.iter().map(String::as_str).zip(["0,4\n", "1,5\n", "2,6\n", "0,4\n", "1,5\n", "2,6\n"]));
        let cpus = Cpus::read(&machine(&files), 6);
        assert_eq!(cpus, Cpus { logical: 7, allowed: 6, quota: None, cores: Some(3), available: 6 });
        assert_eq!(cpus.threads(), 3);
        // A quota, or fewer processors, may be the tighter bound.
        assert_eq!(Cpus { available: 2, ..cpus }.threads(), 2);
        // One processor without a topology: better no answer than a wrong one.
        files.pop();
        assert_eq!(Cpus::read(&machine(&files), 6).cores, None);
    }

    #[test]
    fn the_threads_of_a_single_core_count() {
        let cpus = Cpus { logical: 2, allowed: 2, quota: None, cores: Some(1), available: 2 };
        assert_eq!(cpus.threads(), 2);
        assert_eq!(Cpus { cores: None, ..cpus }.threads(), 2);
        assert_eq!(Cpus { cores: Some(0), available: 0, ..cpus }.threads(), 1);
    }

    #[test]
    fn a_system_that_tells_nothing_leaves_what_the_standard_library_knows() {
        let cpus = Cpus::read(&|_| None, 5);
        assert_eq!(cpus, Cpus { logical: 5, allowed: 5, quota: None, cores: None, available: 5 });
        for nonsense in ["", "x", "3-1", "-", "0-99999999999999999999", ","] {
            let read = |_: &str| Some(nonsense.to_owned());
            assert_eq!(Cpus::read(&read, 5), cpus, "{nonsense:?}");
            assert_eq!(read_caches(&read), []);
        }
    }

    #[test]
    fn caches_have_names_and_sizes() {
        let index = |index: usize, part: &str| format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{part}");
        let files: Vec<(String, &str)> = [
            (0, [("level", "1\n"), ("type", "Data\n"), ("size", "48K\n"), ("shared_cpu_list", "0,56\n")]),
            (1, [("level", "2\n"), ("type", "Unified\n"), ("size", "2048K\n"), ("shared_cpu_list", "0,56\n")]),
            (2, [("level", "3\n"), ("type", "Unified\n"), ("size", "105M\n"), ("shared_cpu_list", "0-111\n")]),
        ]
        .into_iter()
        .flat_map(|(i, parts)| parts.map(|(part, text)| (index(i, part), text)))
        .collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let caches = read_caches(&machine(&files));
        let cache = |name: &str, bytes, shared_by| Cache { name: name.to_owned(), bytes, shared_by };
        assert_eq!(caches, [cache("L1d", 48 << 10, 2), cache("L2", 2 << 20, 2), cache("L3", 105 << 20, 112)]);
        assert_eq!(
            ["32K", "1G", "512", "", "K", "1T", "99999999999999999G"].map(size),
            [Some(32768), Some(1 << 30), Some(512), None, None, None, None]
        );
    }
}
