//! One client's connection, and its time-outs.
//!
//! hyper has one time-out for both the wait between two requests and the slow sending of a header,
//! and logs a warning when it ends. These are two things with two lengths, so a connection watches
//! its own pace, and hyper's is off.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Sleep, Timer, Write};
use hyper::server::conn::http1;
use tracing::debug;

use super::{Gateway, Limits};

/// The largest request header, in bytes.
pub const HEADER_LEN_MAX: usize = 64 * 1024;

/// What is read at once, in bytes. hyper would read more than [`HEADER_LEN_MAX`] where the runtime
/// lets it, and then has another status for a target that is too long: the same client would be
/// answered in two ways.
const CHUNK_LEN: usize = 8 * 1024;

/// A future that serves one connection until it closes. It is to be polled when its stream is
/// ready and when its waker is woken.
pub struct Connection<I: Read + Write + Unpin + 'static> {
    http: Pin<Box<http1::Connection<Watched<I>, Endpoint>>>,
    pace: Rc<Pace>,
    timer: Rc<dyn Timer>,
    limits: Limits,
    alarm: Option<(Instant, Pin<Box<dyn Sleep>>)>,
}

impl<I: Read + Write + Unpin + 'static> fmt::Debug for Connection<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("phase", &self.pace.phase.get())
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// Serves the client `peer` over a stream.
    pub fn connection<I: Read + Write + Unpin + 'static>(
        &self,
        stream: I,
        peer: SocketAddr,
    ) -> Connection<I> {
        let pace = Rc::new(Pace {
            phase: Cell::new(Phase::Header),
            since: Cell::new(self.timer.now()),
            half_closed_at: Cell::new(None),
            timer: Rc::clone(&self.timer),
        });
        let stream = Watched {
            stream,
            pace: Rc::clone(&pace),
        };
        let endpoint = Endpoint {
            gateway: self.clone(),
            peer,
            pace: Rc::clone(&pace),
        };
        let http = http1::Builder::new()
            .header_read_timeout(None)
            // A client that has said all may still listen (RFC 9112 §9.6).
            .half_close(true)
            .max_buf_size(HEADER_LEN_MAX)
            .serve_connection(stream, endpoint);
        Connection {
            http: Box::pin(http),
            pace,
            timer: Rc::clone(&self.timer),
            limits: self.limits,
            alarm: None,
        }
    }
}

impl<I: Read + Write + Unpin + 'static> Connection<I> {
    /// Lets a request under way have its answer, then closes. To be polled after.
    pub fn shut_down(&mut self) {
        self.http.as_mut().graceful_shutdown();
    }

    /// Since when it waits for its client's next request, if it does. Then it may be closed
    /// (RFC 9112 §9.5).
    #[must_use]
    pub fn idle_since(&self) -> Option<Instant> {
        (self.pace.phase.get() == Phase::Idle).then(|| self.pace.since.get())
    }

    /// Whether a request is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.pace.phase.get() == Phase::Busy
    }

    /// The client sends no more. It may wait for its answer or be gone: the stream looks the same,
    /// so its request is given up after [`Limits::half_closed_timeout`]. Returns whether that is
    /// new; then it is to be polled.
    pub fn on_half_closed(&self) -> bool {
        let is_new = self.pace.half_closed_at.get().is_none();
        if is_new {
            self.pace.half_closed_at.set(Some(self.timer.now()));
        }
        is_new
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.pace.deadline(&self.limits) else {
            self.alarm = None;
            return Poll::Pending;
        };
        if self
            .alarm
            .as_ref()
            .is_none_or(|(armed_for, _)| *armed_for != deadline)
        {
            self.alarm = Some((deadline, self.timer.sleep_until(deadline)));
        }
        match &mut self.alarm {
            Some((_, sleep)) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<I: Read + Write + Unpin + 'static> Future for Connection<I> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready(result) = self.http.as_mut().poll(cx) {
            if let Err(error) = result {
                debug!(%error, "HTTP connection ended");
            }
            return Poll::Ready(());
        }
        ready!(self.poll_alarm(cx));
        debug!(phase = ?self.pace.phase.get(), "HTTP connection timed out");
        Poll::Ready(())
    }
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The rest of a header.
    Header,
    /// A body (which has its own time-out) or the core.
    Busy,
    /// The client: to fetch the response, and to ask again.
    Idle,
}

/// What a connection waits for, and since when.
struct Pace {
    phase: Cell<Phase>,
    since: Cell<Instant>,
    /// When the client said that it sends no more.
    half_closed_at: Cell<Option<Instant>>,
    timer: Rc<dyn Timer>,
}

impl Pace {
    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.timer.now());
    }

    fn on_read(&self) {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Header);
        }
    }

    /// A time-out may be longer than a clock can tell: then it never comes.
    fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let since = self.since.get();
        match self.phase.get() {
            Phase::Header => since.checked_add(limits.header_timeout),
            Phase::Busy => {
                let since = self.half_closed_at.get()?.max(since);
                since.checked_add(limits.half_closed_timeout)
            }
            Phase::Idle => since.checked_add(limits.idle_timeout),
        }
    }
}

/// What hyper calls with each request of a connection.
struct Endpoint {
    gateway: Gateway,
    peer: SocketAddr,
    pace: Rc<Pace>,
}

impl hyper::service::Service<http::Request<Incoming>> for Endpoint {
    type Response = http::Response<Full<Bytes>>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>>>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let (gateway, peer, pace) = (self.gateway.clone(), self.peer, Rc::clone(&self.pace));
        pace.enter(Phase::Busy);
        Box::pin(async move {
            let result = gateway.serve(peer, request).await;
            pace.enter(Phase::Idle);
            result
        })
    }
}

/// A stream that tells the pace when something was read.
struct Watched<I> {
    stream: I,
    pace: Rc<Pace>,
}

impl<I: Read + Unpin> Read for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = [MaybeUninit::uninit(); CHUNK_LEN];
        let mut chunk = ReadBuf::uninit(&mut chunk[..buffer.remaining().min(CHUNK_LEN)]);
        let result = Pin::new(&mut self.stream).poll_read(cx, chunk.unfilled());
        if matches!(result, Poll::Ready(Ok(()))) {
            buffer.put_slice(chunk.filled());
            self.pace.on_read();
        }
        result
    }
}

impl<I: Write + Unpin> Write for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}
