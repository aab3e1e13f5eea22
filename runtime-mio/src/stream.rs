//! A TCP stream as hyper wants it.
//!
//! Readiness is edge-triggered: an event says that the state changed, and it holds until a call
//! would block. So the flags are set by events and cleared by `WouldBlock` alone, and no call is
//! made that is known to block. No waker is kept: the loop polls a connection at its events.

use std::cell::Cell;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use kvill_host::http::{Peer, Watch};
use mio::net::TcpStream;

/// What is read by one call, in bytes.
const CHUNK_LEN: usize = 8 * 1024;

/// What the loop knows of a stream.
#[derive(Debug)]
pub(crate) struct Readiness {
    readable: Cell<bool>,
    writable: Cell<bool>,
    peer: Cell<Peer>,
}

impl Readiness {
    /// Tries first: a new stream may have data already, and has room.
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            readable: Cell::new(true),
            writable: Cell::new(true),
            peer: Cell::new(Peer::Present),
        })
    }

    pub(crate) fn on_event(&self, event: &mio::event::Event) {
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.readable.set(true);
        }
        if event.is_writable() || event.is_write_closed() || event.is_error() {
            self.writable.set(true);
        }
        if event.is_error() || (event.is_read_closed() && event.is_write_closed()) {
            self.peer.set(Peer::Gone);
        } else if event.is_read_closed() {
            self.peer.set(Peer::HalfClosed);
        }
    }

    /// Where a read does not fill its room, nothing is left, and what comes has an event of its own.
    /// Only an end that was told already has none. Windows tells again only after a call that would
    /// block.
    fn on_read(&self, len: usize, room_len: usize) {
        let is_drained = 0 < len && len < room_len && self.peer.get() == Peer::Present;
        if is_drained && !cfg!(windows) {
            self.readable.set(false);
        }
    }
}

impl Watch for Readiness {
    fn poll_peer(&self, _cx: &mut Context<'_>) -> Peer {
        self.peer.get()
    }
}

/// One client's stream.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: TcpStream,
    readiness: Rc<Readiness>,
}

impl Stream {
    pub(crate) fn new(socket: TcpStream, readiness: Rc<Readiness>) -> Self {
        Self { socket, readiness }
    }

    fn write_with(
        &mut self,
        write: impl FnMut(&mut TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        attempt(&self.readiness.writable, &mut self.socket, write)
    }
}

/// Makes a call unless it is known to block. Once more, if a signal came between.
fn attempt<T>(
    ready: &Cell<bool>,
    socket: &mut TcpStream,
    mut call: impl FnMut(&mut TcpStream) -> io::Result<T>,
) -> Poll<io::Result<T>> {
    while ready.get() {
        match call(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.set(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return Poll::Ready(result),
        }
    }
    Poll::Pending
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Stream { socket, readiness } = self.get_mut();
        if !readiness.readable.get() {
            return Poll::Pending;
        }
        let mut chunk = [0; CHUNK_LEN];
        let room = &mut chunk[..buffer.remaining().min(CHUNK_LEN)];
        attempt(&readiness.readable, socket, |socket| {
            let len = socket.read(room)?;
            readiness.on_read(len, room.len());
            Ok(len)
        })
        .map_ok(|len| buffer.put_slice(&chunk[..len]))
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().write_with(|socket| socket.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.socket.shutdown(Shutdown::Write) {
            // The client was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .write_with(|socket| socket.write_vectored(slices))
    }
}
