//! Results as a NumPy array: the `.npy` format, version 1.0.
//!
//! The header has the number of rows, which nobody knows before the last text. A file gets its header written again at
//! the end; for a pipe the rows wait in memory, and beyond that in a temporary file without a name.

use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};

use anyhow::Context;
use tempfile::SpooledTempFile;

use super::format::{Format, Item};
use crate::console::usage;
use crate::destination::Destination;

/// Rows wait in memory up to this size.
const SPOOL_MEMORY: usize = 16 << 20;

/// The header's size: a multiple of 64, as the format wants it, with room for the largest numbers.
const HEADER: usize = 128;

/// A float32 array of (texts, dim), or (tokens, dim) of a single text without pooling.
pub(super) struct Npy {
    dim: usize,
    rows: u64,
    /// Where rows wait; `None` if the destination's header can be written again.
    spool: Option<BufWriter<SpooledTempFile>>,
    bytes: Vec<u8>,
}

impl Npy {
    pub(super) fn new(dim: usize, out: &Destination<'_>) -> Self {
        let spool = (!out.is_rewritable()).then(|| BufWriter::new(SpooledTempFile::new(SPOOL_MEMORY)));
        Npy { dim, rows: 0, spool, bytes: Vec::new() }
    }
}

impl Format for Npy {
    fn begin(&mut self, out: &mut Destination<'_>, _: bool) -> anyhow::Result<()> {
        if self.spool.is_none() {
            out.write_all(&header(0, self.dim))?;
        }
        Ok(())
    }

    fn item(&mut self, out: &mut Destination<'_>, item: &Item<'_>) -> anyhow::Result<()> {
        if item.index > 0 && !item.is_pooled {
            return Err(usage(
                "npy holds one table, and without pooling every text makes one: give a single text, or use --format jsonl",
            ));
        }
        self.rows += item.embedding.rows().len() as u64;
        self.bytes.clear();
        self.bytes.extend(item.embedding.vector().iter().flat_map(|value| value.to_le_bytes()));
        match &mut self.spool {
            None => out.write_all(&self.bytes)?,
            Some(spool) => spool.write_all(&self.bytes).with_context(spool_place)?,
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Destination<'_>) -> anyhow::Result<()> {
        let header = header(self.rows, self.dim);
        let Some(spool) = self.spool.take() else {
            out.rewrite_start(&header)?;
            return Ok(());
        };
        out.write_all(&header)?;
        let mut rows = spool.into_inner().map_err(io::IntoInnerError::into_error).with_context(spool_place)?;
        rows.seek(SeekFrom::Start(0)).with_context(spool_place)?;
        self.bytes.resize(64 << 10, 0);
        loop {
            // Not `io::copy`: which of the two failed matters.
            let read = rows.read(&mut self.bytes).with_context(spool_place)?;
            if read == 0 {
                return Ok(());
            }
            out.write_all(&self.bytes[..read])?;
        }
    }
}

fn spool_place() -> String {
    format!("cannot keep vectors in a temporary file in {}", std::env::temp_dir().display())
}

fn header(rows: u64, dim: usize) -> [u8; HEADER] {
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    let mut header = [b' '; HEADER];
    header[..8].copy_from_slice(b"\x93NUMPY\x01\x00");
    // What follows the two bytes of its length.
    header[8..10].copy_from_slice(&(HEADER as u16 - 10).to_le_bytes());
    header[10..10 + text.len()].copy_from_slice(text.as_bytes());
    header[HEADER - 1] = b'\n';
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_what_the_format_wants() {
        let expected = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3, 384), }";
        let header = header(3, 384);
        assert!(header.starts_with(expected));
        assert!(header[expected.len()..HEADER - 1].iter().all(|&byte| byte == b' '));
        assert_eq!(header[HEADER - 1], b'\n');
    }

    #[test]
    fn the_largest_numbers_fit() {
        let header = header(u64::MAX, usize::MAX);
        assert!(header.ends_with(b"\n") && header[HEADER - 2] == b' ');
    }
}
