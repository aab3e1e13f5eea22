//! The log of refusals, and of sessions that did not connect: each is told once, and a flood of them
//! does not drown the rest.
//!
//! A page that waits for its stream asks every few seconds and is refused every time; a broken
//! program may ask a thousand times a second. What an operator should look at has a place of its own.
//! Bounded by [`LINES_MAX`] lines of each kind that are remembered.
//! What is not told still stands on the level debug, and is counted.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tracing::Level;

use crate::server::Server;
use crate::signal::Request;
use crate::signal::refusal::{Refusal, shown};
use crate::signal::route::loggable;

/// How long a line is not repeated. Longer keeps logs shorter; shorter shows sooner that somebody
/// still tries.
const PERIOD: Duration = Duration::from_secs(60);

/// Lines within a period. More tells more of a flood, and costs as many comparisons a refusal.
const LINES_MAX: usize = 50;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    /// Mistakes of clients, of which anybody can make any number.
    news: Lines,
    /// What only the operator can mend.
    warnings: Lines,
    /// Sessions that did not connect, of which there may be as many.
    failures: Lines,
}

impl RefusalLog {
    fn judge(&mut self, now: Instant, level: Level, line: &str) -> Verdict {
        match level {
            Level::ERROR | Level::WARN => self.warnings.judge(now, line),
            _ => self.news.judge(now, line),
        }
    }
}

/// The lines of the last period.
#[derive(Debug, Default)]
struct Lines {
    told: VecDeque<(Instant, String)>,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Tell,
    /// It is the last of its period.
    TellAsLast,
    Keep,
}

impl Lines {
    fn judge(&mut self, now: Instant, line: &str) -> Verdict {
        let is_over = |(at, _): &(Instant, String)| now.saturating_duration_since(*at) >= PERIOD;
        while self.told.front().is_some_and(is_over) {
            self.told.pop_front();
        }
        let is_known = self.told.iter().any(|(_, told)| told == line);
        if is_known || self.told.len() >= LINES_MAX {
            return Verdict::Keep;
        }
        self.told.push_back((now, line.to_owned()));
        if self.told.len() == LINES_MAX {
            Verdict::TellAsLast
        } else {
            Verdict::Tell
        }
    }
}

impl Server {
    /// Tells the operator that a request was refused, in the words that its client gets.
    pub(super) fn note_refusal(&mut self, now: Instant, request: &Request, refusal: &Refusal) {
        let line = format!(
            "{} {} of {} refused with {}: {refusal}",
            shown(request.head.method.as_str()),
            loggable(request.head.uri.path()),
            request.peer.ip().to_canonical(),
            refusal.status().as_u16(),
        );
        let level = refusal.level();
        let verdict = self.refusal_log.judge(now, level, &line);
        verdict.tell(level, &line, "many requests are refused");
    }

    /// Tells the operator that a session did not connect.
    pub(super) fn note_failure(&mut self, now: Instant, level: Level, line: &str) {
        let verdict = self.refusal_log.failures.judge(now, line);
        verdict.tell(level, line, "many sessions do not connect");
    }
}

impl Verdict {
    fn tell(self, level: Level, line: &str, many: &str) {
        if self == Self::Keep {
            tracing::debug!("{line}");
            return;
        }
        tell(level, line);
        if self == Self::TellAsLast {
            tracing::info!("{many}: for a while, the others stand in the log of level debug only");
        }
    }
}

fn tell(level: Level, line: &str) {
    match level {
        Level::ERROR => tracing::error!("{line}"),
        Level::WARN => tracing::warn!("{line}"),
        _ => tracing::info!("{line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the beginning"
    )]
    fn beginning() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_waiting_page_is_told_once_a_minute() {
        let mut log = Lines::default();
        let start = beginning();
        let told = (0..90).filter(|second| {
            let now = start + Duration::from_secs(*second);
            log.judge(now, "nobody publishes live yet") != Verdict::Keep
        });
        assert_eq!(told.collect::<Vec<_>>(), [0, 60]);
    }

    #[test]
    fn a_flood_of_different_lines_is_told_up_to_the_bound_and_then_again() {
        let mut log = Lines::default();
        let start = beginning();
        let mut verdicts: Vec<_> = (0..1_000)
            .map(|n| log.judge(start, &n.to_string()))
            .collect();
        let told = verdicts.iter().filter(|verdict| **verdict != Verdict::Keep);
        assert_eq!(told.count(), LINES_MAX);
        assert_eq!(verdicts.remove(LINES_MAX - 1), Verdict::TellAsLast);
        assert_eq!(log.told.len(), LINES_MAX);
        assert_eq!(log.judge(start + PERIOD, "another"), Verdict::Tell);
        assert_eq!(log.told.len(), 1);
    }

    #[test]
    fn regress_mistakes_of_clients_hide_no_warning() {
        let mut log = RefusalLog::default();
        let start = beginning();
        for n in 0..1_000 {
            log.judge(start, Level::INFO, &n.to_string());
        }
        let full = "this server is full";
        assert_eq!(log.judge(start, Level::WARN, full), Verdict::Tell);
        assert_eq!(log.judge(start, Level::WARN, full), Verdict::Keep);
    }
}
