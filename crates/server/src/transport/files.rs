//! The limit of open files, of which each connection is one.

/// Files besides connections: the listener, the runtime's own, models while they are opened.
#[cfg(unix)]
const OTHERS: u64 = 256;

/// Raises the limit of open files for so many connections as far as the system lets it be raised, and says how many it is enough for.
pub(super) fn allow(connections: usize) -> usize {
    let wanted = connections.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
    let allowed = system_limit(wanted).min(wanted);
    if allowed < wanted {
        tracing::warn!(wanted, allowed, "fewer connections at a time than wanted: the limit of open files is too low");
    }
    allowed
}

#[cfg(unix)]
fn system_limit(connections: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let needed = connections as u64 + OTHERS;
    let Rlimit { mut current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < needed) {
        let raised = Some(maximum.map_or(needed, |maximum| maximum.min(needed)));
        match setrlimit(Resource::Nofile, Rlimit { current: raised, maximum }) {
            Ok(()) => current = raised,
            Err(error) => tracing::debug!(%error, "the limit of open files cannot be raised"),
        }
    }
    current.map_or(connections, |files| usize::try_from(files.saturating_sub(OTHERS)).unwrap_or(usize::MAX).max(1))
}

#[cfg(not(unix))]
fn system_limit(connections: usize) -> usize {
    connections
}
