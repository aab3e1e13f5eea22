//! How a viewer receives: its round-trip time, loss and jitter, by its own reports.

use std::time::{Duration, Instant};

use crate::media::MediaKind;
use crate::rtcp::{self, REFERENCES_MAX, ReceptionReport, ReferenceTime, SenderReport};

/// Repairs of one packet lie this far apart while the round-trip time is not known. Longer than
/// that is sent once too often; shorter than that is refused once too often, which costs a picture.
const SPACING_UNKNOWN_MS: u16 = 30;

/// And at least this far apart: the peer's timers are no finer.
const SPACING_MIN_MS: u16 = 5;

/// How many sender reports are remembered: two of each track, for the peer's report may cross ours.
const REPORTS_MAX: usize = 4;

/// A round-trip time above this is none: a stale report, or a clock that jumped.
const RTT_MAX: Duration = Duration::from_secs(10);

/// See the module. Times are microseconds since the beginning, wrapping after 71 minutes.
#[derive(Debug)]
pub(crate) struct Quality {
    began: Instant,
    rtt: Option<Rtt>,
    /// Sender reports, by the middle of their NTP times.
    reports: [Option<(u32, u32)>; REPORTS_MAX],
    /// Which of them is the oldest.
    oldest: usize,
    video: Option<ReceptionReport>,
    audio: Option<ReceptionReport>,
    /// Clocks that the peer would have back.
    references: heapless::Vec<Reference, REFERENCES_MAX>,
}

#[derive(Debug, Clone, Copy)]
struct Rtt {
    last: u32,
    /// By an eighth towards each new one (RFC 6298 §2).
    smoothed: u32,
}

#[derive(Debug, Clone, Copy)]
struct Reference {
    ssrc: u32,
    ntp: u32,
    at: u32,
}

impl Quality {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            rtt: None,
            reports: [None; REPORTS_MAX],
            oldest: 0,
            video: None,
            audio: None,
            references: heapless::Vec::new(),
        }
    }

    fn micros(&self, now: Instant) -> u32 {
        micros(now.saturating_duration_since(self.began))
    }

    /// This moment in milliseconds, wrapping after 65 seconds.
    #[expect(clippy::cast_possible_truncation, reason = "it is meant to wrap")]
    pub(super) fn millis(&self, now: Instant) -> u16 {
        now.saturating_duration_since(self.began).as_millis() as u16
    }

    /// Sender reports left.
    pub(super) fn on_sent(&mut self, now: Instant, reports: &[SenderReport]) {
        let at = self.micros(now);
        for report in reports {
            if let Some(place) = self.reports.get_mut(self.oldest) {
                *place = Some((rtcp::middle(report.ntp), at));
            }
            self.oldest = (self.oldest + 1) % REPORTS_MAX;
        }
        self.references.clear();
    }

    pub(super) fn on_report(&mut self, now: Instant, kind: MediaKind, report: &ReceptionReport) {
        match kind {
            MediaKind::Video => self.video = Some(*report),
            MediaKind::Audio => self.audio = Some(*report),
        }
        // RFC 3550 §6.4.1: from our report to theirs, less what they took.
        let ours = self.reports.iter().flatten();
        let Some((_, sent)) = ours.copied().find(|(ntp, _)| *ntp == report.last_report) else {
            return;
        };
        let took = micros(Duration::from_secs(1).mul_f64(f64::from(report.delay) / 65_536.0));
        let last = self.micros(now).wrapping_sub(sent).saturating_sub(took);
        if last > micros(RTT_MAX) {
            return;
        }
        let smoothed = match self.rtt {
            Some(rtt) => rtt.smoothed - rtt.smoothed / 8 + last / 8,
            None => last,
        };
        self.rtt = Some(Rtt { last, smoothed });
    }

    /// How long after a repair another one of the same packet makes sense, in milliseconds: one
    /// round trip, and rather too little, for who asks too late has lost its picture.
    pub(super) fn spacing(&self) -> u16 {
        let rtt = self.rtt.map(|rtt| rtt.last.min(rtt.smoothed) / 1000);
        let rtt = rtt.and_then(|rtt| u16::try_from(rtt).ok());
        rtt.unwrap_or(SPACING_UNKNOWN_MS).max(SPACING_MIN_MS)
    }

    pub(super) fn on_reference_time(&mut self, now: Instant, ssrc: u32, ntp: u32) {
        let at = self.micros(now);
        self.references.retain(|r| r.ssrc != ssrc);
        if self.references.is_full() {
            self.references.remove(0);
        }
        let _ = self.references.push(Reference { ssrc, ntp, at });
    }

    /// The answers to those that came since the last report.
    pub(super) fn reference_times(
        &self,
        now: Instant,
    ) -> heapless::Vec<ReferenceTime, REFERENCES_MAX> {
        let now = self.micros(now);
        let answers = self.references.iter().map(|reference| {
            let delay = u64::from(now.wrapping_sub(reference.at)) * 65_536 / 1_000_000;
            ReferenceTime {
                ssrc: reference.ssrc,
                ntp: reference.ntp,
                delay: u32::try_from(delay).unwrap_or(u32::MAX),
            }
        });
        answers.collect()
    }

    /// The smoothed round-trip time, once known.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
            .map(|rtt| Duration::from_micros(rtt.smoothed.into()))
    }

    /// The last report on a track.
    pub(crate) fn last_report(&self, kind: MediaKind) -> Option<ReceptionReport> {
        match kind {
            MediaKind::Video => self.video,
            MediaKind::Audio => self.audio,
        }
    }
}

