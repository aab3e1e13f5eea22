//! The viewers: all of them in one loop, each with a socket of its own.
//!
//! Servers tell viewers apart by their addresses, so there are as many sockets as viewers. What comes
//! is not opened, but for a sample, and for the packets before a viewer's first keyframe.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};
use str0m::format::Codec;
use str0m::media::{KeyframeRequestKind, MediaKind};

use super::keyframe;
use super::report::Quantiles;
use super::socket::{Room, Socket};
use super::stamp::Clock;
use crate::light::{self, BUFFER_LEN, PACKET_LEN_MAX, Reception};

/// How long a viewer waits for a keyframe before it asks for one, from its first packet on: servers have
/// one on its way to it, or do not.
const KEYFRAME_PATIENCE: Duration = Duration::from_millis(300);

const EVENTS: usize = 1024;

/// Between two looks at the system's clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);

/// What a viewer has seen, and how long after its offer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Milestones {
    /// The end of its handshake.
    pub connected: Option<Duration>,
    /// Its first packet of media.
    pub packet: Option<Duration>,
    /// The first packet of its first keyframe.
    pub keyframe: Option<Duration>,
}

/// Counts of all viewers together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Viewers whose handshake is done and whose session is not over.
    pub connected: usize,
    /// Datagrams of media and its repairs that came.
    pub packets: u64,
    /// Their bytes, as UDP carries them.
    pub bytes: u64,
    /// Of these datagrams, those that were thrown away, as was asked for.
    pub thrown: u64,
    /// Datagrams that the system dropped, for this program was too slow to take them.
    pub dropped: u64,
    /// Receives of any kind: one for each train.
    pub receives: u64,
    /// Packets that were opened for their latency, and those of them that had a time in them.
    pub opened: [u64; 2],
}

/// See the module.
#[derive(Debug)]
pub(super) struct Hall {
    poll: Poll,
    events: Events,
    seats: Vec<Seat>,
    /// When a seat wants its turn.
    wakes: BTreeSet<(Instant, usize)>,
    room: Room,
    send: Vec<u8>,
    clock_set: Instant,
    watch: Watch,
}

/// What is counted and measured of all viewers.
#[derive(Debug)]
struct Watch {
    clock: Clock,
    /// The share of received datagrams of media that is thrown away.
    loss: f64,
    /// Of the packets of a viewer that has seen a keyframe one in so many is opened.
    sampled: u32,
    totals: Totals,
    /// From a packet's publication to its arrival, in microseconds, of the sample.
    latency: Histogram<u64>,
    /// The same, since somebody asked last.
    recent: Histogram<u64>,
    /// From a datagram's arrival at this machine to its handling, in microseconds.
    lag: Histogram<u64>,
    /// The time that was spent waiting.
    slept: Duration,
}

#[derive(Debug)]
struct Seat {
    viewer: light::Viewer,
    socket: Socket,
    wake: Option<Instant>,
    /// When its offer was sent.
    asked: Instant,
    was_connected: bool,
    has_failed: bool,
    /// It gets media, and no keyframe, since then; or since it asked for one.
    undecodable_since: Option<Instant>,
    /// Packets until the next one that is opened.
    until_sample: u32,
    milestones: Milestones,
    /// When media came last.
    heard: Option<Instant>,
}

/// Microseconds up to a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds that are in order")
}

