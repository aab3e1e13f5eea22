//! No two plaintexts under one nonce, and nothing that a viewer cannot decrypt.
//!
//! The [`Observer`] holds the first. str0m, on the other end, holds that keys and indices are right.
//!
//! `KVILL_FULL=1` runs many more cases from a new seed, `KVILL_SEED=n` those of that seed.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use kvill_core::Config;
use kvill_core::ids::SourceId;
use kvill_core::media;
use kvill_core::rtp::RtpPacket;
use kvill_tests::client::Options;
use kvill_tests::client::media::{Packet, Source};
use kvill_tests::memory::{ClientId, Crossing, Link, World};
use kvill_tests::observer::{Observer, Seen};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use str0m::format::Codec;
use str0m::media::MediaKind;

/// How far str0m looks back for packets that come late.
const LATE_MAX: u64 = 100;

/// Loses some of what the server seals.
#[derive(Debug, Default)]
struct Wire {
    observer: Observer,
    streams: HashMap<(SocketAddr, u32), Arrived>,
    /// How many of the next SRTP packets to a viewer are lost.
    to_lose: HashMap<SocketAddr, u32>,
    /// What a viewer must have decrypted by now.
    due: HashMap<SocketAddr, u64>,
    lost: u64,
}

/// What arrived of one SSRC.
#[derive(Debug, Default)]
struct Arrived {
    first: Option<u64>,
    indices: HashSet<u64>,
    highest: u64,
}

impl Link for Wire {
    fn carries(&mut self, crossing: &Crossing<'_>) -> bool {
        let Some(seen) = self.observer.see(crossing) else {
            return true;
        };
        let Seen {
            viewer,
            ssrc,
            index,
        } = seen;
        if let Some(left) = self.to_lose.get_mut(&viewer).filter(|left| **left > 0) {
            *left -= 1;
            self.lost += 1;
            return false;
        }
        let stream = self.streams.entry((viewer, ssrc)).or_default();
        let first = *stream.first.get_or_insert(index);
        let late = index < first || index + LATE_MAX < stream.highest;
        stream.highest = stream.highest.max(index);
        if stream.indices.insert(index) && !late {
            *self.due.entry(viewer).or_default() += 1;
        }
        true
    }
}

/// What may happen on a path.
#[derive(Debug, Clone)]
enum Act {
    Join,
    Leave(prop::sample::Index),
    Vanish(prop::sample::Index),
    /// A frame of video, its packets in order or reversed.
    Video {
        key: bool,
        packets: usize,
        reversed: bool,
    },
    Audio,
    /// So many sequence numbers are missing.
    Gap(u64),
    /// A viewer loses so many packets.
    Lose(prop::sample::Index, u32),
    /// A second publisher takes over.
    Replace {
        video: u16,
        audio: u16,
        who: Who,
    },
    /// The publisher leaves and comes back.
    Return {
        video: u16,
        audio: u16,
        after_ms: u64,
    },
    Pass {
        ms: u64,
    },
}

/// What a publisher is.
#[derive(Debug, Clone, Copy)]
enum Who {
    /// A WHIP client.
    Client,
    /// The program that the server is part of.
    Program,
}

/// Who publishes.
#[derive(Debug, Clone, Copy)]
enum Publisher {
    Client(ClientId),
    Program(SourceId),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let any_index = any::<prop::sample::Index>;
    let act = prop_oneof![
        3 => Just(Act::Join),
        1 => any_index().prop_map(Act::Leave),
        1 => any_index().prop_map(Act::Vanish),
        12 => (any::<bool>(), 1..9_usize, any::<bool>())
            .prop_map(|(key, packets, reversed)| Act::Video { key, packets, reversed }),
        6 => Just(Act::Audio),
        4 => (1..20_000_u64).prop_map(Act::Gap),
        4 => (any_index(), 1..30_u32).prop_map(|(v, n)| Act::Lose(v, n)),
        2 => (first_number(), first_number(), prop_oneof![Just(Who::Client), Just(Who::Program)])
            .prop_map(|(video, audio, who)| Act::Replace { video, audio, who }),
        2 => (first_number(), first_number(), 0..900_u64)
            .prop_map(|(video, audio, after_ms)| Act::Return { video, audio, after_ms }),
        3 => (1..300_u64).prop_map(|ms| Act::Pass { ms }),
    ];
    prop::collection::vec(act, 10..60)
}

/// A publisher's first sequence number: as likely just before the roll-over as anywhere.
fn first_number() -> impl Strategy<Value = u16> {
    prop_oneof![any::<u16>(), 65_500..=65_535_u16]
}

