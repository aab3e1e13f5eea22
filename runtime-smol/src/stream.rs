//! A TCP stream as hyper wants it, and how it is seen that its client left.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::task::Context;

use async_io::Async;
use kvill_host::http::{Peer, Watch};
use smol_hyper::rt::FuturesIo;

/// One client's stream.
pub(crate) type Stream = FuturesIo<smol::net::TcpStream>;

/// Looks at a client's stream without reading it.
#[derive(Debug)]
pub(crate) struct Hangup(Arc<Async<TcpStream>>);

impl Hangup {
    pub(crate) fn new(socket: smol::net::TcpStream) -> Self {
        Self(socket.into())
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
