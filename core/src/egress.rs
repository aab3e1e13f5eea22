//! One viewer's way out: from its cursors in the tracks' histories to sealed trains.
//!
//! Nothing is queued and nothing is copied but into the driver's buffer. A viewer's packet index
//! (RFC 3711 §3.3.1) is the track's extended sequence number less a base that is fixed when the
//! viewer begins, and moves over a leap only, to indices above all before: so one index of one SSRC
//! is one packet of the track for as long as the keys live. The first index is random below 2¹⁵ and nothing below it is ever sent: a receiver that
//! sees the stream for the first time guesses roll-over 0 and is right.
//!
//! What a viewer lost is looked up in the same histories and sealed again: there is no memory of
//! what it was sent.

mod burst;
mod lane;
mod quality;
mod repairs;
pub(crate) mod train;

use std::time::Instant;

pub(crate) use lane::{LaneConfig, RtxConfig};

use crate::config::RepairLimits;
use crate::egress::burst::Burst;
use crate::egress::lane::Lane;
use crate::egress::quality::Quality;
use crate::egress::repairs::Repairs;
use crate::egress::train::Train;
use crate::media::MediaKind;
use crate::rtcp::{self, Cname, Lost, ReceptionReport, SenderReport, Shape};
use crate::srtp::Sealer;
use crate::stream::cursor::Mishaps;
use crate::stream::path::Path;
use crate::time::WallClock;

/// See the module.
#[derive(Debug)]
pub(crate) struct Egress {
    sealer: Sealer,
    lanes: heapless::Vec<Lane, 2>,
    burst: Burst,
    cname: Cname,
    /// Sender reports are to go out with the next train, in this shape.
    report_due: Option<Shape>,
    repairs: Repairs,
    quality: Quality,
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
    /// Of these packets.
    pub(crate) bytes: usize,
    /// Packets longer than a segment may be, sent alone.
    pub(crate) oversized: u64,
    pub(crate) mishaps: Mishaps,
    pub(crate) repairs: RepairTally,
}

/// What became of the packets that were asked for again.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RepairTally {
    pub(crate) asked: u64,
    pub(crate) overflowed: u64,
    pub(crate) unknown: u64,
    pub(crate) repeated: u64,
    pub(crate) over_budget: u64,
    pub(crate) sent: u64,
    pub(crate) bytes: u64,
}

impl Egress {
    /// `now` is when the viewer is connected: it begins with the newest keyframe if that is fresh,
    /// or with the next.
    pub(crate) fn new(
        now: Instant,
        sealer: Sealer,
        lanes: &[LaneConfig],
        cname: Cname,
        limits: RepairLimits,
    ) -> Self {
        let mut all = heapless::Vec::new();
        for config in lanes {
            let fits = all.push(Lane::new(now, *config)).is_ok();
            debug_assert!(fits, "a viewer has one video and one audio lane at most");
        }
        Self {
            sealer,
            lanes: all,
            burst: Burst::new(now),
            cname,
            report_due: None,
            repairs: Repairs::new(limits),
            quality: Quality::new(now),
        }
    }

    /// Whether an SSRC is the video's of this viewer.
    pub(crate) fn is_video(&self, ssrc: u32) -> bool {
        self.lane_of(ssrc)
            .is_some_and(|l| l.config.kind == MediaKind::Video)
    }

    fn lane_of(&self, ssrc: u32) -> Option<&Lane> {
        self.lanes.iter().find(|l| l.config.ssrc == ssrc)
    }

    /// Sender reports are to go out with the next train.
    pub(crate) fn on_report_due(&mut self, shape: Shape) {
        if self.report_due != Some(Shape::Compound) {
            self.report_due = Some(shape);
        }
    }

    /// The viewer misses packets of one of its sources.
    pub(crate) fn on_nack(&mut self, ssrc: u32, lost: Lost, tally: &mut RepairTally) {
        let lane = self.lane_of(ssrc).filter(|l| l.config.nack);
        let Some(kind) = lane.map(|l| l.config.kind) else {
            return;
        };
        let count = u64::from(1 + lost.following.count_ones());
        tally.asked += count;
        match self.repairs.ask(kind, lost) {
            Some(known) => tally.repeated += u64::from(known),
            None => tally.overflowed += count,
        }
    }

    /// The viewer says how one of its sources arrives.
    pub(crate) fn on_report(&mut self, now: Instant, report: &ReceptionReport) {
        if let Some(kind) = self.lane_of(report.ssrc).map(|l| l.config.kind) {
            self.quality.on_report(now, kind, report);
        }
    }

    /// The viewer tells its clock: the next report tells it back.
    pub(crate) fn on_reference_time(&mut self, now: Instant, ssrc: u32, ntp: u32) {
        self.quality.on_reference_time(now, ssrc, ntp);
    }

