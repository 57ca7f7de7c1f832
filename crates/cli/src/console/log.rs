//! Logs on stderr: warnings by default, more with `DOCENT_LOG`. A server logs what it is asked, with the time.

use std::env;
use std::ffi::OsString;
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

/// What log lines look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// Like the command's other messages: for whoever asked for no logs.
    Messages,
    /// With the time and the place.
    Lines,
    /// As JSON objects.
    Json,
}

/// Starts logging, and gives back what is wrong with the variable, if anything is. `args` are the whole command line, which is not
/// parsed yet: what goes wrong there is logged too.
pub(super) fn start(args: &[OsString], bars: MultiProgress) -> Option<String> {
    let is_server = is_server(args);
    // The SDK of MCP warns of what its clients do, in their words.
    let usual = if is_server { "warn,rmcp=error,docent_server=info" } else { "warn,rmcp=error" };
    let asked = env::var(VARIABLE).ok().filter(|value| !value.is_empty());
    let (filter, problem) = match asked.as_deref().map(EnvFilter::try_new) {
        None => (EnvFilter::new(usual), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(usual), Some(format!("{VARIABLE} is ignored: {error}"))),
    };
    let writer = move || AboveBars { bars: bars.clone() };
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(has_colours(&io::stderr())).with_writer(writer);
    let started = match style(args, is_server, asked.is_some()) {
        Style::Messages => builder.event_format(Plain).try_init(),
        Style::Lines => builder.try_init(),
        Style::Json => builder.json().flatten_event(true).try_init(),
    };
    problem.or_else(|| started.err().map(|error| format!("nothing is logged: {error}")))
}

/// Whether it is a command that runs until it is told to stop, and writes a log meanwhile.
fn is_server(args: &[OsString]) -> bool {
    let word = |place: usize| args.get(place).and_then(|arg| arg.to_str());
    let is_over_http = || args.iter().any(|arg| arg == "--http");
    match word(1) {
        Some("serve") => true,
        Some("daemon") => word(2) == Some("run"),
        Some("mcp") => is_over_http(),
        _ => false,
    }
}

fn style(args: &[OsString], is_server: bool, asked: bool) -> Style {
    let text = |arg: &OsString| arg.to_string_lossy().into_owned();
    let args: Vec<String> = args.iter().map(text).collect();
    let is_json = |pair: &[String]| pair[0] == "--log-format" && pair[1] == "json";
    if is_server && (args.windows(2).any(is_json) || args.iter().any(|arg| arg == "--log-format=json")) {
        return Style::Json;
    }
    // Whoever asks for logs wants to know when and where; everybody else reads a message like any other.
    if is_server || asked { Style::Lines } else { Style::Messages }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_logs_lines_or_json_and_other_commands_what_was_asked_for() {
        let style = |line: &str, asked| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            super::style(&args, is_server(&args), asked)
        };
        assert_eq!(style("docent embed", false), Style::Messages);
        assert_eq!(style("docent embed --log-format json", true), Style::Lines);
        assert_eq!(style("docent serve", false), Style::Lines);
        assert_eq!(style("docent daemon run", false), Style::Lines);
        assert_eq!(style("docent daemon status", false), Style::Messages);
        assert_eq!(style("docent mcp", false), Style::Messages);
        assert_eq!(style("docent mcp --http", false), Style::Lines);
        assert_eq!(style("docent serve --log-format json", false), Style::Json);
        assert_eq!(style("docent serve --log-format=json", true), Style::Json);
        assert_eq!(style("docent serve --log-format", false), Style::Lines);
    }
}
