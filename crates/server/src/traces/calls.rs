//! The spans of a call of the service and of its stages, made when it has ended, from the times that it took.

use std::time::{Duration, SystemTime};

use docent::{Embedder, Reranker};
use opentelemetry::trace::{Span, SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};

use super::{error, shortened, tracer};
use crate::failure::Failure;
use crate::metrics::Finished;
use crate::models::{Served, Task};
use crate::service::{Embedded, Reranked, Timings};

/// A call that is under way, within the span of its request.
pub(crate) struct Call {
    request: Context,
    task: Task,
    /// The model's name in the request.
    asked: Option<String>,
    items: usize,
    start: SystemTime,
}

/// What a finished call tells beyond what the metrics want to know.
pub(crate) trait Traced: Finished {
    /// The model's name.
    fn model(&self) -> &str;
    /// Components of the vectors, if there are vectors.
    fn dimensions(&self) -> Option<usize>;
    /// Items that were cut.
    fn truncated(&self) -> usize;
    /// What is wrong with the first item that failed, if one did.
    fn first_failure(&self) -> Option<&Failure>;
}

impl Call {
    pub(crate) fn new(task: Task, asked: Option<&str>, items: usize) -> Self {
        Call { request: Context::current(), task, asked: asked.map(str::to_owned), items, start: SystemTime::now() }
    }

    /// The call is at its end. One whose client went has no span: that of the request says so.
    pub(crate) fn end<T: Traced>(self, result: &Result<T, Failure>) {
        // Nobody listens, or the trace is not among those that are recorded.
        if !self.request.span().is_recording() {
            return;
        }
        let tracer = tracer();
        let operation = match self.task {
            Task::Embed => "embeddings",
            // The conventions have no names for these.
            Task::Rerank => "rerank",
            Task::Expand => "expand",
        };
        let mut attributes = vec![
            KeyValue::new("gen_ai.operation.name", operation),
            KeyValue::new("gen_ai.provider.name", "docent"),
            KeyValue::new("docent.items", count(self.items)),
        ];
        // Not what was asked for where there is no such model: names are to be few.
        let model = result.as_ref().map(T::model).ok();
        let name = model.map_or_else(|| operation.to_owned(), |model| format!("{operation} {model}"));
        if let Some(asked) = &self.asked {
            attributes.push(KeyValue::new("gen_ai.request.model", shortened(asked)));
        }
        if let Ok(done) = result {
            attributes.push(KeyValue::new("gen_ai.response.model", done.model().to_owned()));
            attributes.push(KeyValue::new("gen_ai.usage.input_tokens", count(done.lengths().into_iter().sum())));
            attributes.push(KeyValue::new("docent.truncated", count(done.truncated())));
            let dimensions = done.dimensions();
            attributes
                .extend(dimensions.map(|count_of| KeyValue::new("gen_ai.embeddings.dimension.count", count(count_of))));
        }
        let builder = tracer.span_builder(name).with_kind(SpanKind::Internal).with_start_time(self.start);
        let mut span = builder.with_attributes(attributes).start_with_context(&tracer, &self.request);
        let failure = match result {
            Ok(done) => done.first_failure(),
            Err(failure) => Some(failure),
        };
        if let Some(failure) = failure {
            let (kind, status) = error(failure.kind.label());
            span.set_attribute(kind);
            span.set_status(status);
        }
        let timings = result.as_ref().map(T::timings).ok();
        let end = timings.map_or_else(SystemTime::now, |timings| self.start + timings.total);
        if let Some(timings) = timings {
            let call = self.request.with_remote_span_context(span.span_context().clone());
            stages(&tracer, &call, self.start, timings);
        }
        span.end_with_timestamp(end);
    }
}

/// A span for each stage, one after the other.
fn stages(tracer: &impl Tracer, call: &Context, start: SystemTime, timings: Timings) {
    let Timings { tokenization, queue, inference, .. } = timings;
    let stages: [(&'static str, Duration); 3] =
        [("tokenize", tokenization), ("queue", queue), ("inference", inference)];
    let mut start = start;
    for (name, took) in stages {
        let mut span = tracer.span_builder(name).with_start_time(start).start_with_context(tracer, call);
        start += took;
        span.end_with_timestamp(start);
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Traced for Embedded {
    fn model(&self) -> &str {
        let model: &Served<Embedder> = &self.model;
        &model.name
    }

    fn dimensions(&self) -> Option<usize> {
        self.items.iter().flatten().next().map(docent::Embedding::dim)
    }

    fn truncated(&self) -> usize {
        Embedded::truncated(self)
    }

    fn first_failure(&self) -> Option<&Failure> {
        self.items.iter().find_map(|item| item.as_ref().err())
    }
}

impl Traced for Reranked {
    fn model(&self) -> &str {
        let model: &Served<Reranker> = &self.model;
        &model.name
    }

    fn dimensions(&self) -> Option<usize> {
        None
    }

    fn truncated(&self) -> usize {
        Reranked::truncated(self)
    }

    fn first_failure(&self) -> Option<&Failure> {
        self.items.iter().find_map(|item| item.as_ref().err())
    }
}
