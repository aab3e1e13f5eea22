//! What the program itself publishes: its numbers are extended, its frames get numbers and timestamps.
//!
//! A pure state machine between the program and the tracks. Packets that the program made itself
//! keep their numbers and timestamps; frames go on from the highest number, and their timestamps
//! follow from when they were captured.

use std::sync::Arc;
use std::time::Instant;

use crate::ingest::nacks::extend;
use crate::media::{Codec, MediaKind};
use crate::rtp::RtpPacket;
use crate::stream::path::Codecs;
use crate::stream::track::Packet;

/// Where extended numbers begin: above what may come late and was sent before the first.
const FIRST_CYCLE: u64 = 1 << 16;

/// See the module.
#[derive(Debug)]
pub(crate) struct Feed {
    lanes: heapless::Vec<Lane, 2>,
    /// Which moment the first timestamps stand for, of all tracks.
    epoch: Option<Instant>,
}

#[derive(Debug)]
struct Lane {
    codec: Codec,
    /// The highest number so far.
    highest: Option<u64>,
    /// The timestamp of what was captured at the epoch.
    first_timestamp: u32,
}

impl Feed {
    /// `first_timestamps` are random, of video and of audio (RFC 3550 §5.1).
    pub(crate) fn new(codecs: &Codecs, first_timestamps: [u32; 2]) -> Self {
        let codecs = [&codecs.video, &codecs.audio].into_iter().flatten();
        Self {
            lanes: codecs
                .zip(first_timestamps)
                .map(|(codec, first_timestamp)| Lane {
                    codec: codec.clone(),
                    highest: None,
                    first_timestamp,
                })
                .collect(),
            epoch: None,
        }
    }

    /// What the program said that a track carries; `None`: it has no such track.
    pub(crate) fn codec(&self, kind: MediaKind) -> Option<&Codec> {
        self.lane(kind).map(|lane| &lane.codec)
    }

    /// A packet as the program made it.
    pub(crate) fn packet(&mut self, kind: MediaKind, packet: &RtpPacket<'_>) -> Option<Packet> {
        let lane = self.lane_mut(kind)?;
        let sequence = match lane.highest {
            Some(highest) => extend(Some(highest), packet.sequence),
            None => FIRST_CYCLE + u64::from(packet.sequence),
        };
        lane.highest = lane.highest.max(Some(sequence));
        Some(Packet {
            sequence,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload: packet.payload.into(),
        })
    }

    /// A packet of a frame: the next number is its own.
    pub(crate) fn next(
        &mut self,
        kind: MediaKind,
        timestamp: u32,
        marker: bool,
        payload: Arc<[u8]>,
    ) -> Option<Packet> {
        let lane = self.lane_mut(kind)?;
        let sequence = lane.highest.map_or(FIRST_CYCLE, |highest| highest + 1);
        lane.highest = Some(sequence);
        Some(Packet {
            sequence,
            timestamp,
            marker,
            payload,
        })
    }

    /// The timestamp of what was captured at this moment.
    pub(crate) fn timestamp(&mut self, kind: MediaKind, captured: Instant) -> Option<u32> {
        let epoch = *self.epoch.get_or_insert(captured);
        let lane = self.lane(kind)?;
        let ticks = match captured.checked_duration_since(epoch) {
            Some(after) => lane.codec.ticks(after),
            None => lane.codec.ticks(epoch - captured).wrapping_neg(),
        };
        Some(lane.first_timestamp.wrapping_add(ticks))
    }

    fn lane(&self, kind: MediaKind) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.codec.kind() == kind)
    }

    fn lane_mut(&mut self, kind: MediaKind) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.codec.kind() == kind)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn feed() -> Feed {
        let codecs = Codecs {
            video: Some(Codec::h264(0x42_e01f)),
            audio: Some(Codec::opus()),
        };
        Feed::new(&codecs, [10, u32::MAX])
    }

    fn numbers(feed: &mut Feed, sequences: &[u16]) -> Vec<u64> {
        let packet = |sequence| RtpPacket {
            sequence,
            timestamp: 0,
            marker: false,
            payload: &[1],
        };
        let packets = sequences.iter().map(|sequence| packet(*sequence));
        packets
            .filter_map(|packet| feed.packet(MediaKind::Video, &packet))
            .map(|packet| packet.sequence - FIRST_CYCLE)
            .collect()
    }

    #[test]
    fn numbers_go_on_over_the_roll_over_and_back_for_what_comes_late() {
        let mut feed = feed();
        let extended = numbers(&mut feed, &[65_534, 65_535, 1, 0, 65_533, 2]);
        assert_eq!(extended, [65_534, 65_535, 65_537, 65_536, 65_533, 65_538]);
        let next = feed.next(MediaKind::Video, 0, false, [1].into()).unwrap();
        assert_eq!(next.sequence - FIRST_CYCLE, 65_539);
    }

    #[test]
    fn regress_what_was_sent_before_the_first_is_not_taken_for_far_ahead() {
        let mut feed = feed();
        let packet = |sequence| RtpPacket {
            sequence,
            timestamp: 0,
            marker: false,
            payload: &[1],
        };
        let mut number = |sequence| {
            let packet = feed.packet(MediaKind::Audio, &packet(sequence));
            packet.unwrap().sequence
        };
        let first = number(0);
        assert_eq!(number(65_535), first - 1);
        assert_eq!(number(1), first + 1);
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the beginning"
    )]
    fn timestamps_follow_the_capture_in_each_tracks_clock() {
        let (mut feed, now) = (feed(), Instant::now() + Duration::from_secs(9));
        let ms = Duration::from_millis(1);
        let mut at = |kind, captured| feed.timestamp(kind, captured).unwrap();
        assert_eq!(at(MediaKind::Video, now), 10);
        assert_eq!(at(MediaKind::Video, now + 40 * ms), 10 + 3600);
        assert_eq!(at(MediaKind::Audio, now + 20 * ms), 959);
        assert_eq!(at(MediaKind::Audio, now - 20 * ms), u32::MAX - 960);
    }
}