impl Hall {
    /// An empty one, for packets that are stamped by `clock`.
    pub(super) fn new(clock: Clock, loss: f64, sampled: u32) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            seats: Vec::new(),
            wakes: BTreeSet::new(),
            room: Room::default(),
            send: vec![0; BUFFER_LEN],
            clock_set: Instant::now(),
            watch: Watch {
                clock,
                loss,
                sampled: sampled.max(1),
                totals: Totals::default(),
                latency: histogram(),
                recent: histogram(),
                lag: histogram(),
                slept: Duration::ZERO,
            },
        })
    }

    /// What wakes [`turn`](Self::turn) from another thread.
    pub(super) fn waker(&self) -> io::Result<mio::Waker> {
        mio::Waker::new(self.poll.registry(), Token(usize::MAX))
    }

    /// A seat for one more viewer, which is reached at this address of the machine: its number, and
    /// its offer.
    pub(super) fn seat(
        &mut self,
        now: Instant,
        local: IpAddr,
        codecs: &[Codec],
    ) -> io::Result<(usize, String)> {
        let number = self.seats.len();
        let socket = Socket::bind(local, self.poll.registry(), Token(number))?;
        let viewer = light::Viewer::default();
        let offer = viewer.offer_at(SocketAddr::new(local, socket.port()?), codecs);
        self.seats.push(Seat {
            viewer,
            socket,
            wake: None,
            asked: now,
            was_connected: false,
            has_failed: false,
            undecodable_since: None,
            until_sample: fastrand::u32(..self.watch.sampled),
            milestones: Milestones::default(),
            heard: None,
        });
        Ok((number, offer))
    }

    /// A viewer's offer, sent at `asked`, has this answer.
    pub(super) fn answer(
        &mut self,
        number: usize,
        asked: Instant,
        answer: &str,
        near: Option<IpAddr>,
    ) -> Result<(), String> {
        let now = Instant::now();
        let seat = self
            .seats
            .get_mut(number)
            .ok_or("there is no such viewer")?;
        seat.asked = asked;
        seat.viewer.accept_answer_near(now, answer, near)?;
        self.write(now, number);
        Ok(())
    }

    /// Waits for datagrams and deadlines until `until` at most, and handles them.
    pub(super) fn turn(&mut self, until: Instant) -> io::Result<()> {
        let before = Instant::now();
        let next = self.wakes.first().map_or(until, |(at, _)| until.min(*at));
        let timeout = next.saturating_duration_since(before);
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let now = Instant::now();
        self.watch.slept += now - before;
        if now >= self.clock_set + CLOCK_INTERVAL {
            self.clock_set = now;
            self.room.set_clock();
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            self.read(event.token().0);
        }
        self.events = events;
        let now = Instant::now();
        while let Some((_, number)) = self.wakes.first().filter(|(at, _)| *at <= now).copied() {
            self.write(now, number);
        }
        Ok(())
    }

    fn read(&mut self, number: usize) {
        let Some(seat) = self.seats.get_mut(number) else {
            return;
        };
        while let Some(train) = seat.socket.receive(&mut self.room) {
            let now = Instant::now();
            let lag = now.saturating_duration_since(train.arrived);
            self.watch.lag.saturating_record(micros(lag));
            self.watch.totals.receives += 1;
            self.watch.totals.dropped += u64::from(train.dropped);
            for datagram in train.datagrams() {
                if is_media(datagram) && seat.is_lost(train.arrived, datagram, &mut self.watch) {
                    continue;
                }
                seat.viewer.handle_datagram_from(now, train.from, datagram);
                // The keys of a handshake are needed for what comes behind it.
                if !seat.was_connected {
                    seat.speak(now, &mut self.send, &mut self.watch.totals);
                }
            }
        }
        if seat.viewer.poll_timeout() != seat.wake {
            self.write(Instant::now(), number);
        }
    }

    /// Sends what a viewer has to say, and notes when it is next.
    fn write(&mut self, now: Instant, number: usize) {
        let Some(seat) = self.seats.get_mut(number) else {
            return;
        };
        seat.speak(now, &mut self.send, &mut self.watch.totals);
        let wake = seat.viewer.poll_timeout();
        if wake != seat.wake {
            if let Some(at) = std::mem::replace(&mut seat.wake, wake) {
                self.wakes.remove(&(at, number));
            }
            if let Some(at) = wake {
                self.wakes.insert((at, number));
            }
        }
    }

    /// What is measured from now on is that of viewers that are there, and not of their coming.
    pub(super) fn begin_watching(&mut self) {
        self.watch.latency.reset();
        self.watch.recent.reset();
        self.watch.lag.reset();
        self.watch.slept = Duration::ZERO;
        self.watch.totals.opened = [0; 2];
    }

    pub(super) fn totals(&self) -> Totals {
        self.watch.totals
    }

    /// Microseconds from a packet's publication to its arrival, of the sample.
    pub(super) fn latency(&self) -> &Histogram<u64> {
        &self.watch.latency
    }

    /// The latency of what came since this was asked last.
    pub(super) fn take_recent(&mut self) -> Option<Quantiles> {
        let recent = Quantiles::of_micros(&self.watch.recent);
        self.watch.recent.reset();
        recent
    }

    /// Microseconds from a train's arrival to its handling.
    pub(super) fn lag(&self) -> &Histogram<u64> {
        &self.watch.lag
    }

    /// The time that was spent waiting.
    pub(super) fn slept(&self) -> Duration {
        self.watch.slept
    }

    /// What each viewer has seen.
    pub(super) fn milestones(&self) -> impl Iterator<Item = Milestones> {
        self.seats.iter().map(|seat| seat.milestones)
    }

    /// When the last of those came that got connected.
    pub(super) fn last_joined(&self) -> Option<Instant> {
        let joined = |seat: &Seat| Some(seat.asked + seat.milestones.connected?);
        self.seats.iter().filter_map(joined).max()
    }

    /// Viewers that have been connected, and that no media has come to since then.
    pub(super) fn unheard(&self, since: Instant) -> usize {
        let is_unheard = |seat: &&Seat| {
            let heard = seat.heard;
            seat.milestones.connected.is_some() && heard.is_none_or(|heard| heard < since)
        };
        self.seats.iter().filter(is_unheard).count()
    }

    /// How many viewers are sent which codec, by the answers.
    pub(super) fn video(&self) -> BTreeMap<String, usize> {
        let mut viewers = BTreeMap::new();
        let codecs = self
            .seats
            .iter()
            .filter_map(|seat| seat.viewer.codec(MediaKind::Video));
        codecs.for_each(|codec| *viewers.entry(codec.to_string()).or_default() += 1);
        viewers
    }

    /// How both tracks have arrived, at all viewers together.
    pub(super) fn reception(&self) -> Reception {
        let of = |seat: &Seat| {
            let video = seat.viewer.reception(MediaKind::Video);
            video.plus(seat.viewer.reception(MediaKind::Audio))
        };
        let all = self.seats.iter().map(of);
        all.fold(Reception::default(), Reception::plus)
    }

    /// Gives up a viewer that has waited for its connection since before `since`, and says what it
    /// lacks. Each is given up once.
    pub(super) fn give_up(&mut self, since: Instant) -> Vec<String> {
        let is_waiting = |seat: &&mut Seat| {
            let is_over = seat.viewer.ended().is_some();
            let is_late = seat.asked < since && seat.milestones.connected.is_none();
            !seat.has_failed && (is_over || (is_late && seat.viewer.server().is_some()))
        };
        let given_up = self.seats.iter_mut().filter(is_waiting).map(|seat| {
            seat.has_failed = true;
            seat.complaint()
        });
        given_up.collect()
    }
}

