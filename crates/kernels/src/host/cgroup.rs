//! Limits that a control group sets, as containers and service managers use them.
//!
//! `/proc/self/cgroup` names the group of the process in each hierarchy, `/proc/self/mountinfo` where the hierarchies are
//! mounted. Version 2 has one for all controllers, version 1 one or more of each its own; both may be there at once. A limit
//! holds for a group and all groups below it, so the tightest on the way up counts.

use super::Read;

/// Where the control groups of the process are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cgroups {
    unified: Option<Group>,
    cpu: Option<Group>,
    memory: Option<Group>,
}

/// A group in a hierarchy that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    /// Where the hierarchy is mounted, without a slash at the end.
    mount: String,
    /// The group below it, empty or beginning with a slash.
    path: String,
}

/// A limit of version 1 from which on it is none: what the kernel writes is the largest multiple of a page.
const UNLIMITED: u64 = 1 << 62;

impl Cgroups {
    pub(super) fn of_this_process(read: &Read<'_>) -> Self {
        match (read("/proc/self/cgroup"), read("/proc/self/mountinfo")) {
            (Some(groups), Some(mounts)) => Self::parse(&groups, &mounts),
            _ => Self::default(),
        }
    }

    fn parse(groups: &str, mounts: &str) -> Self {
        let mut found = Self::default();
        for line in groups.lines() {
            // ID:CONTROLLER,...:PATH
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
            if controllers.is_empty() {
                found.unified = mounted(mounts, None, path);
            }
            for controller in controllers.split(',') {
                match controller {
                    "cpu" => found.cpu = mounted(mounts, Some(controller), path),
                    "memory" => found.memory = mounted(mounts, Some(controller), path),
                    _ => {}
                }
            }
        }
        found
    }

    /// Processors' worth of time that the process may use.
    pub(super) fn cpu_quota(&self, read: &Read<'_>) -> Option<f64> {
        let unified = tightest(self.unified.as_ref(), |group| {
            let text = read(&format!("{group}/cpu.max"))?;
            let (quota, period) = text.trim().split_once(' ')?;
            processors(quota, period)
        });
        let own = tightest(self.cpu.as_ref(), |group| {
            let part = |name: &str| read(&format!("{group}/cpu.cfs_{name}_us"));
            processors(part("quota")?.trim(), part("period")?.trim())
        });
        [unified, own].into_iter().flatten().min_by(f64::total_cmp)
    }

    /// Bytes of memory that the process may use.
    pub(super) fn memory_limit(&self, read: &Read<'_>) -> Option<u64> {
        let limit = |group: &str, file: &str| read(&format!("{group}/{file}"))?.trim().parse::<u64>().ok();
        let unified = tightest(self.unified.as_ref(), |group| limit(group, "memory.max").map(|bytes| bytes as f64));
        let own = tightest(self.memory.as_ref(), |group| {
            limit(group, "memory.limit_in_bytes").filter(|&bytes| bytes < UNLIMITED).map(|bytes| bytes as f64)
        });
        [unified, own].into_iter().flatten().min_by(f64::total_cmp).map(|bytes| bytes as u64)
    }
}

/// The time of a period that may be used, in microseconds both; `max` and -1 are no limit.
fn processors(quota: &str, period: &str) -> Option<f64> {
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// The least that `limit` finds in the group and those above it.
fn tightest(group: Option<&Group>, limit: impl Fn(&str) -> Option<f64>) -> Option<f64> {
    let Group { mount, path } = group?;
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    ends.filter_map(|end| limit(&format!("{mount}{}", &path[..end]))).min_by(f64::total_cmp)
}

/// Where the group `path` of a controller of version 1, or of version 2 (`None`), is to be found.
fn mounted(mounts: &str, controller: Option<&str>, path: &str) -> Option<Group> {
    mounts.lines().find_map(|line| {
        // ID PARENT DEVICE ROOT MOUNT OPTIONS ... - TYPE SOURCE OPTIONS
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, mount) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let is_it = match controller {
            None => kind.next()? == "cgroup2",
            Some(controller) => kind.next()? == "cgroup" && kind.nth(1)?.split(',').any(|option| option == controller),
        };
        // A container may see no more of the hierarchy than its own group, which is then the root of the mount.
        let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or("");
        let path = if below.starts_with('/') { below.trim_end_matches('/') } else { "" };
        is_it.then(|| Group { mount: mount.trim_end_matches('/').to_owned(), path: path.to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "23 30 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:7 - cgroup cgroup rw,cpu,cpuacct
33 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
";

    fn machine<'a>(files: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |path| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
    }

    #[test]
    fn the_tightest_limit_of_version_2_counts() {
        let groups = Cgroups::parse("0::/a.slice/b.service\n", V2);
        let files = [
            ("/sys/fs/cgroup/a.slice/cpu.max", "150000 100000\n"),
            ("/sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n"),
            ("/sys/fs/cgroup/a.slice/memory.max", "max\n"),
            ("/sys/fs/cgroup/a.slice/b.service/memory.max", "1073741824\n"),
        ];
        let read = machine(&files);
        assert_eq!((groups.cpu_quota(&read), groups.memory_limit(&read)), (Some(1.5), Some(1 << 30)));
    }

    #[test]
    fn version_1_has_a_hierarchy_for_each_controller() {
        let groups = Cgroups::parse("9:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n3:cpuset:/\n0::/\n", V1);
        assert_eq!(groups.unified, None, "it is not mounted");
        let files = [
            ("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "50000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            // The container's own group is the root of what it sees.
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
        ];
        let read = machine(&files);
        assert_eq!((groups.cpu_quota(&read), groups.memory_limit(&read)), (Some(0.5), Some(512 << 20)));
    }

    #[test]
    fn no_limit_is_none() {
        let groups = Cgroups::parse("9:cpu,cpuacct:/\n4:memory:/docker/abc\n", V1);
        let files = [
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        let read = machine(&files);
        assert_eq!((groups.cpu_quota(&read), groups.memory_limit(&read)), (None, None));
        // Without a control group at all.
        assert_eq!(Cgroups::parse("0::/\n", "").cpu_quota(&read), None);
    }

    #[test]
    fn nonsense_is_no_limit() {
        for (groups, mounts) in
            [("", ""), ("::", " - "), ("0", V2), ("0::relative", V2), ("a:cpu:/x", "1 2 3 - cgroup")]
        {
            let groups = Cgroups::parse(groups, mounts);
            for text in ["", "max", "0 0", "5 0", "-1 -1", "x y", "1e3 1e3", "99999999999999999999999 1"] {
                let read = |_: &str| Some(text.to_owned());
                assert_eq!(groups.cpu_quota(&read), None, "{groups:?} {text:?}");
            }
            assert_eq!(groups.memory_limit(&|_| Some("-3".to_owned())), None);
        }
    }
}
