//! What every request goes through on its way to its route, in this order: it gets an id and a line in the log; it must come by a name and from a
//! page that are allowed, and have a key; its body is read within the limits; and if its route panics, it fails alone.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use crate::body::{self, Admission};
use crate::failure::{Failure, FailureKind};
use crate::guard::{Guard, is_probe};
use crate::transport::payload::Carrying;
use crate::{Limits, Service, dialects, log};

/// What the layers know.
pub(crate) struct Layers {
    service: Service,
    guard: Guard,
    admission: Admission,
    stopping: AtomicBool,
}

impl Layers {
    pub(crate) fn new(service: Service, guard: Guard, limits: &Limits) -> Self {
        Layers { service, guard, admission: Admission::new(limits), stopping: AtomicBool::new(false) }
    }

    /// The server is on its way down: from now on it says that it is not well, so that nothing more is sent to it.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// The router within its layers.
pub(crate) fn around(router: Router, layers: &Arc<Layers>) -> Router {
    // The last is the first to see a request.
    let router = router
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(Arc::clone(layers), admit))
        .layer(from_fn_with_state(Arc::clone(layers), check_key));
    // Browsers ask without a key whether they may ask with one.
    let router = match layers.guard.origins.cors() {
        Some(cors) => router.layer(cors),
        None => router,
    };
    let router = router
        .layer(from_fn_with_state(Arc::clone(layers), check_source))
        .layer(from_fn_with_state(layers.service.clone(), dialects::speak));
    #[cfg(feature = "otel")]
    let router = router.layer(from_fn(crate::traces::request));
    router.layer(from_fn(log::request))
}

async fn check_source(State(layers): State<Arc<Layers>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(failure) = layers.guard.check_source(&parts) {
        return failure.into_response();
    }
    if is_probe(parts.uri.path()) && parts.uri.path() != "/metrics" && layers.stopping.load(Ordering::Relaxed) {
        return Failure::new(FailureKind::Unready, "the server is on its way down").into_response();
    }
    next.run(Request::from_parts(parts, body)).await
}

async fn check_key(State(layers): State<Arc<Layers>>, request: Request, next: Next) -> Response {
    match layers.guard.check_key(request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

/// Takes a request on if there is room for it, and reads its body. Both count until the answer is sent, for which there must be room, too.
async fn admit(State(layers): State<Arc<Layers>>, request: Request, next: Next) -> Response {
    if is_probe(request.uri().path()) {
        return next.run(request).await;
    }
    let (request, admitted) = match body::receive(request, &layers.admission).await {
        Ok(received) => received,
        Err(failure) => return failure.into_response(),
    };
    let response = next.run(request).await;
    match layers.admission.answer(response.body().size_hint().lower()) {
        Ok(room) => response.map(|body| Body::new(Carrying::new(body, (admitted, room)))),
        Err(failure) => failure.into_response(),
    }
}

/// A panic is a defect; it must cost no more than the request in which it came.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let what = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(what), _) => what,
        (_, Some(what)) => what.as_str(),
        _ => "no message",
    };
    tracing::error!(panic = what, "a request failed by a defect");
    let message = "the server failed at this request; this is a defect of the server, please report it";
    Failure::new(FailureKind::Backend, message).into_response()
}
