//! The budgets of a turn, on streams without readiness.

use std::io::{ErrorKind, Read as _, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::ReadBufCursor;

use super::*;

/// A stream that is looked at when it is polled.
struct Looked(TcpStream);

impl Read for Looked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = [0; 512];
        match self.0.read(&mut chunk) {
            Ok(len) => {
                buffer.put_slice(&chunk[..len]);
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl Write for Looked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Watch for () {
    fn poll_peer(&self, _cx: &mut Context<'_>) -> Peer {
        Peer::Present
    }
}

#[test]
fn a_burst_reaches_the_core_over_several_turns() {
    const CLIENTS: usize = 40;
    let timers = Timers::new(Instant::now());
    let waker = LoopWaker::new(Waker::noop().clone());
    let addresses = ["127.0.0.1:0".parse().unwrap()];
    let mut http = Http::bind(&addresses, Limits::default(), &timers, waker).unwrap();
    let address = http.addresses().unwrap()[0];
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                .unwrap();
            stream
        })
        .collect();
    let mut asked = 0;
    let mut turns = 0;
    while asked < CLIENTS {
        assert!(!http.is_idle(), "idle after {asked} requests");
        http.serve(Instant::now(), |_, socket| Ok((Looked(socket), ())));
        let in_this_turn = std::iter::from_fn(|| http.poll_news()).count();
        assert!(in_this_turn <= REQUESTS_PER_TURN, "{in_this_turn}");
        asked += in_this_turn;
        turns += 1;
    }
    assert_eq!(turns, CLIENTS / REQUESTS_PER_TURN);
    assert!(!http.serve(Instant::now(), |_, _| unreachable!("all are in")));
    assert!(http.is_idle(), "nothing is left");
    drop(clients);
}
