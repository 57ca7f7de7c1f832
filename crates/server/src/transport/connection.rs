//! One connection from its first byte to its last.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::header::EXPECT;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::{Notify, watch};
use tower::Service as _;

use super::activity::{Activity, Answering, Verdict};
use super::listener::Client;
use super::payload::{Carrying, Lingering};
use super::socket::{Socket, Stream};
use crate::Limits;

/// Bytes of a request's head, which is also what is read ahead of a body.
const HEAD: usize = 64 << 10;

/// Bytes of HTTP/2 bodies that a client may send before they are read.
const WINDOW: u32 = 256 << 10;

/// Requests at a time of one HTTP/2 connection.
const STREAMS: u32 = 128;

/// Time that a connection which is to end, and has nothing to do, gets for its last bytes.
const GRACE: Duration = Duration::from_secs(1);

/// What all connections share.
pub(super) struct Connections {
    router: axum::Router,
    protocol: auto::Builder<TokioExecutor>,
    limits: Limits,
    /// Turns true when the server is told to stop.
    stop: watch::Receiver<bool>,
    /// Wakes the connection that has been idle for the longest time, for it to make room.
    room: Arc<Notify>,
}

impl Connections {
    pub(super) fn new(router: axum::Router, limits: Limits, stop: watch::Receiver<bool>) -> Self {
        let mut protocol = auto::Builder::new(TokioExecutor::new());
        // The time for a head is kept here, for both versions and from the first byte on.
        protocol.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD);
        protocol
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        Connections { router, protocol, limits, stop, room: Arc::new(Notify::new()) }
    }

    /// Ends the connection that has been idle for the longest time, or the next that becomes idle.
    pub(super) fn make_room(&self) {
        self.room.notify_one();
    }

    /// There is room again: nobody need make it any more.
    pub(super) fn has_room(&self) {
        pin!(self.room.notified()).enable();
    }

    /// Serves one connection to its end.
    pub(super) async fn serve(self: Arc<Self>, stream: Stream, client: Client) {
        let activity = Activity::new(&self.limits);
        let socket = TokioIo::new(Socket::new(stream, Arc::clone(&activity)));
        let service = service_fn(|request| answer(self.router.clone(), Arc::clone(&activity), client, request));
        let mut connection = pin!(self.protocol.serve_connection(socket, service));
        let mut stop = self.stop.clone();
        let mut stop = pin!(async move { stop.wait_for(|stop| *stop).await.is_ok() });
        let mut room = pin!(None);
        let mut timer = pin!(tokio::time::sleep(self.limits.read_timeout.min(self.limits.idle_timeout)));
        let mut ending: Option<Instant> = None;
        poll_fn(|context| {
            loop {
                if let Poll::Ready(result) = connection.as_mut().poll(context) {
                    if let Err(error) = result {
                        tracing::debug!(%client, %error, "connection ended");
                    }
                    return Poll::Ready(());
                }
                if ending.is_none() {
                    let mut ends = stop.as_mut().poll(context).is_ready();
                    if !activity.is_idle() {
                        room.set(None);
                    } else if !ends {
                        if room.is_none() {
                            room.set(Some(Arc::clone(&self.room).notified_owned()));
                        }
                        ends = room.as_mut().as_pin_mut().is_some_and(|room| room.poll(context).is_ready());
                    }
                    if ends {
                        ending = Some(Instant::now());
                        room.set(None);
                        connection.as_mut().graceful_shutdown();
                        continue;
                    }
                }
                let (verdict, due) = match (activity.verdict(&self.limits), ending) {
                    ((Verdict::End, _), Some(since)) => (Verdict::Cut, since.max(activity.quiet_since()) + GRACE),
                    (other, _) => other,
                };
                if due <= Instant::now() && verdict != Verdict::Fine {
                    if verdict == Verdict::Cut {
                        return Poll::Ready(());
                    }
                    ending = Some(Instant::now());
                    room.set(None);
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
                // Only brought forward: a request would otherwise move the timer twice.
                let due = due.into();
                if due < timer.deadline() || timer.is_elapsed() {
                    timer.as_mut().reset(due);
                }
                if timer.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }
}

/// One request.
fn answer(
    mut router: axum::Router,
    activity: Arc<Activity>,
    client: Client,
    request: hyper::Request<Incoming>,
) -> impl Future<Output = Result<Response<Carrying<Answering>>, Infallible>> {
    let working = activity.request();
    // Who waits for leave to send its body has not begun to: there is nothing to take from the wire.
    let waits = request.headers().contains_key(EXPECT);
    let mut request: Request =
        request.map(|body| if waits { Body::new(body) } else { Body::new(Lingering::new(Body::new(body))) });
    request.extensions_mut().insert(client);
    async move {
        let response = router.call(request).await?;
        let response = response.map(|body| Carrying::new(body, activity.answer()));
        drop(working);
        Ok(response)
    }
}
