//! How a long fetch tells its caller what goes on.

/// Receives what happens during [`Hub::fetch`](super::Hub::fetch). The calls come from the fetching thread, files one
/// after another; a bar, a log or nothing at all can stand behind it.
pub trait Progress {
    /// A file's transfer begins: its name, its size in bytes if the server says it, and how many of them an earlier,
    /// broken transfer has left here. May come again for the same file when the transfer has to start over.
    fn start(&self, file: &str, total: Option<u64>, resumed_from: u64);

    /// So many more bytes have arrived.
    fn advance(&self, bytes: u64);

    /// The transfer that began last is over, well or not.
    fn finish(&self);

    /// A line for the user: another source is tried, another process is waited for, a model is converted.
    fn note(&self, text: &str);
}

/// The [`Progress`] of those who do not care.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _file: &str, _total: Option<u64>, _resumed_from: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self) {}
    fn note(&self, _text: &str) {}
}
