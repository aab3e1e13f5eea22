//! A server in a process of its own, its viewers, and who publishes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use kvill_tests::bench::clock::{Usage, resident};
use kvill_tests::bench::seats::Seats;
use kvill_tests::bench::sending::{Item, send_together};
use kvill_tests::client::media::Source;
use kvill_tests::client::{Client, Options};
use kvill_tests::process::Kvill;
use kvill_tests::rival::Rival;
use kvill_tests::web;
use str0m::format::Codec;
use str0m::media::MediaKind;

use super::pipe::Served;
use super::tasks;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const PAYLOAD_LEN: usize = 1150;
const SOUND_LEN: usize = 100;

/// Packets of a frame, and one of sound.
pub(super) const PACKETS: usize = 8 + 1;

/// 30 frames per second.
pub(super) const INTERVAL: Duration = Duration::from_micros(33_333);

/// After that a server has taken in what it was sent.
const SETTLING: Duration = Duration::from_millis(50);

/// Between two looks whether everything has arrived.
const PAUSE: Duration = Duration::from_millis(1);

/// What has not arrived so long after the last packet is lost.
const SILENCE: Duration = Duration::from_millis(300);

/// How often the others are tended while one gets its viewers.
const TEND_INTERVAL: Duration = Duration::from_millis(500);

const PATIENCE: Duration = Duration::from_secs(10);

/// How a server does it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A binary of this project.
    Binary(&'static str),
    /// The core in a loop of this benchmark.
    Loop(&'static str),
    /// A task for each viewer, in Rust.
    Tasks(&'static str),
    /// Goroutines.
    Pion,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Binary(name) => name,
            Self::Loop("epoll") => "core, bare epoll loop",
            Self::Loop(_) => "core, tokio task",
            Self::Tasks("tasks-tokio") => "task per viewer, tokio",
            Self::Tasks(_) => "task per viewer, smol",
            Self::Pion => "goroutines, Pion",
        }
    }
}

enum Process {
    Kvill(Kvill),
    Served(Served),
    Rival(Rival),
}

impl Process {
    /// `None`: it cannot be had here.
    fn start(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Binary(name) => Self::Kvill(Kvill::of_binary(name, &[])),
            Kind::Loop(name) | Kind::Tasks(name) => Self::Served(Served::start(name)),
            Kind::Pion => Self::Rival(Rival::pion()?),
        })
    }

    fn id(&self) -> u32 {
        match self {
            Self::Kvill(kvill) => kvill.id(),
            Self::Served(served) => served.id(),
            Self::Rival(rival) => rival.id(),
        }
    }

    /// The answer to an offer.
    fn ask(&mut self, endpoint: &str, offer: &str) -> String {
        let target = format!("/live/{endpoint}");
        let url = match self {
            Self::Served(served) => return served.ask(&target, offer),
            Self::Kvill(kvill) => kvill.url(),
            Self::Rival(rival) => rival.url(),
        };
        let reply = web::offer(url, &target, offer);
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.body
    }
}

/// Who publishes.
enum Feed {
    Whip(Box<Whip>),
    /// To a server of tasks.
    Plain(UdpSocket, SocketAddr),
}

/// A publisher and its socket.
struct Whip {
    client: Client,
    socket: UdpSocket,
    buffer: Vec<u8>,
}

/// What a server did while it was looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice {
    pub(super) usage: Usage,
    /// Packets that arrived at all viewers, if at all as at the witness.
    pub(super) arrived: u64,
    /// Packets that were to arrive.
    pub(super) expected: u64,
    /// As long as so many frames take.
    pub(super) lasted: Duration,
}

/// See the module.
pub(super) struct Contestant {
    pub(super) kind: Kind,
    /// Bytes of memory.
    pub(super) memory_per_viewer: u64,
    process: Process,
    feed: Feed,
    video: Source,
    audio: Source,
    seats: Seats,
    viewers: u64,
    /// Packets that the witness has got.
    witnessed: u64,
}

