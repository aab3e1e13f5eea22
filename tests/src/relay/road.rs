//! One direction of a relay: what is lost of it, and when the rest arrives.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::lock;

/// What happens to datagrams in one direction.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// The share of datagrams that get lost, 0 to 1.
    pub loss: f64,
    /// How many get lost in a row.
    pub burst: u32,
    /// How long the others take.
    pub delay: Duration,
    /// STUN and DTLS always arrive (RFC 7983), so that what is measured is not how long a
    /// handshake takes.
    pub spares_handshakes: bool,
}

impl Default for Way {
    /// Everything arrives at once.
    fn default() -> Self {
        Self {
            loss: 0.0,
            burst: 1,
            delay: Duration::ZERO,
            spares_handshakes: true,
        }
    }
}

impl Way {
    /// How often a loss begins, so that with its bursts `loss` of all get lost.
    fn onset(&self) -> f64 {
        self.loss / (self.loss + f64::from(self.burst.max(1)) * (1.0 - self.loss))
    }
}

/// What came to one direction of a relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets of RTP.
    pub rtp: u64,
    /// How many of these were lost.
    pub rtp_lost: u64,
    /// Packets of RTCP.
    pub rtcp: u64,
    /// How many of these were lost.
    pub rtcp_lost: u64,
    /// Packets of RTP that were sent as RTX (RFC 4588), or with an SSRC and sequence number that
    /// had been there.
    pub repairs: u64,
    /// STUN and DTLS.
    pub handshake: u64,
    /// How many of these were lost.
    pub handshake_lost: u64,
}

/// By which socket a datagram leaves, and where it goes.
pub(super) struct Exit {
    pub(super) socket: Arc<UdpSocket>,
    pub(super) to: SocketAddr,
}

/// One direction, and the thread that sends what is due.
pub(super) struct Road {
    state: Mutex<State>,
    changed: Condvar,
    over: Arc<AtomicBool>,
}

struct State {
    way: Way,
    dice: Dice,
    tally: Tally,
    /// By when they are due, and among those that are due at once in the order of their coming.
    under_way: BinaryHeap<Reverse<Due>>,
    taken: u64,
}

impl Road {
    pub(super) fn open(way: Way, seed: u64, over: &Arc<AtomicBool>) -> Arc<Self> {
        let road = Arc::new(Self {
            state: Mutex::new(State {
                way,
                dice: Dice::new(seed),
                tally: Tally::default(),
                under_way: BinaryHeap::new(),
                taken: 0,
            }),
            changed: Condvar::new(),
            over: Arc::clone(over),
        });
        let sending = Arc::clone(&road);
        thread::spawn(move || sending.send());
        road
    }

    pub(super) fn change(&self, way: Way) {
        lock(&self.state).way = way;
    }

    pub(super) fn counts(&self) -> Counts {
        lock(&self.state).tally.counts
    }

    pub(super) fn expect_rtx(&self, payload_type: u8) {
        lock(&self.state).tally.rtx.insert(payload_type);
    }

    /// For the thread to see that it is over.
    pub(super) fn wake(&self) {
        // Not between its look and its sleep.
        drop(lock(&self.state));
        self.changed.notify_all();
    }

    /// Takes a datagram in, which may be its end.
    pub(super) fn take(&self, contents: &[u8], exit: Exit) {
        let mut state = lock(&self.state);
        let way = state.way;
        let kind = Kind::of(contents);
        let is_spared = kind == Kind::Handshake && way.spares_handshakes;
        let is_lost = !is_spared && state.dice.loses(&way);
        state.tally.note(kind, contents, is_lost);
        if is_lost {
            return;
        }
        state.taken += 1;
        let due = Due {
            at: Instant::now() + way.delay,
            turn: state.taken,
            contents: contents.to_vec(),
            exit,
        };
        state.under_way.push(Reverse(due));
        drop(state);
        self.changed.notify_all();
    }

