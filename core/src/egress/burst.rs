//! How much video one viewer is sent at once. What lies before the viewer may have a short queue: a
//! keyframe, or all that came since one, would overflow it.

use std::time::{Duration, Instant};

/// Packets in a row: more than a delta frame has, and what a shallow queue still takes.
const PACKETS_MAX: u32 = 20;

/// One more after so long: some 130 Mbit/s.
const PACKET_EVERY: Duration = Duration::from_micros(75);

/// What is left of a burst goes on when there is room for as much again.
const PAUSE: Duration = PACKET_EVERY.saturating_mul(PACKETS_MAX);

/// See the module.
#[derive(Debug)]
pub(super) struct Burst {
    /// How many packets may go.
    room: u32,
    /// Up to when room was gained.
    counted: Instant,
    /// Something is left, which goes on then.
    rest: Option<Instant>,
}

impl Burst {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            room: PACKETS_MAX,
            counted: now,
            rest: None,
        }
    }

    /// The viewer is visited.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.room == PACKETS_MAX {
            self.counted = now;
            return;
        }
        let gained =
            now.saturating_duration_since(self.counted).as_micros() / PACKET_EVERY.as_micros();
        if gained > 0 {
            let gained = u32::try_from(gained).unwrap_or(PACKETS_MAX);
            self.room = self.room.saturating_add(gained).min(PACKETS_MAX);
            self.counted = now;
        }
    }

    /// Whether one more packet may go now. If not, the rest goes on after a pause.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        if self.room == 0 {
            self.rest.get_or_insert(now + PAUSE);
        }
        self.room > 0
    }

    pub(super) fn on_sent(&mut self) {
        self.room = self.room.saturating_sub(1);
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

    /// Sends what may go, `most` packets at most.
    fn send(burst: &mut Burst, now: Instant, most: u32) -> u32 {
        burst.begin(now);
        let mut sent = 0;
        while sent < most && burst.admits(now) {
            burst.on_sent();
            sent += 1;
        }
        sent
    }

    #[test]
    fn a_burst_goes_in_parts_with_pauses() {
        let mut now = Instant::now();
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
    fn a_stream_below_the_rate_never_waits() {
        let mut now = Instant::now();
        let mut burst = Burst::new(now);
        for _ in 0..1000 {
            assert_eq!(send(&mut burst, now, 2), 2);
            now += PACKET_EVERY * 2;
        }
        assert_eq!(burst.rest(), None);
    }
}
