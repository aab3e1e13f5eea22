//! What one socket is to send.
//!
//! A transmit that the socket refuses is kept, with how far it got, and goes first: order holds,
//! and nothing is sent twice. Bounded: one transmit is kept, and the core keeps the others.

use kvill_core::net::{TRANSMIT_BUFFER_LEN, Transmit};

use crate::udp::Sent;

/// Transmits sent per turn. More saves turns; fewer lets the socket be read in between, before its
/// kernel buffer overflows: 256 trains take about 5 ms.
const TRANSMITS_PER_TURN: usize = 256;

/// Between the core and one socket.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Something may be there to send: the last turn ended by its budget.
    unfinished: bool,
    /// Holds the bytes of the transmit at hand, and of a kept one.
    buffer: Box<[u8]>,
    kept: Option<Kept>,
}

/// A transmit that the socket refused.
#[derive(Debug, Clone, Copy)]
struct Kept {
    transmit: Transmit,
    /// Where to go on.
    next: usize,
    /// The socket told that it has room again.
    writable: bool,
}

/// The socket, as far as sending goes.
pub(crate) trait Outlet {
    /// Sends `contents[from..]` as `transmit` says.
    fn send(&mut self, transmit: &Transmit, contents: &[u8], from: usize) -> Sent;
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            unfinished: false,
            buffer: vec![0; TRANSMIT_BUFFER_LEN].into(),
            kept: None,
        }
    }

    /// The socket has room again.
    pub(crate) fn on_writable(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.writable = true;
        }
    }

    /// Whether another turn has something to send, without an event.
    pub(crate) fn has_more(&self) -> bool {
        self.unfinished
    }

    /// Whether it waits for the socket to have room.
    pub(crate) fn is_full(&self) -> bool {
        self.kept.is_some_and(|kept| !kept.writable)
    }

    /// Whether everything went out.
    pub(crate) fn is_drained(&self) -> bool {
        self.kept.is_none() && !self.unfinished
    }

    /// Sends what is kept and what `poll` gives, up to the budget or until the socket is full.
    /// Returns whether it sent or tried to.
    pub(crate) fn flush(
        &mut self,
        outlet: &mut impl Outlet,
        mut poll: impl FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> bool {
        self.unfinished = false;
        let mut tried = false;
        match self.kept {
            Some(Kept {
                writable: false, ..
            }) => return false,
            Some(Kept { transmit, next, .. }) => {
                tried = true;
                if !self.send(outlet, transmit, next) {
                    return tried;
                }
            }
            None => {}
        }
        for _ in 0..TRANSMITS_PER_TURN {
            let Some(transmit) = poll(&mut self.buffer) else {
                return tried;
            };
            tried = true;
            if !self.send(outlet, transmit, 0) {
                return tried;
            }
        }
        self.unfinished = true;
        tried
    }

    /// Returns whether it is gone; if not, it is kept.
    fn send(&mut self, outlet: &mut impl Outlet, transmit: Transmit, from: usize) -> bool {
        let Some(contents) = self.buffer.get(..transmit.size) else {
            debug_assert!(false, "a transmit lies within the buffer");
            return true;
        };
        self.kept = match outlet.send(&transmit, contents, from) {
            Sent::Done => None,
            Sent::Full { next } => Some(Kept {
                transmit,
                next,
                writable: false,
            }),
        };
        self.kept.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that takes so many bytes, until it is given more room.
    #[derive(Default)]
    struct Narrow {
        room: usize,
        sent: Vec<u8>,
    }

    impl Outlet for Narrow {
        fn send(&mut self, _transmit: &Transmit, contents: &[u8], from: usize) -> Sent {
            let rest = &contents[from..];
            let taken = rest.len().min(self.room);
            self.room -= taken;
            self.sent.extend_from_slice(&rest[..taken]);
            if taken == rest.len() {
                Sent::Done
            } else {
                Sent::Full { next: from + taken }
            }
        }
    }

    /// Gives transmits of three bytes: 0 0 0, 1 1 1, and so on below `count`.
    fn numbered(next: &mut u8, count: u8) -> impl FnMut(&mut [u8]) -> Option<Transmit> {
        move |buffer| {
            let number = *next;
            if number == count {
                return None;
            }
            *next += 1;
            buffer[..3].fill(number);
            Some(Transmit {
                source: "127.0.0.1:1".parse().unwrap(),
                destination: "127.0.0.1:2".parse().unwrap(),
                size: 3,
                segment_size: Some(1),
            })
        }
    }

    #[test]
    fn a_kept_transmit_goes_on_where_it_was_and_before_the_others() {
        let mut outbox = Outbox::new();
        let mut socket = Narrow {
            room: 4,
            ..Narrow::default()
        };
        let mut next = 0;
        outbox.flush(&mut socket, numbered(&mut next, 3));
        assert_eq!(socket.sent, [0, 0, 0, 1]);
        assert!(!outbox.is_drained());
        assert!(
            !outbox.has_more(),
            "the loop would spin until there is room"
        );
        assert!(outbox.is_full());

        // Without an event nothing is tried.
        socket.room = 1;
        outbox.flush(&mut socket, numbered(&mut next, 3));
        assert_eq!(socket.sent.len(), 4);

        // Too little room: kept again.
        outbox.on_writable();
        assert!(!outbox.is_full());
        outbox.flush(&mut socket, numbered(&mut next, 3));
        assert_eq!(socket.sent, [0, 0, 0, 1, 1]);
        assert!(outbox.is_full());

        socket.room = 100;
        outbox.on_writable();
        outbox.flush(&mut socket, numbered(&mut next, 3));
        assert_eq!(socket.sent, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
        assert!(outbox.is_drained() && !outbox.is_full());

        // Nothing is kept any more: nothing is sent twice.
        outbox.on_writable();
        outbox.flush(&mut socket, numbered(&mut next, 3));
        assert_eq!(socket.sent.len(), 9);
    }

    #[test]
    fn what_is_above_the_budget_is_sent_in_the_next_turn() {
        let mut outbox = Outbox::new();
        let mut socket = Narrow {
            room: usize::MAX,
            ..Narrow::default()
        };
        let mut left = TRANSMITS_PER_TURN + 1;
        let mut poll = |buffer: &mut [u8]| {
            left = left.checked_sub(1)?;
            numbered(&mut 0, 1)(buffer)
        };
        outbox.flush(&mut socket, &mut poll);
        assert_eq!(socket.sent.len(), 3 * TRANSMITS_PER_TURN);
        assert!(outbox.has_more());
        outbox.flush(&mut socket, &mut poll);
        assert_eq!(socket.sent.len(), 3 * TRANSMITS_PER_TURN + 3);
        assert!(!outbox.has_more());
    }
}
