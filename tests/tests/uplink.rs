//! What is lost between the publisher and the server is asked for again, at any bitrate.
//!
//! What counts is the server's output: when it sends a packet on to a viewer, however often and by
//! whatever source the publisher sent it.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kvill_core::Config;
use kvill_core::stats::Counters;
use kvill_tests::client::Options;
use kvill_tests::client::media::Source;
use kvill_tests::memory::{ClientId, Way, World, segments};
use str0m::format::Codec;
use str0m::media::MediaKind;

const MS: Duration = Duration::from_millis(1);

/// How late a packet may be sent on: what a player that has some patience waits for.
const PATIENCE: Duration = Duration::from_millis(300);

/// Payload bytes of a packet.
const LEN: usize = 1150;

/// What the publisher keeps for repairs: three seconds of 20 Mbit/s, as browsers do.
const SEND_BUFFER: usize = 8192;

/// A publisher behind a link with delay and loss, and a viewer behind one without.
struct Uplink {
    world: World,
    publisher: ClientId,
    publisher_address: SocketAddr,
    viewer: ClientId,
    video: Source,
    /// One way.
    delay: Duration,
    /// Of media and reports, each way.
    loss: f64,
    dice: fastrand::Rng,
    /// What is under way, by when it arrives.
    under_way: VecDeque<(Instant, Way, Vec<u8>)>,
    /// When each packet was published, by its sequence number.
    published: Vec<(u16, Instant)>,
    /// When the server sent a packet on, by the viewer's sequence number.
    sent_on: HashMap<u16, Instant>,
    /// The first packet's number at the viewer less its number at the publisher.
    offset: Option<u16>,
}

impl Uplink {
    fn new(seed: u64, rtt: Duration, loss: f64) -> Self {
        let mut world = World::new(seed, Config::default());
        let publisher = world.publish("up", &Options::new(&[Codec::Vp8]).repairing(SEND_BUFFER));
        world.connect(&[publisher]);
        let viewer = world.view("up", &Options::new(&[Codec::Vp8]));
        world.connect(&[viewer]);
        let publisher_address = world.client(publisher).local();
        Self {
            world,
            publisher,
            publisher_address,
            viewer,
            video: Source::new(Codec::Vp8, 65_000, 0),
            delay: rtt / 2,
            loss,
            dice: fastrand::Rng::with_seed(seed),
            under_way: VecDeque::new(),
            published: Vec::new(),
            sent_on: HashMap::new(),
            offset: None,
        }
    }

    /// Publishes a frame of this many packets.
    fn frame(&mut self, packets: usize) {
        let frame = match self.published.is_empty() {
            true => self.video.keyframe(packets, LEN),
            false => self.video.delta(packets, LEN),
        };
        let now = self.world.now();
        #[expect(clippy::cast_possible_truncation, reason = "as on the wire")]
        let numbers = frame.iter().map(|p| (p.seq as u16, now));
        self.published.extend(numbers);
        let client = self.world.client(self.publisher);
        client.write(now, MediaKind::Video, &frame);
    }

    /// Lets time pass.
    fn run(&mut self, duration: Duration) {
        let end = self.world.now() + duration;
        loop {
            self.exchange();
            let now = self.world.now();
            let timeouts =
                [self.publisher, self.viewer].map(|c| self.world.client(c).poll_timeout());
            let server = self.world.server.poll_timeout().map(|d| d.at);
            let arrival = self.under_way.front().map(|(at, ..)| *at);
            let next = timeouts.into_iter().chain(server).chain(arrival).min();
            let next = next.map_or(end, |at| at.max(now));
            if next > end {
                self.world.skip(end - now);
                return;
            }
            self.world.skip(next - now);
            self.wake(next);
        }
    }

    fn wake(&mut self, now: Instant) {
        while self.under_way.front().is_some_and(|(at, ..)| *at <= now)
            && let Some((_, way, contents)) = self.under_way.pop_front()
        {
            self.world.cross(way, self.publisher_address, &contents);
        }
        if self
            .world
            .server
            .poll_timeout()
            .is_some_and(|d| d.at <= now)
        {
            self.world.server.handle_timeout(now);
        }
        for client in [self.publisher, self.viewer] {
            if self.world.client(client).poll_timeout() <= now {
                self.world.client(client).handle_timeout(now);
            }
        }
    }