/// A path on which acts are played.
struct Stage {
    world: World<Wire>,
    publisher: Publisher,
    video: Source,
    audio: Source,
    viewers: Vec<ClientId>,
}

const PATH: &str = "stage";

impl Stage {
    fn new(seed: u64, video: u16, audio: u16) -> Self {
        let mut world = World::with_link(seed, Config::default(), Wire::default());
        let publisher = publish(&mut world);
        Self {
            world,
            publisher,
            video: source(Codec::Vp8, video),
            audio: source(Codec::Opus, audio),
            viewers: Vec::new(),
        }
    }

    fn play(&mut self, act: &Act) {
        match act {
            Act::Join => {
                let options = Options::new(&[Codec::Vp8, Codec::Opus]).observing();
                let viewer = self.world.view(PATH, &options);
                self.world.connect(&[viewer]);
                self.viewers.push(viewer);
            }
            Act::Leave(which) => {
                if let Some(viewer) = self.take(which) {
                    self.world.leave(viewer);
                }
            }
            Act::Vanish(which) => {
                if let Some(viewer) = self.take(which) {
                    self.world.vanish(viewer);
                }
            }
            Act::Video {
                key,
                packets,
                reversed,
            } => self.send_video(*key, *packets, *reversed),
            Act::Audio => self.send_audio(),
            Act::Gap(numbers) => {
                // A receiver that misses more than 2^15 numbers in a row guesses wrong: let it
                // see both ends of the gap.
                self.world.link.to_lose.clear();
                self.send_video(true, 1, false);
                self.video.skip(*numbers);
                self.send_video(false, 1, false);
            }
            Act::Lose(which, packets) => {
                if !self.viewers.is_empty() {
                    let viewer = *which.get(&self.viewers);
                    let address = self.world.client(viewer).local();
                    self.world.link.to_lose.insert(address, *packets);
                }
            }
            Act::Replace { video, audio, who } => {
                let before = self.publisher;
                self.publisher = match who {
                    Who::Client => publish(&mut self.world),
                    Who::Program => publish_by_program(&mut self.world),
                };
                if let Publisher::Client(before) = before {
                    self.world.vanish(before);
                }
                self.begin(*video, *audio);
            }
            Act::Return {
                video,
                audio,
                after_ms,
            } => {
                let now = self.world.now();
                match self.publisher {
                    Publisher::Client(client) => self.world.client(client).close(now),
                    Publisher::Program(source) => self.world.server.unpublish(now, source),
                }
                self.pass(*after_ms);
                if let Publisher::Client(client) = self.publisher {
                    self.world.vanish(client);
                }
                self.publisher = publish(&mut self.world);
                self.begin(*video, *audio);
            }
            Act::Pass { ms } => self.pass(*ms),
        }
        self.pass(5);
    }

    fn take(&mut self, which: &prop::sample::Index) -> Option<ClientId> {
        if self.viewers.is_empty() {
            return None;
        }
        let viewer = self.viewers.swap_remove(which.index(self.viewers.len()));
        self.check(viewer);
        Some(viewer)
    }

    fn begin(&mut self, video: u16, audio: u16) {
        self.video = source(Codec::Vp8, video);
        self.audio = source(Codec::Opus, audio);
    }

    fn send_video(&mut self, key: bool, packets: usize, reversed: bool) {
        let mut frame = match key {
            true => self.video.keyframe(packets, 60),
            false => self.video.delta(packets, 50),
        };
        if reversed {
            frame.reverse();
        }
        self.send(MediaKind::Video, &frame);
    }

    fn send_audio(&mut self) {
        let frame = self.audio.delta(1, 40);
        self.send(MediaKind::Audio, &frame);
    }

    fn send(&mut self, kind: MediaKind, packets: &[Packet]) {
        let now = self.world.now();
        match self.publisher {
            Publisher::Client(client) => self.world.client(client).write(now, kind, packets),
            Publisher::Program(source) => {
                let kind = match kind {
                    MediaKind::Video => media::MediaKind::Video,
                    MediaKind::Audio => media::MediaKind::Audio,
                };
                for packet in packets {
                    let [.., high, low] = packet.seq.to_be_bytes();
                    let rtp = RtpPacket {
                        sequence: u16::from_be_bytes([high, low]),
                        timestamp: packet.timestamp,
                        marker: packet.marker,
                        payload: &packet.payload,
                    };
                    let taken = self.world.server.handle_packet(now, source, kind, &rtp);
                    taken.expect("a source that is there");
                }
            }
        }
        self.world.settle();
    }

    fn pass(&mut self, ms: u64) {
        self.world.run(Duration::from_millis(ms));
    }

