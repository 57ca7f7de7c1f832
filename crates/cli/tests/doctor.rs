//! `docent doctor`: facts, advice, and the self-test of every instruction set.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use common::{docent, show};
use serde_json::Value;

#[test]
fn help() {
    insta::assert_snapshot!(show(docent().args(["doctor", "--help"])));
}

#[test]
fn the_table_is_for_people() {
    let cache = tempfile::tempdir().unwrap();
    let output = docent()
        .arg("doctor")
        .env("DOCENT_CACHE", cache.path())
        .env("HF_HUB_CACHE", cache.path().join("none yet"))
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap().replace(&cache.path().display().to_string(), "[cache]");
    assert!(!shown.contains('\u{1b}'));
    // What differs between machines, builds and versions; and every instruction set but the one that is everywhere.
    let filters = [
        (
            "(?m)^(docent|system|processor|extensions|caches|instruction set|processors|threads|memory|huge pages|catalogue)( {2,})[^ ].*$",
            "$1$2[facts]",
        ),
        (r"(?m)^[a-z0-9-]+ +ok +[0-9]+ operations.*\n", ""),
    ];
    let portable = shown.lines().find(|line| line.starts_with("portable")).unwrap();
    let words: Vec<&str> = portable.split_whitespace().collect();
    assert_eq!([words[1], words[3]], ["ok", "operations,"], "{portable}");
    insta::with_settings!({filters => filters}, { insta::assert_snapshot!(shown) });
}

fn report(variables: &[(&str, &str)]) -> Value {
    let output = docent().args(["doctor", "--json"]).envs(variables.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn json_has_every_fact() {
    let report = report(&[]);
    assert_eq!((&report["version"], &report["ok"]), (&env!("CARGO_PKG_VERSION").into(), &true.into()));
    assert!(!report["os"].as_str().unwrap().is_empty());
    assert_eq!(report["cpu"]["architecture"], std::env::consts::ARCH);
    #[cfg(target_arch = "x86_64")]
    assert_eq!(report["cpu"]["features"]["avx2"], is_x86_feature_detected!("avx2"));
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value} in {report}"));
    let threads = &report["threads"];
    assert!(number(&threads["default"]) >= 1 && number(&threads["default"]) <= number(&threads["allowed"]));
    assert!(number(&threads["allowed"]) <= number(&threads["logical"]));
    #[cfg(target_os = "linux")]
    assert!(number(&report["memory"]["available_bytes"]) <= number(&report["memory"]["total_bytes"]));
    for key in ["quota", "cores"] {
        assert!(threads.get(key).is_some(), "{threads}");
    }
    for key in ["limit_bytes", "transparent_huge_pages"] {
        assert!(report["memory"].get(key).is_some(), "{report}");
    }
    assert_eq!(report["caches"]["offline"], false);
    assert!(report["caches"]["docent"]["path"].as_str().unwrap().ends_with(".cache/docent"), "{report}");
    assert_eq!(report["caches"]["hub"]["writable"], true);
    assert!(number(&report["catalogue"]["supported"]) <= number(&report["catalogue"]["models"]));

    let tested: Vec<&str> =
        report["self_test"].as_array().unwrap().iter().map(|test| test["isa"].as_str().unwrap()).collect();
    let available: Vec<&str> = docent::Isa::available().map(docent::Isa::name).collect();
    assert_eq!(tested, available);
    assert_eq!(report["instruction_set"]["available"], Value::from(available));
    assert_eq!(report["instruction_set"]["variable"], Value::Null);
    for test in report["self_test"].as_array().unwrap() {
        assert_eq!((&test["ok"], &test["wrong"]), (&true.into(), &Value::Array(vec![])), "{test}");
        assert!(number(&test["operations"]) > 20 && test["largest_error"].as_f64().unwrap() <= 1.0, "{test}");
        assert!(test["ms"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn a_capped_or_mistyped_instruction_set_is_pointed_out() {
    let best = docent::Isa::available().last().unwrap();
    let capped = report(&[("DOCENT_ISA", "portable")]);
    let isa = &capped["instruction_set"];
    assert_eq!((&isa["chosen"], &isa["variable"]), (&"portable".into(), &"portable".into()));
    assert_eq!(isa["capped"], best != docent::Isa::Portable);
    let about = |report: &Value, text: &str| {
        report["warnings"].as_array().unwrap().iter().filter(|warning| warning.as_str().unwrap().contains(text)).count()
    };
    assert_eq!(about(&capped, "keeps Docent from using"), usize::from(best != docent::Isa::Portable), "{capped}");

    let output = docent().arg("doctor").env("DOCENT_ISA", "avx9").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let (shown, warnings) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(shown.contains(", DOCENT_ISA=avx9 is unknown and ignored"), "{shown}");
    assert!(warnings.lines().all(|line| line.starts_with("warning: ")), "{warnings}");
    assert_eq!(warnings.matches("avx9").count(), 1, "{warnings}");
    assert_eq!(report(&[("DOCENT_ISA", "avx9")])["instruction_set"]["variable_is_known"], false);
}

#[test]
fn a_cache_that_cannot_be_written_is_pointed_out() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().join("cache");
    let report = report(&[("DOCENT_CACHE", path.to_str().unwrap()), ("HF_HUB_OFFLINE", "yes")]);
    assert_eq!((&report["caches"]["docent"]["writable"], &report["caches"]["offline"]), (&false.into(), &true.into()));
    let warnings = report["warnings"].as_array().unwrap();
    assert!(
        warnings.iter().any(|warning| warning.as_str().unwrap().ends_with("name another folder in DOCENT_CACHE")),
        "{report}"
    );
}

#[test]
fn marks_have_colours_where_they_are_wanted() {
    let stdout = |variables: &[(&str, &str)]| {
        let output = docent().arg("doctor").envs(variables.iter().copied()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(stdout(&[("CLICOLOR_FORCE", "1")]).contains("\u{1b}["));
    assert!(!stdout(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).contains('\u{1b}'));
}
