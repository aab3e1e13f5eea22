//! What a viewer asks for again: a short queue, a short memory, and a budget.
//!
//! All of it is of fixed size, whatever is asked for: [`STATE_LEN_MAX`] bytes. What finds the queue
//! full, was sent a moment ago, or is more than the budget has, is not sent; who misses it asks
//! again.

use crate::config::RepairLimits;
use crate::media::MediaKind;
use crate::rtcp::Lost;

/// How many entries of NACKs may wait, of up to 17 packets each. They wait for a socket that is
/// full, no longer than for the end of a batch otherwise.
const ASKED_MAX: usize = 18;

/// How many runs of up to 17 packets are remembered as sent. More keeps to once in a round trip
/// also where very much is lost; the budget holds in any case.
const SENT_MAX: usize = 12;

/// What one viewer's repairs may take up.
const STATE_LEN_MAX: usize = 256;

const _: () = assert!(size_of::<Repairs>() <= STATE_LEN_MAX);

/// See the module.
#[derive(Debug)]
pub(super) struct Repairs {
    asked: heapless::Deque<Run, ASKED_MAX>,
    /// The oldest is at `oldest`.
    sent: [Option<Sent>; SENT_MAX],
    oldest: u8,
    /// Bytes that may be sent.
    budget: u32,
    limits: RepairLimits,
}

/// Packets of one source that lie close to each other.
#[derive(Debug, Clone, Copy)]
struct Run {
    kind: MediaKind,
    lost: Lost,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    /// In milliseconds, wrapping.
    at: u16,
    run: Run,
}

impl Run {
    /// The bit that stands for a packet, in a number whose lowest one is the first packet's.
    fn bit(self, kind: MediaKind, sequence: u16) -> Option<u32> {
        let distance = sequence.wrapping_sub(self.lost.first);
        (self.kind == kind && distance <= 16).then(|| 1 << distance)
    }

    fn bits(self) -> u32 {
        u32::from(self.lost.following) << 1 | 1
    }

    fn has(self, kind: MediaKind, sequence: u16) -> bool {
        let bit = self.bit(kind, sequence);
        bit.is_some_and(|bit| self.bits() & bit != 0)
    }
}

impl Repairs {
    /// The budget begins full.
    pub(super) fn new(limits: RepairLimits) -> Self {
        Self {
            asked: heapless::Deque::new(),
            sent: [None; SENT_MAX],
            oldest: 0,
            budget: limits.burst,
            limits,
        }
    }

    /// Notes what is asked for. Returns how many of these packets wait already; `None`: there was
    /// no room.
    pub(super) fn ask(&mut self, kind: MediaKind, lost: Lost) -> Option<u32> {
        let same = |run: &&mut Run| run.kind == kind && run.lost.first == lost.first;
        if let Some(run) = self.asked.iter_mut().find(same) {
            let known = run.lost.following & lost.following;
            run.lost.following |= lost.following;
            return Some(1 + known.count_ones());
        }
        self.asked.push_back(Run { kind, lost }).ok().map(|()| 0)
    }

    /// The packet that was asked for first.
    pub(super) fn next(&self) -> Option<(MediaKind, u16)> {
        self.asked.front().map(|run| (run.kind, run.lost.first))
    }

    /// Done with it.
    pub(super) fn pop(&mut self) {
        let Some(run) = self.asked.front_mut() else {
            return;
        };
        let skipped = run.lost.following.trailing_zeros();
        if skipped == u16::BITS {
            self.asked.pop_front();
            return;
        }
        // `skipped` is at most 15 here.
        for _ in 0..=skipped {
            run.lost.first = run.lost.first.wrapping_add(1);
            run.lost.following >>= 1;
        }
    }

    /// Whether a packet was sent less than `spacing` milliseconds before `now`.
    pub(super) fn was_sent(&self, now: u16, spacing: u16, kind: MediaKind, sequence: u16) -> bool {
        self.sent
            .iter()
            .flatten()
            .any(|sent| now.wrapping_sub(sent.at) < spacing && sent.run.has(kind, sequence))
    }

    /// Whether the budget has room for so many bytes.
    pub(super) fn affords(&self, len: usize) -> bool {
        len <= self.budget as usize
    }

