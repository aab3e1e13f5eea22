//! A server in memory, one publisher, and a crowd of light viewers behind ways that lose.
//!
//! Time goes in ticks. Every way to a viewer takes the same time, and so does every way back: a
//! viewer lives as much later than the server as a datagram takes to it, and whatever the server
//! sends is handed over at once, to the viewer's own time, without being queued or copied. Only
//! what viewers send waits for its arrival. The publisher's way takes no time and loses nothing.

mod program;
mod traffic;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{Method, StatusCode, header};
use kvill_core::ids::RequestId;
use kvill_core::net::{Datagram, Interface};
use kvill_core::signal::Request;
use kvill_core::{Config, Server};
use str0m::format::Codec;
use str0m::media::{KeyframeRequestKind, MediaKind};

pub use self::traffic::{Flow, Traffic};

use self::program::Program;
use super::{BUFFER_LEN, Viewer};
use crate::client::{Client, Options};
use crate::memory::{PATH, SERVER, TRANSPORT, segments};

/// Everything falls due at a multiple of this, up to so much too late.
const TICK: Duration = Duration::from_millis(1);

const PUBLISHER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 50_000);

/// See the module.
#[derive(Debug)]
pub struct Crowd<M = ()> {
    /// The server.
    pub server: Server,
    /// Who publishes.
    pub publisher: Client,
    /// Who watch.
    pub viewers: Vec<Viewer>,
    /// The share of datagrams that is lost on the ways to and from viewers.
    pub loss: f64,
    /// What stands around every call of the server.
    pub meter: M,
    /// What has crossed so far.
    pub traffic: Traffic,
    now: Instant,
    delay: Duration,
    noise: fastrand::Rng,
    /// When each viewer wants its turn, by its own time.
    wakes: Vec<Option<Instant>>,
    /// What viewers have sent, in order of arrival.
    under_way: VecDeque<(Instant, usize, Vec<u8>)>,
    program: Program,
    requests: u64,
    buffer: Vec<u8>,
}

/// A call of the server, by what is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A publisher's datagram comes.
    Media,
    /// A viewer's RTCP comes.
    Feedback,
    /// `poll_transmit`.
    Transmit,
    /// Anything else: requests, binding requests, handshakes, timeouts.
    Other,
}

/// What stands around every call of the server.
pub trait Meter {
    /// Makes the call.
    fn around<R>(&mut self, call: Call, work: impl FnOnce() -> R) -> R;
}

impl Meter for () {
    fn around<R>(&mut self, _: Call, work: impl FnOnce() -> R) -> R {
        work()
    }
}

impl<M: Meter> Crowd<M> {
    /// A server with a publisher that is connected. `delay` is what every way to or from a viewer
    /// takes.
    ///
    /// # Panics
    ///
    /// If the publisher does not get connected.
    #[must_use]
    pub fn new(seed: u64, mut config: Config, delay: Duration, mut meter: M) -> Self {
        fastrand::seed(seed);
        let mut bytes = [0; 32];
        fastrand::fill(&mut bytes);
        config.transports = vec![SERVER];
        let now = Instant::now();
        let unix_time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let interface = Interface {
            name: "test0".to_owned(),
            address: SERVER.ip(),
        };
        let server = meter.around(Call::Other, || {
            let mut server = Server::new(config, bytes, now, unix_time)?;
            server.handle_interfaces(now, &[interface]);
            Ok::<_, kvill_core::config::ConfigError>(server)
        });
        let options = Options::new(&[Codec::Vp8, Codec::Opus]);
        let mut crowd = Self {
            server: server.expect("a config that works"),
            publisher: Client::publisher(now, PUBLISHER, &options),
            viewers: Vec::new(),
            loss: 0.0,
            meter,
            traffic: Traffic::default(),
            now,
            delay,
            noise: fastrand::Rng::with_seed(seed),
            wakes: Vec::new(),
            under_way: VecDeque::new(),
            program: Program::new(now),
            requests: 0,
            buffer: vec![0; BUFFER_LEN],
        };
        let offer = crowd.publisher.offer().to_owned();
        let answer = crowd.post("whip", PUBLISHER, &offer);
        let taken = crowd.publisher.accept_answer(now, &answer);
        taken.unwrap_or_else(|error| panic!("the answer does not work: {error}\n{answer}"));
        crowd.run_until("the publisher is connected", |crowd| {
            crowd.publisher.is_connected()
        });
        crowd
    }

