//! What happens in a run, act by act.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use http::{Method, StatusCode};
use kvill_tests::client::{Options, Repair};
use kvill_tests::memory::{ClientId, Wakes};
use kvill_tests::network::{Faults, Profile};
use kvill_tests::stage::{Encoding, Line, Patience, Stage, Viewer};
use str0m::format::Codec;

use super::draw::{codecs, config, profile};

/// How long things happen.
const UPROAR: Duration = Duration::from_secs(6);

/// Watch at once, at most.
const VIEWERS_MAX: usize = 6;

/// One run.
pub(crate) struct Scenario {
    pub(super) stage: Stage,
    pub(super) rng: Rng,
    /// What each path carries.
    pub(super) codecs: Vec<Vec<Codec>>,
    /// Path, and when its publisher comes back.
    pub(super) returns: Vec<(usize, Instant)>,
    acts: BTreeMap<Act, u64>,
    kind: Kind,
    told: bool,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    /// A viewer comes.
    Join,
    /// One leaves by DELETE,
    Leave,
    /// or by DTLS,
    Close,
    /// or without a word.
    Vanish,
    /// A client goes on from another address.
    Roam,
    /// A client restarts ICE where it is.
    Restart,
    /// A client's link becomes another one.
    Relay,
    /// A client's link carries nothing for a while.
    Blackout,
    /// All viewers ask for keyframes, time and again.
    Storm,
    /// A publisher leaves and comes back.
    Return,
    /// A publisher takes another one's place.
    Replace,
    /// Nothing.
    Pass,
}

/// What the networks are like while handshakes are going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They take time and lose nothing: the run follows from its seed.
    Smooth,
    /// Like at any other time. When DTLS sends again what was lost is up to it, so that two runs
    /// of a seed are alike and not the same.
    Rough,
}

/// What a run leaves behind.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) faults: Faults,
    pub(crate) wakes: Wakes,
    pub(crate) acts: BTreeMap<Act, u64>,
    pub(crate) packets: u64,
    pub(crate) repairs: u64,
    pub(crate) transcript: Vec<Line>,
    /// A digest of the transcripts: the same in every run of the same seeds.
    pub(crate) digest: u64,
}

impl Scenario {
    pub(crate) fn new(seed: u64, kind: Kind, told: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let stage = Stage::new(seed, config(&mut rng));
        let codecs = (0..rng.usize(1..=3)).map(|_| codecs(&mut rng)).collect();
        Self {
            stage,
            rng,
            codecs,
            returns: Vec::new(),
            acts: BTreeMap::new(),
            kind,
            told,
        }
    }

    pub(crate) fn run(mut self) -> Outcome {
        for path in 0..self.codecs.len() {
            self.publish(path);
            self.join();
        }
        let end = self.stage.world.now() + UPROAR;
        while self.stage.world.now() < end {
            let act = self.draw();
            self.act(act);
            self.note(act);
            let pause = Duration::from_millis(self.rng.u64(20..300));
            self.play(pause);
        }
        self.heal();
        self.empty();
        let repairs = self.stage.world.server.stats().counters.repairs;
        let packets = |v: &Viewer| v.video.packets + v.audio.packets;
        let transcript = self.stage.world.link.lines();
        let mut digest = DefaultHasher::new();
        transcript.hash(&mut digest);
        Outcome {
            digest: digest.finish(),
            faults: *self.stage.world.link.network.faults(),
            wakes: self.stage.world.wakes.clone(),
            acts: self.acts,
            packets: self.stage.viewers.iter().map(packets).sum(),
            repairs,
            transcript,
        }
    }

    fn draw(&mut self) -> Act {
        const WEIGHTS: [(Act, usize); 12] = [
            (Act::Join, 10),
            (Act::Leave, 2),
            (Act::Close, 1),
            (Act::Vanish, 1),
            (Act::Roam, 2),
            (Act::Restart, 1),
            (Act::Relay, 4),
            (Act::Blackout, 2),
            (Act::Storm, 2),
            (Act::Return, 2),
            (Act::Replace, 2),
            (Act::Pass, 3),
        ];
        let mut draw = self.rng.usize(..WEIGHTS.iter().map(|w| w.1).sum::<usize>());
        for (act, weight) in WEIGHTS {
            if draw < weight {
                return act;
            }
            draw -= weight;
        }
        Act::Pass
    }

    fn note(&mut self, act: Act) {
        *self.acts.entry(act).or_default() += 1;
        if self.told {
            println!("{:?} {act:?}", self.stage.world.now() - self.beginning());
        }
    }

