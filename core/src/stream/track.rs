//! One media stream of a path: its history, its keyframes, and how its publishers' numbers become
//! its own.
//!
//! Publishers come and go, each with sequence numbers and timestamps of its own; the track's go
//! on. The mapping is fixed by the first packet that is taken from a publisher, and nothing from
//! before that packet is taken later: an extended sequence number of the track never stands for
//! two packets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::HistoryLimits;
use crate::media::{Codec, Match, MediaKind, is_keyframe};
use crate::rtp::PAYLOAD_LEN_MAX;
use crate::stream::history::{Entry, History, Position, Unrecorded};
use crate::time::ntp_interval;

/// Where the extended sequence numbers of a track begin. A viewer's packet indices begin below
/// 2¹⁵ and are found by subtraction, which must not reach below zero.
const FIRST_SEQUENCE: u64 = 1 << 16;

/// How far back the beginning of a keyframe's access unit is looked for, in packets. More finds
/// the beginning of larger keyframes; the search costs once per keyframe.
const ACCESS_UNIT_MAX: u64 = 1024;

/// How far timestamps may go back and be those of repairs or B-frames. Beyond that the publisher
/// has set its clock anew.
const BACK_MAX: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(crate) struct Track {
    /// What the present publisher said that it sends.
    announced: Codec,
    /// What its keyframes show.
    codec: Codec,
    history: History,
    keyframe: Option<Keyframe>,
    /// How the present publisher's numbers are mapped; none before its first packet.
    mapping: Option<Mapping>,
    /// The newest timestamp, and when it arrived first. Repairs and B-frames are older.
    newest: Option<(Instant, u32)>,
    /// The present publisher's last sender report.
    report: Option<ReportAnchor>,
}

/// Where a viewer may begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyframe {
    /// Where the first packet of its access unit stands.
    pub(crate) position: Position,
    /// The lowest sequence number of its access unit.
    pub(crate) sequence: u64,
    pub(crate) arrived: Instant,
    timestamp: u32,
}

#[derive(Debug, Clone, Copy)]
struct Mapping {
    /// What is added to the publisher's extended sequence numbers, wrapping.
    sequence: u64,
    /// What is added to the publisher's timestamps, wrapping.
    timestamp: u32,
    /// The track's sequence number at which this publisher begins.
    floor: u64,
}

/// A sender report of the publisher, in the track's timestamps.
#[derive(Debug, Clone, Copy)]
struct ReportAnchor {
    ntp: u64,
    timestamp: u32,
    received: Instant,
}

/// One RTP packet of the publisher, decrypted.
#[derive(Debug)]
pub(crate) struct Packet {
    /// The publisher's extended sequence number.
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload: Arc<[u8]>,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// It is in the history. `keyframe`: it is part of the newest one.
    Recorded { keyframe: bool },
    /// A new publisher's video begins with a keyframe, which has not come.
    AwaitsKeyframe,
    /// It is longer than [`PAYLOAD_LEN_MAX`].
    TooLong,
    /// It came twice, or after its time.
    Unrecorded,
}

impl Track {
    pub(crate) fn new(codec: Codec, limits: HistoryLimits) -> Self {
        Self {
            announced: codec.clone(),
            codec,
            history: History::new(limits),
            keyframe: None,
            mapping: None,
            newest: None,
            report: None,
        }
    }

    /// What its publisher said that it sends.
    pub(crate) fn announced(&self) -> &Codec {
        &self.announced
    }

