//! One file from one address to one place: resumed, checked, or not there at all.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use super::digest::Digest;
use super::http::{Answer, Client, Method};
use super::settings::{MAX_RETRY_AFTER, Settings};
use super::{Error, Progress};

/// So much has to arrive before a broken connection counts as progress instead of a failed attempt.
const PROGRESS: u64 = 1 << 20;

/// What is to be downloaded.
pub(super) struct Job<'a> {
    /// The address.
    pub(super) url: &'a str,
    /// How messages and bars name the file.
    pub(super) what: &'a str,
    /// Its size, if known beforehand.
    pub(super) size: Option<u64>,
    /// What it hashes to.
    pub(super) digest: Digest,
    /// The strong `ETag` under which the bytes that are here already came, where the file's place does not say it.
    pub(super) if_range: Option<String>,
}

/// Calls `attempt` until it succeeds, fails for good, or has failed `retries + 1` times. Waits as long as the server asks, within
/// bounds, and longer each time.
pub(super) fn with_retries<T>(
    settings: &Settings,
    retries: u32,
    mut attempt: impl FnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let mut failed = 0;
    loop {
        match attempt() {
            // A machine without a network has none in four seconds either, and somebody waits for the answer.
            Err(error @ Error::Unreachable { .. }) if failed >= 1 => return Err(error),
            Err(error) if error.is_transient() && failed < retries => {
                tracing::debug!(%error, "trying again");
                pause(settings, failed, &error);
                failed += 1;
            }
            result => return result,
        }
    }
}

fn pause(settings: &Settings, failed: u32, error: &Error) {
    let own = settings.backoff.saturating_mul(1 << failed.min(6));
    let asked = match error {
        Error::Busy { retry_after: Some(asked), .. } => *asked,
        _ => Duration::ZERO,
    };
    std::thread::sleep(own.max(asked).min(MAX_RETRY_AFTER));
}

