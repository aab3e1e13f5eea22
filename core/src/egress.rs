//! One viewer's way out: from its cursors in the tracks' histories to sealed trains.
//!
//! Nothing is queued and nothing is copied but into the driver's buffer. A viewer's packet index
//! (RFC 3711 §3.3.1) is the track's extended sequence number less a base that is fixed when the
//! viewer begins, so one index of one SSRC is one packet of the track for as long as the keys
//! live. The first index is random below 2¹⁵ and nothing below it is ever sent: a receiver that
//! sees the stream for the first time guesses roll-over 0 and is right.

pub(crate) mod train;

use std::time::{Duration, Instant};

use crate::egress::train::Train;
use crate::media::MediaKind;
use crate::rtcp::{self, Cname, SenderReport};
use crate::srtp::{RTP_HEADER_LEN, Sealer};
use crate::stream::history::{Entry, Position};
use crate::stream::keyframes::REQUEST_INTERVAL;
use crate::stream::path::Path;
use crate::stream::track::Track;
use crate::time::WallClock;

/// A keyframe this old still serves a viewer that begins. Older ones would begin the picture
/// sooner and then run through more than this much at once.
const KEYFRAME_FRESH: Duration = Duration::from_millis(500);

/// First indices lie below this.
const FIRST_INDEX_MASK: u16 = 0x7fff;

/// See the module.
#[derive(Debug)]
pub(crate) struct Egress {
    sealer: Sealer,
    lanes: heapless::Vec<Lane, 2>,
    cname: Cname,
    /// Sender reports are to go out with the next train.
    report_due: bool,
}

/// What a viewer negotiated for one track.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaneConfig {
    pub(crate) kind: MediaKind,
    pub(crate) payload_type: u8,
    pub(crate) ssrc: u32,
    /// Where its packet indices begin; only the lower 15 bits count.
    pub(crate) first_index: u16,
}

/// One track on its way to one viewer.
#[derive(Debug)]
struct Lane {
    config: LaneConfig,
    place: Place,
    /// The index is the sequence number less this. Set once, when the first packet is sent.
    base: Option<u64>,
    /// When it last said that it waits for a keyframe.
    asked: Option<Instant>,
    /// Since the beginning, wrapping (RFC 3550 §6.4.1).
    packets: u32,
    octets: u32,
}

/// Where a lane stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Before a keyframe that arrived at this time or later. Audio: before the next packet.
    Awaits(Instant),
    At {
        /// The next packet to send.
        cursor: Position,
        /// Packets with lower sequence numbers came before the viewer began.
        floor: u64,
    },
}

/// What [`Egress::fill`] wrote.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filled {
    pub(crate) size: usize,
    pub(crate) segment_size: Option<usize>,
    /// There may be more for this viewer now.
    pub(crate) more: bool,
}

/// What happened on the way out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) packets: u64,
    /// Packets longer than a segment may be, sent alone.
    pub(crate) oversized: u64,
    /// Times a cursor fell off the history.
    pub(crate) fell_off: u64,
    /// The video lane needs a keyframe to begin or go on, and there is no fresh one.
    pub(crate) wants_keyframe: bool,
}

impl Egress {
    /// `now` is when the viewer is connected: it begins with the newest keyframe if that is fresh,
    /// or with the next.
    pub(crate) fn new(now: Instant, sealer: Sealer, lanes: &[LaneConfig], cname: Cname) -> Self {
        let since = fresh(now);
        let mut all = heapless::Vec::new();
        for config in lanes {
            let fits = all
                .push(Lane {
                    config: *config,
                    place: Place::Awaits(since),
                    base: None,
                    asked: None,
                    packets: 0,
                    octets: 0,
                })
                .is_ok();
            debug_assert!(fits, "a viewer has one video and one audio lane at most");
        }
        Self {
            sealer,
            lanes: all,
            cname,
            report_due: false,
        }
    }

    /// Whether an SSRC is the video's of this viewer.
    pub(crate) fn is_video(&self, ssrc: u32) -> bool {
        self.lanes
            .iter()
            .any(|l| l.config.ssrc == ssrc && l.config.kind == MediaKind::Video)
    }

    /// Sender reports are to go out with the next train.
    pub(crate) fn on_report_due(&mut self) {
        self.report_due = true;
    }

    /// Seals the next train into `buffer`: as many packets as there are, are of one size (the
    /// last may be shorter), and fit. Video goes first, audio and reports make its tail.
    pub(crate) fn fill(
        &mut self,
        now: Instant,
        clock: &WallClock,
        path: &Path,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) -> Option<Filled> {
        let mut train = Train::new(buffer);
        let mut more = false;
        for lane in &mut self.lanes {
            let Some(track) = path.track(lane.config.kind) else {
                continue;
            };
            more |= lane.fill(now, track, &self.sealer, &mut train, tally);
        }
        if self.report_due {
            more |= self.fill_report(now, clock, path, &mut train);
        }
        let (size, segment_size) = train.finish()?;
        Some(Filled {
            size,
            segment_size,
            more,
        })
    }

    /// Returns whether the report did not fit and is still due.
    fn fill_report(
        &mut self,
        now: Instant,
        clock: &WallClock,
        path: &Path,
        train: &mut Train<'_>,
    ) -> bool {
        let compound = rtcp::compound(&self.reports(now, clock, path), &self.cname, false);
        if compound.is_empty() {
            self.report_due = false;
            return false;
        }
        let Some(room) = train.room(compound.len() + self.sealer.rtcp_overhead()) else {
            return true;
        };
        self.report_due = false;
        if seal_compound(&mut self.sealer, &compound, room).is_some() {
            train.commit(compound.len() + self.sealer.rtcp_overhead());
        }
        false
    }

