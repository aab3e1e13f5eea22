//! When a viewer's reports are due (RFC 3550 §6.2), and in which shape.
//!
//! A pure state machine: it is told the time and a random number, and tells a time and a shape. The
//! interval does not follow the session's bandwidth, as that of a conference does, but is set: there
//! are two participants. It is randomised all the same, so that thousands of viewers that joined
//! together do not stay together; and it may be anticipated a little, so that those whose reports
//! are due within [`SLACK`] go out with one wake-up.

use std::time::{Duration, Instant};

use crate::rtcp::Shape;

/// Reports that fall due this soon after others go out with them. Longer saves wake-ups; shorter
/// keeps closer to the period. Far below half a period, or it would bunch viewers.
pub(crate) const SLACK: Duration = Duration::from_millis(10);

/// With reduced-size RTCP (RFC 5506) every report of so many is compound all the same: who joins
/// late, or lost one, needs the CNAME (RFC 3550 §6.1).
const COMPOUND_EVERY: u8 = 5;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    due: Instant,
    /// Reduced-size RTCP was negotiated.
    reduced: bool,
    /// So many more may be of reduced size.
    until_compound: u8,
}

impl Schedule {
    /// The first report is due after about half a period (RFC 3550 §6.2: the first interval is half
    /// of the others). `draw` is uniform in `0.0..1.0`.
    pub(crate) fn new(now: Instant, period: Duration, reduced: bool, draw: f64) -> Self {
        Self {
            due: now + interval(period / 2, draw),
            reduced,
            until_compound: 0,
        }
    }

    /// When the next report is due.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Takes the report that is due by `until`, if one is, and schedules the next: one period after
    /// `now`, give or take half of it (RFC 3550 §6.3.1).
    #[must_use]
    pub(crate) fn take(
        &mut self,
        now: Instant,
        until: Instant,
        period: Duration,
        draw: f64,
    ) -> Option<Shape> {
        if self.due > until {
            return None;
        }
        self.due = now + interval(period, draw);
        if self.reduced && self.until_compound > 0 {
            self.until_compound -= 1;
            return Some(Shape::Reduced);
        }
        self.until_compound = COMPOUND_EVERY - 1;
        Some(Shape::Compound)
    }
}

/// A period times 0.5 to 1.5.
fn interval(period: Duration, draw: f64) -> Duration {
    debug_assert!((0.0..1.0).contains(&draw));
    period.mul_f64(0.5 + draw)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(1);

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the beginning"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn of_reduced_reports_every_fifth_is_compound() {
        let mut now = start();
        for (reduced, compound) in [(true, 4), (false, 20)] {
            let mut schedule = Schedule::new(now, PERIOD, reduced, 0.5);
            let mut count = 0;
            for _ in 0..20 {
                now = schedule.due();
                let shape = schedule.take(now, now, PERIOD, 0.5);
                count += usize::from(shape == Some(Shape::Compound));
            }
            assert_eq!(count, compound);
        }
    }

    #[test]
    fn a_report_within_the_slack_may_go_out_with_others() {
        let now = start();
        let mut schedule = Schedule::new(now, PERIOD, false, 0.0);
        let early = schedule.due() - SLACK;
        assert_eq!(schedule.take(early, early, PERIOD, 0.0), None);
        assert_eq!(
            schedule.take(early, early + SLACK, PERIOD, 0.0),
            Some(Shape::Compound)
        );
    }

    proptest! {
        #[test]
        fn who_asks_when_it_is_due_gets_one_report_a_period(
            draws in prop::collection::vec(0.0..1.0_f64, 10..200),
            late_ms in 0_u64..50,
            period_ms in 100_u64..10_000,
        ) {
            let begin = start();
            let period = Duration::from_millis(period_ms);
            let late = Duration::from_millis(late_ms);
            let mut schedule = Schedule::new(begin, period, true, 0.0);
            prop_assert_eq!(schedule.due(), begin + period / 4);
            let mut now = begin;
            for draw in draws {
                let due = schedule.due();
                prop_assert!(due > now, "a deadline that is met makes progress");
                prop_assert!(schedule.take(due - Duration::from_nanos(1), due - Duration::from_nanos(1), period, draw).is_none());
                now = due + late;
                prop_assert!(schedule.take(now, now, period, draw).is_some());
                prop_assert!(schedule.take(now, now, period, draw).is_none());
                let interval = schedule.due() - now;
                prop_assert!(interval >= period / 2 && interval <= period * 3 / 2);
            }
        }
    }
}
