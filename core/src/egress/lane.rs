//! One track on its way to one viewer: where it stands, and how its packets become the viewer's.

use std::time::Instant;

use crate::egress::Tally;
use crate::egress::burst::Burst;
use crate::egress::train::Train;
use crate::media::MediaKind;
use crate::rtp::{self, HEADER_LEN as RTP_HEADER_LEN};
use crate::srtp::Sealer;
use crate::stream::cursor::Cursor;
use crate::stream::history::{Entry, Position};
use crate::stream::track::Track;

/// A lane that goes on so many numbers after what it sent last takes the numbers after that: a
/// receiver guesses the roll-over of the nearest (RFC 3711 §3.3.1), and is wrong from 2¹⁵ on. Half of
/// that, for it may have lost the last packets.
const LEAP_MAX: u64 = 1 << 14;

/// First indices lie below this.
const FIRST_INDEX_MASK: u16 = 0x7fff;

/// Bytes that a repair of its own source has before the payload: the original sequence number (RFC
/// 4588 §4).
const RTX_HEADER_LEN: usize = 2;

/// What a viewer negotiated for one track.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaneConfig {
    pub(crate) kind: MediaKind,
    pub(crate) payload_type: u8,
    pub(crate) ssrc: u32,
    /// Where its packet indices begin; only the lower 15 bits count.
    pub(crate) first_index: u16,
    /// It may ask for lost packets.
    pub(crate) nack: bool,
    /// Where these are sent; `None`: as they were sent first.
    pub(crate) rtx: Option<RtxConfig>,
}

/// The source that repairs are sent by (RFC 4588).
#[derive(Debug, Clone, Copy)]
pub(crate) struct RtxConfig {
    pub(crate) payload_type: u8,
    pub(crate) ssrc: u32,
    /// Where its packet indices begin; only the lower 15 bits count.
    pub(crate) first_index: u16,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(super) config: LaneConfig,
    cursor: Cursor,
    /// The index is the sequence number less this. Set when the first packet is sent, and never
    /// such that an index comes again.
    base: Option<u64>,
    /// The highest index that was sent.
    highest: u64,
    /// Since the beginning, wrapping (RFC 3550 §6.4.1).
    pub(super) packets: u32,
    pub(super) octets: u32,
    /// Repairs sent by a source of their own.
    rtx_packets: u64,
}

impl Lane {
    /// Stands before the newest keyframe if that is fresh, or before the next.
    pub(super) fn new(now: Instant, config: LaneConfig) -> Self {
        Self {
            config,
            cursor: Cursor::new(now),
            base: None,
            highest: 0,
            packets: 0,
            octets: 0,
            rtx_packets: 0,
        }
    }

    /// Seals what fits and, of video, may go now. Returns whether something was left that did not fit.
    pub(super) fn fill(
        &mut self,
        now: Instant,
        track: &Track,
        sealer: &Sealer,
        burst: &mut Burst,
        train: &mut Train<'_>,
        tally: &mut Tally,
    ) -> bool {
        let is_video = self.config.kind == MediaKind::Video;
        loop {
            let place = self.stand(now, track, tally);
            let entry = place.and_then(|(position, _)| track.history().get(position));
            let Some(((position, floor), entry)) = place.zip(entry) else {
                if is_video {
                    burst.on_done();
                }
                return false;
            };
            if entry.sequence >= floor {
                if is_video && !burst.admits(now) {
                    return false;
                }
                let len = RTP_HEADER_LEN + entry.payload.len() + sealer.rtp_overhead();
                let Some(room) = train.room(len) else {
                    return true;
                };
                if self.seal(entry, floor, sealer, room).is_some() {
                    if is_video {
                        burst.on_sent();
                    }
                    tally.packets += 1;
                    tally.bytes += len;
                    tally.oversized += u64::from(train.commit(len));
                }
            }
            self.cursor.move_to(position + 1, floor);
        }
    }

    /// Where the lane stands, after it began or fell off the history; `None` while it waits.
    fn stand(&mut self, now: Instant, track: &Track, tally: &mut Tally) -> Option<(Position, u64)> {
        let stand = self.cursor.stand(now, track, &mut tally.mishaps)?;
        if !stand.begins {
            return Some((stand.position, stand.floor));
        }
        let floor = self.rebase(stand.floor);
        self.cursor.move_to(stand.position, floor);
        Some((stand.position, floor))
    }

