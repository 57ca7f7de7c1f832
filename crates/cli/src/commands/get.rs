//! `docent get`, `docent multi-get`, `docent ls`: documents by their names.

use std::io::Write;

use anyhow::bail;
use docent_search::{Address, MAX_BYTES, number_lines};

use super::search::ShowArgs;
use crate::console::Console;
use crate::index::IndexArgs;
use crate::results::{Show, harmless, write_several};

/// Print a document, or some lines of it.
///
/// A document is named by its docid (#762e73), the address that searches write, the end of it, or the path of its file. NAME:10 begins at
/// line 10, NAME:10:20 prints 20 lines from there.
#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// The document
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    index: IndexArgs,
    /// First line
    #[arg(long, value_name = "N")]
    from: Option<usize>,
    /// Lines at most
    #[arg(short = 'l', long = "lines", value_name = "N")]
    lines: Option<usize>,
    /// Leave out the number of each line
    #[arg(long)]
    no_line_numbers: bool,
    /// Write the path of the file system instead of the address
    #[arg(long)]
    full_path: bool,
}

pub(crate) fn get(args: GetArgs, console: &Console) -> anyhow::Result<()> {
    let part = args.index.open()?.get(&args.name, args.from, args.lines)?;
    let document = &part.document;
    let text = if args.no_line_numbers { part.text } else { number_lines(&part.text, part.first_line) };
    let mut out = console.out();
    let real = if args.full_path { std::fs::canonicalize(&document.path).ok() } else { None };
    let name = match real {
        Some(path) => path.display().to_string(),
        None => format!("{}{}  {}", document.address, args.index.suffix(), document.docid),
    };
    writeln!(out, "{}", harmless(&name))?;
    if let Some(context) = &document.context {
        writeln!(out, "Folder Context: {}", harmless(context))?;
    }
    writeln!(out, "---\n\n{}", if console.out_is_terminal() { harmless(&text) } else { text })?;
    Ok(())
}

/// Print several documents.
///
/// PATTERN is a glob (`journal/2026-*.md`), or names with commas between them.
#[derive(Debug, clap::Args)]
pub(crate) struct MultiGetArgs {
    /// The documents
    #[arg(value_name = "PATTERN")]
    pattern: String,
    #[command(flatten)]
    index: IndexArgs,
    /// Lines of each at most
    #[arg(short = 'l', long = "lines", value_name = "N")]
    lines: Option<usize>,
    /// Bytes of a document that is printed; larger ones are named
    #[arg(long, value_name = "N", default_value_t = MAX_BYTES)]
    max_bytes: usize,
    /// Leave out the number of each line
    #[arg(long)]
    no_line_numbers: bool,
    #[command(flatten)]
    show: ShowArgs,
}

pub(crate) fn multi_get(args: MultiGetArgs, console: &Console) -> anyhow::Result<()> {
    let several = args.index.open()?.get_several(&args.pattern, args.lines, args.max_bytes)?;
    for error in &several.errors {
        console.warn(error);
    }
    let show = Show {
        line_numbers: !args.no_line_numbers,
        full_path: args.show.full_path,
        suffix: args.index.suffix(),
        ..Show::default()
    };
    write_several(&mut console.out(), args.show.format(), &several.documents, &show)?;
    Ok(())
}

/// List collections, or the documents of one.
#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    #[arg(value_name = "PLACE", help = "A collection, or a folder in one: notes, notes/work, qmd://notes/work")]
    place: Option<String>,
    #[command(flatten)]
    index: IndexArgs,
}

pub(crate) fn ls(args: LsArgs, console: &Console) -> anyhow::Result<()> {
    let index = args.index.open()?;
    let mut out = console.out();
    let Some(place) = &args.place else {
        for status in index.collections()? {
            let (name, documents) = (&status.collection.name, status.documents);
            writeln!(
                out,
                "qmd://{}/  ({documents} {})",
                harmless(name),
                if documents == 1 { "file" } else { "files" }
            )?;
        }
        return Ok(());
    };
    let Some(place) = Address::parse(place).or_else(|| Address::parse(&format!("//{place}"))) else {
        bail!("{place:?} is no collection; `docent ls` lists them");
    };
    let entries = index.list(&place)?;
    let widest = entries.iter().map(|entry| entry.size.to_string().len()).max().unwrap_or(0);
    for entry in entries {
        let address = Address::new(place.collection.as_str(), entry.path);
        writeln!(out, "{:>widest$}  {}  {}", entry.size, date(entry.modified), harmless(&address.to_string()))?;
    }
    Ok(())
}

/// Seconds since 1970 as `2026-11-23 17:42`, in UTC (Hinnant, "chrono-compatible low-level date algorithms").
pub(super) fn date(seconds: i64) -> String {
    let (days, seconds) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", seconds / 3600, seconds / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(951_782_400), "2000-02-29 00:00");
        assert_eq!(date(1_795_456_799), "2026-11-23 17:59");
        assert_eq!(date(-1), "1969-12-31 23:59");
    }
}
