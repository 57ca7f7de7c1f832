//! One accepted connection as bytes, of either kind.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::activity::Activity;
use super::heads::Heads;

/// An accepted connection.
pub(super) enum Stream {
    /// From an address.
    Tcp(TcpStream),
    /// From this machine, through the file system.
    #[cfg(unix)]
    Unix(UnixStream),
}

/// A connection that tells its [`Activity`] what goes through it.
pub(super) struct Socket {
    stream: Stream,
    activity: Arc<Activity>,
    heads: Heads,
}

/// The same expression for either kind of stream.
macro_rules! either {
    ($socket:expr, $stream:ident => $body:expr) => {
        match &mut $socket.get_mut().stream {
            Stream::Tcp($stream) => {
                let $stream = Pin::new($stream);
                $body
            }
            #[cfg(unix)]
            Stream::Unix($stream) => {
                let $stream = Pin::new($stream);
                $body
            }
        }
    };
}

impl Socket {
    pub(super) fn new(stream: Stream, activity: Arc<Activity>) -> Self {
        Socket { stream, activity, heads: Heads::new() }
    }

    fn sent(&self, result: io::Result<usize>) -> Poll<io::Result<usize>> {
        if let Ok(bytes @ 1..) = result {
            self.activity.sent(bytes);
        }
        Poll::Ready(result)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(either!(self.as_mut(), stream => stream.poll_read(context, buffer)))?;
        let received = &buffer.filled()[before..];
        if !received.is_empty() {
            let in_head = self.heads.received(received);
            self.activity.received(in_head);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(either!(self.as_mut(), stream => stream.poll_write(context, bytes)));
        self.sent(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(either!(self.as_mut(), stream => stream.poll_write_vectored(context, parts)));
        self.sent(result)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(context))
    }
}
