//! What a connection is doing, by which it is decided how long it may stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::Limits;

/// What goes on in one connection. Shared by its socket, its requests and the task that watches over it.
pub(super) struct Activity {
    start: Instant,
    /// Requests that are being worked on.
    working: AtomicUsize,
    /// Answers of which something is still to be sent.
    answering: AtomicUsize,
    /// When something of an answer was last sent or a request ended; milliseconds since the start.
    quiet_since: AtomicU64,
    /// When the client must have taken more of its answers; milliseconds since the start.
    take_by: AtomicU64,
    /// How long the client may take nothing.
    patience: Duration,
    /// When the head of the next request began to arrive; milliseconds since the start, and one, so that 0 is for none.
    head_since: AtomicU64,
}

/// What will have to be done about a connection, if nothing changes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is nothing to hold against it: look again later.
    Fine,
    /// No request for a long time, or half of one: it may end what it does, which is nothing.
    End,
    /// The client takes nothing of its answer, or too little.
    Cut,
}

/// Bytes a second that a client must take of its answers in the long run: a byte now and then would keep them in memory for days.
const SLOWEST: u64 = 8 << 10;

/// A request that is being worked on.
pub(super) struct Working(Arc<Activity>);

/// An answer that is being sent.
pub(super) struct Answering(Arc<Activity>);

impl Activity {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        let (working, answering) = Default::default();
        let (quiet_since, take_by, head_since) = Default::default();
        let (start, patience) = (Instant::now(), limits.read_timeout);
        Arc::new(Activity { start, working, answering, quiet_since, take_by, patience, head_since })
    }

    /// The whole head of a request is here.
    pub(super) fn request(self: &Arc<Self>) -> Working {
        self.working.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        Working(Arc::clone(self))
    }

    /// An answer is ready to be sent.
    pub(super) fn answer(self: &Arc<Self>) -> Answering {
        if self.answering.fetch_add(1, Ordering::Relaxed) == 0 {
            self.take_by.store(self.now() + milliseconds(self.patience), Ordering::Relaxed);
        }
        self.touch();
        Answering(Arc::clone(self))
    }

    /// So many bytes were sent. Of an idle connection they are of no answer: who sends a PING gets one back.
    pub(super) fn sent(&self, bytes: usize) {
        if self.is_idle() {
            return;
        }
        self.touch();
        // The time that they may take at the least rate; it is not saved up.
        let more = (bytes as u64).saturating_mul(1000) / SLOWEST;
        let most = self.now() + milliseconds(self.patience);
        self.take_by.store((self.take_by.load(Ordering::Relaxed) + more).min(most), Ordering::Relaxed);
    }

    /// Something of an answer was sent, or a request ended.
    fn touch(&self) {
        self.quiet_since.store(self.now(), Ordering::Relaxed);
    }

    /// Something was received, and with it there is the beginning of a head or not.
    pub(super) fn received(&self, in_head: bool) {
        if !in_head {
            self.head_since.store(0, Ordering::Relaxed);
        } else if self.is_idle() && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// Whether there is no request.
    pub(super) fn is_idle(&self) -> bool {
        self.working.load(Ordering::Relaxed) == 0 && self.answering.load(Ordering::Relaxed) == 0
    }

    /// When something of an answer was last sent or a request ended.
    pub(super) fn quiet_since(&self) -> Instant {
        self.start + Duration::from_millis(self.quiet_since.load(Ordering::Relaxed))
    }

    /// What will be due, and when.
    pub(super) fn verdict(&self, limits: &Limits) -> (Verdict, Instant) {
        let at = |milliseconds: u64, more: Duration| self.start + Duration::from_millis(milliseconds) + more;
        let quiet_since = self.quiet_since.load(Ordering::Relaxed);
        let head_since = self.head_since.load(Ordering::Relaxed);
        if self.answering.load(Ordering::Relaxed) > 0 {
            (Verdict::Cut, at(self.take_by.load(Ordering::Relaxed), Duration::ZERO))
        } else if self.working.load(Ordering::Relaxed) > 0 {
            (Verdict::Fine, at(self.now(), limits.read_timeout))
        } else if head_since > 0 {
            (Verdict::End, at(head_since - 1, limits.read_timeout))
        } else {
            (Verdict::End, at(quiet_since, limits.idle_timeout))
        }
    }

    fn now(&self) -> u64 {
        milliseconds(self.start.elapsed())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.touch();
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.touch();
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}