    /// A viewer has decrypted what arrived.
    fn check(&mut self, viewer: ClientId) {
        let client = self.world.client(viewer);
        let shown = (client.video.len() + client.audio.len()) as u64;
        let (address, decrypted) = (client.local(), client.decrypted);
        let due = self.world.link.due.get(&address).copied().unwrap_or(0);
        assert_eq!(
            decrypted, due,
            "{address}: SRTP packets decrypted, and arrived"
        );
        assert_eq!(
            shown, due,
            "{address}: RTP packets shown, and SRTP packets arrived"
        );
    }

    /// Everybody who is still there gets a last keyframe, and has decrypted everything.
    fn end(&mut self) {
        self.world.link.to_lose.clear();
        self.pass(1000);
        self.send_video(true, 2, false);
        self.send_audio();
        self.pass(10);
        for viewer in self.viewers.clone() {
            self.check(viewer);
            let client = self.world.client(viewer);
            assert!(client.video.len() >= 2, "{viewer:?} has no video");
            assert!(!client.audio.is_empty(), "{viewer:?} has no sound");
        }
    }
}

fn publish(world: &mut World<Wire>) -> Publisher {
    let publisher = world.publish(PATH, &Options::new(&[Codec::Vp8, Codec::Opus]));
    world.connect(&[publisher]);
    Publisher::Client(publisher)
}

fn publish_by_program(world: &mut World<Wire>) -> Publisher {
    let codecs = [media::Codec::vp8(), media::Codec::opus()];
    let source = world.server.publish(world.now(), PATH, &codecs);
    Publisher::Program(source.expect("room for one more"))
}

fn source(codec: Codec, first: u16) -> Source {
    Source::new(codec, u64::from(first), fastrand::u32(..))
}

#[test]
fn no_index_seals_two_plaintexts_whatever_happens_on_a_path() {
    let full = std::env::var_os("KVILL_FULL").is_some_and(|v| v == "1");
    let named = std::env::var("KVILL_SEED")
        .ok()
        .map(|s| s.parse().expect("KVILL_SEED=number"));
    let seed = named.unwrap_or(if full { fastrand::u64(..) } else { 6 });
    println!("KVILL_SEED={seed}");

    let mut runner = TestRunner::new(ProptestConfig {
        cases: if full { 2000 } else { 64 },
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    });
    let (sealed, lost, roll_overs) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let strategy = (any::<u64>(), first_number(), first_number(), acts());
    let outcome = runner.run(&strategy, |(seed, video, audio, acts)| {
        let mut stage = Stage::new(seed, video, audio);
        for act in &acts {
            stage.play(act);
        }
        stage.end();
        let wire = &stage.world.link;
        sealed.set(sealed.get() + wire.observer.sealed());
        lost.set(lost.get() + wire.lost);
        roll_overs.set(roll_overs.get() + wire.observer.roll_overs());
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("KVILL_SEED={seed}: {error}");
    }
    let (sealed, lost, roll_overs) = (sealed.get(), lost.get(), roll_overs.get());
    println!("{sealed} packets sealed, {lost} lost, {roll_overs} roll-overs");
    assert!(
        sealed > 0 && lost > 0 && roll_overs > 0,
        "nothing was tried"
    );
}

#[test]
fn a_viewer_that_first_hears_after_the_publishers_roll_over_decrypts() {
    let mut stage = Stage::new(7, 65_530, 65_530);
    stage.play(&Act::Join);
    // Six numbers are left before the roll-over; all of them and the four after it are lost.
    let viewer = stage.world.client(stage.viewers[0]).local();
    stage.world.link.to_lose.insert(viewer, 10);
    stage.send_video(true, 10, false);
    assert_eq!(stage.world.link.lost, 10);
    stage.send_video(true, 3, false);
    let got = &stage.world.client(stage.viewers[0]).video;
    assert_eq!(got.len(), 3);
    stage.end();
}

#[test]
fn a_viewer_goes_on_over_its_own_roll_over_and_packets_lost_at_it() {
    let mut stage = Stage::new(8, 65_000, 0);
    stage.play(&Act::Join);
    stage.send_video(true, 3, false);
    for _ in 0..8 {
        let viewer = stage.world.client(stage.viewers[0]).local();
        stage.play(&Act::Gap(15_000));
        stage.world.link.to_lose.insert(viewer, 7);
        stage.send_video(false, 12, false);
        stage.pass(100);
    }
    assert!(
        stage.world.link.observer.roll_overs() >= 1,
        "the gaps were too small"
    );
    assert_eq!(stage.world.link.lost, 8 * 7);
    stage.play(&Act::Join);
    stage.end();
}
