//! A publisher and viewers by offers that are given as text.

use std::time::Duration;

use kvill_core::Config;
use kvill_tests::client::media::{Follower, Source};
use kvill_tests::client::{Client, Identity, Options};
use kvill_tests::memory::{ClientId, Link, Perfect, World};
use str0m::format::Codec;
use str0m::media::MediaKind;

/// One test's world: offers go in, pictures and sound have to come out.
pub(crate) struct Scene<L = Perfect> {
    pub(crate) world: World<L>,
    pub(crate) identity: Identity,
}

impl Scene {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_link(seed, Perfect)
    }
}

impl<L: Link> Scene<L> {
    pub(crate) fn with_link(seed: u64, link: L) -> Self {
        Self {
            world: World::with_link(seed, Config::default(), link),
            identity: Identity::default(),
        }
    }

    pub(crate) fn offer(&mut self, endpoint: &str, text: &str) -> ClientId {
        let identity = self.identity.clone();
        let make = |now, local| Client::offering(now, local, text, &identity);
        match self.world.try_join(endpoint, make) {
            Ok(id) => id,
            Err(response) => panic!(
                "{} {}\n{text}",
                response.status(),
                String::from_utf8_lossy(response.body())
            ),
        }
    }

    pub(crate) fn publish(&mut self, text: &str) -> ClientId {
        let id = self.offer("/live/whip", text);
        self.world.connect(&[id]);
        id
    }

    pub(crate) fn view(&mut self, text: &str) -> ClientId {
        let id = self.offer("/live/whep", text);
        self.world.connect(&[id]);
        id
    }

    /// A publisher of str0m's own.
    pub(crate) fn plain_publisher(&mut self, codec: Codec) -> ClientId {
        let id = self
            .world
            .publish("live", &Options::new(&[codec, Codec::Opus]));
        self.world.connect(&[id]);
        id
    }

    /// A viewer of str0m's own.
    pub(crate) fn plain_viewer(&mut self, codec: Codec) -> ClientId {
        let id = self
            .world
            .view("live", &Options::new(&[codec, Codec::Opus]));
        self.world.connect(&[id]);
        id
    }

    pub(crate) fn answer(&mut self, id: ClientId) -> String {
        self.world.client(id).answer().to_owned()
    }

    /// Sends what a publisher sends and compares what the viewers get, packet by packet.
    pub(crate) fn play(&mut self, publisher: ClientId, viewers: &[ClientId], codecs: &[Codec]) {
        assert!(!viewers.is_empty() && !codecs.is_empty());
        for codec in codecs {
            let kind = codec.kind();
            let mut source = Source::new(*codec, 20_000, 4_000_000_000);
            let mut sent = Vec::new();
            for frame in 0..20 {
                let packets = match (codec, frame % 10) {
                    (Codec::Opus, _) => source.delta(1, 90),
                    (_, 0) => source.keyframe(5, 1_000),
                    _ => source.delta(2, 700),
                };
                let now = self.world.now();
                self.world.client(publisher).write(now, kind, &packets);
                sent.extend(packets);
                self.world.run(Duration::from_millis(20));
            }
            for viewer in viewers {
                let client = self.world.client(*viewer);
                let got = match kind {
                    MediaKind::Video => std::mem::take(&mut client.video),
                    MediaKind::Audio => std::mem::take(&mut client.audio),
                };
                let mut follower = Follower::default();
                for packet in &got {
                    follower.follow(&sent, packet).unwrap();
                }
                assert_eq!(
                    follower.count,
                    sent.len(),
                    "{viewer:?} got too little {kind}"
                );
            }
        }
    }
}
