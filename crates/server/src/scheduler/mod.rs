//! The one thread that runs the models, and the queue in front of it.
//!
//! Requests of all clients are taken apart into texts. A *step* is one forward pass over some of them, about
//! [`step_tokens`](crate::Limits::step_tokens) tokens of one model; nothing is padded, so long and short texts share a step at no
//! cost. Nobody waits for a step to fill: what is there when a step ends makes the next one. Half of a step goes to the requests with the least
//! left to do, so that a short one is never behind more than the step that runs and its own; the other half to those that have
//! waited longest, so that none is starved ([`share`]). Models take turns, a step each.

mod lane;
mod share;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use docent::{Embedder, Embedding, PreparedDocument, PreparedText, RankedDocument, Reranker};
use tokio::sync::oneshot;

use crate::Limits;
use crate::failure::{Failure, FailureKind};
use crate::metrics::Metrics;
use crate::models::Served;
use lane::{Lane, Request, Step};

/// A model as the scheduler sees it: items go in, outputs come out, and each item has a weight.
pub(crate) trait Runs: Send + Sync + 'static {
    /// What it reads.
    type Item: Send + 'static;
    /// What it makes of it.
    type Output: Send + 'static;

    /// Tokens of an item.
    fn tokens(item: &Self::Item) -> usize;

    /// One forward pass.
    fn run(&self, items: &[&Self::Item]) -> Result<Vec<Result<Self::Output, docent::Error>>, docent::Error>;

    /// Puts a request in the lane of its model.
    fn arrival(request: Request<Self>) -> Arrival
    where
        Self: Sized;
}

impl Runs for Embedder {
    type Item = PreparedText;
    type Output = Embedding;

    fn tokens(item: &PreparedText) -> usize {
        item.tokens()
    }

    fn run(&self, items: &[&PreparedText]) -> Result<Vec<Result<Embedding, docent::Error>>, docent::Error> {
        self.embed_prepared(items)
    }

    fn arrival(request: Request<Self>) -> Arrival {
        Arrival::Embed(request)
    }
}

impl Runs for Reranker {
    type Item = PreparedDocument;
    type Output = RankedDocument;

    fn tokens(item: &PreparedDocument) -> usize {
        item.tokens()
    }

    fn run(&self, items: &[&PreparedDocument]) -> Result<Vec<Result<RankedDocument, docent::Error>>, docent::Error> {
        self.score_prepared(items)
    }

    fn arrival(request: Request<Self>) -> Arrival {
        Arrival::Score(request)
    }
}

/// What reaches the thread.
pub(crate) enum Arrival {
    /// Texts to embed.
    Embed(Request<Embedder>),
    /// Documents to score.
    Score(Request<Reranker>),
}

/// What became of a request.
pub(crate) struct Done<O> {
    /// What the model made of each item.
    pub(crate) outputs: Vec<Result<O, docent::Error>>,
    /// Time before the first step that had one of them.
    pub(crate) queue: Duration,
    /// Time from there to the end of the last.
    pub(crate) inference: Duration,
}

/// Hands requests to the thread that runs the models. The thread ends with it, when all that waits is done.
pub(crate) struct Scheduler {
    arrivals: mpsc::Sender<Arrival>,
    backlog: Arc<Backlog>,
    most_tokens: usize,
}

/// What waits, for those who ask whether more is welcome.
#[derive(Default)]
pub(crate) struct Backlog {
    /// Tokens of requests that are not done.
    tokens: AtomicUsize,
    /// Nanoseconds that a token took in the last steps, in the mean.
    per_token: AtomicU64,
}

impl Scheduler {
    /// Starts the thread, which sleeps until there is something to do.
    pub(crate) fn start(limits: &Limits, metrics: Arc<Metrics>) -> Self {
        let (arrivals, receiver) = mpsc::channel();
        let backlog = Arc::new(Backlog::default());
        let worker = Worker {
            arrivals: receiver,
            lanes: Vec::new(),
            turn: 0,
            step_tokens: limits.step_tokens.max(1),
            backlog: Arc::clone(&backlog),
            metrics,
        };
        let spawned = std::thread::Builder::new().name("docent-steps".to_owned()).spawn(move || worker.run());
        if let Err(error) = spawned {
            // The receiver is gone with the closure: every request is told so.
            tracing::error!("no thread for the models: {error}");
        }
        Scheduler { arrivals, backlog, most_tokens: limits.queue_tokens }
    }