    /// Goes on with a sequence number, or with the lowest after it that has an index of its own.
    fn rebase(&mut self, floor: u64) -> u64 {
        let Some(base) = self.base else {
            return floor;
        };
        let leap = floor.saturating_sub(base).saturating_sub(self.highest);
        if leap >= LEAP_MAX {
            // One number is missing: the receiver is to know that something is.
            self.base = Some(floor - self.highest - 2);
        }
        floor.max(base.saturating_add(first_index(self.config.first_index)))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "no payload is longer than PAYLOAD_LEN_MAX"
    )]
    fn seal(&mut self, entry: &Entry, floor: u64, sealer: &Sealer, room: &mut [u8]) -> Option<()> {
        let first = first_index(self.config.first_index);
        let base = *self.base.get_or_insert(floor.wrapping_sub(first));
        let index = entry.sequence.wrapping_sub(base);
        debug_assert!(
            index < 1 << 48,
            "a sequence number below the viewer's first"
        );
        self.seal_at(index, entry, sealer, room)?;
        self.highest = self.highest.max(index);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(entry.payload.len() as u32);
        Some(())
    }

    /// Seals a packet under an index that is its own for good: twice gives the same bytes.
    fn seal_at(&self, index: u64, entry: &Entry, sealer: &Sealer, room: &mut [u8]) -> Option<()> {
        let header = room.first_chunk_mut::<RTP_HEADER_LEN>()?;
        *header = rtp_header(self.config.payload_type, self.config.ssrc, index, entry);
        sealer.seal_rtp_of(self.config.ssrc, index, &entry.payload, room)
    }

    /// The packet that a viewer misses under a sequence number, and its index. `None`: it never
    /// came, or is gone, or the viewer was never to have it, or will have it in its turn.
    pub(super) fn missed<'a>(&self, sequence: u16, track: &'a Track) -> Option<(u64, &'a Entry)> {
        let (cursor, floor) = self.cursor.at()?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "sequence numbers are the lower bits of indices"
        )]
        let age = (self.highest as u16).wrapping_sub(sequence);
        let index = self.highest.checked_sub(age.into())?;
        let wanted = index.checked_add(self.base?)?;
        let (position, entry) = track.history().find(wanted)?;
        (wanted >= floor && position < cursor).then_some((index, entry))
    }

    /// How long a repair is.
    pub(super) fn repair_len(&self, entry: &Entry, sealer: &Sealer) -> usize {
        let rtx = self.config.rtx.map_or(0, |_| RTX_HEADER_LEN);
        RTP_HEADER_LEN + rtx + entry.payload.len() + sealer.rtp_overhead()
    }

    /// Seals a packet once more: by the source of repairs, or as it was the first time.
    pub(super) fn seal_repair(
        &mut self,
        index: u64,
        entry: &Entry,
        sealer: &Sealer,
        room: &mut [u8],
    ) -> Option<()> {
        let Some(rtx) = self.config.rtx else {
            return self.seal_at(index, entry, sealer, room);
        };
        let rtx_index = first_index(rtx.first_index) + self.rtx_packets;
        let (header, rest) = room.split_first_chunk_mut::<RTP_HEADER_LEN>()?;
        *header = rtp_header(rtx.payload_type, rtx.ssrc, rtx_index, entry);
        let (original, rest) = rest.split_first_chunk_mut::<RTX_HEADER_LEN>()?;
        let [.., high, low] = index.to_be_bytes();
        *original = [high, low];
        rest.get_mut(..entry.payload.len())?
            .copy_from_slice(&entry.payload);
        // Whatever comes of it: no index is used twice.
        self.rtx_packets += 1;
        sealer.seal_rtp(rtx.ssrc, rtx_index, room)
    }
}

fn first_index(drawn: u16) -> u64 {
    u64::from(drawn & FIRST_INDEX_MASK)
}

