//! Logs on stderr: warnings by default, more with `DOCENT_LOG`.

use std::env;
use std::fmt;
use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::has_colours;

/// The variable that says what is logged: `debug`, or `docent=trace,docent_models=info`.
const VARIABLE: &str = "DOCENT_LOG";

/// Starts logging, and gives back what is wrong with the variable, if anything is.
pub(super) fn start(bars: MultiProgress) -> Option<String> {
    let asked = env::var(VARIABLE).ok().filter(|value| !value.is_empty());
    let (filter, problem) = match asked.as_deref().map(EnvFilter::try_new) {
        None => (EnvFilter::new("warn"), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new("warn"), Some(format!("{VARIABLE} is ignored: {error}"))),
    };
    let writer = move || AboveBars { bars: bars.clone() };
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(has_colours(&io::stderr())).with_writer(writer);
    // Whoever asks for logs wants to know when and where; everybody else reads a message like any other.
    let started = match asked {
        Some(_) => builder.try_init(),
        None => builder.event_format(Plain).try_init(),
    };
    problem.or_else(|| started.err().map(|error| format!("nothing is logged: {error}")))
}

/// A log line that looks like the command's other messages.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let label = if *event.metadata().level() == Level::ERROR { "error" } else { "warning" };
        write!(out, "{label}: ")?;
        context.format_fields(out.by_ref(), event)?;
        writeln!(out)
    }
}

/// stderr, with the bars out of the way.
struct AboveBars {
    bars: MultiProgress,
}

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bars.suspend(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