    /// Takes what everybody wants to send.
    fn exchange(&mut self) {
        let now = self.world.now();
        for (_, contents) in self.world.outgoing(self.publisher) {
            self.set_out(Way::ToServer, contents);
        }
        for (from, contents) in self.world.outgoing(self.viewer) {
            self.world.cross(Way::ToServer, from, &contents);
        }
        for (transmit, contents) in self.world.transmits() {
            for datagram in segments(&transmit, &contents) {
                if transmit.destination == self.publisher_address {
                    self.set_out(Way::ToClient, datagram.to_vec());
                } else if is_media(datagram) && !is_rtcp(datagram) {
                    let number = u16::from_be_bytes(datagram[2..4].try_into().unwrap());
                    self.sent_on.entry(number).or_insert(now);
                    let first = self.published[0].0;
                    self.offset.get_or_insert(number.wrapping_sub(first));
                } else {
                    self.world
                        .cross(Way::ToClient, transmit.destination, datagram);
                }
            }
        }
    }

    fn set_out(&mut self, way: Way, contents: Vec<u8>) {
        // The first frame tells both ends where numbers begin.
        let can_be_lost = is_media(&contents) && self.offset.is_some();
        if can_be_lost && self.dice.f64() < self.loss {
            return;
        }
        let arrival = self.world.now() + self.delay;
        self.under_way.push_back((arrival, way, contents));
    }

    /// The share of packets that the server sent on within a time of their being published.
    fn share_within(&self, patience: Duration) -> f64 {
        let offset = self.offset.expect("something was sent on");
        let in_time = self.published.iter().filter(|(number, published)| {
            let sent_on = self.sent_on.get(&number.wrapping_add(offset));
            sent_on.is_some_and(|at| *at <= *published + self.delay + patience)
        });
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let share = in_time.count() as f64 / self.published.len() as f64;
        share
    }

    fn counters(&self) -> Counters {
        self.world.server.stats().counters
    }
}

/// RFC 7983.
fn is_media(datagram: &[u8]) -> bool {
    matches!(datagram, [128..192, ..])
}

/// RFC 5761 §4.
fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [_, 192..224, ..])
}

/// Publishes for some seconds, 30 frames each, and waits for what is under way.
fn play(uplink: &mut Uplink, seconds: u32, packets: usize) {
    for _ in 0..seconds * 30 {
        uplink.frame(packets);
        uplink.run(MS * 1000 / 30);
    }
    uplink.run(2 * PATIENCE);
}

#[test]
fn at_2_percent_loss_nearly_every_packet_of_a_publisher_is_repaired() {
    println!("Mbit/s  RTT ms  packets  asked for  sent on within 300 ms");
    for (mbits, packets) in [(8, 29), (20, 72)] {
        for rtt_ms in [20, 50, 100] {
            let mut uplink = Uplink::new(u64::from(rtt_ms), MS * rtt_ms, 0.02);
            play(&mut uplink, 4, packets);
            let (share, counters) = (uplink.share_within(PATIENCE), uplink.counters());
            println!(
                "{mbits:6}  {rtt_ms:6}  {:7}  {:9}  {:20.3}%",
                uplink.published.len(),
                counters.publisher_nacked,
                share * 100.0,
            );
            // Two losses in a hundred, and of these requests or their answers in four.
            assert!(share > 0.9995, "{share}");
            assert_eq!(counters.packets_in, uplink.published.len() as u64);
            assert_eq!(counters.dropped_unrecorded, 0, "nothing is repaired twice");
            assert!(counters.publisher_nacked * 100 < counters.packets_in * 3);
            assert_eq!(counters.keyframe_requests, 2, "at the beginning");
        }
    }
}

#[test]
fn a_second_of_darkness_is_repaired_by_a_keyframe() {
    let mut uplink = Uplink::new(1, MS * 50, 0.0);
    play(&mut uplink, 1, 72);
    uplink.loss = 1.0;
    for _ in 0..30 {
        uplink.frame(72);
        uplink.run(MS * 1000 / 30);
    }
    uplink.loss = 0.0;
    let before = uplink.counters();
    let asked = uplink
        .world
        .client(uplink.publisher)
        .keyframe_requests
        .len();
    play(&mut uplink, 1, 72);
    let counters = uplink.counters();
    assert_eq!(counters.publisher_nacked, before.publisher_nacked);
    assert_eq!(counters.publisher_given_up, 30 * 72);
    let requests = &uplink.world.client(uplink.publisher).keyframe_requests;
    assert_eq!(requests.len(), asked + 1);
}
