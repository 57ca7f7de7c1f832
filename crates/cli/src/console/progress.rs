//! Bars on stderr.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use docent::hub;
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Console, is_interactive};

/// Work that is over sooner shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a bar counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes, shown as KiB, MiB, GiB.
    Bytes,
    /// Things, by the name of several of them: `texts`, `tensors`.
    Items(&'static str),
}

/// A bar that appears when work takes long, and goes away with the value.
pub(crate) struct Progress {
    /// `None` if nobody watches.
    bar: Option<ProgressBar>,
    bars: MultiProgress,
    started: Instant,
    shown: bool,
}

impl Progress {
    pub(super) fn new(bars: &MultiProgress, total: Option<u64>, unit: Unit) -> Progress {
        let bar = is_interactive().then(|| hidden_bar(total, unit));
        Progress { bar, bars: bars.clone(), started: Instant::now(), shown: false }
    }

    /// So many more units are done.
    pub(crate) fn advance(&mut self, units: u64) {
        let Some(bar) = &self.bar else { return };
        if !self.shown && self.started.elapsed() >= PATIENCE {
            self.bars.add(bar.clone());
            self.shown = true;
        }
        bar.inc(units);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Bars for the files of a model that is fetched.
pub(crate) struct FetchProgress<'c> {
    console: &'c Console,
    bars: &'c MultiProgress,
    current: RefCell<Option<ProgressBar>>,
}

impl<'c> FetchProgress<'c> {
    pub(super) fn new(console: &'c Console, bars: &'c MultiProgress) -> Self {
        FetchProgress { console, bars, current: RefCell::new(None) }
    }
}

impl hub::Progress for FetchProgress<'_> {
    fn start(&self, file: &str, total: Option<u64>, resumed_from: u64) {
        self.finish();
        if is_interactive() {
            let bar = hidden_bar(total, Unit::Bytes);
            bar.set_prefix(format!("{file} "));
            bar.set_position(resumed_from);
            bar.reset_eta();
            self.current.replace(Some(self.bars.add(bar)));
        } else {
            let size = total.map_or(String::new(), |total| format!(" ({})", HumanBytes(total)));
            self.console.note(format_args!("fetching {file}{size}"));
        }
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = &*self.current.borrow() {
            bar.inc(bytes);
        }
    }

    fn finish(&self) {
        if let Some(bar) = self.current.take() {
            bar.finish_and_clear();
        }
    }

    fn note(&self, text: &str) {
        self.console.note(text);
    }
}

/// A bar that draws nothing until it is added to those on the screen.
fn hidden_bar(total: Option<u64>, unit: Unit) -> ProgressBar {
    let template = match (total, unit) {
        (Some(_), Unit::Bytes) => "{prefix}{wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
        (None, Unit::Bytes) => "{prefix}{spinner} {bytes}, {bytes_per_sec}",
        (Some(_), Unit::Items(_)) => "{prefix}{wide_bar} {pos}/{len} {msg}, {per_sec}, {eta} left",
        (None, Unit::Items(_)) => "{prefix}{spinner} {pos} {msg}, {per_sec}",
    };
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    if let Unit::Items(name) = unit {
        bar.set_message(name);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_sound() {
        for total in [None, Some(10)] {
            for unit in [Unit::Bytes, Unit::Items("texts")] {
                // A template that does not parse would fall back to the plain bar.
                let bar = hidden_bar(total, unit);
                bar.inc(3);
                assert_eq!(bar.position(), 3);
                assert_eq!(bar.message(), if unit == Unit::Bytes { "" } else { "texts" });
            }
        }
    }
}