    /// The last RTCP packet of the session: reports and BYE. `None` if nothing was ever sent.
    pub(crate) fn goodbye(
        &mut self,
        now: Instant,
        clock: &WallClock,
        path: &Path,
    ) -> Option<Vec<u8>> {
        let compound = rtcp::compound(&self.reports(now, clock, path), &self.cname, true);
        if compound.is_empty() {
            return None;
        }
        let mut packet = vec![0; compound.len() + self.sealer.rtcp_overhead()];
        seal_compound(&mut self.sealer, &compound, &mut packet)?;
        Some(packet)
    }

    /// One report a lane that has sent something.
    fn reports(
        &self,
        now: Instant,
        clock: &WallClock,
        path: &Path,
    ) -> heapless::Vec<SenderReport, 2> {
        let by_report = path.by_report();
        self.lanes
            .iter()
            .filter(|lane| lane.packets > 0)
            .filter_map(|lane| {
                let (ntp, timestamp) =
                    path.track(lane.config.kind)?
                        .moment(now, clock.ntp(now), by_report)?;
                Some(SenderReport {
                    ssrc: lane.config.ssrc,
                    ntp,
                    timestamp,
                    packets: lane.packets,
                    octets: lane.octets,
                })
            })
            .collect()
    }
}

/// A keyframe that arrived at this time or later is fresh.
fn fresh(now: Instant) -> Instant {
    now.checked_sub(KEYFRAME_FRESH).unwrap_or(now)
}

fn seal_compound(sealer: &mut Sealer, compound: &[u8], room: &mut [u8]) -> Option<()> {
    room.get_mut(..compound.len())?.copy_from_slice(compound);
    sealer.seal_rtcp(room)
}

impl Lane {
    /// Seals what fits. Returns whether something was left that did not.
    fn fill(
        &mut self,
        now: Instant,
        track: &Track,
        sealer: &Sealer,
        train: &mut Train<'_>,
        tally: &mut Tally,
    ) -> bool {
        loop {
            let Some((cursor, floor)) = self.stand(now, track, tally) else {
                return false;
            };
            let Some(entry) = track.history().get(cursor) else {
                return false;
            };
            if entry.sequence >= floor {
                let len = RTP_HEADER_LEN + entry.payload.len() + sealer.rtp_overhead();
                let Some(room) = train.room(len) else {
                    return true;
                };
                if self.seal(entry, floor, sealer, room).is_some() {
                    tally.packets += 1;
                    tally.oversized += u64::from(train.commit(len));
                }
            }
            self.place = Place::At {
                cursor: cursor + 1,
                floor,
            };
        }
    }

    /// Where the lane stands, after it began or fell off the history; `None` while it waits.
    fn stand(&mut self, now: Instant, track: &Track, tally: &mut Tally) -> Option<(Position, u64)> {
        let history = track.history();
        if let Place::At { cursor, .. } = self.place
            && cursor < history.tail()
        {
            tally.fell_off += 1;
            self.place = Place::Awaits(fresh(now));
        }
        let since = match self.place {
            Place::At { cursor, floor } => return Some((cursor, floor)),
            Place::Awaits(since) => since,
        };
        let (cursor, floor) = match self.config.kind {
            MediaKind::Video => {
                let Some(keyframe) = track.keyframe().filter(|k| k.arrived >= since) else {
                    // The request or the keyframe may get lost: it is asked for again.
                    if self
                        .asked
                        .is_none_or(|asked| now >= asked + REQUEST_INTERVAL)
                    {
                        self.asked = Some(now);
                        tally.wants_keyframe = true;
                    }
                    return None;
                };
                self.asked = None;
                (keyframe.position, keyframe.sequence)
            }
            MediaKind::Audio => {
                let newest = history.last()?;
                (history.head() - 1, newest.sequence)
            }
        };
        self.place = Place::At { cursor, floor };
        Some((cursor, floor))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "no payload is longer than PAYLOAD_LEN_MAX"
    )]
    fn seal(&mut self, entry: &Entry, floor: u64, sealer: &Sealer, room: &mut [u8]) -> Option<()> {
        let first = u64::from(self.config.first_index & FIRST_INDEX_MASK);
        let base = *self.base.get_or_insert(floor.wrapping_sub(first));
        let index = entry.sequence.wrapping_sub(base);
        debug_assert!(
            index < 1 << 48,
            "a sequence number below the viewer's first"
        );
        let (header, rest) = room.split_first_chunk_mut::<RTP_HEADER_LEN>()?;
        *header = self.header(index, entry);
        rest.get_mut(..entry.payload.len())?
            .copy_from_slice(&entry.payload);
        sealer.seal_rtp(self.config.ssrc, index, room)?;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(entry.payload.len() as u32);
        Some(())
    }

    /// RFC 3550 §5.1: version 2, no padding, no extension, no CSRCs.
    fn header(&self, index: u64, entry: &Entry) -> [u8; RTP_HEADER_LEN] {
        let [.., seq_high, seq_low] = index.to_be_bytes();
        let [t0, t1, t2, t3] = entry.timestamp.to_be_bytes();
        let [s0, s1, s2, s3] = self.config.ssrc.to_be_bytes();
        let marker = u8::from(entry.marker) << 7;
        let second = marker | self.config.payload_type;
        [
            0x80, second, seq_high, seq_low, t0, t1, t2, t3, s0, s1, s2, s3,
        ]
    }
}