/// Downloads into `incomplete`, going on where an earlier attempt stopped, until the file is there whole and hashes to what it
/// should. A file that does not is deleted.
pub(super) fn download(
    client: &Client,
    settings: &Settings,
    job: &Job<'_>,
    incomplete: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    if let Some(size) = job.size {
        check_size(settings, job, size)?;
    }
    // Bytes that were here before may belong to something else; if the whole is wrong, one more try starts from nothing.
    let mut inherited = length(incomplete) > 0;
    let mut failed = 0;
    let mut best = length(incomplete);
    let mut may_resume = true;
    loop {
        let result = attempt(client, settings, job, incomplete, &mut may_resume, progress);
        let arrived = length(incomplete);
        match result {
            Ok(()) => match job.digest.mismatch(incomplete)? {
                None => return Ok(()),
                Some(_) if inherited => {
                    tracing::debug!(what = job.what, "a resumed file is damaged; starting over");
                    remove(incomplete)?;
                    inherited = false;
                }
                Some(found) => {
                    remove(incomplete)?;
                    let (algorithm, expected) = (job.digest.algorithm(), job.digest.expected().to_owned());
                    return Err(Error::WrongHash { what: job.what.to_owned(), algorithm, expected, found });
                }
            },
            Err(error) if error.is_transient() => {
                // A long download over a bad line ends well as long as it gets on.
                if arrived >= best.saturating_add(PROGRESS) {
                    best = arrived;
                    failed = 0;
                }
                if failed >= settings.retries {
                    return Err(error);
                }
                tracing::debug!(%error, what = job.what, "trying again");
                progress.note(&format!("{error}; trying again"));
                pause(settings, failed, &error);
                failed += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// One request and its body.
fn attempt(
    client: &Client,
    settings: &Settings,
    job: &Job<'_>,
    incomplete: &Path,
    may_resume: &mut bool,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let mut here = length(incomplete);
    if job.size.is_some_and(|size| here > size) || (here > 0 && !*may_resume) {
        remove(incomplete)?;
        here = 0;
    }
    if here > 0 && job.size == Some(here) {
        return Ok(());
    }
    let mut headers = Vec::new();
    if here > 0 {
        headers.push(("range", format!("bytes={here}-")));
        if let Some(etag) = &job.if_range {
            headers.push(("if-range", etag.clone()));
        }
    }
    let answer = client.send(Method::Get, job.url, &headers, job.what)?;
    let length = answer.number("content-length");
    let total = match answer.status {
        206 if here > 0 => match content_range(&answer) {
            Some((start, total)) if start == here && (total.is_none() || job.size.is_none() || total == job.size) => {
                total.or_else(|| length.map(|rest| here.saturating_add(rest)))
            }
            // Another part than asked for: putting it there would make a wrong file.
            _ => {
                *may_resume = false;
                let reason = format!(
                    "asked for bytes from {here}, it sends {:?}",
                    answer.header("content-range").unwrap_or("no range")
                );
                return restart(reason, &answer);
            }
        },
        200 => {
            remove(incomplete)?;
            here = 0;
            length
        }
        416 if here > 0 => {
            *may_resume = false;
            return restart(format!("it has no bytes from {here}"), &answer);
        }
        status => return Err(Error::Status { url: answer.url, status }),
    };
    if let (Some(expected), Some(total)) = (job.size, total)
        && expected != total
    {
        return Err(Error::BadAnswer {
            url: answer.url,
            reason: format!("{} has {total} bytes, announced were {expected}", job.what),
        });
    }
    let total = total.or(job.size);
    if let Some(total) = total {
        check_size(settings, job, total)?;
    }
    progress.start(job.what, total, here);
    let received = receive(client, settings, answer, job, here, total, incomplete, progress);
    progress.finish();
    received
}

/// An answer that cannot be used with the bytes that are here; the next attempt asks for all.
fn restart(reason: String, answer: &Answer) -> Result<(), Error> {
    Err(Error::Unreachable { url: answer.url.clone(), reason })
}

/// Appends the body to the file, which has `here` bytes.
#[allow(clippy::too_many_arguments)] // one call, and a struct for it would only repeat the names
fn receive(
    client: &Client,
    settings: &Settings,
    answer: Answer,
    job: &Job<'_>,
    mut here: u64,
    total: Option<u64>,
    incomplete: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let write_error = |error: std::io::Error| match Error::io("write", incomplete)(error) {
        Error::DiskFull { path, .. } => Error::DiskFull { path, needed: total },
        other => other,
    };
    let mut file = File::options().create(true).append(true).open(incomplete).map_err(write_error)?;
    let url = answer.url.clone();
    let mut reader = answer.reader();
    let mut buffer = vec![0; 1 << 18];
    let limit = total.unwrap_or(settings.max_file);
    let failure = loop {
        match reader.read(&mut buffer) {
            Ok(0) => break None,
            Ok(n) => {
                here = here.saturating_add(n as u64);
                if here > limit {
                    drop(file);
                    remove(incomplete)?;
                    return Err(Error::TooLarge { what: job.what.to_owned(), found: here, limit });
                }
                file.write_all(&buffer[..n]).map_err(write_error)?;
                progress.advance(n as u64);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => break Some(error),
        }
    };
    file.sync_all().map_err(write_error)?;
    match (failure, total) {
        (Some(error), Some(total)) if is_short(&error) => Err(Error::ShortBody { url, expected: total, found: here }),
        (Some(error), _) => Err(client.name_read_error(error, &url)),
        (None, Some(total)) if here < total => Err(Error::ShortBody { url, expected: total, found: here }),
        (None, None) if here == 0 => Err(Error::BadAnswer { url, reason: "it is empty".to_owned() }),
        (None, _) => Ok(()),
    }
}

/// Whether the connection was closed in the middle of a body.
fn is_short(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// `bytes START-END/TOTAL` (RFC 9110 section 14.4): START and, unless it is `*`, TOTAL.
fn content_range(answer: &Answer) -> Option<(u64, Option<u64>)> {
    parse_content_range(answer.header("content-range")?)
}

fn parse_content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.trim().split_once('-')?;
    let (start, end): (u64, u64) = (start.trim().parse().ok()?, end.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        digits => Some(digits.parse::<u64>().ok()?),
    };
    // A part that ends before the file does would leave a gap for the next attempt to fill; a sound one ends with the file.
    let fits = start <= end && total.is_none_or(|total| end < total);
    fits.then_some((start, total))
}

fn check_size(settings: &Settings, job: &Job<'_>, size: u64) -> Result<(), Error> {
    if size > settings.max_file {
        return Err(Error::TooLarge { what: job.what.to_owned(), found: size, limit: settings.max_file });
    }
    Ok(())
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("delete", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(parse_content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5, None)));
        for bad in
            ["", "bytes", "bytes */10", "bytes 9-5/10", "bytes 5-10/10", "lines 1-2/3", "bytes 1-x/3", "bytes -1-2/3"]
        {
            assert_eq!(parse_content_range(bad), None, "{bad:?}");
        }
    }
}