    /// What it carries: as announced, until a keyframe shows the real profile and level.
    pub(crate) fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Whether whoever plays this track can play one of this codec in its place.
    pub(crate) fn goes_on_with(&self, codec: &Codec) -> bool {
        [&self.announced, &self.codec]
            .into_iter()
            .any(|own| codec.fits(own) != Match::No)
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// The newest keyframe whose beginning is still in the history.
    pub(crate) fn keyframe(&self) -> Option<Keyframe> {
        self.keyframe.filter(|k| k.position >= self.history.tail())
    }

    /// Another publisher begins, with a codec that whoever plays the present one can play.
    pub(crate) fn begin(&mut self, codec: Codec) {
        self.announced = codec.clone();
        self.codec = codec;
        self.mapping = None;
        self.report = None;
    }

    /// Takes in a packet of the present publisher.
    pub(crate) fn receive(&mut self, now: Instant, packet: Packet) -> Received {
        if packet.payload.len() > PAYLOAD_LEN_MAX {
            return Received::TooLong;
        }
        let keyframe = is_keyframe(self.codec.name, &packet.payload);
        let is_video = self.codec.kind() == MediaKind::Video;
        let mapping = match self.mapping {
            Some(mapping) => mapping,
            None if is_video && !keyframe => return Received::AwaitsKeyframe,
            None => self.mapping_from(now, &packet),
        };
        let sequence = packet.sequence.wrapping_add(mapping.sequence);
        let timestamp = packet.timestamp.wrapping_add(mapping.timestamp);
        if sequence < mapping.floor {
            return Received::Unrecorded;
        }
        if keyframe {
            self.codec.observe(&packet.payload);
        }
        let entry = Entry {
            sequence,
            timestamp,
            marker: packet.marker,
            arrived: now,
            payload: packet.payload,
        };
        match self.history.record(entry) {
            Ok(position) => {
                self.mapping = Some(mapping);
                self.note_timestamp(now, timestamp);
                Received::Recorded {
                    keyframe: keyframe
                        && is_video
                        && self.note_keyframe(now, position, sequence, timestamp),
                }
            }
            Err(Unrecorded::Duplicate | Unrecorded::TooLate) => Received::Unrecorded,
        }
    }

    /// The mapping by which this packet follows on what was recorded last.
    fn mapping_from(&self, now: Instant, packet: &Packet) -> Mapping {
        let floor = self.history.next_sequence().max(FIRST_SEQUENCE);
        let timestamp = match self.newest {
            Some((arrived, newest)) => {
                let gap = self.ticks(now.saturating_duration_since(arrived)).max(1);
                newest.wrapping_add(gap).wrapping_sub(packet.timestamp)
            }
            None => 0,
        };
        Mapping {
            sequence: floor.wrapping_sub(packet.sequence),
            timestamp,
            floor,
        }
    }

    fn note_timestamp(&mut self, now: Instant, timestamp: u32) {
        let back = self
            .newest
            .map(|(_, newest)| newest.wrapping_sub(timestamp));
        if back.is_none_or(|back| back > self.ticks(BACK_MAX)) {
            self.newest = Some((now, timestamp));
        }
    }

    /// Notes that a packet is part of a keyframe. Returns whether that is the newest: a packet that
    /// comes late may be part of an older one, with which nobody is to begin.
    fn note_keyframe(
        &mut self,
        now: Instant,
        position: Position,
        sequence: u64,
        timestamp: u32,
    ) -> bool {
        let is_near = |k: &Keyframe| sequence.abs_diff(k.sequence) < ACCESS_UNIT_MAX;
        if let Some(known) = &mut self.keyframe {
            if known.timestamp == timestamp && is_near(known) {
                known.sequence = known.sequence.min(sequence);
                return true;
            }
            if sequence < known.sequence {
                return false;
            }
        }
        let mut keyframe = Keyframe {
            position,
            sequence,
            arrived: now,
            timestamp,
        };
        let begin = self
            .history
            .tail()
            .max(position.saturating_sub(ACCESS_UNIT_MAX));
        for earlier in begin..position {
            let Some(entry) = self
                .history
                .get(earlier)
                .filter(|e| e.timestamp == timestamp)
            else {
                continue;
            };
            keyframe.position = keyframe.position.min(earlier);
            keyframe.sequence = keyframe.sequence.min(entry.sequence);
        }
        self.keyframe = Some(keyframe);
        true
    }

    /// A sender report of the present publisher: `ntp` and its RTP timestamp name one moment.
    pub(crate) fn handle_sender_report(&mut self, received: Instant, ntp: u64, timestamp: u32) {
        let Some(mapping) = self.mapping else { return };
        self.report = Some(ReportAnchor {
            ntp,
            timestamp: timestamp.wrapping_add(mapping.timestamp),
            received,
        });
    }

    /// Whether the publisher has said which moment its timestamps mean.
    pub(crate) fn has_sender_report(&self) -> bool {
        self.report.is_some()
    }

    /// NTP time and the track's RTP timestamp of this moment: by the publisher's sender report if
    /// it is known how far our clock is ahead of the publisher's, else by when packets arrive.
    /// `ntp_now` is our own clock.
    pub(crate) fn moment(
        &self,
        now: Instant,
        ntp_now: u64,
        ahead: Option<u64>,
    ) -> Option<(u64, u32)> {
        if let Some((report, ahead)) = self.report.zip(ahead) {
            let since = now.saturating_duration_since(report.received);
            let ntp = report.ntp.wrapping_add(ntp_interval(since));
            let timestamp = report.timestamp.wrapping_add(self.ticks(since));
            return Some((ntp.wrapping_add(ahead), timestamp));
        }
        let (arrived, newest) = self.newest?;
        let since = now.saturating_duration_since(arrived);
        Some((ntp_now, newest.wrapping_add(self.ticks(since))))
    }

    fn ticks(&self, interval: Duration) -> u32 {
        self.codec.ticks(interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the beginning"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    fn video() -> Track {
        let codec = Codec::from_sdp("VP8", 90_000, 1, "").unwrap();
        Track::new(codec, HistoryLimits::default())
    }

    /// A VP8 packet: of a keyframe's beginning, or of something else.
    fn packet(sequence: u64, timestamp: u32, keyframe: bool) -> Packet {
        Packet {
            sequence,
            timestamp,
            marker: false,
            payload: if keyframe {
                [0x10, 0x00, 9].into()
            } else {
                [0x00, 0x01, 9].into()
            },
        }
    }

    fn receive(
        track: &mut Track,
        at: Instant,
        sequence: u64,
        timestamp: u32,
        keyframe: bool,
    ) -> Received {
        track.receive(at, packet(sequence, timestamp, keyframe))
    }

    #[test]
    fn video_begins_with_a_keyframe() {
        let (mut track, at) = (video(), start());
        assert_eq!(
            receive(&mut track, at, 7, 0, false),
            Received::AwaitsKeyframe
        );
        assert_eq!(
            receive(&mut track, at, 8, 10, true),
            Received::Recorded { keyframe: true }
        );
        assert_eq!(track.history().get(0).unwrap().sequence, FIRST_SEQUENCE);
        assert_eq!(receive(&mut track, at, 7, 0, false), Received::Unrecorded);
    }

    #[test]
    fn a_keyframe_begins_where_its_access_unit_does() {
        let (mut track, at) = (video(), start());
        receive(&mut track, at, 100, 10, true);
        receive(&mut track, at, 101, 20, false);
        // The packet that tells comes second, the one before it third.
        receive(&mut track, at, 104, 30, false);
        receive(&mut track, at, 103, 30, true);
        receive(&mut track, at, 102, 20, false);
        let keyframe = track.keyframe().unwrap();
        assert_eq!(keyframe.position, 2);
        assert_eq!(keyframe.sequence, FIRST_SEQUENCE + 3);
    }

    #[test]
    fn regress_a_late_packet_of_an_old_keyframe_is_no_new_beginning() {
        let (mut track, at) = (video(), start());
        receive(&mut track, at, 1, 0, true);
        receive(&mut track, at, 3, 0, false);
        receive(&mut track, at, 4, 3000, true);
        let newest = track.keyframe().unwrap();
        let late = receive(&mut track, at + MS * 40, 2, 0, true);
        assert_eq!(late, Received::Recorded { keyframe: false });
        let after = track.keyframe().unwrap();
        assert_eq!(after.position, newest.position);
        assert_eq!(after.sequence, newest.sequence);
    }

    #[test]
    fn the_next_publisher_goes_on_where_the_last_one_stopped() {
        let (mut track, at) = (video(), start());
        receive(&mut track, at, 65_000, 1_000, true);
        receive(&mut track, at, 65_001, 4_000, false);
        track.begin(track.codec().clone());
        let later = at + Duration::from_secs(1);
        assert_eq!(
            receive(&mut track, later, 12, 777, false),
            Received::AwaitsKeyframe
        );
        receive(&mut track, later, 13, 777, true);
        let last = track.history().last().unwrap();
        assert_eq!(last.sequence, FIRST_SEQUENCE + 2);
        assert_eq!(last.timestamp, 4_000 + 90_000);
        // What came before its first packet would fall on the other's numbers.
        assert_eq!(
            receive(&mut track, later, 12, 777, false),
            Received::Unrecorded
        );
    }

    #[test]
    fn what_would_not_fit_a_datagram_is_refused() {
        let (mut track, at) = (video(), start());
        let mut long = packet(1, 1, true);
        let mut payload = vec![0; PAYLOAD_LEN_MAX + 1];
        payload[0] = 0x10;
        long.payload = payload.into();
        assert_eq!(track.receive(at, long), Received::TooLong);
    }

    #[test]
    fn a_stream_is_what_its_keyframes_show_and_goes_on_with_what_was_announced() {
        let h264 = |id| {
            let fmtp = format!("profile-level-id={id};packetization-mode=1");
            Codec::from_sdp("H264", 90_000, 1, &fmtp).unwrap()
        };
        let mut track = Track::new(h264("640c1f"), HistoryLimits::default());
        let mut packet = packet(1, 0, true);
        packet.payload = b"\x67\x42\xc0\x2a\x8c".as_slice().into();
        track.receive(start(), packet);
        assert_eq!(*track.codec(), h264("42c02a"));
        assert!(track.goes_on_with(&h264("640c1f")) && track.goes_on_with(&h264("42e01f")));
        assert!(!track.goes_on_with(&h264("f4001f")));
    }

    #[test]
    fn a_moment_is_told_by_the_publishers_clock_if_it_said_so() {
        let (mut track, at) = (video(), start());
        receive(&mut track, at, 1, 9_000, true);
        let later = at + Duration::from_millis(100);
        assert_eq!(track.moment(later, 42, Some(1)), Some((42, 18_000)));
        track.handle_sender_report(at, 5 << 32, 8_000);
        let (ntp, timestamp) = track.moment(later, 42, Some(1)).unwrap();
        assert_eq!(timestamp, 17_000);
        assert_eq!(
            ntp,
            (5 << 32) + 1 + ntp_interval(Duration::from_millis(100))
        );
        assert_eq!(track.moment(later, 42, None), Some((42, 18_000)));
    }

    #[test]
    fn what_goes_back_in_time_is_recorded_and_moves_no_clock() {
        let (mut track, at) = (video(), start());
        receive(&mut track, at, 1, 90_000, true);
        // A P-frame, and a B-frame before it in time.
        receive(&mut track, at + MS * 40, 2, 97_200, false);
        let recorded = receive(&mut track, at + MS * 60, 3, 93_600, false);
        assert_eq!(recorded, Received::Recorded { keyframe: false });
        assert_eq!(track.history().last().unwrap().timestamp, 93_600);
        let by_arrival = track.moment(at + MS * 60, 0, None).unwrap().1;
        assert_eq!(by_arrival, 97_200 + 1800);

        track.begin(track.codec().clone());
        receive(&mut track, at + MS * 80, 900, 5, true);
        assert_eq!(track.history().last().unwrap().timestamp, 97_200 + 3600);
    }

    #[test]
    fn a_clock_that_is_set_anew_is_followed() {
        let (mut track, at) = (video(), start());
        receive(&mut track, at, 1, 90_000_000, true);
        receive(&mut track, at + MS * 40, 2, 1000, false);
        assert_eq!(track.moment(at + MS * 40, 0, None).unwrap().1, 1000);
    }

    const MS: Duration = Duration::from_millis(1);
}