/// The header of a packet under an index of a viewer's.
fn rtp_header(payload_type: u8, ssrc: u32, index: u64, entry: &Entry) -> [u8; RTP_HEADER_LEN] {
    rtp::write_header(payload_type, ssrc, (index, entry.timestamp, entry.marker))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::HistoryLimits;
    use crate::media::Codec;
    use crate::stream::track::Packet;

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the beginning"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    fn sealer() -> Sealer {
        let profile = dimpl::SrtpProfile::AEAD_AES_128_GCM;
        let material: Vec<u8> = (0_u8..).take(profile.keying_material_len()).collect();
        let keys = crate::srtp::derive(profile, &material, false);
        keys.unwrap().0
    }

    fn put(track: &mut Track, at: Instant, number: u64, is_keyframe: bool) {
        let payload: &[u8] = if is_keyframe {
            &[0x10, 0, 9]
        } else {
            &[0, 1, 9]
        };
        let packet = Packet {
            sequence: number,
            timestamp: u32::try_from(number * 3000).unwrap(),
            marker: false,
            payload: payload.into(),
        };
        track.receive(at, packet);
    }

    /// The 16-bit numbers that are sent.
    fn fill(lane: &mut Lane, track: &Track, at: Instant) -> Vec<u16> {
        let sealer = sealer();
        let mut numbers = Vec::new();
        loop {
            let mut buffer = vec![0; 70_000];
            let mut burst = Burst::new(at);
            let mut train = Train::new(&mut buffer);
            let more = lane.fill(
                at,
                track,
                &sealer,
                &mut burst,
                &mut train,
                &mut Tally::default(),
            );
            if let Some((size, segment)) = train.finish() {
                let packets = buffer[..size].chunks(segment.unwrap_or(size));
                numbers.extend(packets.map(|c| u16::from_be_bytes([c[2], c[3]])));
            }
            if !more {
                return numbers;
            }
        }
    }

    fn setup(codec: &Codec, first_index: u16) -> (Track, Lane, Instant) {
        let now = start();
        let limits = HistoryLimits {
            age: Duration::from_secs(1),
            ..HistoryLimits::default()
        };
        let config = LaneConfig {
            kind: codec.kind(),
            payload_type: 96,
            ssrc: 7,
            first_index,
            nack: true,
            rtx: None,
        };
        (
            Track::new(codec.clone(), limits),
            Lane::new(now, config),
            now,
        )
    }

    fn vp8() -> Codec {
        Codec::from_sdp("VP8", 90_000, 1, "").unwrap()
    }

    fn opus() -> Codec {
        Codec::from_sdp("opus", 48_000, 2, "").unwrap()
    }

    #[test]
    fn regress_what_comes_late_from_before_the_viewer_is_not_sent() {
        for codec in [vp8(), opus()] {
            for first_index in [0, 1000] {
                let (mut track, mut lane, now) = setup(&codec, first_index);
                put(&mut track, now, 1, true);
                for number in 3..10 {
                    put(&mut track, now, number, false);
                }
                put(&mut track, now, 10, true);
                assert_eq!(fill(&mut lane, &track, now), [first_index]);
                for number in 11..20 {
                    put(&mut track, now, number, false);
                }
                // The socket is full until the history has gone on.
                let later = now + Duration::from_secs(2);
                put(&mut track, later, 2, true);
                let sent = fill(&mut lane, &track, later);
                assert!(sent.iter().all(|n| *n > first_index), "{sent:?}");
            }
        }
    }

    #[test]
    fn regress_sound_begins_with_the_newest_and_not_with_what_came_last() {
        let (mut track, mut lane, now) = setup(&opus(), 0);
        for number in (1..100).filter(|n| *n != 2).chain([2]) {
            put(&mut track, now, number, true);
        }
        assert_eq!(fill(&mut lane, &track, now), [0]);
    }

    #[test]
    fn regress_no_leap_is_further_than_a_receiver_can_follow() {
        let (mut track, mut lane, now) = setup(&vp8(), 0);
        put(&mut track, now, 0, true);
        fill(&mut lane, &track, now);
        let mut highest = lane.highest;
        // It waits for a keyframe that the publisher sends when it pleases.
        for begin in [1, 40_001, 80_001] {
            for number in begin..begin + 39_999 {
                put(&mut track, now, number, false);
            }
            fill(&mut lane, &track, now);
            put(&mut track, now, begin + 39_999, true);
            fill(&mut lane, &track, now);
            assert!(lane.highest > highest, "no index comes again");
            assert!(lane.highest - highest < 1 << 15, "{}", lane.highest);
            highest = lane.highest;
        }
    }
}
