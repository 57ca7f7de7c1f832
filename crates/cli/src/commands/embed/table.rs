//! Results as comma-separated values (RFC 4180, but with the line breaks of Unix).

use std::io::Write;

use super::format::{Format, Item};
use crate::destination::Destination;

/// A row a text: index, id, tokens, truncated, and the components as e0, e1, ...
pub(super) struct Csv {
    dim: usize,
    has_ids: bool,
    row: Vec<u8>,
    /// The number that is being written.
    cell: Vec<u8>,
}

impl Csv {
    pub(super) fn new(dim: usize) -> Self {
        Csv { dim, has_ids: false, row: Vec::new(), cell: Vec::new() }
    }
}

impl Format for Csv {
    fn begin(&mut self, out: &mut Destination<'_>, has_ids: bool) -> anyhow::Result<()> {
        self.has_ids = has_ids;
        let names = ["index", "id", "tokens", "truncated"].into_iter().filter(|&name| has_ids || name != "id");
        let components = (0..self.dim).map(|component| format!("e{component}"));
        self.write_row(out, |row, _| row.write_record(names.map(str::to_owned).chain(components)))
    }

    fn item(&mut self, out: &mut Destination<'_>, item: &Item<'_>) -> anyhow::Result<()> {
        let has_ids = self.has_ids;
        self.write_row(out, |row, cell| {
            row.write_field(item.index.to_string())?;
            if has_ids {
                row.write_field(item.id.map(ToString::to_string).unwrap_or_default())?;
            }
            row.write_field(item.embedding.tokens.to_string())?;
            row.write_field(item.embedding.truncated().to_string())?;
            for value in item.embedding.vector() {
                cell.clear();
                // The shortest digits that read back as the same float32, with an exponent where it saves zeros.
                write!(cell, "{value:?}")?;
                row.write_field(cell.as_slice())?;
            }
            row.write_record(None::<&[u8]>)
        })
    }

    fn end(&mut self, _: &mut Destination<'_>) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Csv {
    /// Writes one row: into memory first, where nothing can fail, so that what fails is the destination.
    fn write_row(
        &mut self,
        out: &mut Destination<'_>,
        write: impl FnOnce(&mut csv::Writer<&mut Vec<u8>>, &mut Vec<u8>) -> csv::Result<()>,
    ) -> anyhow::Result<()> {
        self.row.clear();
        let mut row = csv::Writer::from_writer(&mut self.row);
        write(&mut row, &mut self.cell)?;
        row.flush()?;
        drop(row);
        out.write_all(&self.row)?;
        Ok(())
    }
}