impl Contestant {
    /// `None`: it cannot be had here. `meanwhile` is called about twice a second until it is ready.
    pub(super) fn new(kind: Kind, viewers: usize, mut meanwhile: impl FnMut()) -> Option<Self> {
        let mut process = Process::start(kind)?;
        let feed = match (kind, &mut process) {
            (Kind::Tasks(_), Process::Served(served)) => {
                let to = served.ask("address", "").parse();
                let socket = UdpSocket::bind((LOCAL, 0)).expect("a free port");
                Feed::Plain(socket, to.expect("an address"))
            }
            _ => {
                let ask = |offer: &str| process.ask("whip", offer);
                Feed::Whip(Box::new(Whip::connect(ask)))
            }
        };
        let mut contestant = Self {
            kind,
            memory_per_viewer: 0,
            process,
            feed,
            video: Source::new(Codec::Vp8, 20_000, 1),
            audio: Source::new(Codec::Opus, 30_000, 1),
            seats: Seats::strangers(LOCAL, 0),
            viewers: viewers as u64,
            witnessed: 0,
        };
        // Some servers know a track by its first packet.
        contestant.play(5, true);
        thread::sleep(SETTLING);
        meanwhile();
        let mut tended_at = Instant::now();
        let mut tend = || {
            if tended_at.elapsed() >= TEND_INTERVAL {
                meanwhile();
                tended_at = Instant::now();
            }
        };
        let before = resident(contestant.id());
        let process = &mut contestant.process;
        contestant.seats = match (kind, process) {
            (Kind::Tasks(_), Process::Served(served)) => {
                let seats = Seats::strangers(LOCAL, viewers);
                for address in seats.addresses() {
                    tend();
                    let _ = served.ask("viewer", &address.to_string());
                }
                seats
            }
            (_, process) => Seats::join(LOCAL, viewers, |offer| {
                tend();
                process.ask("whep", offer)
            }),
        };
        contestant.witnessed = 0;
        contestant.play(5, true);
        contestant.listen(5 * PACKETS as u64);
        let grown = resident(contestant.id()).saturating_sub(before);
        contestant.memory_per_viewer = grown / contestant.viewers;
        contestant.tend();
        Some(contestant)
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Shows that publisher and viewers are there: to be called once a second or so.
    pub(super) fn tend(&mut self) {
        if let Feed::Whip(whip) = &mut self.feed {
            whip.turn();
        }
        self.seats.keep();
    }

    /// Publishes so many frames, and tells what the server did until the witness has them.
    ///
    /// # Panics
    ///
    /// If nothing arrives.
    pub(super) fn slice(&mut self, frames: u32) -> Slice {
        self.seats.heard();
        self.witnessed = 0;
        let before = Usage::of_process(self.id());
        self.play(frames, false);
        let packets = u64::from(frames) * PACKETS as u64;
        self.listen(packets);
        Slice {
            usage: Usage::of_process(self.id()).since(before),
            arrived: self.witnessed * self.viewers,
            expected: packets * self.viewers,
            lasted: INTERVAL * frames,
        }
    }

    /// Waits until the witness has so many packets, or no more come.
    fn listen(&mut self, packets: u64) {
        let mut last = Instant::now();
        while self.witnessed < packets {
            let heard = self.seats.heard().packets;
            self.witnessed += heard;
            if heard > 0 {
                last = Instant::now();
            }
            let patience = match self.witnessed {
                0 => PATIENCE,
                _ => SILENCE,
            };
            if last.elapsed() >= patience {
                let kind = self.kind;
                assert!(self.witnessed > 0, "{kind:?}: nothing in {PATIENCE:?}");
                return;
            }
            thread::sleep(PAUSE);
        }
    }

    fn play(&mut self, frames: u32, with_keyframe: bool) {
        let mut due = Instant::now();
        for n in 0..frames {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due += INTERVAL;
            // The witness has room for some frames alone.
            self.witnessed += self.seats.heard().packets;
            let frame = self.frame(with_keyframe && n == 0);
            match &mut self.feed {
                Feed::Whip(whip) => whip.publish(&frame),
                Feed::Plain(socket, to) => {
                    let datagrams = frame.iter().map(|(kind, p)| tasks::write(*kind, p));
                    let datagrams: Vec<_> = datagrams.collect();
                    send_together(socket, *to, &datagrams).expect("a system that sends");
                }
            }
        }
    }

    fn frame(&mut self, is_key: bool) -> Vec<Item> {
        let video = match is_key {
            true => self.video.keyframe(PACKETS - 1, PAYLOAD_LEN),
            false => self.video.delta(PACKETS - 1, PAYLOAD_LEN),
        };
        let audio = self.audio.delta(1, SOUND_LEN);
        let video = video.into_iter().map(|packet| (MediaKind::Video, packet));
        let audio = audio.into_iter().map(|packet| (MediaKind::Audio, packet));
        video.chain(audio).collect()
    }
}

impl Whip {
    fn connect(ask: impl FnOnce(&str) -> String) -> Self {
        let socket = UdpSocket::bind((LOCAL, 0)).expect("a free port");
        socket.set_nonblocking(true).expect("a socket that is open");
        let local = socket.local_addr().expect("a socket that is bound");
        let options = Options::new(&[Codec::Vp8, Codec::Opus]);
        let mut client = Client::publisher(Instant::now(), local, &options);
        let answer = ask(client.offer());
        let accepted = client.accept_answer(Instant::now(), &answer);
        accepted.unwrap_or_else(|error| panic!("{error} in {answer}"));
        let mut whip = Self {
            client,
            socket,
            buffer: vec![0; 65_536],
        };
        let deadline = Instant::now() + PATIENCE;
        while !whip.client.is_connected() {
            assert!(Instant::now() < deadline, "not connected in {PATIENCE:?}");
            whip.turn();
            thread::sleep(Duration::from_millis(1));
        }
        whip
    }

    fn turn(&mut self) {
        let now = Instant::now();
        loop {
            match self.socket.recv_from(&mut self.buffer) {
                Ok((len, from)) => self.client.handle_datagram(now, from, &self.buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        if self.client.poll_timeout() <= now {
            self.client.handle_timeout(now);
        }
        self.send();
    }

    /// What a frame has leaves at once: how a publisher paces it is not what is measured.
    fn publish(&mut self, frame: &[Item]) {
        self.turn();
        let now = Instant::now();
        for (kind, packet) in frame {
            self.client.write(now, *kind, [packet]);
        }
        self.send();
    }

    fn send(&mut self) {
        let client = &mut self.client;
        let outgoing: Vec<_> = std::iter::from_fn(|| client.poll_transmit()).collect();
        for together in outgoing.chunk_by(|a, b| a.destination == b.destination) {
            let datagrams: Vec<_> = together.iter().map(|out| &out.contents[..]).collect();
            let sent = send_together(&self.socket, together[0].destination, &datagrams);
            sent.expect("a system that sends");
        }
    }
}