    /// Lets so many more viewers join, and connects them.
    ///
    /// # Panics
    ///
    /// If one of them does not get connected within ten virtual seconds.
    pub fn join(&mut self, count: usize) {
        for _ in 0..count {
            let now = self.now + self.delay;
            let mut viewer = Viewer::default();
            let remote = address(self.viewers.len());
            let answer = self.post("whep", remote, &viewer.offer());
            viewer
                .accept_answer(now, &answer)
                .expect("an answer that works");
            self.wakes.push(viewer.poll_timeout());
            self.viewers.push(viewer);
        }
        self.run_until("all viewers are connected", |crowd| {
            crowd.viewers.iter().all(Viewer::is_connected)
        });
    }

    fn post(&mut self, endpoint: &str, from: SocketAddr, offer: &str) -> String {
        let request = http::Request::builder()
            .method(Method::POST)
            .uri(format!("/{PATH}/{endpoint}"))
            .header(header::CONTENT_TYPE, "application/sdp");
        let (head, ()) = request.body(()).expect("a request").into_parts();
        self.requests += 1;
        let (now, id) = (self.now, RequestId(self.requests));
        let server = &mut self.server;
        let response = self.meter.around(Call::Other, || {
            let request = Request {
                peer: from,
                tls: false,
                head,
                body: Bytes::copy_from_slice(offer.as_bytes()),
            };
            server.handle_request(now, id, request);
            server.poll_response()
        });
        let (_, response) = response.expect("an answer at once");
        assert_eq!(response.status(), StatusCode::CREATED, "{response:?}");
        let answer = String::from_utf8(response.body().to_vec());
        answer.expect("an answer in UTF-8")
    }

