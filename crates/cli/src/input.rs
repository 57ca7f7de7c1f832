//! The texts that a command works on: from the command line, a file or stdin, a window at a time.
//!
//! Nothing here holds more than one window, so an input of any size runs in the same memory.

mod jsonl;
mod lines;

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::console::{Console, Progress, Unit, usage};
use lines::{Line, Lines};

/// Texts of a window, at most: enough for all threads to be busy, few enough to answer soon.
pub(crate) const WINDOW_TEXTS: usize = 512;

/// Bytes of text after which a window is full.
const WINDOW_BYTES: usize = 1 << 20;

/// Where the texts come from.
#[derive(Debug, clap::Args)]
pub(crate) struct InputArgs {
    /// Texts; without any, and without --input, they are read from stdin
    #[arg(value_name = "TEXT", conflicts_with = "input")]
    texts: Vec<String>,

    /// File to read texts from, or "-" for stdin
    ///
    /// A text file has one text a line. An empty line is an empty text, so that line N is result N-1; only the end of the
    /// file after the last line break is none. A JSONL file has one object a line: {"text": "...", "id": ...}. The id, a
    /// string or a number, is kept; other members and blank lines are passed over. Either is UTF-8; a byte order mark and
    /// carriage returns at the ends of lines do not count.
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// How to read the input
    ///
    /// Without this option, files named .jsonl, .ndjson or .json are JSONL, and so is anything whose first line that is not
    /// blank begins like a JSON object: {"
    #[arg(long, value_enum, value_name = "FORMAT")]
    input_format: Option<InputFormat>,
}

/// How an input is divided into texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum InputFormat {
    /// One text a line
    Lines,
    /// One JSON object with a "text" a line
    Jsonl,
}

/// A text and what is known about it.
#[derive(Debug)]
pub(crate) struct Text {
    /// The text.
    pub(crate) text: String,
    /// What the input calls it.
    pub(crate) id: Option<Id>,
    /// Its line in the input, from 1; `None` for texts of the command line.
    pub(crate) line: Option<u64>,
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

/// The name of a text in its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    /// A string.
    Text(String),
    /// A number, digit by digit as it stands in the input: it may be larger than any type here.
    Number(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Text(text) | Id::Number(text) => f.write_str(text),
        }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Id::Text(text) => serializer.serialize_str(text),
            Id::Number(digits) => {
                RawValue::from_string(digits.clone()).map_err(serde::ser::Error::custom)?.serialize(serializer)
            }
        }
    }
}

/// Some texts of the input, in its order.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// The texts; never none.
    pub(crate) texts: Vec<Text>,
    /// How far this window goes, in the units of [`Input::progress`].
    pub(crate) progress: u64,
}

/// An input that is read window by window.
pub(crate) struct Input {
    source: Source,
    /// What errors call it; `None` for the command line.
    name: Option<String>,
    /// Bytes of a regular file.
    size: Option<u64>,
}

enum Source {
    Arguments(std::vec::IntoIter<String>),
    Stream { lines: Lines<Box<dyn Read>>, format: Format },
}

/// The format of a stream, which may show only in its first line.
enum Format {
    Undecided,
    Known(InputFormat),
}

impl InputArgs {
    /// Opens the input. Nothing is read yet.
    pub(crate) fn open(self) -> anyhow::Result<Input> {
        match self.input {
            None if !self.texts.is_empty() => {
                if self.input_format.is_some() {
                    return Err(usage(
                        "--input-format says how to read a file or stdin, but the texts are given as arguments",
                    ));
                }
                let size = Some(self.texts.len() as u64);
                Ok(Input { source: Source::Arguments(self.texts.into_iter()), name: None, size })
            }
            None if io::stdin().is_terminal() => {
                Err(usage("no texts: give some as arguments, or a file with --input FILE, or pipe them in"))
            }
            Some(path) if path.as_os_str() != "-" => open_file(&path, self.input_format),
            _ => {
                let format = self.input_format.map_or(Format::Undecided, Format::Known);
                Ok(Input::stream(Box::new(io::stdin()), format, "standard input".to_owned(), None))
            }
        }
    }
}

fn open_file(path: &Path, format: Option<InputFormat>) -> anyhow::Result<Input> {
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    let facts = file.metadata().with_context(|| format!("cannot read {name}"))?;
    if facts.is_dir() {
        anyhow::bail!("cannot read {name}: expected a file with texts, found a folder");
    }
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    let format = match (format, extension.as_deref()) {
        (Some(format), _) => Format::Known(format),
        (None, Some("jsonl" | "ndjson" | "json")) => Format::Known(InputFormat::Jsonl),
        _ => Format::Undecided,
    };
    Ok(Input::stream(Box::new(file), format, name, facts.is_file().then_some(facts.len())))
}

