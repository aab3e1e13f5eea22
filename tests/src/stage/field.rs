//! The network of a stage, and who watches it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::memory::{Crossing, Link, Way};
use crate::network::{Delays, Network};
use crate::observer::Observer;

/// A network that is observed, and of which a transcript is kept if it is made by [`Field::new`].
#[derive(Debug, Default)]
pub struct Field {
    /// What is between the server and its clients.
    pub network: Network,
    /// What the server sends.
    pub observer: Observer,
    transcript: Option<Vec<Line>>,
    beginning: Option<Instant>,
}

/// A datagram in a transcript: what of it is the same in every run of a seed. Keys and signatures
/// are not, so of DTLS there is only that it was, and nothing of what is encrypted or says the time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Line {
    /// When it left, since the first datagram of all.
    pub at: Duration,
    /// Which way.
    pub way: Way,
    /// The client.
    pub client: SocketAddr,
    /// UDP payload bytes, but of DTLS.
    pub len: usize,
    /// The RTP header; of STUN and RTCP, the type.
    pub head: Vec<u8>,
}

impl Field {
    /// A field on which nothing goes wrong yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            network: Network::new(seed),
            transcript: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// The transcript. What leaves at one instant stands by client: in which order the server
    /// turns to those who fall due together depends on what its DTLS drew before.
    #[must_use]
    pub fn lines(&mut self) -> Vec<Line> {
        let mut lines = self.transcript.take().unwrap_or_default();
        lines.sort_by_key(|line| (line.at, line.client, line.way));
        lines
    }

    fn note(&mut self, crossing: &Crossing<'_>) {
        let Some(lines) = &mut self.transcript else {
            return;
        };
        let head = match crossing.contents {
            [0..4, _, ..] => 2,
            // RFC 5761 §4.
            [128..192, 192..224, ..] => 2,
            [128..192, _, ..] => 12,
            // DTLS.
            _ => 0,
        };
        let beginning = *self.beginning.get_or_insert(crossing.now);
        lines.push(Line {
            at: crossing.now - beginning,
            way: crossing.way,
            client: crossing.client,
            len: if head == 0 {
                0
            } else {
                crossing.contents.len()
            },
            head: crossing.contents[..head].to_vec(),
        });
    }
}

impl Link for Field {
    fn carries(&mut self, crossing: &Crossing<'_>) -> bool {
        self.observer.see(crossing);
        self.note(crossing);
        self.network.carries(crossing)
    }

    fn delays(&mut self, crossing: &Crossing<'_>) -> Delays {
        self.network.delays(crossing)
    }

    fn on_moved(&mut self, old: SocketAddr, new: SocketAddr) {
        self.observer.on_moved(old, new);
        self.network.on_moved(old, new);
    }
}
