//! Deadlines: one indexed heap, one entry per owner, each with a reason.

use std::time::{Duration, Instant, SystemTime};

/// When [`handle_timeout`](crate::Server::handle_timeout) must be called, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// May lie in the past: then call at once, after other input had its turn.
    pub at: Instant,
    /// What falls due, for logs and tests.
    pub reason: Reason,
}

/// What falls due at a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A session that must have finished ICE and DTLS by then.
    Handshake,
    /// A timer of ICE, DTLS or str0m.
    Control,
    /// Sender reports to a viewer.
    Report,
    /// A path whose publisher did not come back.
    Grace,
    /// A keyframe request that was held back.
    Keyframe,
    /// A part of a frame whose rest did not come in time.
    Hold,
    /// What is left of a burst to a viewer.
    Burst,
    /// Sessions that end one after the other, since the server shuts down.
    Ending,
}

/// The wall clock, read once and counted on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WallClock {
    started: Instant,
    ntp: u64,
}

impl WallClock {
    pub(crate) fn new(started: Instant, unix_time: SystemTime) -> Self {
        Self {
            started,
            ntp: ntp(unix_time),
        }
    }

    /// NTP time of `now`.
    pub(crate) fn ntp(&self, now: Instant) -> u64 {
        self.ntp
            .wrapping_add(ntp_interval(now.saturating_duration_since(self.started)))
    }
}

/// NTP's epoch, 1900, lies this long before Unix'.
const NTP_TO_UNIX: Duration = Duration::from_secs(2_208_988_800);

/// A point in time in NTP's 32.32 fixed point (RFC 5905 §6).
pub(crate) fn ntp(time: SystemTime) -> u64 {
    ntp_interval(
        time.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            + NTP_TO_UNIX,
    )
}

/// A span of time in NTP's 32.32 fixed point.
#[expect(clippy::cast_possible_truncation, reason = "NTP time wraps in 2036")]
pub(crate) fn ntp_interval(span: Duration) -> u64 {
    ((span.as_nanos() << 32) / 1_000_000_000) as u64
}

/// Deadlines of owners that are small numbers (slots of a slab): setting, moving and removing one
/// is O(log n), looking at the next is O(1).
///
/// Invariant: `places[owner]` is where the owner's entry stands in `heap`, and no child in `heap`
/// is earlier than its parent.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: Vec<Entry>,
    places: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    deadline: Deadline,
    owner: u32,
}

/// The place of an owner that has no deadline.
const NOWHERE: usize = usize::MAX;

impl Deadlines {
    /// Gives an owner the deadline it is to have; `None` takes it away.
    pub(crate) fn set(&mut self, owner: u32, deadline: Option<Deadline>) {
        match (self.place(owner), deadline) {
            (Some(at), Some(deadline)) => {
                if let Some(entry) = self.heap.get_mut(at) {
                    entry.deadline = deadline;
                }
                self.restore(at);
            }
            (Some(at), None) => {
                let last = self.heap.len() - 1;
                self.swap(at, last);
                self.heap.pop();
                self.put_place(owner, NOWHERE);
                if at < last {
                    self.restore(at);
                }
            }
            (None, Some(deadline)) => {
                let at = self.heap.len();
                self.heap.push(Entry { deadline, owner });
                self.put_place(owner, at);
                self.restore(at);
            }
            (None, None) => {}
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Deadline> {
        self.heap.first().map(|e| e.deadline)
    }

    /// Takes the earliest deadline out, if it lies at or before `until`.
    pub(crate) fn pop(&mut self, until: Instant) -> Option<(u32, Deadline)> {
        let first = *self.heap.first()?;
        if first.deadline.at > until {
            return None;
        }
        self.set(first.owner, None);
        Some((first.owner, first.deadline))
    }

    fn place(&self, owner: u32) -> Option<usize> {
        let place = *self.places.get(owner as usize)?;
        (place != NOWHERE).then_some(place)
    }

    fn put_place(&mut self, owner: u32, place: usize) {
        let owner = owner as usize;
        if self.places.len() <= owner {
            self.places.resize(owner + 1, NOWHERE);
        }
        if let Some(p) = self.places.get_mut(owner) {
            *p = place;
        }
    }

    fn at(&self, place: usize) -> Option<Instant> {
        self.heap.get(place).map(|e| e.deadline.at)
    }

    /// Moves the entry at `place` up or down to where it belongs.
    fn restore(&mut self, mut place: usize) {
        while place > 0 && self.at(place) < self.at((place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        loop {
            let left = 2 * place + 1;
            let Some(left_at) = self.at(left) else { return };
            let child = match self.at(left + 1) {
                Some(right_at) if right_at < left_at => left + 1,
                _ => left,
            };
            if self.at(place) <= self.at(child) {
                return;
            }
            self.swap(place, child);
            place = child;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for place in [a, b] {
            if let Some(owner) = self.heap.get(place).map(|e| e.owner) {
                self.put_place(owner, place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the beginning"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    fn deadline(base: Instant, ms: u64) -> Deadline {
        Deadline {
            at: base + Duration::from_millis(ms),
            reason: Reason::Control,
        }
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let base = start();
        let mut deadlines = Deadlines::default();
        deadlines.set(4, Some(deadline(base, 10)));
        assert_eq!(deadlines.pop(base), None);
        assert_eq!(
            deadlines.pop(base + Duration::from_millis(10)).map(|d| d.0),
            Some(4)
        );
        assert_eq!(deadlines.next(), None);
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_sorted_map(ops in prop::collection::vec((0_u32..20, prop::option::of(0_u64..50)), 1..200)) {
            let base = start();
            let mut deadlines = Deadlines::default();
            let mut model = BTreeMap::new();
            for (owner, ms) in ops {
                deadlines.set(owner, ms.map(|ms| deadline(base, ms)));
                match ms {
                    Some(ms) => { model.insert(owner, ms); }
                    None => { model.remove(&owner); }
                }
                let next = deadlines.next().map(|d| d.at);
                prop_assert_eq!(next, model.values().min().map(|ms| base + Duration::from_millis(*ms)));
            }
            let mut popped = Vec::new();
            while let Some((owner, d)) = deadlines.pop(base + Duration::from_secs(1)) {
                popped.push((d.at, owner));
            }
            prop_assert!(popped.is_sorted_by_key(|p| p.0));
            prop_assert_eq!(popped.len(), model.len());
        }
    }
}