    /// The time at the server.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The round-trip time of every viewer.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        2 * self.delay
    }

    /// Lets time pass, in which nothing is published.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.tick();
        }
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = self.now + Duration::from_secs(10);
        while !done(self) {
            assert!(self.now < end, "not after ten seconds: {what}");
            self.tick();
        }
    }

    /// Lets time pass while video and audio are published.
    pub fn play(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.program.begin(self.now);
        while self.now < end {
            while let Some((kind, packets)) = self.program.next(self.now) {
                self.publisher.write(self.now, kind, &packets);
            }
            self.tick();
        }
    }

    /// Publishes a keyframe out of turn.
    pub fn publish_keyframe(&mut self) {
        let packets = self.program.keyframe(self.now);
        self.publisher.write(self.now, MediaKind::Video, &packets);
    }

    /// How many bytes of payload were published since then.
    #[must_use]
    pub fn published_since(&self, begin: Instant) -> usize {
        self.program.published_since(begin)
    }

    /// A viewer asks for a keyframe.
    pub fn request_keyframe(&mut self, viewer: usize, kind: KeyframeRequestKind) {
        let now = self.now + self.delay;
        self.viewers[viewer].request_keyframe(now, kind);
        self.wakes[viewer] = Some(now);
    }

    /// Sends a datagram of a viewer's.
    pub fn send(&mut self, viewer: usize, contents: &[u8]) {
        let is_lost = self.noise.f64() < self.loss;
        self.traffic.count_from_viewer(contents, is_lost);
        if !is_lost {
            // By the viewer's time it is later by one delay.
            let at = self.now + 2 * self.delay;
            self.under_way.push_back((at, viewer, contents.to_vec()));
        }
    }

    fn tick(&mut self) {
        self.turn_publisher();
        self.turn_server();
        self.turn_viewers();
        self.now += TICK;
    }

    fn turn_publisher(&mut self) {
        if self.publisher.poll_timeout() <= self.now {
            self.publisher.handle_timeout(self.now);
        }
        while let Some(outgoing) = self.publisher.poll_transmit() {
            self.arrive(Call::Media, PUBLISHER, &outgoing.contents);
        }
    }

    fn turn_server(&mut self) {
        let now = self.now;
        while self.under_way.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, viewer, contents)) = self.under_way.pop_front() else {
                break;
            };
            let call = match contents.first() {
                Some(128..) => Call::Feedback,
                _ => Call::Other,
            };
            self.arrive(call, address(viewer), &contents);
        }
        let server = &mut self.server;
        self.meter.around(Call::Other, || {
            while server.poll_timeout().is_some_and(|d| d.at <= now) {
                server.handle_timeout(now);
            }
        });
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let server = &mut self.server;
            let transmit = self.meter.around(Call::Transmit, || {
                server.poll_transmit(now, TRANSPORT, &mut buffer)
            });
            let Some(transmit) = transmit else {
                break;
            };
            for datagram in segments(&transmit, &buffer) {
                self.deliver(transmit.destination, datagram);
            }
        }
        self.buffer = buffer;
    }

    fn turn_viewers(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let now = self.now + self.delay;
        for viewer in 0..self.viewers.len() {
            if self.wakes[viewer].is_none_or(|at| at > now) {
                continue;
            }
            while let Some(len) = self.viewers[viewer].poll_transmit(now, &mut buffer) {
                self.send(viewer, &buffer[..len]);
            }
            self.wakes[viewer] = self.viewers[viewer].poll_timeout();
        }
        self.buffer = buffer;
    }

    fn arrive(&mut self, call: Call, from: SocketAddr, contents: &[u8]) {
        let (now, server) = (self.now, &mut self.server);
        let datagram = Datagram {
            transport: TRANSPORT,
            local: SERVER,
            remote: from,
            contents,
        };
        self.meter
            .around(call, || server.handle_datagram(now, datagram));
    }

    /// What the server has sent.
    fn deliver(&mut self, to: SocketAddr, datagram: &[u8]) {
        let Some(place) = place(to) else {
            assert_eq!(to, PUBLISHER, "nobody else is there");
            self.publisher.handle_datagram(self.now, SERVER, datagram);
            return;
        };
        let is_lost = self.noise.f64() < self.loss;
        self.traffic.count_to_viewer(datagram, is_lost);
        if !is_lost {
            let viewer = &mut self.viewers[place];
            viewer.handle_datagram(self.now + self.delay, datagram);
            self.wakes[place] = viewer.poll_timeout();
        }
    }
}

/// Every viewer has a host of its own.
fn address(place: usize) -> SocketAddr {
    let [_, b, c, d] = u32::try_from(place).expect("few viewers").to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(10, b, c, d).into(), 50_000)
}

/// Whose host it is.
fn place(address: SocketAddr) -> Option<usize> {
    match address.ip() {
        IpAddr::V4(ip) => match ip.octets() {
            [10, b, c, d] => usize::try_from(u32::from_be_bytes([0, b, c, d])).ok(),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_get_connected_and_repaired_by_ways_that_lose_a_tenth() {
        let mut crowd = Crowd::new(2, Config::default(), Duration::from_millis(30), ());
        crowd.loss = 0.1;
        crowd.join(20);
        crowd.play(Duration::from_secs(5));
        crowd.loss = 0.0;
        crowd.run(Duration::from_secs(1));
        for viewer in &crowd.viewers {
            assert_eq!(viewer.rtt().map(|rtt| rtt.as_millis()), Some(60));
            for kind in [MediaKind::Video, MediaKind::Audio] {
                let reception = viewer.reception(kind);
                assert!(reception.missed > 0 && reception.lost == 0, "{reception:?}");
                assert_eq!(reception.missed, reception.in_time + reception.late);
            }
        }
    }
}
