//! How much video one viewer is sent at once. What lies before the viewer may have a short queue: a
//! keyframe, or all that came since one, would overflow it.
//!
//! It is no limit to a stream: what has gone in parts for [`PARTS_TIME`] and is not done is a stream
//! that needs more, or a server that has not come to it, and all of it goes. Repairs are not counted.

use std::time::{Duration, Instant};

/// Packets in a row: more than a delta frame has, and what a shallow queue still takes.
const PACKETS_MAX: u32 = 20;

/// One more after so long: some 130 Mbit/s.
const PACKET_EVERY: Duration = Duration::from_micros(75);

/// What is left of a burst goes on when there is room for as much again.
const PAUSE: Duration = PACKET_EVERY.saturating_mul(PACKETS_MAX);

/// How long a burst goes in parts: that is some 350 packets.
const PARTS_TIME: Duration = Duration::from_millis(25);

/// See the module.
#[derive(Debug)]
pub(super) struct Burst {
    /// How many packets may go.
    room: u32,
    /// Up to when room was gained.
    counted: Instant,
    /// Since when there has been something left.
    since: Option<Instant>,
    /// What is left goes on then, if it has not before.
    rest: Option<Instant>,
}

impl Burst {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            room: PACKETS_MAX,
            counted: now,
            since: None,
            rest: None,
        }
    }

    /// The viewer is visited.
    pub(super) fn begin(&mut self, now: Instant) {
        let time = now.saturating_duration_since(self.counted);
        let gained = time.as_micros() / PACKET_EVERY.as_micros();
        let gained = u32::try_from(gained).unwrap_or(u32::MAX);
        self.room = self.room.saturating_add(gained);
        if self.room < PACKETS_MAX {
            self.counted += PACKET_EVERY * gained;
        } else {
            self.room = PACKETS_MAX;
            self.counted = now;
        }
    }

    /// Whether one more packet may go now. If not, the rest goes on after a pause.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        if self.room > 0 {
            return true;
        }
        let since = *self.since.get_or_insert(now);
        let goes_on = now.saturating_duration_since(since) >= PARTS_TIME;
        if !goes_on && self.rest.is_none() {
            self.rest = Some(now + PAUSE);
        }
        goes_on
    }

    pub(super) fn on_sent(&mut self) {
        self.room = self.room.saturating_sub(1);
    }

    /// The viewer has all there is.
    pub(super) fn on_done(&mut self) {
        self.since = None;
    }

    /// When what is left goes on.
    pub(super) fn rest(&self) -> Option<Instant> {
        self.rest
    }

    /// Whether what is left is to go on now; asked for once.
    pub(super) fn take_rest(&mut self, now: Instant) -> bool {
        self.rest.take_if(|at| *at <= now).is_some()
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

    /// Sends what may go of `left` packets.
    fn send(burst: &mut Burst, now: Instant, left: u32) -> u32 {
        burst.begin(now);
        let mut sent = 0;
        while sent < left && burst.admits(now) {
            burst.on_sent();
            sent += 1;
        }
        if sent == left {
            burst.on_done();
        }
        sent
    }

    #[test]
    fn a_burst_goes_in_parts_with_pauses() {
        let mut now = start();
        let mut burst = Burst::new(now);
        assert_eq!(send(&mut burst, now, 45), 20);
        assert_eq!(burst.rest(), Some(now + PAUSE));
        assert!(!burst.take_rest(now));
        // News in between gets no more than what time has earned.
        now += PAUSE / 4;
        assert_eq!(send(&mut burst, now, 25), 5);
        now += PAUSE * 3 / 4;
        assert!(burst.take_rest(now) && !burst.take_rest(now));
        assert_eq!(send(&mut burst, now, 20), 15);
        now = burst.rest().unwrap();
        assert!(burst.take_rest(now));
        assert_eq!(send(&mut burst, now, 5), 5);
        assert_eq!(burst.rest(), None);
    }

    #[test]
    fn a_stream_below_the_rate_never_waits_whatever_its_beat() {
        let mut now = start();
        for micros in [75, 140, 149, 151] {
            let mut burst = Burst::new(now);
            for n in 0..1000 {
                // One and a half packets, which is the rate or less, but for 75 µs.
                let packets = if micros == 75 { 1 } else { 1 + n % 2 };
                assert_eq!(send(&mut burst, now, packets), packets, "{micros} at {n}");
                now += Duration::from_micros(micros);
            }
            assert_eq!(burst.rest(), None);
        }
    }

    #[test]
    fn a_stream_above_the_rate_is_not_held_back_for_long() {
        let mut now = start();
        let mut burst = Burst::new(now);
        let (mut left, mut most) = (0, 0);
        for _ in 0..10_000 {
            left += 32;
            left -= send(&mut burst, now, left);
            burst.take_rest(now);
            most = most.max(left);
            now += Duration::from_millis(1);
        }
        assert!(most < 32 * 30, "{most}");
    }

    #[test]
    fn who_is_visited_seldom_gets_all_there_is() {
        let mut now = start();
        let mut burst = Burst::new(now);
        let mut left = 0;
        for _ in 0..100 {
            left += 26;
            left -= send(&mut burst, now, left);
            burst.take_rest(now);
            now += Duration::from_millis(50);
        }
        assert!(left <= 26, "{left}");
    }
}
