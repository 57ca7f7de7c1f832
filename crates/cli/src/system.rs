//! What this machine is, as a report of measurements names it.

use std::fs;

/// The name of the processor, or its architecture where the system does not tell.
pub(crate) fn processor() -> String {
    let named = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| field(&text, "model name"));
    named.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The operating system: its name and version, and the kernel's, as far as it tells.
pub(crate) fn operating_system() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let name = name.map_or(std::env::consts::OS, |name| name.trim_matches('"'));
    match fs::read_to_string("/proc/sys/kernel/osrelease") {
        Ok(kernel) => format!("{name}, kernel {}", kernel.trim()),
        Err(_) => name.to_owned(),
    }
}

/// The largest memory that this process has had resident so far, file mappings included, in bytes. Linux alone tells.
pub(crate) fn peak_memory() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM")
}

/// The memory of the machine in bytes. Linux alone tells.
pub(crate) fn total_memory() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal")
}

/// The memory that programs could have without any being pushed out, in bytes. Linux alone tells.
pub(crate) fn available_memory() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable")
}

/// Whether the system backs memory with large pages of its own accord: `always`, `madvise` or `never`. Linux alone tells.
pub(crate) fn huge_pages() -> Option<String> {
    chosen(&fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?)
}

/// The word in brackets of those that a file of the kernel offers: `always [madvise] never`.
fn chosen(text: &str) -> Option<String> {
    let word = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))?;
    Some(word.to_owned())
}

/// The value of the first `NAME : VALUE` line.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let value = field(text, name)?;
    value.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_kernels_tables_are_found() {
        let status = "Name:\tdocent\nVmPeak:\t  300 kB\nVmHWM:\t   12345 kB\n";
        assert_eq!(kibibytes(status, "VmHWM"), Some(12345 * 1024));
        assert_eq!(kibibytes(status, "Name"), None);
        let cpu = "processor\t: 0\nmodel name\t: Some CPU: 2 GHz\nmodel name\t: Other\n";
        assert_eq!(field(cpu, "model name").as_deref(), Some("Some CPU: 2 GHz"));
        assert_eq!(chosen("always [madvise] never\n").as_deref(), Some("madvise"));
        assert_eq!(["", "always", "[", "[x", "a] [b"].map(chosen), [const { None }; 5]);
        assert!(!processor().is_empty() && !operating_system().is_empty());
    }
}