    /// Runs items through a model, among those of others. If the future is dropped, what has not run yet never will.
    pub(crate) async fn run<R: Runs>(
        &self,
        model: &Arc<Served<R>>,
        items: Vec<R::Item>,
    ) -> Result<Done<R::Output>, Failure> {
        if items.is_empty() {
            return Ok(Done { outputs: Vec::new(), queue: Duration::ZERO, inference: Duration::ZERO });
        }
        let tokens: Vec<usize> = items.iter().map(R::tokens).collect();
        let total = tokens.iter().sum();
        let ticket = self.backlog.admit(total, self.most_tokens)?;
        let (reply, answer) = oneshot::channel();
        let request = Request::new(Arc::clone(model), items, tokens, reply, ticket);
        let gone = |_| Failure::new(FailureKind::Unready, "the server is on its way down");
        self.arrivals.send(R::arrival(request)).map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }
}

/// The place of a request in the backlog, given up when it is dropped.
pub(crate) struct Ticket {
    backlog: Arc<Backlog>,
    tokens: usize,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.backlog.tokens.fetch_sub(self.tokens, Ordering::Relaxed);
    }
}

impl Backlog {
    /// Takes on so many tokens, unless others wait and it would be more than `most`: one request alone is never too much.
    fn admit(self: &Arc<Self>, tokens: usize, most: usize) -> Result<Ticket, Failure> {
        let before = self.tokens.fetch_add(tokens, Ordering::Relaxed);
        let ticket = Ticket { backlog: Arc::clone(self), tokens };
        if before > 0 && before.saturating_add(tokens) > most {
            let wait = Duration::from_nanos(self.per_token.load(Ordering::Relaxed).saturating_mul(before as u64));
            let retry_after = u32::try_from(wait.as_secs() + 1).unwrap_or(u32::MAX);
            let message = format!("{before} tokens wait already, and {most} may; try again in {retry_after} s");
            return Err(Failure::new(FailureKind::Overloaded { retry_after }, message));
        }
        Ok(ticket)
    }
}

/// The thread that runs the models.
struct Worker {
    arrivals: mpsc::Receiver<Arrival>,
    /// A lane for each model that something waits for.
    lanes: Vec<Box<dyn Step>>,
    /// The lane whose turn it is.
    turn: usize,
    step_tokens: usize,
    backlog: Arc<Backlog>,
    metrics: Arc<Metrics>,
}

impl Worker {
    fn run(mut self) {
        loop {
            if self.lanes.is_empty() {
                match self.arrivals.recv() {
                    Ok(arrival) => self.admit(arrival),
                    Err(mpsc::RecvError) => return,
                }
            }
            while let Ok(arrival) = self.arrivals.try_recv() {
                self.admit(arrival);
            }
            self.step();
        }
    }

    fn admit(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Embed(request) => self.admit_to_lane(request),
            Arrival::Score(request) => self.admit_to_lane(request),
        }
    }

    fn admit_to_lane<R: Runs>(&mut self, request: Request<R>) {
        let lane = self.lanes.iter_mut().find_map(|lane| {
            lane.as_any().downcast_mut::<Lane<R>>().filter(|lane| Arc::ptr_eq(lane.model(), request.model()))
        });
        match lane {
            Some(lane) => lane.push(request),
            None => self.lanes.push(Box::new(Lane::new(request))),
        }
    }

    /// One forward pass of the model whose turn it is.
    fn step(&mut self) {
        self.turn = if self.turn < self.lanes.len() { self.turn } else { 0 };
        let lane = &mut self.lanes[self.turn];
        let start = Instant::now();
        // A panic is a defect; it must cost no more than the requests in whose step it came.
        match catch_unwind(AssertUnwindSafe(|| lane.step(self.step_tokens, &self.metrics))) {
            Ok(0) => {}
            Ok(tokens) => self.backlog.took(start.elapsed(), tokens),
            Err(_) => lane.abandon(),
        }
        if lane.is_empty() {
            self.lanes.remove(self.turn);
        } else {
            self.turn += 1;
        }
    }
}

impl Backlog {
    /// Notes what a step took; a mean that forgets, an eighth a step.
    fn took(&self, time: Duration, tokens: usize) {
        let now = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) / tokens.max(1) as u64;
        let before = self.per_token.load(Ordering::Relaxed);
        let mean = if before == 0 { now } else { before - before / 8 + now / 8 };
        self.per_token.store(mean, Ordering::Relaxed);
    }
}
