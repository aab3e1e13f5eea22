//! How long a publisher takes to answer a request, measured by its answers.
//!
//! str0m learns the round trip by RTCP XR from peers that have it, and keeps it to itself. What
//! matters here is more: the time until a repair is there, with whatever the peer does before it
//! sends one. Smoothed as in RFC 6298; an answer to the second request or a later one says nothing
//! of how long it took (Karn), so the next wait is longer until an answer does.

use std::time::Duration;

/// What is taken for the time to an answer while none is known. Shorter asks peers that are far
/// away twice; longer leaves the first gaps open for longer.
const INITIAL: Duration = Duration::from_millis(100);

/// The least that is waited beyond the smoothed time. Shorter asks twice where answers are but a
/// little late.
const MARGIN: Duration = Duration::from_millis(10);

/// The longest wait between two requests.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// How often the wait is doubled at most.
const DOUBLINGS_MAX: u32 = 4;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Rtt {
    smoothed: Option<Duration>,
    variation: Duration,
    doublings: u32,
}

impl Rtt {
    /// A first request was answered after this time.
    pub(crate) fn on_answer(&mut self, after: Duration) {
        self.doublings = 0;
        let Some(smoothed) = self.smoothed else {
            self.smoothed = Some(after);
            // RFC 6298 begins with half. Requests are cheaper than retransmissions of TCP, and a
            // frame that waits is worth less.
            self.variation = after / 8;
            return;
        };
        self.variation = (self.variation * 3 + smoothed.abs_diff(after)) / 4;
        self.smoothed = Some((smoothed * 7 + after) / 8);
    }

    /// A packet came that was asked for more than once: perhaps too soon.
    pub(crate) fn on_ambiguous_answer(&mut self) {
        self.doublings = (self.doublings + 1).min(DOUBLINGS_MAX);
    }

    /// How long after a request the next one for the same packet may go out.
    pub(crate) fn wait(&self) -> Duration {
        let once = match self.smoothed {
            Some(smoothed) => smoothed + (self.variation * 4).max(MARGIN),
            None => INITIAL + MARGIN,
        };
        (once * (1 << self.doublings)).min(WAIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_wait_settles_a_little_above_the_time_that_answers_take() {
        for rtt in [5, 20, 50, 100, 300] {
            let mut own = Rtt::default();
            for _ in 0..20 {
                own.on_answer(ms(rtt));
            }
            assert_eq!(own.wait(), ms(rtt) + MARGIN);
        }
    }

    #[test]
    fn a_peer_farther_away_than_was_thought_is_measured_in_the_end() {
        let mut own = Rtt::default();
        let rtt = ms(700);
        for _ in 0..10 {
            match own.wait() > rtt {
                true => own.on_answer(rtt),
                false => own.on_ambiguous_answer(),
            }
        }
        assert!((rtt..WAIT_MAX).contains(&own.wait()), "{:?}", own.wait());
    }

    #[test]
    fn no_wait_is_longer_than_a_second() {
        let mut own = Rtt::default();
        for _ in 0..100 {
            own.on_answer(Duration::from_secs(60));
            own.on_ambiguous_answer();
            assert!(own.wait() <= WAIT_MAX);
        }
    }
}
