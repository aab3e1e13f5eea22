//! A TCP stream as hyper wants it, and how it is seen that its client left.
//!
//! No call is made that is known to block: where one would, or a read did not fill its room, the
//! reactor is asked first.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_io::Async;
use hyper::rt::{Read, ReadBufCursor, Write};
use kvill_host::http::{Peer, Watch};

/// What is read by one call, in bytes.
const CHUNK_LEN: usize = 8 * 1024;

/// One client's stream.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Arc<Async<TcpStream>>,
    is_readable: bool,
    is_writable: bool,
}

impl Stream {
    /// Tries first: a new stream may have data already, and has room.
    pub(crate) fn new(socket: Arc<Async<TcpStream>>) -> Self {
        Self {
            socket,
            is_readable: true,
            is_writable: true,
        }
    }

    fn write_with(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut &TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if !self.is_writable {
                ready!(self.socket.poll_writable(cx))?;
                self.is_writable = true;
            }
            match write(&mut self.socket.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        loop {
            if !stream.is_readable {
                ready!(stream.socket.poll_readable(cx))?;
                stream.is_readable = true;
            }
            let mut chunk = [0; CHUNK_LEN];
            let room = &mut chunk[..buffer.remaining().min(CHUNK_LEN)];
            match stream.socket.get_ref().read(room) {
                Ok(len) => {
                    stream.is_readable = len == 0 || len == room.len();
                    buffer.put_slice(&chunk[..len]);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stream.is_readable = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().write_with(cx, |socket| socket.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.socket.get_ref().shutdown(Shutdown::Write) {
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
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .write_with(cx, |socket| socket.write_vectored(slices))
    }
}

/// Looks at a client's stream without reading it.
#[derive(Debug)]
pub(crate) struct Hangup(Arc<Async<TcpStream>>);

impl Hangup {
    pub(crate) fn new(socket: Arc<Async<TcpStream>>) -> Self {
        Self(socket)
    }
}

impl Watch for Hangup {
    fn poll_peer(&self, cx: &mut Context<'_>) -> Peer {
        loop {
            match self.0.get_ref().peek(&mut [0]) {
                Ok(0) => return Peer::HalfClosed,
                // A further request, which hyper reads after this one.
                Ok(_) => return Peer::Present,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Peer::Gone,
                Err(_) if self.0.poll_readable(cx).is_pending() => return Peer::Present,
                Err(_) => {}
            }
        }
    }
}
