//! One publisher and its viewers in a world, and what they send and get.

use str0m::format::Codec;
use str0m::media::MediaKind;

use super::{ClientId, Link, Perfect, World};
use crate::client::Options;
use crate::client::media::{Follower, Packet, Source};

/// A path in a [`World`], live, with viewers that follow it from its first packet.
#[derive(Debug)]
pub struct Broadcast<L = Perfect> {
    /// Where it takes place.
    pub world: World<L>,
    /// Who publishes.
    pub publisher: ClientId,
    /// Who watches.
    pub viewers: Vec<Viewer>,
    /// Makes the video.
    pub video: Source,
    /// Makes the audio.
    pub audio: Source,
    /// All video packets that were published.
    pub video_sent: Vec<Packet>,
    /// All audio packets that were published.
    pub audio_sent: Vec<Packet>,
}

/// A client that plays, and how far what it got was right.
#[derive(Debug, Clone, Copy)]
pub struct Viewer {
    /// The client.
    pub id: ClientId,
    /// Its video.
    pub video: Follower,
    /// Its audio.
    pub audio: Follower,
}

/// The path that a [`Broadcast`] is on.
pub const PATH: &str = "live";

impl<L: Link> Broadcast<L> {
    /// Connects a publisher of `codec` and Opus, and this many viewers.
    ///
    /// # Panics
    ///
    /// If anyone of them does not get connected.
    #[must_use]
    pub fn new(mut world: World<L>, codec: Codec, viewers: usize, options: &Options) -> Self {
        let publisher = world.publish(PATH, &Options::new(&[codec, Codec::Opus]));
        world.connect(&[publisher]);
        let ids: Vec<_> = (0..viewers).map(|_| world.view(PATH, options)).collect();
        world.connect(&ids);
        let viewer = |id| Viewer {
            id,
            video: Follower::default(),
            audio: Follower::default(),
        };
        Self {
            world,
            publisher,
            viewers: ids.into_iter().map(viewer).collect(),
            video: Source::new(codec, 20_000, 4_000_000_000),
            audio: Source::new(Codec::Opus, 30_000, 1_000_000),
            video_sent: Vec::new(),
            audio_sent: Vec::new(),
        }
    }

    /// Publishes a keyframe of this many packets of this many payload bytes.
    pub fn keyframe(&mut self, packets: usize, len: usize) {
        let frame = self.video.keyframe(packets, len);
        self.publish(MediaKind::Video, frame);
    }

    /// Publishes a frame that is none.
    pub fn delta(&mut self, packets: usize, len: usize) {
        let frame = self.video.delta(packets, len);
        self.publish(MediaKind::Video, frame);
    }

    /// Publishes a packet of audio.
    pub fn sound(&mut self, len: usize) {
        let frame = self.audio.delta(1, len);
        self.publish(MediaKind::Audio, frame);
    }

    /// Publishes packets and keeps them to compare with.
    pub fn publish(&mut self, kind: MediaKind, packets: Vec<Packet>) {
        let now = self.world.now();
        let client = self.world.client(self.publisher);
        client.write(now, kind, &packets);
        match kind {
            MediaKind::Video => self.video_sent.extend(packets),
            MediaKind::Audio => self.audio_sent.extend(packets),
        }
    }

    /// Compares what the viewers have got since the last time.
    ///
    /// # Panics
    ///
    /// If a packet is missing in between, comes out of order, or differs.
    pub fn check(&mut self) {
        for viewer in &mut self.viewers {
            let client = self.world.client(viewer.id);
            let (video, audio) = (client.video.drain(..), client.audio.drain(..));
            let video = video.map(|p| viewer.video.follow(&self.video_sent, &p));
            let audio = audio.map(|p| viewer.audio.follow(&self.audio_sent, &p));
            if let Some(wrong) = video.chain(audio).find_map(Result::err) {
                panic!("{:?}: {wrong}", viewer.id);
            }
        }
    }

    /// Compares, and asserts that every viewer has everything that was published.
    ///
    /// # Panics
    ///
    /// If not.
    pub fn check_complete(&mut self) {
        self.check();
        let all = (self.video_sent.len(), self.audio_sent.len());
        for viewer in &self.viewers {
            let got = (viewer.video.count, viewer.audio.count);
            assert_eq!(got, all, "{:?}: (video, audio) packets", viewer.id);
        }
    }
}
