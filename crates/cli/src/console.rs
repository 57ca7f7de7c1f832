//! Where the command speaks: results to stdout, everything else to stderr.
//!
//! stdout is written through [`Console::out`], which notices that a reader has gone (the command then ends quietly, as
//! `docent ... | head` should) and that a disk is full (an error). Messages, logs and bars share stderr and never tear
//! each other apart. Colours follow the terminal, `NO_COLOR`, `CLICOLOR` and `CLICOLOR_FORCE`.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use anstyle::{AnsiColor, Style};
use indicatif::MultiProgress;

mod log;
mod progress;

pub(crate) use progress::{FetchProgress, Progress, Unit};

/// The status of a command that did what it was to do.
const SUCCESS: u8 = 0;

/// The status of a command line that is wrong.
const USAGE: u8 = 2;

/// The command's access to the terminal, or to whatever stands in for it.
pub(crate) struct Console {
    /// Every bar on the screen; lines are printed above them.
    bars: MultiProgress,
    /// Whether errors are JSON, because the results are.
    json_errors: bool,
    /// What went wrong when the last of the results were written.
    unwritten: RefCell<Option<io::Error>>,
}

impl Console {
    /// Sets up logging, and looks at the command line for whether errors are wanted as JSON.
    pub(crate) fn start(args: &[OsString]) -> Console {
        let bars = MultiProgress::new();
        let console =
            Console { json_errors: wants_json(args.iter().skip(1)), unwritten: RefCell::new(None), bars: bars.clone() };
        if let Some(problem) = log::start(args, bars) {
            console.warn(problem);
        }
        console
    }

    /// stdout: locked and buffered. What is left in the buffer is written when the value is dropped; if that fails,
    /// [`end`](Self::end) reports it.
    pub(crate) fn out(&self) -> Out<'_> {
        Out { buffer: BufWriter::with_capacity(64 << 10, io::stdout().lock()), console: self }
    }

    /// Whether a table or a text on stdout may have colours.
    pub(crate) fn out_has_colours(&self) -> bool {
        has_colours(&io::stdout())
    }

    /// Whether a person sees stdout.
    pub(crate) fn out_is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Tells the user something that is worth knowing, on stderr.
    pub(crate) fn note(&self, text: impl fmt::Display) {
        self.line(AnsiColor::Cyan, "note", &one_line(&text.to_string()));
    }

    /// Tells the user of something that may well be wrong, on stderr.
    pub(crate) fn warn(&self, text: impl fmt::Display) {
        self.line(AnsiColor::Yellow, "warning", &one_line(&text.to_string()));
    }

    /// A bar for work of `total` units (`None`: nobody knows). It shows itself on a terminal only, and only when the work
    /// takes longer than a moment.
    pub(crate) fn progress(&self, total: Option<u64>, unit: Unit) -> Progress {
        Progress::new(&self.bars, total, unit)
    }

    /// Bars for files that are fetched; without a terminal, one line a file.
    pub(crate) fn fetch_progress(&self) -> FetchProgress<'_> {
        FetchProgress::new(self, &self.bars)
    }

    /// The exit status of a command that did what it was to do, if its results reached their reader.
    pub(crate) fn end(&self) -> u8 {
        match self.unwritten.take() {
            None => SUCCESS,
            Some(error) => self.fail(&error.into()),
        }
    }

    /// Reports why the command failed, in one line, and gives the exit status.
    pub(crate) fn fail(&self, error: &anyhow::Error) -> u8 {
        if error.chain().any(is_closed_output) {
            // The reader has what it wanted.
            return SUCCESS;
        }
        let status = if error.is::<Usage>() { USAGE } else { 1 };
        self.report(&one_line(&chain(error)), status)
    }

    /// Prints what the parser of the command line has to say: help, version, or what is wrong.
    pub(crate) fn fail_parsing(&self, error: &clap::Error) -> u8 {
        if self.json_errors && error.exit_code() != 0 {
            return self.report(&first_paragraph(&error.render().to_string()), USAGE);
        }
        match error.print() {
            // Help goes to stdout.
            Err(failure) if !error.use_stderr() => self.fail(&stdout_error(failure).into()),
            _ => u8::try_from(error.exit_code()).unwrap_or(USAGE),
        }
    }

    fn report(&self, message: &str, status: u8) -> u8 {
        if self.json_errors {
            // In the order in which it is read.
            let message = serde_json::Value::from(message);
            self.raw_line(&format!("{{\"error\":{{\"message\":{message},\"exit\":{status}}}}}"));
        } else {
            self.line(AnsiColor::Red, "error", message);
        }
        status
    }

    fn line(&self, colour: AnsiColor, label: &str, text: &str) {
        let style = Style::new().bold().fg_color(Some(colour.into()));
        self.raw_line(&format!("{style}{label}:{style:#} {text}"));
    }

    fn raw_line(&self, line: &str) {
        // There is no one left to tell that stderr cannot be written.
        self.bars.suspend(|| {
            let _ = writeln!(anstream::stderr(), "{line}");
        });
    }
}

