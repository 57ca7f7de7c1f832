//! File systems whose changes by others nobody here is told of.

use std::path::Path;

/// What the network file system is that a path is on; `None` if it is on none, or the system does not say.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn kind(path: &Path) -> Option<&'static str> {
    // The numbers of statfs(2).
    match rustix::fs::statfs(path).ok()?.f_type as u32 {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x0102_1997 => Some("9P"),
        0x5346_414f | 0x6b41_4653 => Some("AFS"),
        0x00c3_6400 => Some("Ceph"),
        0x6573_5546 => Some("a FUSE file system"),
        _ => None,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn kind(_path: &Path) -> Option<&'static str> {
    None
}
