//! One stream as it arrives: which packets are missing, by their numbers alone.
//!
//! Bounded: no more than [`MISSING_MAX`] packets are known to be missing, for [`KEPT`] at most.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::rtcp::Block;

/// A repair that comes within this time is in time: a player's buffer would have waited for it.
pub const IN_TIME: Duration = Duration::from_millis(300);

/// A packet that has not come so long after it was missed is given up.
const KEPT: Duration = Duration::from_secs(1);

/// How long a packet may be late because it was overtaken.
const OVERTAKEN: Duration = Duration::from_millis(5);

/// What a repair may take longer than the last round trip did.
const SLACK: Duration = Duration::from_millis(10);

const MISSING_MAX: usize = 512;

/// Entries of one NACK, of up to 17 packets each.
const ASKED_MAX: usize = 12;

/// How a stream has arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reception {
    /// Packets of the stream itself, those that came twice too.
    pub packets: u64,
    /// Packets that were not there when one after them came.
    pub missed: u64,
    /// Of these, those that came within [`IN_TIME`], repaired or only overtaken.
    pub in_time: u64,
    /// Of those in time, those that came before they were asked for: they were only overtaken.
    pub overtaken: u64,
    /// Those that came after that.
    pub late: u64,
    /// Those that were given up.
    pub lost: u64,
    /// Those that may still come: `missed` is the sum of these, `in_time`, `late` and `lost`.
    pub pending: u64,
    /// Packets of the source of repairs.
    pub repairs: u64,
    /// Packets that came though they were not missing, again or too late.
    pub needless: u64,
    /// How often a packet was asked for.
    pub asked: u64,
}

impl Reception {
    /// The same of two streams together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            missed: self.missed + other.missed,
            in_time: self.in_time + other.in_time,
            overtaken: self.overtaken + other.overtaken,
            late: self.late + other.late,
            lost: self.lost + other.lost,
            pending: self.pending + other.pending,
            repairs: self.repairs + other.repairs,
            needless: self.needless + other.needless,
            asked: self.asked + other.asked,
        }
    }

    /// What came of it after it was `before`. What was missing then counts as missed since, for what
    /// becomes of it is counted.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets - before.packets,
            missed: self.missed - before.missed + before.pending,
            in_time: self.in_time - before.in_time,
            overtaken: self.overtaken - before.overtaken,
            late: self.late - before.late,
            lost: self.lost - before.lost,
            pending: self.pending,
            repairs: self.repairs - before.repairs,
            needless: self.needless - before.needless,
            asked: self.asked - before.asked,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Source {
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    /// Extended numbers of the first and of the newest packet.
    span: Option<(u64, u64)>,
    rtx_newest: Option<u64>,
    /// In order.
    missing: VecDeque<Missing>,
    /// No packet is to be asked for before.
    next_ask: Option<Instant>,
    last_report: Option<(Instant, u32)>,
    /// Packets that were expected and that came, at the last report.
    reported: (u64, u64),
    reception: Reception,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    sequence: u64,
    since: Instant,
    ask_at: Instant,
    was_asked: bool,
}