impl Input {
    fn stream(reader: Box<dyn Read>, format: Format, name: String, size: Option<u64>) -> Input {
        // What comes from a pipe is worked on as soon as it is there: another program may wait for the answer.
        let waits = size.is_none();
        Input { source: Source::Stream { lines: Lines::new(reader, waits), format }, name: Some(name), size }
    }

    /// A bar for the way through this input.
    pub(crate) fn progress(&self, console: &Console) -> Progress {
        match (&self.source, self.size) {
            (Source::Stream { .. }, Some(bytes)) => console.progress(Some(bytes), Unit::Bytes),
            (_, texts) => console.progress(texts, Unit::Items("texts")),
        }
    }

    /// Whether the texts may have ids.
    ///
    /// Certain once the first window is read; before that, an input whose first line decides counts as one without.
    pub(crate) fn has_ids(&self) -> bool {
        matches!(self.source, Source::Stream { format: Format::Known(InputFormat::Jsonl), .. })
    }

    /// An error about a text, with the place where the text stands: the name of the file and the line.
    pub(crate) fn at(&self, text: &Text, error: anyhow::Error) -> anyhow::Error {
        match (&self.name, text.line) {
            (Some(name), Some(line)) => error.context(format!("{name}:{line}")),
            _ => error,
        }
    }

    /// The next texts, at most `limit` of them; `None` at the end of the input.
    ///
    /// # Errors
    /// What cannot be read, is not UTF-8, or is not JSONL where it should be, by its place.
    pub(crate) fn window(&mut self, limit: usize) -> anyhow::Result<Option<Window>> {
        let counts_texts = self.size.is_none();
        let window = match &mut self.source {
            Source::Arguments(texts) => {
                let texts: Vec<Text> = texts.take(limit).map(|text| Text { text, id: None, line: None }).collect();
                Window { progress: texts.len() as u64, texts }
            }
            Source::Stream { lines, format } => {
                let name = self.name.as_deref().unwrap_or_default();
                let before = lines.position();
                let texts = read_window(lines, format, name, limit)?;
                let progress = if counts_texts { texts.len() as u64 } else { lines.position() - before };
                Window { texts, progress }
            }
        };
        Ok((!window.texts.is_empty()).then_some(window))
    }
}

fn read_window(
    lines: &mut Lines<Box<dyn Read>>,
    format: &mut Format,
    name: &str,
    limit: usize,
) -> anyhow::Result<Vec<Text>> {
    let mut texts = Vec::new();
    let mut bytes = 0;
    // Blank lines from before the format was known; they are texts if it turns out to be the plain one.
    let mut blank = Vec::new();
    while texts.len() + blank.len() < limit && bytes < WINDOW_BYTES {
        if !texts.is_empty() && lines.would_wait() {
            break;
        }
        let Some(line) = lines.next(name)? else {
            texts.append(&mut blank);
            break;
        };
        if let Format::Undecided = format {
            if is_blank(&line.text) {
                bytes += line.text.len();
                blank.push(plain(line));
                continue;
            }
            if jsonl::looks_like_it(&line.text) {
                *format = Format::Known(InputFormat::Jsonl);
                blank.clear();
            } else {
                *format = Format::Known(InputFormat::Lines);
                texts.append(&mut blank);
            }
        }
        match format {
            Format::Known(InputFormat::Jsonl) if is_blank(&line.text) => continue,
            Format::Known(InputFormat::Jsonl) => texts.push(jsonl::parse(&line, name)?),
            _ => texts.push(plain(line)),
        }
        bytes += texts.last().map_or(0, |text| text.text.len());
    }
    if !blank.is_empty() {
        // Who begins with hundreds of empty lines does not write JSONL.
        *format = Format::Known(InputFormat::Lines);
        texts.append(&mut blank);
    }
    Ok(texts)
}

fn plain(line: Line) -> Text {
    Text { text: line.text, id: None, line: Some(line.number) }
}

