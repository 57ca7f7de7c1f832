//! The requests that wait for one model.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::share::{Waiting, share};
use super::{Done, Runs, Ticket};
use crate::failure::{Failure, FailureKind};
use crate::metrics::Metrics;
use crate::models::Served;

/// One request in the queue.
pub(crate) struct Request<R: Runs> {
    model: Arc<Served<R>>,
    items: Vec<R::Item>,
    /// Tokens of each item.
    tokens: Vec<usize>,
    /// What has been made of the first items; those after them wait.
    outputs: Vec<Result<R::Output, docent::Error>>,
    reply: oneshot::Sender<Result<Done<R::Output>, Failure>>,
    arrived: Instant,
    /// When the first step that had one of the items began.
    started: Option<Instant>,
    /// Kept until the request ends, one way or the other.
    _ticket: Ticket,
}

impl<R: Runs> Request<R> {
    pub(super) fn new(
        model: Arc<Served<R>>,
        items: Vec<R::Item>,
        tokens: Vec<usize>,
        reply: oneshot::Sender<Result<Done<R::Output>, Failure>>,
        ticket: Ticket,
    ) -> Self {
        let (outputs, arrived) = (Vec::with_capacity(items.len()), Instant::now());
        Request { model, items, tokens, outputs, reply, arrived, started: None, _ticket: ticket }
    }

    pub(super) fn model(&self) -> &Arc<Served<R>> {
        &self.model
    }

    /// Items that have not run.
    fn left(&self) -> &[usize] {
        &self.tokens[self.outputs.len()..]
    }

    fn answer(self) {
        let started = self.started.unwrap_or(self.arrived);
        let (queue, inference) = (started - self.arrived, started.elapsed());
        // A client that has gone in this moment hears nothing.
        let _ = self.reply.send(Ok(Done { outputs: self.outputs, queue, inference }));
    }
}

/// The requests that wait for one model, in the order in which they came.
pub(super) struct Lane<R: Runs> {
    model: Arc<Served<R>>,
    requests: VecDeque<Request<R>>,
}

/// A lane, whatever its model makes.
pub(super) trait Step: Send {
    /// Runs one step of about `budget` tokens, answers the requests that it ends, and gives the tokens that it had.
    fn step(&mut self, budget: usize, metrics: &Metrics) -> usize;

    /// Fails all requests, after a step that panicked.
    fn abandon(&mut self);

    fn is_empty(&self) -> bool;

    fn as_any(&mut self) -> &mut dyn Any;
}

impl<R: Runs> Lane<R> {
    pub(super) fn new(request: Request<R>) -> Self {
        Lane { model: Arc::clone(&request.model), requests: VecDeque::from([request]) }
    }

    pub(super) fn model(&self) -> &Arc<Served<R>> {
        &self.model
    }

    pub(super) fn push(&mut self, request: Request<R>) {
        self.requests.push_back(request);
    }

    /// Lets go of the requests whose clients are gone.
    fn drop_abandoned(&mut self) {
        self.requests.retain(|request| !request.reply.is_closed());
    }

    /// Answers the requests that have no items left.
    fn answer(&mut self) {
        for request in std::mem::take(&mut self.requests) {
            if request.left().is_empty() {
                request.answer();
            } else {
                self.requests.push_back(request);
            }
        }
    }

    fn fail(&mut self, mut fails: impl FnMut(&Request<R>) -> bool, failure: &Failure) {
        for request in std::mem::take(&mut self.requests) {
            if fails(&request) {
                let _ = request.reply.send(Err(failure.clone()));
            } else {
                self.requests.push_back(request);
            }
        }
    }
}

impl<R: Runs> Step for Lane<R> {
    fn step(&mut self, budget: usize, metrics: &Metrics) -> usize {
        self.drop_abandoned();
        let waiting: Vec<Waiting<'_>> = self.requests.iter().map(|request| Waiting { left: request.left() }).collect();
        let taken = share(&waiting, budget);
        let start = Instant::now();
        let mut items: Vec<&R::Item> = Vec::new();
        let mut tokens = 0;
        for (request, &count) in self.requests.iter_mut().zip(&taken) {
            if count > 0 {
                request.started.get_or_insert(start);
            }
        }
        for (request, &count) in self.requests.iter().zip(&taken) {
            let first = request.outputs.len();
            items.extend(&request.items[first..first + count]);
            tokens += request.left()[..count].iter().sum::<usize>();
        }
        if items.is_empty() {
            return 0;
        }
        metrics.step(items.len(), tokens);
        match self.model.model.run(&items) {
            Ok(outputs) => {
                let mut outputs = outputs.into_iter();
                for (request, count) in self.requests.iter_mut().zip(taken) {
                    request.outputs.extend(outputs.by_ref().take(count));
                }
                self.answer();
            }
            Err(error) => {
                let failure = Failure::new(FailureKind::Backend, error.to_string());
                let mut taken = taken.into_iter();
                self.fail(|_| taken.next().is_some_and(|count| count > 0), &failure);
            }
        }
        tokens
    }

    fn abandon(&mut self) {
        let message = "the forward pass failed; this is a defect of the server, please report it";
        self.fail(|_| true, &Failure::new(FailureKind::Backend, message));
    }

    fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