impl Source {
    pub(super) fn new(ssrc: u32, rtx_ssrc: Option<u32>) -> Self {
        Self {
            ssrc,
            rtx_ssrc,
            span: None,
            rtx_newest: None,
            missing: VecDeque::new(),
            next_ask: None,
            last_report: None,
            reported: (0, 0),
            reception: Reception::default(),
        }
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Whether packets with this SSRC are its own, or repairs.
    pub(super) fn is(&self, ssrc: u32) -> bool {
        self.ssrc == ssrc || self.rtx_ssrc == Some(ssrc)
    }

    pub(super) fn rtx_ssrc(&self) -> Option<u32> {
        self.rtx_ssrc
    }

    /// Where its repairs come from, if that was not known.
    pub(super) fn learn_rtx_ssrc(&mut self, ssrc: u32) {
        self.rtx_ssrc.get_or_insert(ssrc);
    }

    pub(super) fn reception(&self) -> Reception {
        Reception {
            pending: self.missing.len() as u64,
            ..self.reception
        }
    }

    /// The sequence number of the newest packet.
    pub(super) fn newest(&self) -> Option<u16> {
        self.span.map(|(_, newest)| low(newest))
    }

    /// A packet of the stream came.
    pub(super) fn on_packet(&mut self, now: Instant, sequence: u16) {
        self.reception.packets += 1;
        let Some((first, newest)) = self.span else {
            let sequence = u64::from(sequence);
            self.span = Some((sequence, sequence));
            return;
        };
        let sequence = extend(newest, sequence);
        if sequence <= newest {
            return self.fill(now, sequence);
        }
        self.span = Some((first, sequence));
        for missed in newest + 1..sequence {
            self.miss(now, missed);
        }
    }

    /// The SRTP index of a packet of the stream, by the best guess (RFC 3711 §3.3.1).
    pub(super) fn index(&self, sequence: u16) -> u64 {
        let newest = self.span.map(|(_, newest)| newest);
        newest.map_or(sequence.into(), |newest| extend(newest, sequence))
    }

    /// The SRTP index of a packet of the source of repairs, by the best guess (RFC 3711 §3.3.1).
    pub(super) fn rtx_index(&self, sequence: u16) -> u64 {
        self.rtx_newest
            .map_or(sequence.into(), |newest| extend(newest, sequence))
    }

    /// A genuine packet of the source of repairs came: it brings that one of the stream.
    pub(super) fn on_repair(&mut self, now: Instant, rtx_index: u64, original: u16) {
        self.reception.repairs += 1;
        self.rtx_newest = self.rtx_newest.max(Some(rtx_index));
        if let Some((_, newest)) = self.span {
            self.fill(now, extend(newest, original));
        }
    }

    fn miss(&mut self, now: Instant, sequence: u64) {
        self.reception.missed += 1;
        if self.missing.len() == MISSING_MAX {
            self.missing.pop_front();
            self.reception.lost += 1;
        }
        let ask_at = now + OVERTAKEN;
        self.missing.push_back(Missing {
            sequence,
            since: now,
            ask_at,
            was_asked: false,
        });
        self.next_ask.get_or_insert(ask_at);
    }

    fn fill(&mut self, now: Instant, sequence: u64) {
        let missing = self.missing.iter().position(|m| m.sequence == sequence);
        let Some(missing) = missing.and_then(|at| self.missing.remove(at)) else {
            self.reception.needless += 1;
            return;
        };
        if now.saturating_duration_since(missing.since) <= IN_TIME {
            self.reception.in_time += 1;
            self.reception.overtaken += u64::from(!missing.was_asked);
        } else {
            self.reception.late += 1;
        }
    }

    /// When [`ask`](Self::ask) may have something to say.
    pub(super) fn next_ask(&self) -> Option<Instant> {
        self.next_ask
    }

    /// What is to be asked for now, as entries of a NACK. Each is asked for again after a round
    /// trip.
    pub(super) fn ask(&mut self, now: Instant, rtt: Duration) -> Asked {
        let mut asked = Asked::default();
        if self.next_ask.is_none_or(|at| at > now) {
            return asked;
        }
        let known = self.missing.len();
        self.missing.retain(|m| now < m.since + KEPT);
        self.reception.lost += (known - self.missing.len()) as u64;
        for missing in self.missing.iter_mut().filter(|m| m.ask_at <= now) {
            if !asked.add(low(missing.sequence)) {
                break;
            }
            missing.was_asked = true;
            missing.ask_at = now + rtt + SLACK;
            self.reception.asked += 1;
        }
        self.next_ask = self.missing.iter().map(|m| m.ask_at).min();
        asked
    }

    /// A sender report came.
    pub(super) fn on_report(&mut self, now: Instant, ntp: u32) {
        self.last_report = Some((now, ntp));
    }

    /// How it arrives (RFC 3550 §6.4.1, appendix A.3). Repairs of another source do not count.
    pub(super) fn report(&mut self, now: Instant) -> Option<Block> {
        let (first, newest) = self.span?;
        let (expected, came) = (newest - first + 1, self.reception.packets);
        let since = expected - self.reported.0;
        let lost_since = since.saturating_sub(came - self.reported.1);
        self.reported = (expected, came);
        let fraction = (lost_since * 256).checked_div(since).unwrap_or(0);
        let lost = i64::try_from(expected).ok()? - i64::try_from(came).ok()?;
        let (last_report, delay) = self.last_report.map_or((0, 0), |(at, ntp)| {
            let delay = now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000;
            (ntp, u32::try_from(delay).unwrap_or(u32::MAX))
        });
        #[expect(clippy::cast_possible_truncation, reason = "clamped or masked")]
        Some(Block {
            ssrc: self.ssrc,
            fraction_lost: fraction.min(255) as u8,
            lost: lost.clamp(-(1 << 23), (1 << 23) - 1) as i32,
            highest: (newest & 0xffff_ffff) as u32,
            last_report,
            delay,
        })
    }
}

/// Entries of a NACK.
#[derive(Debug, Default)]
pub(super) struct Asked {
    entries: [(u16, u16); ASKED_MAX],
    len: usize,
}

impl Asked {
    /// Returns whether there was room. Numbers come in order.
    fn add(&mut self, sequence: u16) -> bool {
        if let Some((first, following)) = self.entries[..self.len].last_mut() {
            let distance = sequence.wrapping_sub(*first);
            if (1..=16).contains(&distance) {
                *following |= 1 << (distance - 1);
                return true;
            }
        }
        let Some(entry) = self.entries.get_mut(self.len) else {
            return false;
        };
        *entry = (sequence, 0);
        self.len += 1;
        true
    }
}

impl std::ops::Deref for Asked {
    type Target = [(u16, u16)];

