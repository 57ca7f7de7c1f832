//! The facts.

use std::path::Path;
use std::time::Instant;

use docent::hub::Hub;
use docent::{ISA_VARIABLE, Isa, SelfTest, catalog, default_threads, host, self_test};
use serde::Serialize;

use super::warnings::warnings;
use crate::system;
use crate::table::{Table, binary_bytes, bytes, count, milliseconds, three_digits};

/// All that is known about the machine, and what of it Docent uses.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    /// Whether this is an optimised build.
    pub(super) release: bool,
    pub(super) os: String,
    pub(super) cpu: Cpu,
    pub(super) instruction_set: InstructionSet,
    pub(super) threads: Threads,
    pub(super) memory: Memory,
    pub(super) caches: Caches,
    pub(super) catalogue: Catalogue,
    pub(super) self_test: Vec<SelfTestReport>,
    pub(super) warnings: Vec<String>,
    /// Whether every self-test passed.
    pub(super) ok: bool,
}

#[derive(Serialize)]
pub(super) struct Cpu {
    pub(super) name: String,
    pub(super) architecture: &'static str,
    /// Extensions that matter, and whether it has them.
    #[serde(serialize_with = "as_map")]
    pub(super) features: Vec<(&'static str, bool)>,
    pub(super) caches: Vec<Cache>,
}

#[derive(Serialize)]
pub(super) struct Cache {
    name: String,
    bytes: u64,
    /// Logical processors.
    shared_by: usize,
}

#[derive(Serialize)]
pub(super) struct InstructionSet {
    /// Slowest first.
    pub(super) available: Vec<&'static str>,
    pub(super) chosen: &'static str,
    /// What `DOCENT_ISA` says.
    pub(super) variable: Option<String>,
    /// Whether it names an instruction set at all.
    pub(super) variable_is_known: bool,
    /// Whether a better one would be used without it.
    pub(super) capped: bool,
}

#[derive(Serialize)]
pub(super) struct Threads {
    /// Logical processors of the machine.
    pub(super) logical: usize,
    /// Those that the process may run on.
    pub(super) allowed: usize,
    /// Processors' worth of time that the control group may use.
    pub(super) quota: Option<f64>,
    /// Physical cores behind the allowed processors.
    pub(super) cores: Option<usize>,
    /// What Docent uses unless it is told.
    pub(super) default: usize,
}

#[derive(Serialize)]
pub(super) struct Memory {
    pub(super) total_bytes: Option<u64>,
    pub(super) available_bytes: Option<u64>,
    /// What the control group may use.
    pub(super) limit_bytes: Option<u64>,
    pub(super) transparent_huge_pages: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Caches {
    /// Docent's own, for converted models and files by address.
    pub(super) docent: Folder,
    /// The one shared with other tools.
    pub(super) hub: Folder,
    /// Whether the network is forbidden.
    pub(super) offline: bool,
}

#[derive(Serialize)]
pub(super) struct Folder {
    pub(super) path: Option<String>,
    /// Whether it is there already.
    pub(super) exists: bool,
    pub(super) writable: bool,
    /// Why not.
    pub(super) reason: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Catalogue {
    models: usize,
    supported: usize,
}

#[derive(Serialize)]
pub(super) struct SelfTestReport {
    pub(super) isa: &'static str,
    pub(super) ok: bool,
    /// Operations that were compared.
    pub(super) operations: usize,
    /// Of all operations, in units of what rounding explains; `null` if it is not finite.
    pub(super) largest_error: Option<f64>,
    pub(super) wrong: Vec<Wrong>,
    pub(super) ms: f64,
}

/// An operation with wrong results.
#[derive(Serialize)]
pub(super) struct Wrong {
    pub(super) operation: String,
    /// In units of what rounding explains; `null` if it is not finite.
    pub(super) error: Option<f64>,
}

impl Report {
    pub(super) fn of_this_machine() -> Self {
        let self_test: Vec<SelfTestReport> = Isa::available().map(SelfTestReport::run).collect();
        let mut report = Report {
            version: env!("CARGO_PKG_VERSION"),
            release: !cfg!(debug_assertions),
            os: system::operating_system(),
            cpu: Cpu::read(),
            instruction_set: InstructionSet::read(),
            threads: Threads::read(),
            memory: Memory::read(),
            caches: Caches::read(),
            catalogue: Catalogue {
                models: catalog::entries().len(),
                supported: catalog::entries().iter().filter(|entry| entry.runs_here()).count(),
            },
            ok: self_test.iter().all(|test| test.ok),
            self_test,
            warnings: Vec::new(),
        };
        report.warnings = warnings(&report);
        report
    }

