//! Tables and figures for people.

use std::fmt;

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, presets};

/// A table of aligned columns, two spaces apart, without rules. A cell that came from a file cannot steer the terminal.
pub(crate) struct Table {
    table: comfy_table::Table,
    alignments: Vec<CellAlignment>,
}

/// A column: its heading, and the side that its cells keep to.
pub(crate) enum Column {
    Left(&'static str),
    Right(&'static str),
}

impl Table {
    /// A table with a line of headings.
    pub(crate) fn new(columns: &[Column]) -> Self {
        let mut table = Self::plain(columns.iter().map(|column| match column {
            Column::Left(_) => CellAlignment::Left,
            Column::Right(_) => CellAlignment::Right,
        }));
        table.table.set_header(columns.iter().zip(&table.alignments).map(|(column, &alignment)| {
            let (Column::Left(heading) | Column::Right(heading)) = column;
            comfy_table::Cell::new(heading.to_uppercase()).set_alignment(alignment)
        }));
        table
    }

    /// A table of names and what they stand for, without headings.
    pub(crate) fn facts() -> Self {
        Self::plain([CellAlignment::Left, CellAlignment::Left].into_iter())
    }

    fn plain(alignments: impl Iterator<Item = CellAlignment>) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        Table { table, alignments: alignments.collect() }
    }

    /// Adds a row, one cell a column.
    pub(crate) fn row<C: fmt::Display>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.table.add_row(
            cells.into_iter().zip(&self.alignments).map(|(cell, &alignment)| {
                comfy_table::Cell::new(printable(&cell.to_string())).set_alignment(alignment)
            }),
        );
    }

    /// Adds a name and what it stands for.
    pub(crate) fn fact(&mut self, name: &str, value: impl fmt::Display) {
        self.row([name.to_owned(), value.to_string()]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.table.lines() {
            // The style pads every cell, the first as well.
            writeln!(f, "{}", line.strip_prefix(' ').unwrap_or(&line).trim_end())?;
        }
        Ok(())
    }
}

/// A table whose second column has marks, `ok` and `FAILED`, with these in the colours of traffic lights. Only the second cell of
/// a line can be one: details come after it.
pub(crate) fn coloured(table: &str) -> String {
    let paint = |line: &str, mark: &str, colour: AnsiColor| {
        let style = Style::new().bold().fg_color(Some(colour.into()));
        line.replacen(&format!("  {mark}"), &format!("  {style}{mark}{style:#}"), 1)
    };
    let lines =
        table.lines().map(|line| match line.split("  ").map(str::trim).filter(|part| !part.is_empty()).nth(1) {
            Some("ok") => paint(line, "ok", AnsiColor::Green),
            Some("FAILED") => paint(line, "FAILED", AnsiColor::Red),
            _ => line.to_owned(),
        });
    lines.map(|line| line + "\n").collect()
}

/// The text with control characters escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() { shown.extend(character.escape_default()) } else { shown.push(character) }
    }
    shown
}

/// A number of bytes in decimal units: `512 B`, `1.2 MB`, `22.7 GB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1e3;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// The size of a cache, which is always a power of two or a few of them: `48 KiB`, `1.25 MiB`.
pub(crate) fn binary_bytes(count: u64) -> String {
    let (unit, name) = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        .into_iter()
        .find(|(unit, _)| count >= *unit)
        .unwrap_or((1, "B"));
    // Two digits after the point, and none that say nothing.
    let hundredths = (count as f64 * 100.0 / unit as f64).round() / 100.0;
    format!("{hundredths} {name}")
}

/// A time in milliseconds, with three digits that mean something: `0.123 ms`, `4.56 ms`, `78.9 ms`, `1234 ms`.
pub(crate) fn milliseconds(value: f64) -> String {
    format!("{} ms", three_digits(value))
}

/// A positive number with three digits that mean something, and all digits before the point.
pub(crate) fn three_digits(value: f64) -> String {
    let decimals = match value {
        _ if value >= 99.95 => 0,
        _ if value >= 9.995 => 1,
        _ if value >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// `1 tensor`, `2 tensors`.
pub(crate) fn count(number: usize, singular: &str) -> String {
    if number == 1 { format!("1 {singular}") } else { format!("{number} {singular}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_are_harmless() {
        let mut table = Table::new(&[Column::Left("name"), Column::Right("bytes")]);
        table.row(["a\u{1b}[2Jb", "1"]);
        table.row(["long name", "12345"]);
        let expected = "NAME            BYTES\na\\u{1b}[2Jb      1\n";
        let shown = table.to_string();
        let normal = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(normal(&shown).starts_with(&normal(expected)), "{shown}");
        let ends: Vec<usize> = shown.lines().map(|line| line.chars().count()).collect();
        assert!(ends.iter().all(|&end| end == ends[0]), "the right column ends in one place: {shown}");
    }

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!([0, 999, 1000, 22_743_040, 999_960_000].map(bytes), ["0 B", "999 B", "1.0 kB", "22.7 MB", "1.0 GB"]);
        assert_eq!([0.1234, 4.567, 78.91, 1234.5].map(milliseconds), ["0.123 ms", "4.57 ms", "78.9 ms", "1234 ms"]);
        assert_eq!(three_digits(99.96), "100");
        assert_eq!(
            [0, 512, 48 << 10, 1_310_720, 105 << 20].map(binary_bytes),
            ["0 B", "512 B", "48 KiB", "1.25 MiB", "105 MiB"]
        );
        assert_eq!((count(1, "tensor"), count(0, "tensor")), ("1 tensor".to_owned(), "0 tensors".to_owned()));
    }

    #[test]
    fn only_marks_are_coloured() {
        let table = "CHECK  RESULT  DETAIL\na b    ok      all ok\nc      FAILED  x  ok\n";
        let shown = coloured(table);
        assert_eq!(shown.matches("\u{1b}[").count() % 2, 0);
        assert!(shown.contains("ok\u{1b}[0m      all ok") && shown.contains("FAILED\u{1b}[0m  x  ok"), "{shown:?}");
    }
}