    fn beginning(&self) -> Instant {
        let shots = self.stage.films.values().filter_map(|f| f.shots.first());
        let first = shots.map(|s| s.at).min();
        first.unwrap_or_else(|| self.stage.world.now())
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Join => self.join(),
            Act::Leave | Act::Close | Act::Vanish => {
                let viewers = present(&self.stage);
                if let Some((at, id)) = self.rng.choice(viewers) {
                    self.stage.viewers[at].id = None;
                    self.part(act, id);
                }
            }
            Act::Roam => {
                if let Some(id) = self.anyone() {
                    let network = self.rng.u8(11..200);
                    self.stage.world.roam(id, network);
                    let outage = Duration::from_millis(self.rng.u64(..400));
                    self.play(outage);
                    self.restart(id);
                }
            }
            Act::Restart => {
                if let Some(id) = self.anyone() {
                    self.restart(id);
                }
            }
            Act::Relay => {
                if let Some(id) = self.anyone() {
                    self.relay(id);
                }
            }
            Act::Blackout => {
                if let Some(id) = self.anyone() {
                    let client = self.stage.world.client(id).local();
                    let lasts = Duration::from_millis(self.rng.u64(50..2500));
                    let until = self.stage.world.now() + lasts;
                    self.stage.world.link.network.black_out(client, until);
                }
            }
            Act::Storm => self.storm(),
            Act::Return => {
                let path = self.rng.usize(..self.codecs.len());
                if self.take_publisher(path) {
                    let away = Duration::from_millis(self.rng.u64(10..2500));
                    self.returns.push((path, self.stage.world.now() + away));
                }
            }
            Act::Replace => {
                let path = self.rng.usize(..self.codecs.len());
                if self.returns.iter().all(|r| r.0 != path) {
                    self.publish(path);
                }
            }
            Act::Pass => self.play(Duration::from_millis(300)),
        }
    }

    /// A viewer or publisher that is connected.
    fn anyone(&mut self) -> Option<ClientId> {
        let viewers = self.stage.viewers.iter().filter_map(|v| v.id);
        let publishers = self.stage.publishers.iter().filter_map(|p| p.id);
        let mut all: Vec<_> = viewers.chain(publishers).collect();
        all.retain(|id| self.stage.world.client(*id).is_connected());
        self.rng.choice(all)
    }

    pub(super) fn play(&mut self, duration: Duration) {
        let end = self.stage.world.now() + duration;
        loop {
            let due = self.returns.iter().position(|r| r.1 <= end);
            let Some((path, at)) = due.map(|at| self.returns.swap_remove(at)) else {
                break;
            };
            let before = at.saturating_duration_since(self.stage.world.now());
            self.stage.play(before);
            self.publish(path);
        }
        let left = end.saturating_duration_since(self.stage.world.now());
        self.stage.play(left);
        self.forget_closed();
    }

    /// Clients that the server closed are gone.
    fn forget_closed(&mut self) {
        let viewers = self.stage.viewers.iter_mut().map(|v| &mut v.id);
        let publishers = self.stage.publishers.iter_mut().map(|p| &mut p.id);
        for id in viewers.chain(publishers) {
            if let Some(closed) = id.filter(|id| self.stage.world.client(*id).is_closed()) {
                self.stage.world.vanish(closed);
                *id = None;
            }
        }
    }

    fn join(&mut self) {
        if present(&self.stage).len() >= VIEWERS_MAX {
            return;
        }
        let path = self.rng.usize(..self.codecs.len());
        let repairs = [Repair::Rtx, Repair::Rtx, Repair::Again, Repair::Off];
        let repair = self.rng.choice(repairs).expect("a choice");
        // str0m names the tracks of which it misses something in no fixed order, and what the
        // server then sends first would not follow from the seed. It asks for one track only.
        let codecs: &[_] = match repair {
            Repair::Again if self.rng.bool() => &[Codec::Opus],
            Repair::Again => &[Codec::Vp8, Codec::H264],
            Repair::Rtx | Repair::Off => &[Codec::Vp8, Codec::H264, Codec::Opus],
        };
        let options = Options::new(codecs).repaired_by(repair);
        let patience = Patience {
            playout: Duration::from_millis(self.rng.u64(100..300)),
            give_up: Duration::from_millis(self.rng.u64(200..800)),
        };
        let approach = self.approach();
        let joined = self.stage.try_view(path, &options, patience, &approach);
        if let Some(at) = joined
            && let Some(id) = self.stage.viewers[at].id
        {
            self.relay(id);
        }
    }

    /// Somebody publishes on a path, whoever does so before.
    pub(super) fn publish(&mut self, path: usize) {
        if self.rng.u32(..20) == 0 {
            self.codecs[path] = codecs(&mut self.rng);
        }
        let options = Options::new(&self.codecs[path]).repairing(self.rng.usize(10..500));
        let encoding = Encoding {
            key: self.rng.usize(2..20),
            delta: self.rng.usize(1..6),
            len: self.rng.usize(100..1150),
        };
        let approach = self.approach();
        let before: Vec<_> = self.stage.publishers.iter_mut().collect();
        let before: Vec<_> = before
            .into_iter()
            .filter(|p| p.path == path)
            .filter_map(|p| p.id)
            .collect();
        let published = self.stage.try_publish(path, &options, encoding, &approach);
        if let Some(at) = published
            && let Some(id) = self.stage.publishers[at].id
        {
            self.relay(id);
            // Whoever was replaced may hear of it late, or never.
            for publisher in &mut self.stage.publishers {
                if let Some(old) = publisher.id.filter(|old| before.contains(old)) {
                    self.stage.world.vanish(old);
                    publisher.id = None;
                }
            }
        }
    }

    /// The publisher of a path leaves, if it has one.
    pub(super) fn take_publisher(&mut self, path: usize) -> bool {
        let publishers = self.stage.publishers.iter_mut();
        let publisher = publishers.rev().find(|p| p.path == path && p.id.is_some());
        let Some(id) = publisher.and_then(|p| p.id.take()) else {
            return false;
        };
        let ways = [Act::Leave, Act::Close, Act::Vanish];
        let way = self.rng.choice(ways).expect("a choice");
        self.part(way, id);
        true
    }

    pub(super) fn part(&mut self, way: Act, id: ClientId) {
        if self.stage.world.client(id).is_closed() {
            self.stage.world.vanish(id);
            return;
        }
        match way {
            Act::Leave => {
                let location = self.stage.world.location(id);
                let from = self.stage.world.vanish(id).local();
                let world = &mut self.stage.world;
                let response = world.request(Method::DELETE, &location, from, Bytes::new());
                // It may have ended, and its client not have heard of it.
                let statuses = [StatusCode::OK, StatusCode::NOT_FOUND];
                assert!(statuses.contains(&response.status()), "{response:?}");
            }
            Act::Close => {
                let now = self.stage.world.now();
                self.stage.world.client(id).close(now);
                self.stage.world.settle();
                self.stage.world.vanish(id);
            }
            _ => drop(self.stage.world.vanish(id)),
        }
    }

    /// A client restarts ICE, if it is still there and its session is.
    pub(super) fn restart(&mut self, id: ClientId) {
        let viewers = self.stage.viewers.iter_mut().map(|v| &mut v.id);
        let publishers = self.stage.publishers.iter_mut().map(|p| &mut p.id);
        let there = viewers.chain(publishers).find(|there| **there == Some(id));
        let Some(there) = there else { return };
        if let Err(refusal) = self.stage.world.try_restart(id) {
            assert_eq!(refusal.status(), StatusCode::NOT_FOUND, "{refusal:?}");
            self.stage.world.vanish(id);
            *there = None;
        }
    }

    /// All viewers of everything want keyframes, several times.
    fn storm(&mut self) {
        for _ in 0..self.rng.usize(1..6) {
            for (at, id) in present(&self.stage) {
                let has_video = self.stage.viewers[at].video.packets > 0;
                let now = self.stage.world.now();
                let client = self.stage.world.client(id);
                if has_video && client.is_connected() {
                    client.request_keyframe(now);
                }
            }
            let pause = Duration::from_millis(self.rng.u64(1..120));
            self.stage.play(pause);
        }
        self.forget_closed();
    }

    fn relay(&mut self, id: ClientId) {
        let (up, down) = (profile(&mut self.rng), profile(&mut self.rng));
        self.stage.lay(id, &up, &down);
    }

    /// The link of a client that has yet to connect. A smooth one is so short that DTLS sends
    /// nothing twice.
    fn approach(&mut self) -> Profile {
        match self.kind {
            Kind::Smooth => Profile::delay(Duration::from_micros(self.rng.u64(..10_000))),
            Kind::Rough => Profile {
                mtu: None,
                ..profile(&mut self.rng)
            },
        }
    }
}

/// Viewers that are there, and where they stand in the list.
pub(super) fn present(stage: &Stage) -> Vec<(usize, ClientId)> {
    let all = stage.viewers.iter().enumerate();
    all.filter_map(|(at, v)| Some((at, v.id?))).collect()
}