    pub(super) fn table(&self) -> Table {
        let mut table = Table::facts();
        table.fact("docent", self.version.to_owned() + if self.release { "" } else { ", debug build" });
        table.fact("system", &self.os);
        table.fact("processor", format!("{} ({})", self.cpu.name, self.cpu.architecture));
        table.fact("extensions", self.cpu.extensions());
        table.fact("caches", or_unknown(self.cpu.caches.iter().map(Cache::line).collect()));
        table.fact("instruction set", self.instruction_set.line());
        table.fact("processors", self.threads.line());
        table.fact("threads", format!("{} unless told otherwise", self.threads.default));
        table.fact("memory", self.memory.line());
        table.fact("huge pages", self.memory.transparent_huge_pages.as_deref().unwrap_or("unknown"));
        table.fact("docent cache", self.caches.docent.line());
        table.fact("hub cache", self.caches.hub.line());
        table.fact(
            "network",
            if self.caches.offline { "forbidden by HF_HUB_OFFLINE" } else { "for models that are in no cache" },
        );
        let Catalogue { models, supported } = self.catalogue;
        table.fact("catalogue", format!("{}, {supported} of them run here", count(models, "model")));
        table
    }
}

impl Cpu {
    fn read() -> Self {
        Cpu {
            name: system::processor(),
            architecture: std::env::consts::ARCH,
            features: host::features().into_iter().map(|feature| (feature.name, feature.present)).collect(),
            caches: host::caches()
                .into_iter()
                .map(|cache| Cache { name: cache.name, bytes: cache.bytes, shared_by: cache.shared_by })
                .collect(),
        }
    }

    fn extensions(&self) -> String {
        let names = |present: bool| {
            let names = self.features.iter().filter(move |(_, has)| *has == present).map(|(name, _)| *name);
            names.collect::<Vec<_>>().join(" ")
        };
        match (names(true), names(false)) {
            (has, lacks) if has.is_empty() && lacks.is_empty() => "none known".to_owned(),
            (has, lacks) if lacks.is_empty() => has,
            (has, lacks) if has.is_empty() => format!("none of {lacks}"),
            (has, lacks) => format!("{has} (not {lacks})"),
        }
    }
}

impl Cache {
    fn line(&self) -> String {
        let size = format!("{} {}", self.name, binary_bytes(self.bytes));
        if self.shared_by > 1 { format!("{size} (for {} processors)", self.shared_by) } else { size }
    }
}

impl InstructionSet {
    fn read() -> Self {
        let variable = std::env::var_os(ISA_VARIABLE).map(|value| value.to_string_lossy().into_owned());
        let (chosen, best) = (Isa::best(), Isa::available().last());
        InstructionSet {
            available: Isa::available().map(Isa::name).collect(),
            chosen: chosen.name(),
            variable_is_known: variable.as_ref().is_none_or(|name| name.parse::<Isa>().is_ok()),
            variable,
            capped: best.is_some_and(|best| best > chosen),
        }
    }

    fn line(&self) -> String {
        let mut line = self.chosen.to_owned();
        match &self.variable {
            Some(_) if self.capped => line += &format!(", capped by {ISA_VARIABLE}"),
            Some(name) if !self.variable_is_known => line += &format!(", {ISA_VARIABLE}={name} is unknown and ignored"),
            _ => {}
        }
        let others = self.available.iter().filter(|name| **name != self.chosen).copied().collect::<Vec<_>>().join(", ");
        if others.is_empty() { line } else { format!("{line} (also available: {others})") }
    }
}

impl Threads {
    fn read() -> Self {
        let host::Cpus { logical, allowed, quota, cores, .. } = host::Cpus::of_this_process();
        Threads { logical, allowed, quota, cores, default: default_threads() }
    }

    fn line(&self) -> String {
        let cores = self.cores.map_or("unknown cores".to_owned(), |cores| count(cores, "core"));
        let quota = self.quota.map_or("no quota".to_owned(), |quota| format!("quota {}", three_digits(quota)));
        format!("{} logical, {} allowed on {cores}, {quota}", self.logical, self.allowed)
    }
}

impl Memory {
    fn read() -> Self {
        let total_bytes = system::total_memory();
        Memory {
            total_bytes,
            available_bytes: system::available_memory(),
            // More than there is is no limit.
            limit_bytes: host::memory_limit().filter(|&limit| total_bytes.is_none_or(|total| limit < total)),
            transparent_huge_pages: system::huge_pages(),
        }
    }