    fn send(&self) {
        let mut state = lock(&self.state);
        while !self.over.load(Ordering::Relaxed) {
            let now = Instant::now();
            let next = state.under_way.peek().map(|Reverse(due)| due.at);
            match next {
                Some(at) if at <= now => {
                    let due = state.under_way.pop().map(|Reverse(due)| due);
                    drop(state);
                    if let Some(Due { contents, exit, .. }) = due {
                        // A full socket or a peer that is gone: such is the network.
                        let _ = exit.socket.send_to(&contents, exit.to);
                    }
                    state = lock(&self.state);
                }
                Some(at) => {
                    let waited = self.changed.wait_timeout(state, at - now);
                    (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                }
                None => {
                    let waited = self.changed.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// A datagram under way.
struct Due {
    at: Instant,
    turn: u64,
    contents: Vec<u8>,
    exit: Exit,
}

impl Due {
    fn order(&self) -> (Instant, u64) {
        (self.at, self.turn)
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

/// Draws what gets lost.
struct Dice {
    rng: Rng,
    /// How many more of the present burst.
    left: u32,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            left: 0,
        }
    }

    fn loses(&mut self, way: &Way) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return true;
        }
        let begins = self.rng.f64() < way.onset();
        if begins {
            self.left = way.burst.max(1) - 1;
        }
        begins
    }
}

/// What a datagram is (RFC 7983, RFC 5761).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Handshake,
    Rtp,
    Rtcp,
}

impl Kind {
    fn of(contents: &[u8]) -> Self {
        match *contents {
            [128..=191, 192..=223, ..] => Self::Rtcp,
            [128..=191, ..] => Self::Rtp,
            _ => Self::Handshake,
        }
    }
}

/// Counts, and what has to be remembered for them.
#[derive(Default)]
struct Tally {
    counts: Counts,
    /// Payload types of RTX.
    rtx: HashSet<u8>,
    /// The sequence numbers that were there, by SSRC; half a round later they are forgotten.
    seen: HashSet<(u32, u16)>,
}

impl Tally {
    fn note(&mut self, kind: Kind, contents: &[u8], is_lost: bool) {
        let (all, lost) = match kind {
            Kind::Rtp => (&mut self.counts.rtp, &mut self.counts.rtp_lost),
            Kind::Rtcp => (&mut self.counts.rtcp, &mut self.counts.rtcp_lost),
            Kind::Handshake => (&mut self.counts.handshake, &mut self.counts.handshake_lost),
        };
        *all += 1;
        *lost += u64::from(is_lost);
        if kind == Kind::Rtp && self.is_repair(contents) {
            self.counts.repairs += 1;
        }
    }

    /// The header of RTP is in the clear (RFC 3711).
    fn is_repair(&mut self, contents: &[u8]) -> bool {
        let [_, second, s0, s1, _, _, _, _, c0, c1, c2, c3, ..] = *contents else {
            return false;
        };
        let ssrc = u32::from_be_bytes([c0, c1, c2, c3]);
        let sequence = u16::from_be_bytes([s0, s1]);
        self.seen.remove(&(ssrc, sequence ^ 0x8000));
        let is_new = self.seen.insert((ssrc, sequence));
        !is_new || self.rtx.contains(&(second & 0x7f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share_lost(way: &Way) -> (f64, usize) {
        let mut dice = Dice::new(7);
        let lost: Vec<bool> = (0..200_000).map(|_| dice.loses(way)).collect();
        let count = lost.iter().filter(|lost| **lost).count();
        let runs = lost.chunk_by(|a, b| a == b).filter(|run| run[0]);
        let shortest = runs.map(<[bool]>::len).min().unwrap_or(0);
        (count as f64 / lost.len() as f64, shortest)
    }

    #[test]
    fn as_many_get_lost_as_was_asked_for_in_bursts_or_not() {
        for burst in [1, 5] {
            let way = Way {
                loss: 0.05,
                burst,
                ..Way::default()
            };
            let (share, shortest) = share_lost(&way);
            assert!((0.045..0.055).contains(&share), "{burst}: {share}");
            assert_eq!(shortest, burst as usize);
        }
        assert!(share_lost(&Way::default()).0 == 0.0);
        let all = Way {
            loss: 1.0,
            ..Way::default()
        };
        assert!(share_lost(&all).0 == 1.0);
    }

    fn rtp(payload_type: u8, sequence: u16, ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, payload_type];
        packet.extend(sequence.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(ssrc.to_be_bytes());
        packet
    }

    #[test]
    fn repairs_are_told_from_new_packets() {
        let mut tally = Tally::default();
        tally.rtx.insert(97);
        let mut note = |packet: Vec<u8>, lost| {
            tally.note(Kind::of(&packet), &packet, lost);
            tally.counts
        };
        note(rtp(96, 65_535, 1), true);
        note(rtp(96 | 0x80, 0, 1), false);
        assert_eq!(note(rtp(96, 0, 2), false).repairs, 0, "another stream");
        assert_eq!(note(rtp(97, 5, 3), false).repairs, 1, "RTX");
        assert_eq!(note(rtp(96, 65_535, 1), false).repairs, 2, "sent again");
        for sequence in 1..=40_000 {
            note(rtp(96, sequence, 1), false);
        }
        let counts = note(rtp(96, 0, 1), false);
        assert_eq!(counts.repairs, 2, "a round later it is a new one");
        assert_eq!((counts.rtp_lost, counts.rtcp), (1, 0));
        let counts = note(vec![0x80, 200, 0, 6], true);
        assert_eq!((counts.rtcp, counts.rtcp_lost), (1, 1));
        assert_eq!(note(vec![22, 254], false).handshake, 1);
    }
}
