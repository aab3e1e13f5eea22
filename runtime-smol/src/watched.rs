//! The loop's own sockets, as async-io watches them.
//!
//! What counts as an event is that the reactor woke the socket's waker, not what
//! `Async::poll_readable` says: where another thread runs the reactor and is as fast as this one,
//! that calls an event too old again and again, and the loop would spin. Watching is by level: what
//! is there already when a socket gets watched wakes too, so nothing is missed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use async_io::Async;

use crate::reactor::Awake;

#[derive(Debug)]
pub(crate) struct Watched<T> {
    socket: Async<T>,
    readable: Side,
    writable: Side,
}

impl<T> Watched<T> {
    /// A socket whose events end the sleep of the loop that `awake` belongs to.
    pub(crate) fn new(socket: Async<T>, awake: &Arc<Awake>) -> Self {
        Self {
            socket,
            readable: Side::new(awake),
            writable: Side::new(awake),
        }
    }

    /// Whether it became readable since it was asked for; has it watched if it is not.
    pub(crate) fn is_readable(&mut self) -> bool {
        self.readable.look(|cx| self.socket.poll_readable(cx))
    }

    /// Whether it became writable since it was asked for; has it watched if it is not.
    pub(crate) fn is_writable(&mut self) -> bool {
        self.writable.look(|cx| self.socket.poll_writable(cx))
    }
}

/// One direction of a socket.
#[derive(Debug)]
struct Side {
    event: Arc<Event>,
    waker: Waker,
    is_watched: bool,
}

#[derive(Debug)]
struct Event {
    came: AtomicBool,
    awake: Arc<Awake>,
}

impl Wake for Event {
    fn wake(self: Arc<Self>) {
        self.came.store(true, Ordering::SeqCst);
        self.awake.call();
    }
}

impl Side {
    fn new(awake: &Arc<Awake>) -> Self {
        let event = Arc::new(Event {
            came: AtomicBool::new(false),
            awake: Arc::clone(awake),
        });
        Self {
            waker: Waker::from(Arc::clone(&event)),
            event,
            is_watched: false,
        }
    }

    fn look(&mut self, poll: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>) -> bool {
        if !self.is_watched {
            let mut cx = Context::from_waker(&self.waker);
            loop {
                match poll(&mut cx) {
                    Poll::Pending => break,
                    // The event that was noted last.
                    Poll::Ready(Ok(())) => {}
                    // Whoever uses the socket will see it.
                    Poll::Ready(Err(_)) => return true,
                }
            }
            self.is_watched = true;
        }
        let came = self.event.came.swap(false, Ordering::SeqCst);
        self.is_watched = !came;
        came
    }
}