    fn line(&self) -> String {
        let Some(total) = self.total_bytes else { return "unknown".to_owned() };
        let mut line = bytes(total);
        if let Some(available) = self.available_bytes {
            line += &format!(", {} available", bytes(available));
        }
        match self.limit_bytes {
            Some(limit) => line + &format!(", limited to {}", bytes(limit)),
            None => line + ", no limit",
        }
    }
}

impl Caches {
    fn read() -> Self {
        let hub = Hub::from_env();
        Caches {
            docent: Folder::look(hub.docent_cache_folder()),
            hub: Folder::look(hub.hub_cache_folder()),
            offline: hub.is_offline(),
        }
    }
}

impl Folder {
    /// Tries with a file without a name; a folder that is not there yet is not made, its nearest parent is tried instead.
    fn look(path: Option<&Path>) -> Self {
        let Some(path) = path else {
            let reason = Some("there is no home directory and no variable names a folder".to_owned());
            return Folder { path: None, exists: false, writable: false, reason };
        };
        let nearest = path.ancestors().find(|folder| folder.exists()).unwrap_or(path);
        let tried = tempfile::tempfile_in(nearest);
        Folder {
            path: Some(path.display().to_string()),
            exists: path.is_dir(),
            writable: tried.is_ok(),
            // The message of the crate ends with a path of no interest.
            reason: tried.err().map(|error| match error.raw_os_error() {
                Some(code) => std::io::Error::from_raw_os_error(code).to_string(),
                None => error.kind().to_string(),
            }),
        }
    }

    fn line(&self) -> String {
        let Some(path) = &self.path else { return "none".to_owned() };
        match (self.exists, self.writable) {
            (true, true) => format!("{path}, writable"),
            (false, true) => format!("{path}, will be made"),
            (_, false) => format!("{path}, cannot be written"),
        }
    }
}

impl SelfTestReport {
    fn run(isa: Isa) -> Self {
        let begin = Instant::now();
        let test = self_test(isa);
        Self::new(&test, begin.elapsed().as_secs_f64() * 1e3)
    }

    fn new(test: &SelfTest, ms: f64) -> Self {
        let finite = |error: f64| Some(error).filter(|error| error.is_finite());
        let wrong = test.operations.iter().filter(|operation| !operation.passed());
        SelfTestReport {
            isa: test.isa.name(),
            ok: test.passed(),
            operations: test.operations.len(),
            largest_error: test.worst().and_then(|worst| finite(worst.error)),
            wrong: wrong
                .map(|operation| Wrong { operation: operation.operation.clone(), error: finite(operation.error) })
                .collect(),
            ms,
        }
    }

    pub(super) fn detail(&self) -> String {
        if self.ok {
            let error = three_digits(self.largest_error.unwrap_or(0.0));
            let (operations, time) = (count(self.operations, "operation"), milliseconds(self.ms));
            return format!("{operations}, at most {error} of the error that rounding explains, {time}");
        }
        let wrong = self.wrong.iter().map(|wrong| match wrong.error {
            Some(error) => {
                format!("{}: {} times the error that rounding explains", wrong.operation, three_digits(error))
            }
            None => format!("{}: not a number, or not exact where it must be", wrong.operation),
        });
        wrong.collect::<Vec<_>>().join("; ")
    }
}

fn or_unknown(parts: Vec<String>) -> String {
    if parts.is_empty() { "unknown".to_owned() } else { parts.join(", ") }
}

fn as_map<S: serde::Serializer>(pairs: &[(&'static str, bool)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}

#[cfg(test)]
mod tests {
    use docent::OperationTest;

    use super::*;

    #[test]
    fn what_is_wrong_is_in_the_report() {
        let operation = |name: &str, error| OperationTest { operation: name.to_owned(), error };
        let mut test = SelfTest { isa: Isa::Portable, operations: vec![operation("a", 0.5), operation("b", 0.25)] };
        let report = SelfTestReport::new(&test, 1.0);
        assert!(report.ok && report.wrong.is_empty() && report.largest_error == Some(0.5));
        test.operations.extend([operation("c", 2.0), operation("d", f64::INFINITY)]);
        let report = SelfTestReport::new(&test, 1.0);
        assert!(!report.ok && report.largest_error.is_none());
        let detail = report.detail();
        assert!(detail.starts_with("c: 2.00 times") && detail.contains("; d: not a number"), "{detail}");
    }

    #[test]
    fn folders_are_looked_at_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let (here, missing) = (Folder::look(Some(folder.path())), Folder::look(Some(&folder.path().join("a/b"))));
        assert!(here.exists && here.writable && here.line().ends_with(", writable"));
        assert!(!missing.exists && missing.writable && missing.line().ends_with(", will be made"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let below = Folder::look(Some(&file.join("cache")));
        assert!(!below.writable && below.reason.is_some() && below.line().ends_with("cannot be written"));
        assert_eq!(Folder::look(None).line(), "none");
    }
}