    /// A packet was sent again.
    pub(super) fn on_sent(&mut self, now: u16, kind: MediaKind, sequence: u16, len: usize) {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.budget = self.budget.saturating_sub(len);
        let same = |sent: &&mut Sent| sent.at == now && sent.run.bit(kind, sequence).is_some();
        if let Some(sent) = self.sent.iter_mut().flatten().find(same) {
            let distance = sequence.wrapping_sub(sent.run.lost.first);
            if let Some(shift) = distance.checked_sub(1) {
                sent.run.lost.following |= 1 << shift;
            }
            return;
        }
        let run = Run {
            kind,
            lost: Lost {
                first: sequence,
                following: 0,
            },
        };
        if let Some(place) = self.sent.get_mut(usize::from(self.oldest)) {
            *place = Some(Sent { at: now, run });
        }
        let next = self.oldest + 1;
        let is_last = usize::from(next) == SENT_MAX;
        self.oldest = if is_last { 0 } else { next };
    }

    /// So many bytes of media were sent, for which repairs may be.
    pub(super) fn earn(&mut self, bytes: usize) {
        let earned = bytes as u64 * u64::from(self.limits.percent) / 100;
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        self.budget = self.budget.saturating_add(earned).min(self.limits.burst);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const VIDEO: MediaKind = MediaKind::Video;
    const RTT: u16 = 50;

    fn limits() -> RepairLimits {
        RepairLimits::default()
    }

    fn lost(first: u16, following: u16) -> Lost {
        Lost { first, following }
    }

    /// Takes everything that is asked for.
    fn drain(repairs: &mut Repairs) -> Vec<u16> {
        std::iter::from_fn(|| {
            let (_, sequence) = repairs.next()?;
            repairs.pop();
            Some(sequence)
        })
        .collect()
    }

    #[test]
    fn a_packet_that_was_just_sent_is_not_sent_again() {
        let mut repairs = Repairs::new(limits());
        repairs.on_sent(1000, VIDEO, 65_535, 100);
        repairs.on_sent(1000, VIDEO, 0, 100);
        repairs.on_sent(1000, VIDEO, 15, 100);
        let sent = |at, kind, sequence| repairs.was_sent(at, RTT, kind, sequence);
        for sequence in [65_535, 0, 15] {
            assert!(sent(1000 + RTT - 1, VIDEO, sequence));
            assert!(!sent(1000 + RTT, VIDEO, sequence));
        }
        assert!(!sent(1000, VIDEO, 1) && !sent(1000, MediaKind::Audio, 0));
        assert_eq!(repairs.sent.iter().flatten().count(), 1);
    }

    #[test]
    fn what_is_asked_for_while_the_queue_is_full_is_refused() {
        let mut repairs = Repairs::new(limits());
        for first in (0..).step_by(100).take(ASKED_MAX) {
            assert_eq!(repairs.ask(VIDEO, lost(first, u16::MAX)), Some(0));
        }
        assert_eq!(repairs.ask(VIDEO, lost(5000, 0)), None);
        assert_eq!(
            repairs.ask(VIDEO, lost(0, 1)),
            Some(2),
            "these wait already"
        );
        assert_eq!(drain(&mut repairs).len(), ASKED_MAX * 17);
    }

    #[test]
    fn the_budget_is_a_share_of_the_media_and_a_burst() {
        let mut repairs = Repairs::new(RepairLimits {
            percent: 50,
            burst: 1000,
        });
        repairs.on_sent(0, VIDEO, 1, 900);
        assert!(!repairs.affords(101) && repairs.affords(100));
        repairs.earn(200);
        assert!(repairs.affords(200) && !repairs.affords(201));
        repairs.earn(1_000_000);
        assert!(repairs.affords(1000) && !repairs.affords(1001));
    }

    proptest! {
        #[test]
        fn all_that_is_asked_for_comes_out_once(runs in prop::collection::vec((any::<u16>(), any::<u16>()), 1..=ASKED_MAX)) {
            let mut repairs = Repairs::new(limits());
            let mut asked = BTreeSet::new();
            let mut firsts = BTreeSet::new();
            for (first, following) in runs {
                prop_assert!(repairs.ask(VIDEO, lost(first, following)).is_some());
                firsts.insert(first);
                asked.extend(lost(first, following).sequences());
            }
            let taken = drain(&mut repairs);
            prop_assert!(taken.len() <= firsts.len() * 17);
            prop_assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), asked);
        }

        #[test]
        fn within_a_round_trip_little_is_sent_twice(sequences in prop::collection::vec(0_u16..8, 1..500)) {
            // As many runs as are remembered hold all of these.
            let mut repairs = Repairs::new(limits());
            let mut last = std::collections::BTreeMap::new();
            for (n, sequence) in sequences.into_iter().enumerate() {
                let now = u16::try_from(n).unwrap();
                if repairs.was_sent(now, RTT, VIDEO, sequence) {
                    continue;
                }
                let before = last.insert(sequence, now);
                prop_assert!(before.is_none_or(|before| now - before >= RTT));
                repairs.on_sent(now, VIDEO, sequence, 100);
            }
        }
    }
}
