//! Results as JSON.

use std::io::{self, Write};

use serde::Serialize;

/// Writes a value over several lines. The errors of `out` come back as they are, so that a closed pipe is still one.
pub(crate) fn write_pretty(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// Writes a value as one line, as [`write_pretty`] does.
pub(crate) fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}
