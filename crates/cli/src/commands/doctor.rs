//! `docent doctor`: what this machine offers, what costs speed on it, and whether it computes correctly.

mod report;
mod warnings;

use std::io::Write;

use anyhow::bail;
use docent::ISA_VARIABLE;

use crate::console::Console;
use crate::json;
use crate::table::{Column, Table, coloured};
use report::{Report, SelfTestReport};

/// Tell what Docent uses of this machine, and whether it computes correctly.
///
/// Also what costs speed, and what to do about it. Runs every operation on every instruction set that the processor has and compares with plain arithmetic. The exit status is 1 if
/// one computes wrong results.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let report = Report::of_this_machine();
    let mut out = console.out();
    if args.json {
        json::write_pretty(&mut out, &report)?;
    } else {
        let tests = self_tests(&report.self_test).to_string();
        write!(out, "{}\n{}", report.table(), if console.out_has_colours() { coloured(&tests) } else { tests })?;
    }
    drop(out);
    if !args.json {
        report.warnings.iter().for_each(|warning| console.warn(warning));
    }
    let failed: Vec<&str> = report.self_test.iter().filter(|test| !test.ok).map(|test| test.isa).collect();
    if !failed.is_empty() {
        bail!(
            "{} computes wrong results on this machine; {ISA_VARIABLE} caps the instruction set, and the developers \
             would like to see the output of `docent doctor --json`",
            failed.join(", ")
        );
    }
    Ok(())
}

fn self_tests(tests: &[SelfTestReport]) -> Table {
    let mut table = Table::new(&[Column::Left("instruction set"), Column::Left("self-test"), Column::Left("detail")]);
    for test in tests {
        table.row([test.isa, if test.ok { "ok" } else { "FAILED" }, &test.detail()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_plain_to_see() {
        let wrong = report::Wrong { operation: "linear Q8_0 add".to_owned(), error: Some(3.0) };
        let test = |isa, wrong: Vec<report::Wrong>| SelfTestReport {
            isa,
            ok: wrong.is_empty(),
            operations: 31,
            largest_error: Some(0.25),
            wrong,
            ms: 12.3,
        };
        let shown = self_tests(&[test("portable", vec![]), test("avx2", vec![wrong])]).to_string();
        let words =
            |line: usize| shown.lines().nth(line).unwrap_or("").split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(0), "INSTRUCTION SET SELF-TEST DETAIL");
        assert_eq!(words(1), "portable ok 31 operations, at most 0.250 of the error that rounding explains, 12.3 ms");
        assert_eq!(words(2), "avx2 FAILED linear Q8_0 add: 3.00 times the error that rounding explains");
        assert!(coloured(&shown).contains("\u{1b}["));
    }
}
