//! What a publisher sends, and whether it arrives.

use std::time::{Duration, Instant};

use kvill_tests::client::media::{Packet, Source};
use kvill_tests::wire::{self, Peer};
use str0m::format::Codec;
use str0m::media::MediaKind;

use crate::scene::SOON;

/// Between two frames.
const FRAME: Duration = Duration::from_millis(20);

/// At a time, a picture of two packets and a sound.
#[derive(Debug)]
pub(crate) struct Film {
    pictures: Source,
    sounds: Source,
    pub(crate) video: Vec<Packet>,
    pub(crate) audio: Vec<Packet>,
}

impl Film {
    pub(crate) fn new() -> Self {
        Self {
            pictures: Source::new(Codec::Vp8, 65_500, 7),
            sounds: Source::new(Codec::Opus, 100, 8),
            video: Vec::new(),
            audio: Vec::new(),
        }
    }

    /// What comes after it.
    pub(crate) fn more(&self) -> Self {
        Self {
            pictures: self.pictures.clone(),
            sounds: self.sounds.clone(),
            video: Vec::new(),
            audio: Vec::new(),
        }
    }

    /// The first of `peers` publishes so many frames, of which the first is a keyframe.
    pub(crate) fn show(&mut self, peers: &mut [Peer], frames: u32) {
        let started = Instant::now();
        for n in 0..frames {
            let picture = match n {
                0 => self.pictures.keyframe(2, 1000),
                _ => self.pictures.delta(2, 1000),
            };
            let sound = self.sounds.delta(1, 120);
            let (now, client) = (Instant::now(), &mut peers[0].client);
            client.write(now, MediaKind::Video, &picture);
            client.write(now, MediaKind::Audio, &sound);
            self.video.extend(picture);
            self.audio.extend(sound);
            let next = started + FRAME * (n + 1);
            wire::run(peers, SOON, |_| Instant::now() >= next);
        }
    }

    /// Waits until a viewer has had everything that was shown since it came to see all, or for as
    /// long as it may take.
    pub(crate) fn arrives(&self, peers: &mut [Peer], viewer: usize) -> bool {
        wire::run(peers, SOON, |peers| self.missing(&peers[viewer]) == (0, 0))
    }

    /// How many packets of video and of audio a viewer has not had.
    pub(crate) fn missing(&self, viewer: &Peer) -> (usize, usize) {
        let missing = |sent: &[Packet], came: &[str0m::rtp::RtpPacket]| {
            let has_come = |packet: &Packet| came.iter().any(|c| c.payload == packet.payload);
            sent.iter().filter(|packet| !has_come(packet)).count()
        };
        (
            missing(&self.video, &viewer.client.video),
            missing(&self.audio, &viewer.client.audio),
        )
    }
}
