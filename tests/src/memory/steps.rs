//! How time passes in a world, and datagrams move.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kvill_core::Server;
use kvill_core::net::{Datagram, Transmit};

use super::{ClientId, Crossing, Link, SERVER, TRANSPORT, Way, World};

/// How often server and clients may be woken or answer each other at one instant before the world
/// takes it for an endless loop.
const TURNS_MAX: usize = 10_000;

/// A datagram that has left and not arrived. What arrives at one instant arrives in the order in
/// which it left.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flight {
    at: Instant,
    departure: u64,
    way: Way,
    client: SocketAddr,
    contents: Vec<u8>,
}

impl<L: Link> World<L> {
    /// Jumps to the next deadline or arrival of anyone, `end` at the latest, and does what is due
    /// then.
    pub(super) fn step(&mut self, end: Instant) {
        self.settle();
        let client = self.next_due();
        let server = self.server.poll_timeout().map(|d| d.at);
        let arrival = self.flights.peek().map(|Reverse(flight)| flight.at);
        let next = [client, server, arrival].into_iter().flatten().min();
        self.now = next.unwrap_or(end).clamp(self.now, end);
        self.settle();
    }

    /// When the first client wants to be woken.
    fn next_due(&mut self) -> Option<Instant> {
        while let Some(Reverse((at, id))) = self.agenda.peek().copied() {
            let peer = self.clients[id.0].as_ref();
            if peer.is_some_and(|peer| peer.noted == Some(at)) {
                return Some(at);
            }
            self.agenda.pop();
        }
        None
    }