    fn deref(&self) -> &Self::Target {
        &self.entries[..self.len]
    }
}

/// The number that is closest to `newest` and ends so.
fn extend(newest: u64, sequence: u16) -> u64 {
    let distance = sequence.wrapping_sub(low(newest)).cast_signed();
    newest.saturating_add_signed(distance.into())
}

#[expect(clippy::cast_possible_truncation, reason = "it is meant to be cut")]
fn low(sequence: u64) -> u16 {
    sequence as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const RTT: Duration = Duration::from_millis(40);

    fn source(now: Instant, numbers: impl IntoIterator<Item = u16>) -> Source {
        let mut source = Source::new(7, Some(8));
        numbers.into_iter().for_each(|n| source.on_packet(now, n));
        source
    }

    #[test]
    fn what_is_missing_is_asked_for_again_and_again_until_it_comes() {
        let now = Instant::now();
        let mut source = source(now, [65_533, 65_534, 1, 2, 30]);
        assert!(source.ask(now, RTT).is_empty(), "it may only be late");
        let later = now + OVERTAKEN;
        assert_eq!(source.next_ask(), Some(later));
        assert_eq!(
            *source.ask(later, RTT),
            [(65_535, 0b1111_1111_1111_1001), (16, 0x1fff)]
        );
        assert!(source.ask(later + RTT, RTT).is_empty());

        source.on_packet(later, 0);
        (3..29).for_each(|n| source.on_repair(later + IN_TIME, n.into(), n));
        let again = source.next_ask().unwrap();
        assert_eq!(again, later + RTT + SLACK);
        assert_eq!(*source.ask(again, RTT), [(65_535, 0), (29, 0)]);
        source.on_repair(again, 29, 29);
        source.ask(now + KEPT + 10 * MS, RTT);
        let reception = source.reception();
        assert_eq!((reception.missed, reception.in_time), (29, 2));
        assert_eq!((reception.late, reception.lost), (26, 1));
        assert_eq!(reception.overtaken, 0);
        assert_eq!(source.next_ask(), None);
    }

    #[test]
    fn what_becomes_of_missed_packets_adds_up_from_any_moment_on() {
        let now = Instant::now();
        let mut source = source(now, [0, 3, 2]);
        let before = source.reception();
        assert_eq!((before.missed, before.overtaken, before.pending), (2, 1, 1));
        source.on_packet(now, 6);
        source.ask(now + OVERTAKEN, RTT);
        source.on_repair(now + RTT, 0, 1);
        let since = source.reception().since(before);
        assert_eq!((since.missed, since.overtaken), (3, 0));
        assert_eq!((since.in_time, since.late, since.lost), (1, 0, 0));
        assert_eq!(since.pending, 2);
    }

    #[test]
    fn what_was_not_missing_is_counted() {
        let now = Instant::now();
        let mut source = source(now, [5, 6, 6]);
        source.on_repair(now, 0, 5);
        assert_eq!(source.reception().needless, 2);
    }

    #[test]
    fn a_gap_as_wide_as_the_numbers_takes_bounded_room() {
        let now = Instant::now();
        let mut source = source(now, [0, 30_000]);
        assert_eq!(source.missing.len(), MISSING_MAX);
        assert_eq!(source.ask(now + OVERTAKEN, RTT).len(), ASKED_MAX);
        assert_eq!(source.reception().missed, 29_999);
    }

    #[test]
    fn reports_tell_what_was_lost_since_the_last_and_in_all() {
        let now = Instant::now();
        let mut source = source(now, [10, 11, 13, 14]);
        source.on_report(now, 77);
        let block = source.report(now + Duration::from_millis(500)).unwrap();
        assert_eq!(
            (block.fraction_lost, block.lost, block.highest),
            (51, 1, 14)
        );
        assert_eq!((block.last_report, block.delay), (77, 32_768));
        (15..20).for_each(|n| source.on_packet(now, n));
        let block = source.report(now).unwrap();
        assert_eq!((block.fraction_lost, block.lost), (0, 1));
    }
}
