//! What a run came to.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::hall::{Milestones, Totals};
use crate::light::Reception;

/// Trains that waited longer than this for the program, 99 % of the time less: then it measures itself.
const LAG_MAX: Duration = Duration::from_millis(10);

/// The share of packets that is to come: some are on their way at both ends of a run.
const SHARE_MIN: f64 = 0.9;

/// The share of a core that the loop of the viewers may be busy.
const BUSY_MAX: f64 = 0.9;

/// One second of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Second {
    /// Since the first offer of a viewer.
    pub at: Duration,
    /// Viewers that are connected.
    pub connected: usize,
    /// Offers and sessions that have failed so far.
    pub failed: usize,
    /// Datagrams of media since the second before.
    pub packets: u64,
    /// Bits of these.
    pub bits: u64,
    /// Packets that were given up so far.
    pub lost: u64,
    /// The latency of what came in it. `None`: nothing of that had a time in it.
    pub latency: Option<Quantiles>,
    /// The share of the second in which the loop of the viewers did not wait.
    pub busy: f64,
}

impl Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "for the eye")]
        let mbps = self.bits as f64 / 1e6;
        let latency = self.latency.map_or("-".to_owned(), |latency| {
            format!("{:.2} ms", latency.p50.as_secs_f64() * 1e3)
        });
        write!(
            f,
            "{:4} s  {:6} viewers  {:4} failed  {:8} packets/s  {:8.1} Mbit/s  {:6} lost so far  {latency:>9}  \
             {:3.0} % busy",
            self.at.as_secs(),
            self.connected,
            self.failed,
            self.packets,
            mbps,
            self.lost,
            self.busy * 100.0
        )
    }
}

/// Quantiles of times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// The median.
    pub p50: Duration,
    /// One in a hundred took longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
    /// How many there were.
    pub count: u64,
}

impl Quantiles {
    pub(super) fn of_micros(histogram: &Histogram<u64>) -> Option<Self> {
        (!histogram.is_empty()).then(|| Self {
            p50: Duration::from_micros(histogram.value_at_quantile(0.5)),
            p99: Duration::from_micros(histogram.value_at_quantile(0.99)),
            max: Duration::from_micros(histogram.max()),
            count: histogram.len(),
        })
    }

    /// Of those that there are.
    fn of(times: impl Iterator<Item = Duration>) -> Option<Self> {
        let mut times: Vec<_> = times.collect();
        times.sort_unstable();
        let at = |share: usize| {
            let place = (times.len().checked_sub(1)? * share).div_ceil(100);
            times.get(place).copied()
        };
        Some(Self {
            p50: at(50)?,
            p99: at(99)?,
            max: at(100)?,
            count: times.len() as u64,
        })
    }

    fn json(&self) -> Value {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        json!({ "p50": ms(self.p50), "p99": ms(self.p99), "max": ms(self.max), "count": self.count })
    }
}

/// What this program itself took, while all viewers were there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Own {
    /// CPU time of all its threads. `None`: the system does not tell.
    pub cpu: Option<Duration>,
    /// That of the viewers alone.
    pub viewers_cpu: Option<Duration>,
    /// The share of the time in which the loop of the viewers did not wait.
    pub busy: f64,
    /// How long what came waited for that loop.
    pub lag: Option<Quantiles>,
}

/// What a run came to. "While watched" is the time in which all viewers were to be there.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Publishers, all of which were connected.
    pub publishers: usize,
    /// Viewers that were to join.
    pub wanted: usize,
    /// Places where viewers watch.
    pub streams: usize,
    /// What was to be done, as JSON.
    pub plan: Value,
    /// From the first offer until the last viewer was connected of those that got so far.
    pub joining: Duration,
    /// What each viewer has seen.
    pub milestones: Vec<Milestones>,
    /// Why offers and sessions failed, each with how often.
    pub failures: Vec<(String, usize)>,
    /// The codecs of video, each with the number of viewers that were to be sent it.
    pub video: BTreeMap<String, usize>,
    /// How long viewers were watched.
    pub watched: Duration,
    /// Of all publishers, while watched.
    pub published: u64,
    /// Keyframes that were asked for, in the whole run.
    pub keyframes_asked: u64,
    /// What came while watched; `connected` is how many were there at the end.
    pub totals: Totals,
    /// How the streams arrived at all viewers together, while watched.
    pub reception: Reception,
    /// Of the packets that viewers were to get while watched, the share that came, without repairs.
    /// `None`: it is not known how many those were.
    pub share: Option<f64>,
    /// Viewers that got connected, and nothing for the last two seconds.
    pub unheard: usize,
    /// From a packet's publication to its arrival, of a sample, while watched. `None`: nothing that
    /// came had a time in it.
    pub latency: Option<Quantiles>,
    /// What this program took.
    pub own: Own,
    /// The run, second by second.
    pub seconds: Vec<Second>,
}

impl Report {
    /// Viewers that were connected at any time.
    #[must_use]
    pub fn connected(&self) -> usize {
        let connected = self.milestones.iter().filter(|m| m.connected.is_some());
        connected.count()
    }