    /// Does what is due and moves datagrams until nobody has more to do or to say. Takes no time.
    ///
    /// # Panics
    ///
    /// If that does not end.
    pub fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let landed = self.land();
            let woken = self.wake();
            let moved = self.exchange();
            if !landed && !woken && !moved {
                return;
            }
        }
        panic!(
            "no end at one instant: the server's deadline is {:?} at {:?}",
            self.server.poll_timeout(),
            self.now
        );
    }

    /// Has everything arrive that is due to. Tells whether there was anything.
    fn land(&mut self) -> bool {
        let mut landed = false;
        while let Some(Reverse(flight)) = self.flights.peek()
            && flight.at <= self.now
            && let Some(Reverse(flight)) = self.flights.pop()
        {
            self.arrive(flight.way, flight.client, &flight.contents);
            landed = true;
        }
        landed
    }

    /// Has everyone do what is due. Tells whether there was anything.
    fn wake(&mut self) -> bool {
        let mut woken = self.wake_server();
        for id in std::mem::take(&mut self.touched) {
            self.note(id);
            self.touched.insert(id);
        }
        let mut due = BTreeSet::new();
        while let Some(at) = self.next_due().filter(|at| *at <= self.now)
            && let Some(Reverse((_, id))) = self.agenda.pop()
        {
            let peer = self.clients[id.0].as_mut().expect("whoever is noted");
            debug_assert_eq!(peer.noted, Some(at));
            peer.noted = None;
            due.insert(id);
        }
        for id in due {
            let now = self.now;
            self.client(id).handle_timeout(now);
            woken = true;
        }
        woken
    }

    /// Has the server do what is due, and moves what comes of it.
    fn wake_server(&mut self) -> bool {
        let Some(due) = self.server.poll_timeout().filter(|d| d.at <= self.now) else {
            return false;
        };
        let population = |server: &Server| {
            let stats = server.stats();
            (stats.sessions, stats.paths.len())
        };
        let before = population(&self.server);
        self.server.handle_timeout(self.now);
        let spoke = self.carry_off();
        let after = population(&self.server);
        let next = self.server.poll_timeout();
        self.wakes
            .note(due, next, spoke || before != after, before.0);
        true
    }

    /// Notes when a client wants to be woken.
    fn note(&mut self, id: ClientId) {
        let Some(peer) = &mut self.clients[id.0] else {
            return;
        };
        let at = peer.client.poll_timeout();
        if peer.noted != Some(at) {
            peer.noted = Some(at);
            self.agenda.push(Reverse((at, id)));
        }
    }

    /// Moves what server and clients have to send right now. Tells whether there was anything.
    fn exchange(&mut self) -> bool {
        let mut moved = false;
        for id in std::mem::take(&mut self.touched) {
            for (from, contents) in self.outgoing(id) {
                self.cross(Way::ToServer, from, &contents);
                moved = true;
            }
            self.note(id);
        }
        self.carry_off() || moved
    }

    /// Moves what the server has to send right now. Tells whether there was anything.
    fn carry_off(&mut self) -> bool {
        let mut moved = false;
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(transmit) = self.server.poll_transmit(self.now, TRANSPORT, &mut buffer) {
            for datagram in segments(&transmit, &buffer) {
                self.cross(Way::ToClient, transmit.destination, datagram);
            }
            moved = true;
        }
        self.buffer = buffer;
        moved
    }

    /// Takes what a client wants to send instead of moving it, as (its address, datagram).
    pub fn outgoing(&mut self, id: ClientId) -> Vec<(SocketAddr, Vec<u8>)> {
        let Some(peer) = &mut self.clients[id.0] else {
            return Vec::new();
        };
        let local = peer.client.local();
        std::iter::from_fn(|| peer.client.poll_transmit())
            .inspect(|o| assert_eq!(o.destination, SERVER, "a client sends to its server only"))
            .map(|o| (local, o.contents))
            .collect()
    }

    /// Takes what the server wants to send instead of moving it.
    pub fn transmits(&mut self) -> Vec<(Transmit, Vec<u8>)> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let transmits = std::iter::from_fn(|| {
            let transmit = self
                .server
                .poll_transmit(self.now, TRANSPORT, &mut buffer)?;
            Some((transmit, buffer[..transmit.size].to_vec()))
        })
        .collect();
        self.buffer = buffer;
        transmits
    }

    /// The one place where a datagram passes between the server and a client, genuine or not.
    pub fn cross(&mut self, way: Way, client: SocketAddr, contents: &[u8]) {
        let crossing = Crossing {
            now: self.now,
            way,
            client,
            contents,
        };
        if !self.link.carries(&crossing) {
            return;
        }
        let changed = self.link.changes(&crossing);
        for delay in self.link.delays(&crossing).0.into_iter().flatten() {
            match &changed {
                Some(changed) => changed
                    .iter()
                    .for_each(|contents| self.depart(delay, way, client, contents)),
                None => self.depart(delay, way, client, contents),
            }
        }
    }

    fn depart(&mut self, delay: Duration, way: Way, client: SocketAddr, contents: &[u8]) {
        if delay.is_zero() {
            return self.arrive(way, client, contents);
        }
        self.departures += 1;
        self.flights.push(Reverse(Flight {
            at: self.now + delay,
            departure: self.departures,
            way,
            client,
            contents: contents.to_vec(),
        }));
    }

    fn arrive(&mut self, way: Way, client: SocketAddr, contents: &[u8]) {
        match way {
            Way::ToServer => self.server.handle_datagram(
                self.now,
                Datagram {
                    transport: TRANSPORT,
                    local: SERVER,
                    remote: client,
                    contents,
                },
            ),
            Way::ToClient => {
                let id = self.addresses.get(&client).copied();
                if let Some(id) = id.filter(|id| self.clients[id.0].is_some()) {
                    let now = self.now;
                    self.client(id).handle_datagram(now, SERVER, contents);
                }
            }
        }
    }
}

/// The datagrams of a transmit.
pub fn segments<'a>(transmit: &Transmit, buffer: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let bytes = &buffer[..transmit.size];
    bytes.chunks(transmit.segment_size.unwrap_or(transmit.size).max(1))
}