    /// When what a burst has left goes on.
    pub(crate) fn rest(&self) -> Option<Instant> {
        self.burst.rest()
    }

    /// Whether that is to go on now; asked for once.
    pub(crate) fn take_rest(&mut self, now: Instant) -> bool {
        self.burst.take_rest(now)
    }

    /// What the viewer's reports say.
    pub(crate) fn quality(&self) -> &Quality {
        &self.quality
    }

    /// There are packets to send again.
    pub(crate) fn has_repairs(&self) -> bool {
        self.repairs.next().is_some()
    }

    /// Seals the next train into `buffer`: as many packets as there are, are of one size (the
    /// last may be shorter), and fit, but no more video than the viewer may have at once. Video goes
    /// first, audio and reports make its tail.
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
        self.burst.begin(now);
        for lane in &mut self.lanes {
            let Some(track) = path.track(lane.config.kind) else {
                continue;
            };
            more |= lane.fill(now, track, &self.sealer, &mut self.burst, &mut train, tally);
        }
        self.repairs.earn(tally.bytes);
        if let Some(shape) = self.report_due {
            more |= self.fill_report(now, clock, path, shape, &mut train);
        }
        let (size, segment_size) = train.finish()?;
        Some(Filled {
            size,
            segment_size,
            more,
        })
    }

    /// Seals a train of packets that were asked for again.
    ///
    /// Bounded work: no more is looked up than may be asked for at once.
    pub(crate) fn fill_repairs(
        &mut self,
        now: Instant,
        path: &Path,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) -> Option<Filled> {
        let mut train = Train::new(buffer);
        while let Some((kind, sequence)) = self.repairs.next() {
            if !self.repair(now, path, (kind, sequence), &mut train, tally) {
                break;
            }
            self.repairs.pop();
        }
        let (size, segment_size) = train.finish()?;
        Some(Filled {
            size,
            segment_size,
            more: self.has_repairs(),
        })
    }

    /// Sends a packet again, or says why not. Returns whether it is done with, and not to come with
    /// the next train.
    fn repair(
        &mut self,
        now: Instant,
        path: &Path,
        (kind, sequence): (MediaKind, u16),
        train: &mut Train<'_>,
        tally: &mut Tally,
    ) -> bool {
        let lane = self.lanes.iter_mut().find(|l| l.config.kind == kind);
        let Some((lane, track)) = lane.zip(path.track(kind)) else {
            return true;
        };
        let Some((index, entry)) = lane.missed(sequence, track) else {
            tally.repairs.unknown += 1;
            return true;
        };
        let at = self.quality.millis(now);
        if self
            .repairs
            .was_sent(at, self.quality.spacing(), kind, sequence)
        {
            tally.repairs.repeated += 1;
            return true;
        }
        let len = lane.repair_len(entry, &self.sealer);
        if !self.repairs.affords(len) {
            tally.repairs.over_budget += 1;
            return true;
        }
        let Some(room) = train.room(len) else {
            return false;
        };
        if lane.seal_repair(index, entry, &self.sealer, room).is_some() {
            tally.repairs.sent += 1;
            tally.repairs.bytes += len as u64;
            tally.oversized += u64::from(train.commit(len));
            self.repairs.on_sent(at, kind, sequence, len);
        }
        true
    }

    /// Returns whether the report did not fit and is still due.
    fn fill_report(
        &mut self,
        now: Instant,
        clock: &WallClock,
        path: &Path,
        shape: Shape,
        train: &mut Train<'_>,
    ) -> bool {
        let reports = self.reports(now, clock, path);
        let answers = self.quality.reference_times(now);
        let compound = rtcp::compound(&reports, &self.cname, &answers, shape);
        if compound.is_empty() {
            self.report_due = None;
            return false;
        }
        let Some(room) = train.room(compound.len() + self.sealer.rtcp_overhead()) else {
            return true;
        };
        self.report_due = None;
        if seal_compound(&mut self.sealer, &compound, room).is_some() {
            train.commit(compound.len() + self.sealer.rtcp_overhead());
            self.quality.on_sent(now, &reports);
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
        let reports = self.reports(now, clock, path);
        let compound = rtcp::compound(&reports, &self.cname, &[], Shape::Last);
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
        self.lanes
            .iter()
            .filter(|lane| lane.packets > 0)
            .filter_map(|lane| {
                let (ntp, timestamp) = path.moment(now, clock.ntp(now), lane.config.kind)?;
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

fn seal_compound(sealer: &mut Sealer, compound: &[u8], room: &mut [u8]) -> Option<()> {
    room.get_mut(..compound.len())?.copy_from_slice(compound);
    sealer.seal_rtcp(room)
}