impl Seat {
    /// Sends what the viewer has to say.
    fn speak(&mut self, now: Instant, buffer: &mut [u8], totals: &mut Totals) {
        while let Some(len) = self.viewer.poll_transmit(now, buffer) {
            let Some(server) = self.viewer.server() else {
                break;
            };
            // What a full socket refuses is lost, as on a bad way.
            let _ = self.socket.send(&buffer[..len], server);
        }
        let is_connected = self.viewer.is_connected();
        if is_connected && !self.was_connected {
            let took = now.saturating_duration_since(self.asked);
            self.milestones.connected.get_or_insert(took);
            totals.connected += 1;
        } else if !is_connected && self.was_connected {
            totals.connected -= 1;
        }
        self.was_connected = is_connected;
    }

    /// Counts a datagram of media, and opens it if it is one of the sample. Whether it is to be thrown
    /// away.
    fn is_lost(&mut self, arrived: Instant, datagram: &[u8], watch: &mut Watch) -> bool {
        self.heard = Some(arrived);
        watch.totals.packets += 1;
        watch.totals.bytes += datagram.len() as u64;
        if watch.loss > 0.0 && fastrand::f64() < watch.loss {
            watch.totals.thrown += 1;
            return true;
        }
        let since_asked = arrived.saturating_duration_since(self.asked);
        self.milestones.packet.get_or_insert(since_asked);
        let is_sample = self.until_sample == 0;
        self.until_sample = self
            .until_sample
            .checked_sub(1)
            .unwrap_or(watch.sampled - 1);
        if is_sample || self.milestones.keyframe.is_none() {
            self.open(arrived, datagram, is_sample, watch);
        }
        if self.milestones.keyframe.is_none() {
            self.miss_keyframe(arrived);
        }
        false
    }

    /// Asks for a keyframe, as a decoder does that gets pictures and cannot begin.
    fn miss_keyframe(&mut self, now: Instant) {
        let since = *self.undecodable_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= KEYFRAME_PATIENCE {
            self.undecodable_since = Some(now);
            self.viewer.request_keyframe(now, KeyframeRequestKind::Pli);
        }
    }

    fn open(&mut self, arrived: Instant, datagram: &[u8], is_sample: bool, watch: &mut Watch) {
        let mut room = [0; PACKET_LEN_MAX];
        let Some(opened) = self.viewer.open(datagram, &mut room) else {
            return;
        };
        let (kind, payload) = (opened.kind, opened.payload);
        let codec = self.viewer.codec(kind).unwrap_or(Codec::Opus);
        if kind == MediaKind::Video && keyframe::begins(codec, payload) {
            let since_asked = arrived.saturating_duration_since(self.asked);
            self.milestones.keyframe.get_or_insert(since_asked);
        }
        // A repair is as late as the loss was noticed.
        if !is_sample || opened.is_repair {
            return;
        }
        watch.totals.opened[0] += 1;
        if let Some(published) = watch.clock.read(payload) {
            watch.totals.opened[1] += 1;
            let took = arrived.saturating_duration_since(published);
            watch.latency.saturating_record(micros(took));
            watch.recent.saturating_record(micros(took));
        }
    }

    fn complaint(&self) -> String {
        if let Some(why) = self.viewer.ended() {
            return format!("a session ended: {why}");
        }
        let servers: Vec<_> = self.viewer.servers().map(|s| s.to_string()).collect();
        let state = self.viewer.state();
        match servers.is_empty() {
            true => format!(
                "{state}: the answer named no address by UDP, and nobody asked: let the server offer \
                 its candidates in the answer"
            ),
            false => format!(
                "{state}, of {}: look at the server's UDP port and at the addresses that it offers",
                servers.join(", ")
            ),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// RTP, and not RTCP (RFC 5761 §4).
fn is_media(contents: &[u8]) -> bool {
    matches!(contents, [128..=191, second, ..] if !(192..=223).contains(second))
}
