//! What is published to a crowd: VP8 and Opus as a camera makes them.

use std::time::{Duration, Instant};

use str0m::format::Codec;
use str0m::media::MediaKind;

use crate::client::media::{Packet, Source};

const FRAMES_PER_SECOND: u32 = 30;
const SOUNDS_PER_SECOND: u32 = 50;

/// Of so many frames the first is a keyframe.
const KEYFRAME_EVERY: u32 = 90;

/// Packets of a keyframe and of any other frame, and bytes of payload of each.
const KEYFRAME_PACKETS: usize = 40;
const DELTA_PACKETS: usize = 8;
const VIDEO_LEN: usize = 1100;

const SOUND_LEN: usize = 120;

/// Makes packets in time.
#[derive(Debug)]
pub(super) struct Program {
    video: Source,
    audio: Source,
    began: Instant,
    /// Since then.
    frames: u32,
    sounds: u32,
    /// When payload was made, and how much.
    published: Vec<(Instant, usize)>,
}

impl Program {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            video: Source::new(Codec::Vp8, 20_000, 4_000_000_000),
            audio: Source::new(Codec::Opus, 30_000, 1_000_000),
            began: now,
            frames: 0,
            sounds: 0,
            published: Vec::new(),
        }
    }

    /// Begins at this moment, or goes on after a pause: with a keyframe.
    pub(super) fn begin(&mut self, now: Instant) {
        self.began = now;
        (self.frames, self.sounds) = (0, 0);
    }

    /// The next frame or sound that is due.
    pub(super) fn next(&mut self, now: Instant) -> Option<(MediaKind, Vec<Packet>)> {
        let played = now.saturating_duration_since(self.began);
        let is_due = |count: u32, rate| Duration::from_secs(count.into()) / rate <= played;
        if is_due(self.frames, FRAMES_PER_SECOND) {
            self.frames += 1;
            let packets = match (self.frames - 1).is_multiple_of(KEYFRAME_EVERY) {
                true => self.video.keyframe(KEYFRAME_PACKETS, VIDEO_LEN),
                false => self.video.delta(DELTA_PACKETS, VIDEO_LEN),
            };
            return Some((MediaKind::Video, self.publish(now, packets)));
        }
        if is_due(self.sounds, SOUNDS_PER_SECOND) {
            self.sounds += 1;
            let packets = self.audio.delta(1, SOUND_LEN);
            return Some((MediaKind::Audio, self.publish(now, packets)));
        }
        None
    }

    /// A keyframe out of turn.
    pub(super) fn keyframe(&mut self, now: Instant) -> Vec<Packet> {
        let packets = self.video.keyframe(KEYFRAME_PACKETS, VIDEO_LEN);
        self.publish(now, packets)
    }

    fn publish(&mut self, now: Instant, packets: Vec<Packet>) -> Vec<Packet> {
        let len = packets.iter().map(|packet| packet.payload.len()).sum();
        self.published.push((now, len));
        packets
    }

    /// How many bytes of payload were made since then.
    pub(super) fn published_since(&self, begin: Instant) -> usize {
        let newest = self.published.iter().rev();
        newest
            .take_while(|(at, _)| *at >= begin)
            .map(|(_, len)| len)
            .sum()
    }
}