    /// All viewers were connected, and they and the publishers stayed to the end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let is_full = self.connected() == self.wanted && self.totals.connected == self.wanted;
        is_full && self.failures.is_empty()
    }

    /// Viewers that were connected, per second of joining.
    #[must_use]
    pub fn joins_per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count of viewers")]
        let connected = self.connected() as f64;
        connected / self.joining.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// From an offer to what `part` names, of the viewers that came so far.
    #[must_use]
    pub fn time_to(&self, part: fn(&Milestones) -> Option<Duration>) -> Option<Quantiles> {
        Quantiles::of(self.milestones.iter().filter_map(part))
    }

    /// Media that came per second while watched.
    #[must_use]
    pub fn bits_per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let bits = self.totals.bytes as f64 * 8.0;
        bits / self.watched.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// CPU of the viewers' loop for each datagram of media.
    #[must_use]
    pub fn own_cost(&self) -> Option<Duration> {
        let nanos = self.own.viewers_cpu?.as_nanos();
        let each = nanos.checked_div(u128::from(self.totals.packets))?;
        Some(Duration::from_nanos(u64::try_from(each).ok()?))
    }

    /// What makes the figures those of this program, or of its machine, and not of the server.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(share) = self.share.filter(|share| *share < SHARE_MIN) {
            warnings.push(format!(
                "of what was published {:.0} % came: look at the server's log, and at what the machine \
                 has to do beside",
                share * 100.0
            ));
        }
        // Nothing is what a silent publisher's viewers get.
        if self.unheard > 0 && (self.publishers == 0 || self.published > 0) {
            warnings.push(format!(
                "nothing came to {} viewers at the end of the run: is the server there?",
                self.unheard
            ));
        }
        let dropped = self.totals.dropped;
        if dropped > 0 {
            warnings.push(format!(
                "this program was too slow, and the system dropped {dropped} datagrams that had come: \
                 they count as missed, and the server did send them"
            ));
        }
        if self.own.busy > BUSY_MAX {
            warnings.push(format!(
                "the viewers' loop was busy {:.0} % of the time: this program is the bottleneck; have \
                 fewer viewers, or several of these programs",
                self.own.busy * 100.0
            ));
        }
        if let Some(lag) = self.own.lag.filter(|lag| lag.p99 > LAG_MAX) {
            warnings.push(format!(
                "what came waited up to {:.0} ms (p99) for this program: the machine is too busy for \
                 both sides. Arrival is the system's time and still right; repairs came later",
                lag.p99.as_secs_f64() * 1e3
            ));
        }
        warnings
    }

    /// As JSON, with units in the names; times are milliseconds where nothing else is said.
    #[must_use]
    pub fn json(&self) -> Value {
        let of = |part| self.time_to(part).map(|time| time.json());
        let (reception, totals) = (&self.reception, &self.totals);
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let failures = self.failures.iter();
        let failures: Vec<_> = failures
            .map(|(why, count)| json!({ "why": why, "count": count }))
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "plan": self.plan,
            "publishers": self.publishers,
            "viewers": {
                "wanted": self.wanted,
                "connected": self.connected(),
                "connected_at_end": totals.connected,
                "nothing_at_end": self.unheard,
                "failures": failures,
            },
            "video": self.video,
            "joining_s": self.joining.as_secs_f64(),
            "joins_per_second": self.joins_per_second(),
            "connected_ms": of(|m| m.connected),
            "first_packet_ms": of(|m| m.packet),
            "first_keyframe_ms": of(|m| m.keyframe),
            "watched_s": self.watched.as_secs_f64(),
            "packets": {
                "published": self.published,
                "delivered": totals.packets,
                "share": self.share,
                "thrown_away": totals.thrown,
                "dropped_here": totals.dropped,
                "receives": totals.receives,
                "missed": reception.missed,
                "overtaken": reception.overtaken,
                "repaired_in_time": reception.in_time - reception.overtaken,
                "late": reception.late,
                "lost": reception.lost,
                "still_missing": reception.pending,
                "repairs": reception.repairs,
                "needless": reception.needless,
                "asked": reception.asked,
            },
            "keyframes_asked_in_whole_run": self.keyframes_asked,
            "bits_per_second": self.bits_per_second(),
            "latency_ms": self.latency.map(|latency| latency.json()),
            "latency_sample": { "opened": totals.opened[0], "with_time": totals.opened[1] },
            "own": {
                "cpu_s": seconds(self.own.cpu),
                "viewers_cpu_s": seconds(self.own.viewers_cpu),
                "ns_per_packet": self.own_cost().map(|cost| u64::try_from(cost.as_nanos()).ok()),
                "busy": self.own.busy,
                "lag_ms": self.own.lag.map(|lag| lag.json()),
            },
            "warnings": self.warnings(),
            "seconds": self.seconds.iter().map(second).collect::<Vec<_>>(),
        })
    }
}

fn second(second: &Second) -> Value {
    json!({
        "at_s": second.at.as_secs_f64(),
        "connected": second.connected,
        "failed_so_far": second.failed,
        "packets": second.packets,
        "bits": second.bits,
        "lost_so_far": second.lost,
        "latency_ms": second.latency.map(|latency| latency.json()),
        "busy": second.busy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_those_that_there_are() {
        let ms = Duration::from_millis;
        let times = Quantiles::of((1..=200).rev().map(ms)).unwrap();
        assert_eq!(
            (times.p50, times.p99, times.max),
            (ms(101), ms(199), ms(200))
        );
        assert_eq!(Quantiles::of([ms(7)].into_iter()).unwrap().p99, ms(7));
        assert!(Quantiles::of([].into_iter()).is_none());
    }

    #[test]
    fn a_program_that_is_too_slow_says_so() {
        assert!(Report::default().warnings().is_empty());
        let mut report = Report::default();
        report.totals.dropped = 3;
        report.own.busy = 0.99;
        assert_eq!(report.warnings().len(), 2);
    }
}
