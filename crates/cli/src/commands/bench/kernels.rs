//! `docent bench --kernels`: how fast the arithmetic is, beside what the processor can do at most.

use std::io::Write;
use std::time::Duration;

use docent::{Isa, KernelRate, Rates, measure_rates};
use serde_json::{Value, json};

use crate::console::{Console, Unit};
use crate::destination::Destination;
use crate::system;
use crate::table::{Column, Table, milliseconds, three_digits};

/// Measures the kernels of the instruction set in use and prints a table, then one line of JSON.
pub(super) fn run(quick: bool, json: Option<Destination<'_>>, console: &Console) -> anyhow::Result<()> {
    let bar = console.progress(None, Unit::Items("kernels"));
    let rates = measure_rates(Isa::best(), Duration::from_millis(if quick { 5 } else { 200 }));
    drop(bar);
    let report = report(&rates);
    let mut out = console.out();
    write!(out, "{}\n{}", facts(&rates), table(&rates.kernels))?;
    writeln!(out, "\n{report}")?;
    drop(out);
    if let Some(file) = json {
        super::write_whole(file, &format!("{report:#}\n"))?;
    }
    Ok(())
}

fn facts(rates: &Rates) -> Table {
    let mut facts = Table::facts();
    facts.fact("processor", system::processor());
    facts.fact("instruction set", format!("{}, on one thread", rates.isa));
    facts.fact("peak, int8", format!("{} GMAC/s", three_digits(rates.peak_int8 / 1e9)));
    facts.fact("peak, f32", format!("{} GMAC/s", three_digits(rates.peak_f32 / 1e9)));
    facts
}

fn table(kernels: &[KernelRate]) -> Table {
    let mut table = Table::new(&[
        Column::Left("kernel"),
        Column::Left("shape"),
        Column::Right("time"),
        Column::Right("gmac/s"),
        Column::Right("of peak"),
    ]);
    for kernel in kernels {
        let rate = kernel.share_of_peak.map_or_else(String::new, |_| three_digits(kernel.rate() / 1e9));
        let share = kernel.share_of_peak.map_or_else(String::new, |share| format!("{:.0} %", 100.0 * share));
        table.row([kernel.kernel.clone(), kernel.shape.clone(), milliseconds(1e3 * kernel.seconds), rate, share]);
    }
    table
}

fn report(rates: &Rates) -> Value {
    let kernel = |kernel: &KernelRate| {
        json!({
            "kernel": kernel.kernel,
            "shape": kernel.shape,
            "ms": 1e3 * kernel.seconds,
            "gmac_s": kernel.share_of_peak.map(|_| kernel.rate() / 1e9),
            "share_of_peak": kernel.share_of_peak,
        })
    };
    json!({
        "cpu": system::processor(),
        "isa": rates.isa.name(),
        "threads": 1,
        "peak_int8_gmac_s": rates.peak_int8 / 1e9,
        "peak_f32_gmac_s": rates.peak_f32 / 1e9,
        "kernels": rates.kernels.iter().map(kernel).collect::<Vec<_>>(),
    })
}
