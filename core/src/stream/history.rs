//! The packets of one track, in the order in which they arrived.
//!
//! Written once per published packet, read by every viewer through a cursor. Bounded by packet
//! count, bytes and age. No sequence number is recorded twice within the window that the bound on
//! packets gives, and none from before it: what a viewer's packet index stands for never changes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::config::HistoryLimits;

/// A place in the history: the number of packets recorded before. Never reused.
pub(crate) type Position = u64;

/// One packet.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Extended sequence number of the track.
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) arrived: Instant,
    pub(crate) payload: Arc<[u8]>,
}

/// Why a packet was not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unrecorded {
    /// Its sequence number was recorded already.
    Duplicate,
    /// It is older than what can be told from a duplicate.
    TooLate,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct History {
    entries: VecDeque<Entry>,
    /// Position of the first of `entries`.
    tail: Position,
    bytes: usize,
    limits: HistoryLimits,
    /// What was recorded last at `sequence % window`.
    recorded: Vec<Recorded>,
    /// One more than the highest sequence number recorded.
    next_sequence: u64,
}

/// Where a sequence number was recorded.
#[derive(Debug, Clone, Copy, Default)]
struct Recorded {
    /// One more than the sequence number; 0: none was.
    next: u64,
    position: Position,
}

impl History {
    pub(crate) fn new(limits: HistoryLimits) -> Self {
        Self {
            entries: VecDeque::new(),
            tail: 0,
            bytes: 0,
            limits,
            recorded: vec![Recorded::default(); limits.window()],
            next_sequence: 0,
        }
    }

    /// Appends a packet and drops from the other end what the bounds no longer allow.
    pub(crate) fn record(&mut self, entry: Entry) -> Result<Position, Unrecorded> {
        let sequence = entry.sequence;
        let window = self.recorded.len() as u64;
        if sequence + window < self.next_sequence {
            return Err(Unrecorded::TooLate);
        }
        let position = self.head();
        let place = self.recorded.get_mut(index(sequence % window));
        let Some(place) = place.filter(|p| p.next != sequence + 1) else {
            return Err(Unrecorded::Duplicate);
        };
        *place = Recorded {
            next: sequence + 1,
            position,
        };
        self.next_sequence = self.next_sequence.max(sequence + 1);
        let now = entry.arrived;
        self.bytes += entry.payload.len();
        self.entries.push_back(entry);
        self.trim(now);
        Ok(position)
    }

    /// Where the next packet will stand.
    pub(crate) fn head(&self) -> Position {
        self.tail + self.entries.len() as u64
    }

    /// The oldest position that still holds a packet, or the head.
    pub(crate) fn tail(&self) -> Position {
        self.tail
    }

    pub(crate) fn get(&self, position: Position) -> Option<&Entry> {
        self.entries.get(index(position.checked_sub(self.tail)?))
    }

    /// The packet of a sequence number, and where it stands. `None`: it never came, or is gone.
    pub(crate) fn find(&self, sequence: u64) -> Option<(Position, &Entry)> {
        let window = self.recorded.len() as u64;
        let recorded = self.recorded.get(index(sequence % window))?;
        let is_here = Some(recorded.next) == sequence.checked_add(1);
        let entry = self.get(recorded.position).filter(|_| is_here)?;
        debug_assert_eq!(entry.sequence, sequence);
        Some((recorded.position, entry))
    }

    /// One more than the highest sequence number recorded; 0 if there is none.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The last packet recorded.
    #[cfg(test)]
    pub(crate) fn last(&self) -> Option<&Entry> {
        self.entries.back()
    }

    fn trim(&mut self, now: Instant) {
        while self.entries.len() > self.limits.packets
            || self.bytes > self.limits.bytes
            || self
                .entries
                .front()
                .is_some_and(|e| now.saturating_duration_since(e.arrived) > self.limits.age)
        {
            let Some(dropped) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= dropped.payload.len();
            self.tail += 1;
        }
    }
}

/// A number below the length of something in memory.
#[expect(
    clippy::cast_possible_truncation,
    reason = "what is in memory can be counted by usize"
)]
fn index(number: u64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
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

    fn entry(at: Instant, sequence: u64, len: usize) -> Entry {
        Entry {
            sequence,
            timestamp: 0,
            marker: false,
            arrived: at,
            payload: vec![0; len].into(),
        }
    }

    fn limits() -> HistoryLimits {
        HistoryLimits {
            packets: 16,
            bytes: 1000,
            age: Duration::from_secs(1),
        }
    }

    #[test]
    fn old_packets_go_by_age_by_bytes_and_by_count() {
        let at = start();
        let mut history = History::new(limits());
        for sequence in 0..20 {
            history.record(entry(at, sequence, 1)).unwrap();
        }
        assert_eq!((history.tail(), history.head()), (4, 20));
        history.record(entry(at, 20, 990)).unwrap();
        assert_eq!(history.tail(), 10);
        history
            .record(entry(at + Duration::from_secs(2), 21, 1))
            .unwrap();
        assert_eq!((history.tail(), history.head()), (21, 22));
        assert!(history.get(20).is_none());
        assert_eq!(history.get(21).unwrap().sequence, 21);
    }

    #[test]
    fn a_duplicate_is_refused_even_after_its_packet_is_gone() {
        let at = start();
        let mut history = History::new(limits());
        history.record(entry(at, 5, 1)).unwrap();
        history
            .record(entry(at + Duration::from_secs(5), 6, 1))
            .unwrap();
        assert_eq!(history.tail(), 1);
        assert_eq!(history.record(entry(at, 5, 1)), Err(Unrecorded::Duplicate));
    }

    proptest! {
        #[test]
        fn a_packet_within_the_window_is_found_by_its_number(offsets in prop::collection::vec(0_u64..40, 1..60)) {
            let at = start();
            let mut history = History::new(limits());
            for (i, offset) in offsets.into_iter().enumerate() {
                let _ = history.record(entry(at, i as u64 + offset, 30));
                let there: Vec<_> = (history.tail()..history.head())
                    .map(|position| (position, history.get(position).unwrap().sequence))
                    .collect();
                let begin = history.next_sequence().saturating_sub(16);
                for sequence in begin..history.next_sequence() + 20 {
                    let found = history.find(sequence).map(|(position, entry)| (position, entry.sequence));
                    let expected = there.iter().find(|(_, s)| *s == sequence).copied();
                    prop_assert_eq!(found, expected);
                }
            }
            prop_assert!(history.find(u64::MAX).is_none());
        }

        #[test]
        fn no_sequence_number_is_recorded_twice(offsets in prop::collection::vec(0_u64..60, 1..300)) {
            let at = start();
            let mut history = History::new(limits());
            let mut recorded = BTreeSet::new();
            for (i, offset) in offsets.into_iter().enumerate() {
                let sequence = i as u64 / 2 + offset;
                if history.record(entry(at, sequence, 10)).is_ok() {
                    prop_assert!(recorded.insert(sequence));
                }
                prop_assert!(history.head() - history.tail() <= 16);
            }
        }
    }
}
