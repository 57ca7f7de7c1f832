//! What the server counts and times, for Prometheus.
//!
//! The names, labels and buckets are those of text-embeddings-inference, so that its dashboards work.

use std::time::Duration;

use prometheus::{Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::failure::{Failure, FailureKind};
use crate::models::Task;
use crate::service::Timings;

/// The counters of a server.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    successes: IntCounterVec,
    failures: IntCounterVec,
    request: Phases,
    input_length: Histogram,
    embed: TaskMetrics,
    predict: TaskMetrics,
    step_size: Histogram,
    step_tokens: Histogram,
    queue_size: IntGauge,
}

/// One kind of work.
struct TaskMetrics {
    count: IntCounter,
    success: IntCounter,
    phases: Phases,
}

/// The phases of a request, in seconds.
struct Phases {
    duration: Histogram,
    tokenization: Histogram,
    queue: Histogram,
    inference: Histogram,
}

/// A call under way; counted as dropped if its client goes before its end.
pub(crate) struct Watch<'a> {
    metrics: &'a Metrics,
    task: Task,
    method: &'static str,
    ended: bool,
}

/// What a finished call tells.
pub(crate) trait Finished {
    /// Where the time went.
    fn timings(&self) -> Timings;
    /// What is wrong with the first item that failed, if one did.
    fn failure(&mut self) -> Option<&mut Failure>;
    /// Tokens of each item.
    fn lengths(&self) -> Vec<usize>;
}

impl Metrics {
    /// Counters at zero.
    #[allow(clippy::new_without_default)] // each registers its own metrics, which is not what a default is for
    pub fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help).expect(SOUND);
            registry.register(Box::new(counter.clone())).expect(ONCE);
            counter
        };
        let counters = |name: &str, help: &str, label: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label]).expect(SOUND);
            registry.register(Box::new(counters.clone())).expect(ONCE);
            counters
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)).expect(SOUND);
            registry.register(Box::new(histogram.clone())).expect(ONCE);
            histogram
        };
        let seconds = || prometheus::exponential_buckets(0.0001, 1.5, 36).expect(SOUND);
        let powers = |count| prometheus::exponential_buckets(1.0, 2.0, count).expect(SOUND);
        let phases = |of: &str| Phases {
            duration: histogram(&format!("te_{of}_duration"), "Seconds from a call to its end", seconds()),
            tokenization: histogram(&format!("te_{of}_tokenization_duration"), "Seconds of tokenizing", seconds()),
            queue: histogram(&format!("te_{of}_queue_duration"), "Seconds before the first step", seconds()),
            inference: histogram(&format!("te_{of}_inference_duration"), "Seconds from the first step on", seconds()),
        };
        let task = |of: &str| TaskMetrics {
            count: counter(&format!("te_{of}_count"), "Items asked for"),
            success: counter(&format!("te_{of}_success"), "Items answered"),
            phases: phases(of),
        };
        let queue_size = IntGauge::new("te_queue_size", "Calls under way").expect(SOUND);
        registry.register(Box::new(queue_size.clone())).expect(ONCE);
        Metrics {
            requests: counters("te_request_count", "Calls", "method"),
            successes: counters("te_request_success", "Calls answered", "method"),
            failures: counters("te_request_failure", "Calls that failed, by why", "err"),
            request: phases("request"),
            input_length: histogram("te_request_input_length", "Tokens of an item", powers(14)),
            embed: task("embed"),
            predict: task("predict"),
            step_size: histogram("te_batch_next_size", "Items of a forward pass", powers(12)),
            step_tokens: histogram("te_batch_next_tokens", "Tokens of a forward pass", powers(16)),
            queue_size,
            registry,
        }
    }

    /// The text format of Prometheus, version 0.0.4.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory does not fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// A call begins, with so many items.
    pub(crate) fn call(&self, task: Task, items: usize) -> Watch<'_> {
        let method = if items == 1 { "single" } else { "batch" };
        self.requests.with_label_values(&[method]).inc();
        self.of(task).count.inc_by(items as u64);
        self.queue_size.inc();
        Watch { metrics: self, task, method, ended: false }
    }

    /// A request fails, in a call or before it came to one. What is counted already is not counted again.
    pub(crate) fn failed(&self, failure: &mut Failure) {
        // A request for nothing that there is belongs to no model.
        let is_lost = matches!(failure.kind, FailureKind::UnknownRoute | FailureKind::Method);
        if !failure.counted && !is_lost {
            self.failures.with_label_values(&[failure.kind.label()]).inc();
        }
        failure.counted = true;
    }

    /// A step begins.
    pub(crate) fn step(&self, items: usize, tokens: usize) {
        self.step_size.observe(items as f64);
        self.step_tokens.observe(tokens as f64);
    }

    fn of(&self, task: Task) -> &TaskMetrics {
        match task {
            Task::Embed => &self.embed,
            Task::Rerank | Task::Expand => &self.predict,
        }
    }
}

impl Watch<'_> {
    /// The call is at its end.
    pub(crate) fn end<T: Finished>(mut self, mut result: Result<T, Failure>) -> Result<T, Failure> {
        self.ended = true;
        match &mut result {
            Ok(finished) => {
                match finished.failure() {
                    None => self.metrics.successes.with_label_values(&[self.method]).inc(),
                    Some(failure) => self.metrics.failed(failure),
                }
                let task = self.metrics.of(self.task);
                task.success.inc_by(finished.lengths().len() as u64);
                let timings = finished.timings();
                self.metrics.request.observe(timings);
                task.phases.observe(timings);
                for tokens in finished.lengths() {
                    self.metrics.input_length.observe(tokens as f64);
                }
            }
            Err(failure) => self.metrics.failed(failure),
        }
        result
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.metrics.queue_size.dec();
        if !self.ended {
            self.metrics.failures.with_label_values(&["dropped"]).inc();
        }
    }
}

impl Phases {
    fn observe(&self, timings: Timings) {
        self.duration.observe(seconds(timings.total));
        self.tokenization.observe(seconds(timings.tokenization));
        self.queue.observe(seconds(timings.queue));
        self.inference.observe(seconds(timings.inference));
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

const SOUND: &str = "the names and buckets are written here";
const ONCE: &str = "each name is registered once";