/// stdout, whose errors say what they are about. From [`Console::out`].
pub(crate) struct Out<'c> {
    buffer: BufWriter<StdoutLock<'static>>,
    console: &'c Console,
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.write(bytes).map_err(stdout_error)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.write_all(bytes).map_err(stdout_error)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.buffer.flush().map_err(stdout_error)
    }
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            self.console.unwritten.replace(Some(error));
        }
    }
}

/// What failed is stdout, not another file.
#[derive(Debug)]
struct StdoutError(io::Error);

impl fmt::Display for StdoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write to standard output: {}", self.0)
    }
}

impl std::error::Error for StdoutError {}

fn stdout_error(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), StdoutError(error))
}

fn is_closed_output(error: &(dyn std::error::Error + 'static)) -> bool {
    let Some(error) = error.downcast_ref::<io::Error>() else { return false };
    let Some(inner) = error.get_ref() else { return false };
    inner.is::<StdoutError>() && error.kind() == io::ErrorKind::BrokenPipe
}

/// The command line is wrong in a way that its parser cannot see. Ends the command with status 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// An error that ends the command with status 2.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(message.into()))
}

/// Whether escape sequences for colours may be written to a stream.
fn has_colours(stream: &dyn RawStream) -> bool {
    stream.choice() != anstream::ColorChoice::Never
}

/// A stream of the process, for [`has_colours`].
trait RawStream {
    fn choice(&self) -> anstream::ColorChoice;
}

impl RawStream for io::Stdout {
    fn choice(&self) -> anstream::ColorChoice {
        anstream::AutoStream::choice(self)
    }
}

impl RawStream for io::Stderr {
    fn choice(&self) -> anstream::ColorChoice {
        anstream::AutoStream::choice(self)
    }
}

/// Whether a person sees stderr.
fn is_interactive() -> bool {
    io::stderr().is_terminal()
}

/// Whether a command line asks for JSON, in so many words: `--json`, or `--format json` or `jsonl`.
fn wants_json<S: AsRef<OsStr>>(args: impl Iterator<Item = S>) -> bool {
    let mut after_format = false;
    for arg in args {
        let Some(arg) = arg.as_ref().to_str() else {
            after_format = false;
            continue;
        };
        let is_json = |value: &str| value == "json" || value == "jsonl";
        match arg {
            "--" => return false,
            "--json" => return true,
            _ if after_format && is_json(arg) => return true,
            _ if arg.strip_prefix("--format=").is_some_and(is_json) || arg.starts_with("--json=") => return true,
            _ => after_format = arg == "--format",
        }
    }
    false
}

/// An error and its causes, without those that the message before already tells.
fn chain(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if message.is_empty() {
            message = cause;
        } else if !message.contains(&cause) {
            message.push_str(": ");
            message.push_str(&cause);
        }
    }
    message
}

/// A text on one line, and without control characters: names of files and contents of models are nobody's way to
/// steer a terminal.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for part in text.split_inclusive(char::is_control) {
        match part.char_indices().next_back() {
            Some((at, last)) if last.is_control() => {
                line.push_str(&part[..at]);
                if last == '\n' || last == '\r' || last == '\t' {
                    line.push(' ');
                } else {
                    line.extend(last.escape_default());
                }
            }
            _ => line.push_str(part),
        }
    }
    line
}

/// What a parser's message says is wrong, without the advice that follows.
fn first_paragraph(message: &str) -> String {
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let lines =
        message.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    one_line(&lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn json_is_wanted_only_where_it_is_asked_for() {
        let wants = |line: &str| wants_json(line.split_whitespace());
        assert!(wants("info --json model.gguf"));
        assert!(wants("embed --format json x"));
        assert!(wants("embed --format=jsonl x"));
        assert!(wants("bench --json=out.json"));
        assert!(!wants("embed --format npy json"));
        assert!(!wants("embed json jsonl"));
        assert!(!wants("embed -- --json"));
    }

    #[test]
    fn causes_are_told_once() {
        let inner = anyhow::anyhow!("no space left");
        let error = inner.context("cannot write a: no space left").context("b");
        assert_eq!(chain(&error), "b: cannot write a: no space left");
        let plain: anyhow::Result<()> = Err(anyhow::anyhow!("gone"));
        assert_eq!(chain(&plain.context("cannot read x").unwrap_err()), "cannot read x: gone");
    }

    #[test]
    fn messages_stay_on_one_line_and_do_not_steer_the_terminal() {
        assert_eq!(one_line("a\nb\u{1b}[31mé"), "a b\\u{1b}[31mé");
        assert_eq!(one_line("\n"), " ");
        assert_eq!(one_line(""), "");
    }

    #[test]
    fn advice_of_the_parser_is_left_out_of_json() {
        let message = "error: the following required arguments were not provided:\n  <MODEL>\n\nUsage: docent info <MODEL>\n\nFor more information, try '--help'.\n";
        assert_eq!(first_paragraph(message), "the following required arguments were not provided: <MODEL>");
    }

    #[test]
    fn only_a_closed_stdout_is_quiet() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        let quiet = |error: anyhow::Error| error.chain().any(is_closed_output);
        assert!(quiet(anyhow::Error::new(stdout_error(pipe())).context("cannot write")));
        assert!(!quiet(pipe().into()));
        assert!(!quiet(stdout_error(io::ErrorKind::StorageFull.into()).into()));
    }
}