fn is_blank(line: &str) -> bool {
    line.bytes().all(|byte| byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All texts and ids of an input that is read in windows of `limit`.
    fn read(
        bytes: &'static [u8],
        format: Option<InputFormat>,
        limit: usize,
    ) -> Result<Vec<(String, Option<String>)>, String> {
        let format = format.map_or(Format::Undecided, Format::Known);
        let mut input = Input::stream(Box::new(bytes), format, "f".into(), Some(bytes.len() as u64));
        let (mut all, mut progress) = (Vec::new(), 0);
        while let Some(window) = input.window(limit).map_err(|error| format!("{error:#}"))? {
            assert!(window.texts.len() <= limit);
            progress += window.progress;
            all.extend(window.texts.into_iter().map(|text| (text.text, text.id.map(|id| id.to_string()))));
        }
        assert!(progress <= bytes.len() as u64);
        Ok(all)
    }

    fn texts(bytes: &'static [u8]) -> Vec<String> {
        read(bytes, None, 512).unwrap().into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn lines_keep_their_index_whatever_ends_them() {
        assert_eq!(texts(b"a\nb"), ["a", "b"]);
        assert_eq!(texts(b"a\r\nb\r\n"), ["a", "b"]);
        assert_eq!(texts(b"\n\na\n\n"), ["", "", "a", ""]);
        assert_eq!(texts(b"\xef\xbb\xbfa\nb\n"), ["a", "b"]);
        assert_eq!(texts(b"a\rb\n c \n"), ["a\rb", " c "]);
        assert_eq!(texts(b"\n"), [""]);
        assert!(texts(b"").is_empty());
        assert!(texts(b"\xef\xbb\xbf").is_empty());
    }

    #[test]
    fn the_window_does_not_change_what_is_read() {
        for bytes in [b"a\n\nb\nc\n\n".as_slice(), b"\n\n{\"text\":\"a\"}\n\n{\"text\":\"b\",\"id\":1}", b"\n\n\n\n\n"]
        {
            let whole = read(bytes, Some(InputFormat::Lines), 512).unwrap();
            for limit in 1..4 {
                assert_eq!(read(bytes, Some(InputFormat::Lines), limit).unwrap(), whole);
            }
        }
        let jsonl = b"{\"text\":\"a\"}\n\n \n{\"text\":\"b\",\"id\":1}\n{\"text\":\"\",\"id\":\"x\"}\n";
        let whole = read(jsonl, None, 512).unwrap();
        assert_eq!(whole, [("a".into(), None), ("b".into(), Some("1".into())), (String::new(), Some("x".into()))]);
        for limit in 1..4 {
            assert_eq!(read(jsonl, None, limit).unwrap(), whole);
        }
    }

    #[test]
    fn the_first_line_decides() {
        assert_eq!(texts(b"\n {\"text\": \"a\"} \n"), ["a"]);
        assert_eq!(texts(b"{a}\n{\"text\": \"b\"}"), ["{a}", "{\"text\": \"b\"}"]);
        // What was meant as JSONL is not embedded as it stands because of a mistake in its first line.
        let error = read(b"{\"title\": \"a\"}\n{\"text\": \"b\"}", None, 512).unwrap_err();
        assert!(error.starts_with("f:1: the object has no \"text\""), "{error}");
        let error = read(b"{\"text\": \"a\"}\nplain\n", None, 512).unwrap_err();
        assert!(error.starts_with("f:2: expected a JSON object"), "{error}");
        assert_eq!(read(b"{\"text\": \"a\"}", Some(InputFormat::Lines), 1).unwrap()[0].0, "{\"text\": \"a\"}");
    }

    #[test]
    fn large_texts_fill_a_window_on_their_own() {
        let bytes: &'static [u8] = format!("{}\n{}\nc\n", "a".repeat(WINDOW_BYTES), "b".repeat(10)).leak().as_bytes();
        let mut input = Input::stream(Box::new(bytes), Format::Undecided, "f".into(), Some(bytes.len() as u64));
        assert_eq!(input.window(512).unwrap().unwrap().texts.len(), 1);
        assert_eq!(input.window(512).unwrap().unwrap().texts.len(), 2);
        assert!(input.window(512).unwrap().is_none());
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        // A reader that gives a line a call, as a terminal does.
        struct Slow(Vec<&'static [u8]>);
        impl Read for Slow {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if self.0.is_empty() {
                    return Ok(0);
                }
                let next = self.0.remove(0);
                buffer[..next.len()].copy_from_slice(next);
                Ok(next.len())
            }
        }
        let reader = Slow(vec![b"a\n", b"b\nc\n", b"d", b"e\n"]);
        let mut input = Input::stream(Box::new(reader), Format::Undecided, "f".into(), None);
        let mut sizes = Vec::new();
        while let Some(window) = input.window(512).unwrap() {
            sizes.push(window.texts.len());
        }
        assert_eq!(sizes, [1, 2, 1]);
    }
}