/// In microseconds, wrapping after 71 minutes.
#[expect(clippy::cast_possible_truncation, reason = "it is meant to wrap")]
fn micros(duration: Duration) -> u32 {
    duration.as_micros() as u32
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

    fn sender_report(ntp: u64) -> SenderReport {
        SenderReport {
            ssrc: 1,
            ntp,
            timestamp: 0,
            packets: 1,
            octets: 1,
        }
    }

    /// A report that was made so long after ours came.
    fn reception(last_report: u32, delay: Duration) -> ReceptionReport {
        ReceptionReport {
            ssrc: 1,
            fraction_lost: 0,
            lost: 0,
            jitter: 0,
            last_report,
            delay: u32::try_from(delay.as_micros() * 65_536 / 1_000_000).unwrap(),
        }
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_round_trip_is_measured_from_our_report_to_theirs() {
        let began = start();
        let mut quality = Quality::new(began);
        assert_eq!(quality.spacing(), SPACING_UNKNOWN_MS);
        // So long after the beginning that the count of microseconds has wrapped.
        for (n, after) in [(1_u32, Duration::ZERO), (2, Duration::from_secs(5000))] {
            let at = began + after;
            quality.on_sent(at, &[sender_report(u64::from(n) << 16)]);
            let heard = at + 80 * MS;
            let report = reception(n, 30 * MS);
            quality.on_report(heard, MediaKind::Video, &report);
            let rtt = quality.rtt().unwrap();
            assert!(rtt.abs_diff(50 * MS) < MS, "{rtt:?}");
            assert!((49..=50).contains(&quality.spacing()));
        }
    }

    #[test]
    fn a_report_on_something_else_says_nothing_of_the_round_trip() {
        let now = start();
        let mut quality = Quality::new(now);
        quality.on_sent(now, &[sender_report(7 << 16)]);
        for report in [reception(0, MS), reception(8, MS)] {
            quality.on_report(now + 9 * MS, MediaKind::Audio, &report);
        }
        assert_eq!(quality.rtt(), None);
        assert!(quality.last_report(MediaKind::Audio).is_some());
        assert!(quality.last_report(MediaKind::Video).is_none());
    }

    #[test]
    fn a_clock_is_told_back_once_with_the_time_it_was_kept() {
        let now = start();
        let mut quality = Quality::new(now);
        for (ssrc, ntp) in [(1, 10), (2, 20), (1, 11), (3, 30)] {
            quality.on_reference_time(now, ssrc, ntp);
        }
        let later = now + Duration::from_millis(500);
        let told: Vec<_> = quality
            .reference_times(later)
            .iter()
            .map(|r| (r.ssrc, r.ntp, r.delay))
            .collect();
        assert_eq!(told, [(1, 11, 32_768), (3, 30, 32_768)]);
        quality.on_sent(later, &[]);
        assert!(quality.reference_times(later).is_empty());
    }
}
