//! What one socket is to send.
//!
//! The core fills several trains, which leave together. What the socket refuses waits, with how far it
//! got, and goes first: order holds, and nothing is sent twice. Bounded: so many trains wait here,
//! and the core keeps the others.

use std::collections::VecDeque;

use kvill_core::net::{TRANSMIT_BUFFER_LEN, Transmit};

use crate::udp::{Sent, TOGETHER_MAX};

/// Transmits sent per turn. More saves turns; fewer lets the socket be read in between, before its
/// kernel buffer overflows: 256 trains take about 5 ms.
const TRANSMITS_PER_TURN: usize = 256;

/// Room for as many frames as are sent together. Of keyframes there are fewer.
const BUFFER_LEN: usize = 3 * TRANSMIT_BUFFER_LEN;

/// Between the core and one socket.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Something may be there to send: the last turn ended by its budget.
    unfinished: bool,
    /// The socket has no room.
    full: bool,
    /// Holds the bytes of all that wait.
    buffer: Box<[u8]>,
    waiting: VecDeque<Waiting>,
}

/// A transmit that was not sent, or not all of it.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    transmit: Transmit,
    /// Where its bytes begin.
    start: usize,
    /// Where in them to go on.
    next: usize,
}

impl Waiting {
    fn contents<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        let contents = buffer.get(self.start..self.start + self.transmit.size);
        debug_assert!(contents.is_some(), "a transmit lies within the buffer");
        contents.unwrap_or_default()
    }
}

/// The socket, as far as sending goes.
pub(crate) trait Outlet {
    /// Sends the first of these, as many as leave whole by one system call, and returns how many.
    fn send_together(&mut self, _trains: &[(Transmit, &[u8])]) -> usize {
        0
    }

    /// Sends `contents[from..]` as `transmit` says.
    fn send(&mut self, transmit: &Transmit, contents: &[u8], from: usize) -> Sent;
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            unfinished: false,
            full: false,
            buffer: vec![0; BUFFER_LEN].into(),
            waiting: VecDeque::with_capacity(TOGETHER_MAX),
        }
    }

    /// The socket has room again.
    pub(crate) fn on_writable(&mut self) {
        self.full = false;
    }

    /// Whether another turn has something to send, without an event.
    pub(crate) fn has_more(&self) -> bool {
        self.unfinished
    }

    /// Whether it waits for the socket to have room.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Whether everything went out.
    pub(crate) fn is_drained(&self) -> bool {
        self.waiting.is_empty() && !self.unfinished
    }

    /// Sends what waits and what `poll` gives, up to the budget or until the socket is full.
    /// Returns whether it sent or tried to.
    pub(crate) fn flush(
        &mut self,
        outlet: &mut impl Outlet,
        mut poll: impl FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> bool {
        self.unfinished = false;
        if self.full {
            return false;
        }
        let mut tried = !self.waiting.is_empty();
        let mut budget = TRANSMITS_PER_TURN;
        while self.send(outlet) {
            if budget == 0 {
                self.unfinished = true;
                break;
            }
            let filled = self.fill(budget, &mut poll);
            if filled == 0 {
                break;
            }
            tried = true;
            budget -= filled;
        }
        tried
    }

    /// Takes what there is, as much as may leave together. Nothing waits. Returns how many it took.
    fn fill(
        &mut self,
        budget: usize,
        mut poll: impl FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> usize {
        let mut start = 0;
        while self.waiting.len() < budget.min(TOGETHER_MAX) {
            let room = self.buffer.get_mut(start..start + TRANSMIT_BUFFER_LEN);
            let Some(transmit) = room.and_then(&mut poll) else {
                break;
            };
            self.waiting.push_back(Waiting {
                transmit,
                start,
                next: 0,
            });
            start += transmit.size;
        }
        self.waiting.len()
    }

    /// Sends what waits. Returns whether all is gone; if not, the socket is full.
    fn send(&mut self, outlet: &mut impl Outlet) -> bool {
        while let Some(first) = self.waiting.front_mut() {
            if first.next == 0 {
                let trains: heapless::Vec<_, TOGETHER_MAX> = self
                    .waiting
                    .iter()
                    .map(|train| (train.transmit, train.contents(&self.buffer)))
                    .collect();
                let gone = outlet.send_together(&trains);
                if gone > 0 {
                    self.waiting.drain(..gone);
                    continue;
                }
            }
            let Some(first) = self.waiting.front_mut() else {
                break;
            };
            match outlet.send(&first.transmit, first.contents(&self.buffer), first.next) {
                Sent::Done => {
                    self.waiting.pop_front();
                }
                Sent::Full { next } => {
                    first.next = next;
                    self.full = true;
                    return false;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that takes so many bytes, until it is given more room.
    #[derive(Default)]
    struct Narrow {
        room: usize,
        /// How many trains leave together, where there is room for them.
        together: usize,
        sent: Vec<u8>,
    }

    impl Outlet for Narrow {
        fn send_together(&mut self, trains: &[(Transmit, &[u8])]) -> usize {
            let mut gone = 0;
            for (_, contents) in trains.iter().take(self.together) {
                if contents.len() > self.room {
                    break;
                }
                self.room -= contents.len();
                self.sent.extend_from_slice(contents);
                gone += 1;
            }
            gone
        }

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
    fn trains_that_leave_together_are_sent_once_and_in_order_wherever_the_room_ends() {
        const COUNT: u8 = 30;
        let all: Vec<u8> = (0..COUNT).flat_map(|n| [n; 3]).collect();
        for together in 0..=TOGETHER_MAX {
            for room in 1..=all.len() {
                let mut outbox = Outbox::new();
                let mut socket = Narrow {
                    together,
                    ..Narrow::default()
                };
                let mut next = 0;
                while socket.sent.len() < all.len() {
                    socket.room = room;
                    outbox.on_writable();
                    outbox.flush(&mut socket, numbered(&mut next, COUNT));
                    assert_eq!(outbox.is_full(), socket.sent.len() < all.len());
                }
                assert_eq!(socket.sent, all, "{together} together, {room} bytes");
                assert!(outbox.is_drained());
            }
        }
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
