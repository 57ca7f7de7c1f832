//! What costs speed, or stands in the way, and what to do about it.

use docent::{ISA_VARIABLE, Isa};

use super::report::{Folder, Report};

/// One line for each thing that is not as it should be, with advice. That `DOCENT_ISA` is mistyped the library itself says.
pub(super) fn warnings(report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    if !report.release {
        warnings.push("this is a debug build, several times slower than a release build".to_owned());
    }
    let isa = &report.instruction_set;
    if let Some(best) = isa.available.last().filter(|_| isa.capped) {
        warnings.push(format!(
            "{ISA_VARIABLE} keeps Docent from using {best}, which is faster than {}; unset it",
            isa.chosen
        ));
    }
    if isa.available == [Isa::Portable.name()] {
        warnings.push(
            "there are no kernels for this processor's extensions, and the portable ones are several times slower; on x86-64 \
             they need AVX2, FMA and F16C, which a virtual machine can be configured to pass on"
                .to_owned(),
        );
    }
    if let Some(quota) = report.threads.quota.filter(|quota| *quota < 1.0) {
        warnings.push(format!(
            "the control group may use {quota:.2} of a processor: every computation stands still for {:.0} % of the time; raise \
             the CPU limit to 1 or more",
            100.0 * (1.0 - quota)
        ));
    }
    if report.memory.transparent_huge_pages.as_deref() == Some("never") {
        warnings.push(
            "transparent huge pages are off, so that models take longer to load; write `madvise` to \
             /sys/kernel/mm/transparent_hugepage/enabled, which gives them to programs that ask, as Docent does"
                .to_owned(),
        );
    }
    for (name, variable, folder) in
        [("Docent's", "DOCENT_CACHE", &report.caches.docent), ("the hub's", "HF_HUB_CACHE", &report.caches.hub)]
    {
        warnings.extend(unwritable(name, variable, folder));
    }
    warnings
}

fn unwritable(name: &str, variable: &str, folder: &Folder) -> Option<String> {
    let reason = folder.reason.as_deref().filter(|_| !folder.writable)?;
    let path = folder.path.as_deref().map_or(String::new(), |path| format!(" {path}"));
    Some(format!("{name} cache{path} cannot be written: {reason}; name another folder in {variable}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only warning that this change to the report of a sound machine brings about.
    fn warning(change: impl FnOnce(&mut Report)) -> String {
        let mut report = Report::of_this_machine();
        report.release = true;
        let isa = &mut report.instruction_set;
        (isa.available, isa.chosen, isa.variable, isa.variable_is_known, isa.capped) =
            (vec!["portable", "avx2"], "avx2", None, true, false);
        report.threads.quota = None;
        report.memory.transparent_huge_pages = Some("madvise".to_owned());
        for folder in [&mut report.caches.docent, &mut report.caches.hub] {
            *folder = Folder { path: Some("/cache".to_owned()), exists: true, writable: true, reason: None };
        }
        assert!(warnings(&report).is_empty(), "{:?}", warnings(&report));
        change(&mut report);
        let mut found = warnings(&report);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn each_has_a_cause_and_advice() {
        assert!(warning(|report| report.release = false).contains("debug build"));
        let capped =
            warning(|report| (report.instruction_set.capped, report.instruction_set.chosen) = (true, "portable"));
        assert!(capped.contains("keeps Docent from using avx2") && capped.ends_with("unset it"), "{capped}");
        let bare = warning(|report| report.instruction_set.available = vec!["portable"]);
        assert!(bare.contains("AVX2, FMA and F16C"), "{bare}");
        let quota = warning(|report| report.threads.quota = Some(0.3));
        assert!(quota.contains("0.30 of a processor") && quota.contains("70 %"), "{quota}");
        assert!(warning(|report| report.memory.transparent_huge_pages = Some("never".into())).contains("`madvise`"));
        let refused = warning(|report| {
            report.caches.hub.writable = false;
            report.caches.hub.reason = Some("read-only file system".into());
        });
        assert_eq!(
            refused,
            "the hub's cache /cache cannot be written: read-only file system; name another folder in HF_HUB_CACHE"
        );
    }

    #[test]
    fn a_whole_processor_is_enough() {
        let report = |quota| {
            let mut report = Report::of_this_machine();
            report.threads.quota = Some(quota);
            warnings(&report).iter().filter(|warning| warning.contains("of a processor")).count()
        };
        assert_eq!((report(1.0), report(0.99)), (0, 1));
    }
}
