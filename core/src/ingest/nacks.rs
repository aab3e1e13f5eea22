//! Which packets of a publisher's track are missing, and when they are asked for.
//!
//! A number is missing once a higher one has come, for as long as the track's history would still
//! record it: the window. It is asked for a little later, in case it is only out of order, and
//! then time and again until it comes, or the tries are used up. Whatever comes late is taken,
//! whether it is still asked for or not.
//!
//! Bounded: a bit for each number of the window, and at most [`WANTED_MAX`] that are asked for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long after a gap shows its packets are asked for. Longer spares requests for packets that
/// are only out of order; shorter repairs sooner.
const REORDERING: Duration = Duration::from_millis(5);

/// Requests for a track are at least this far apart. Longer puts more into one; shorter asks
/// sooner where much is lost.
const PACE: Duration = Duration::from_millis(5);

/// How often a packet is asked for, as libwebrtc does.
const TRIES_MAX: u8 = 10;

/// How many packets may be wanted at a time, as with libwebrtc. More asks a link for repairs that
/// was just broken, or is too narrow; where more is missing a keyframe is the better repair. This
/// is nearly half a second of 20 Mbit/s.
pub(crate) const WANTED_MAX: usize = 1000;

/// How many of RFC 4585's pairs (a number, and a bit for each of the 16 after it) go into one
/// request, which so fits any link.
pub(crate) const ENTRIES_MAX: usize = 250;

/// The pairs of one request.
pub(crate) type Entries = heapless::Vec<(u16, u16), ENTRIES_MAX>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Nacks {
    /// The peer answers requests.
    asks: bool,
    /// Bit `sequence % window`, for the window below `end`: it has come.
    come: Box<[u64]>,
    /// The number that came first.
    first: u64,
    /// One more than the highest that came. 0: none has.
    end: u64,
    /// In ascending order.
    wanted: VecDeque<Wanted>,
    /// The earliest that one of `wanted` is due.
    due: Option<Instant>,
    /// Nothing is asked for before.
    paced: Option<Instant>,
    tally: Tally,
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    sequence: u64,
    /// When it is asked for next, or given up.
    due: Instant,
    /// When it was asked for last.
    asked: Option<Instant>,
    tries: u8,
}

/// What a packet that came was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// Nothing that had been asked for.
    Unasked,
    /// It had been asked for so many times, the last time then.
    Asked { last: Instant, tries: u8 },
    /// The first after so many that none of them is asked for.
    AfterTooMany,
}

/// What became of requests, since it was asked last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Numbers asked for, each as often as it was.
    pub(crate) asked: u64,
    /// Packets that came after they were asked for.
    pub(crate) repaired: u64,
    /// Packets that are not asked for any more, or never were since there were too many.
    pub(crate) given_up: u64,
}

impl Nacks {
    /// `window` is how many numbers back the track's history records, a power of two; fewer than 64
    /// count as 64. Nothing is asked for unless `asks`.
    pub(crate) fn new(window: usize, asks: bool) -> Self {
        debug_assert!(window.is_power_of_two() && window <= 1 << 15);
        Self {
            asks,
            come: vec![0; window.div_ceil(64)].into(),
            first: 0,
            end: 0,
            wanted: VecDeque::new(),
            due: None,
            paced: None,
            tally: Tally::default(),
        }
    }

    /// The extended number that these 16 bits stand for: the nearest to the highest that came.
    pub(crate) fn extend(&self, bits: u16) -> u64 {
        extend(self.end.checked_sub(1), bits)
    }

    /// The packet is missing, and the history would record it.
    pub(crate) fn misses(&self, sequence: u64) -> bool {
        (self.first..self.end).contains(&sequence)
            && self.end - sequence <= self.window()
            && !self.has(sequence)
    }

    /// A genuine packet came.
    pub(crate) fn receive(&mut self, now: Instant, sequence: u64) -> Came {
        if self.end == 0 {
            self.first = sequence;
            self.end = sequence;
        }
        let Some(gap) = sequence.checked_sub(self.end) else {
            return self.fill(sequence);
        };
        self.advance(sequence);
        self.want(now, sequence - gap..sequence)
    }

    /// When something is to be asked for, or given up.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let due = self.due?;
        Some(self.paced.map_or(due, |paced| paced.max(due)))
    }

    /// What is to be asked for now. It may be again after `wait`.
    pub(crate) fn take_due(&mut self, now: Instant, wait: Duration) -> Entries {
        let mut request = Request::default();
        if self.poll_timeout().is_none_or(|at| at > now) {
            return request.entries;
        }
        let tally = &mut self.tally;
        self.wanted.retain_mut(|wanted| {
            if wanted.due > now {
                return true;
            }
            if wanted.tries == TRIES_MAX {
                tally.given_up += 1;
                return false;
            }
            if request.add(wanted.sequence) {
                tally.asked += 1;
                wanted.tries += 1;
                wanted.asked = Some(now);
                wanted.due = now + wait;
            }
            true
        });
        self.paced = Some(now + PACE);
        self.find_due();
        request.entries
    }

    /// What became of requests since the last time.
    pub(crate) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// One came that is below the highest.
    fn fill(&mut self, sequence: u64) -> Came {
        if !self.misses(sequence) {
            return Came::Unasked;
        }
        self.set(sequence, true);
        let place = self.wanted.binary_search_by_key(&sequence, |w| w.sequence);
        let Some(wanted) = place.ok().and_then(|place| self.wanted.remove(place)) else {
            return Came::Unasked;
        };
        if self.due == Some(wanted.due) {
            self.find_due();
        }
        match wanted.asked {
            Some(last) => {
                self.tally.repaired += 1;
                Came::Asked {
                    last,
                    tries: wanted.tries,
                }
            }
            None => Came::Unasked,
        }
    }

    /// `sequence` is the highest now.
    fn advance(&mut self, sequence: u64) {
        if sequence - self.end >= self.window() {
            self.come.fill(0);
        } else {
            for skipped in self.end..sequence {
                self.set(skipped, false);
            }
        }
        self.set(sequence, true);
        self.end = sequence.saturating_add(1);
        let tail = self.end.saturating_sub(self.window());
        let before = self.wanted.len();
        while self.wanted.front().is_some_and(|w| w.sequence < tail) {
            self.wanted.pop_front();
        }
        let gone = before - self.wanted.len();
        if gone > 0 {
            self.tally.given_up += gone as u64;
            self.find_due();
        }
    }

    fn want(&mut self, now: Instant, missing: std::ops::Range<u64>) -> Came {
        let gap = missing.end - missing.start;
        if gap == 0 || !self.asks {
            return Came::Unasked;
        }
        let room = (WANTED_MAX as u64).min(self.window());
        if self.wanted.len() as u64 + gap > room {
            self.tally.given_up += self.wanted.len() as u64 + gap;
            self.wanted.clear();
            self.due = None;
            return Came::AfterTooMany;
        }
        let due = now + REORDERING;
        self.wanted.extend(missing.map(|sequence| Wanted {
            sequence,
            due,
            asked: None,
            tries: 0,
        }));
        self.due = Some(self.due.map_or(due, |at| at.min(due)));
        Came::Unasked
    }

    fn find_due(&mut self) {
        self.due = self.wanted.iter().map(|w| w.due).min();
    }

    fn window(&self) -> u64 {
        self.come.len() as u64 * 64
    }

    fn has(&self, sequence: u64) -> bool {
        let (word, bit) = self.place(sequence);
        self.come.get(word).is_some_and(|w| w & bit != 0)
    }

    fn set(&mut self, sequence: u64, has_come: bool) {
        let (word, bit) = self.place(sequence);
        let Some(word) = self.come.get_mut(word) else {
            return;
        };
        if has_come {
            *word |= bit;
        } else {
            *word &= !bit;
        }
    }

    /// Which word, and which bit of it.
    fn place(&self, sequence: u64) -> (usize, u64) {
        let place = sequence % self.window();
        ((place / 64) as usize, 1 << (place % 64))
    }
}

/// Packs numbers into pairs.
#[derive(Debug, Default)]
struct Request {
    entries: Entries,
    /// The extended number of the last pair.
    last: u64,
}

impl Request {
    /// Numbers come in ascending order. Returns whether there was room.
    #[expect(clippy::cast_possible_truncation, reason = "as on the wire")]
    fn add(&mut self, sequence: u64) -> bool {
        if let Some((_, following)) = self.entries.last_mut()
            && let distance @ 1..=16 = sequence - self.last
        {
            *following |= 1 << (distance - 1);
            return true;
        }
        let has_room = self.entries.push((sequence as u16, 0)).is_ok();
        if has_room {
            self.last = sequence;
        }
        has_room
    }
}

/// The extended number that these 16 bits stand for, the nearest to one that is known. As RFC 3711
/// §3.3.1 has it, the first that comes has a roll-over count of 0.
pub(crate) fn extend(known: Option<u64>, bits: u16) -> u64 {
    let bits = u64::from(bits);
    let Some(known) = known else {
        return bits;
    };
    let near = (known & !0xffff) | bits;
    match known.abs_diff(near) {
        0..=0x8000 => near,
        _ if near < known => near.saturating_add(0x1_0000),
        // Below zero there is nothing.
        _ => near.checked_sub(0x1_0000).unwrap_or(near),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const WAIT: Duration = Duration::from_millis(60);
    const WINDOW: usize = 4096;

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the beginning"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    /// The numbers of a request, as far above `base` as they are.
    fn numbers(entries: &Entries, base: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        for (number, following) in entries {
            let number = extend(Some(base), *number);
            numbers.push(number);
            numbers.extend(
                (0..16)
                    .filter(|b| following >> b & 1 == 1)
                    .map(|b| number + 1 + b),
            );
        }
        numbers
    }

    /// A track of which these numbers came at once.
    fn track(at: Instant, sequences: impl IntoIterator<Item = u64>) -> Nacks {
        let mut nacks = Nacks::new(WINDOW, true);
        for sequence in sequences {
            nacks.receive(at, sequence);
        }
        nacks
    }

    #[test]
    fn a_gap_is_asked_for_soon_and_again_after_a_wait() {
        let at = start();
        let mut nacks = track(at, [65_534, 65_540, 65_560]);
        assert_eq!(nacks.poll_timeout(), Some(at + REORDERING));
        assert!(nacks.take_due(at + 4 * MS, WAIT).is_empty());
        let first = at + REORDERING;
        let asked = nacks.take_due(first, WAIT);
        let missing: Vec<_> = (65_535..65_540).chain(65_541..65_560).collect();
        assert_eq!(numbers(&asked, 65_535), missing);
        assert_eq!(asked.first(), Some(&(65_535, 0b1111_1111_1110_1111)));
        assert_eq!(nacks.poll_timeout(), Some(first + WAIT));
        assert_eq!(nacks.take_due(first + WAIT, WAIT).len(), 2);
        assert_eq!(nacks.take_tally().asked, 2 * 24);
    }

    #[test]
    fn what_is_only_out_of_order_is_not_asked_for() {
        let at = start();
        let mut nacks = track(at, [1, 3]);
        assert_eq!(nacks.receive(at + 3 * MS, 2), Came::Unasked);
        assert_eq!(nacks.poll_timeout(), None);
        assert_eq!(nacks.take_tally(), Tally::default());
    }

    #[test]
    fn a_repair_is_told_from_a_duplicate() {
        let at = start();
        let mut nacks = track(at, [1, 3]);
        let last = at + REORDERING;
        nacks.take_due(last, WAIT);
        assert!(nacks.misses(2));
        let came = nacks.receive(last + WAIT, 2);
        assert_eq!(came, Came::Asked { last, tries: 1 });
        assert!(!nacks.misses(2));
        assert_eq!(nacks.receive(last + WAIT, 2), Came::Unasked);
        assert_eq!(nacks.poll_timeout(), None);
        assert_eq!(nacks.take_tally().repaired, 1);
    }

    #[test]
    fn what_does_not_come_is_given_up_and_still_taken_late() {
        let mut at = start();
        let mut nacks = track(at, [1, 3]);
        let mut tries = 0;
        while let Some(next) = nacks.poll_timeout() {
            at = next;
            tries += nacks.take_due(at, WAIT).len();
        }
        assert_eq!(tries, usize::from(TRIES_MAX));
        assert_eq!(nacks.take_tally().given_up, 1);
        assert!(nacks.misses(2));
        assert_eq!(nacks.receive(at, 2), Came::Unasked);
    }

    #[test]
    fn of_too_large_a_gap_nothing_is_asked_for() {
        let at = start();
        let mut nacks = track(at, [1, 3]);
        assert_eq!(nacks.receive(at, 1004), Came::AfterTooMany);
        assert_eq!(nacks.poll_timeout(), None);
        assert_eq!(nacks.take_tally().given_up, 1001);
        assert!(nacks.misses(2) && nacks.misses(1003));
        // One more does not count as another gap.
        assert_eq!(nacks.receive(at, 1005), Came::Unasked);
        // A jump beyond the window leaves nothing to wait for.
        assert_eq!(nacks.receive(at, 40_000), Came::AfterTooMany);
        assert!(!nacks.misses(1003) && nacks.misses(39_000));
    }

    #[test]
    fn what_leaves_the_window_is_given_up() {
        let at = start();
        let mut nacks = track(at, (1..4098).filter(|n| *n != 2));
        assert!(nacks.misses(2));
        nacks.receive(at, 4098);
        assert!(!nacks.misses(2));
        assert_eq!(nacks.poll_timeout(), None);
        assert_eq!(nacks.take_tally().given_up, 1);
    }

    #[test]
    fn a_track_whose_peer_does_not_repair_is_not_asked() {
        let at = start();
        let mut nacks = Nacks::new(WINDOW, false);
        nacks.receive(at, 1);
        nacks.receive(at, 3);
        assert_eq!(nacks.poll_timeout(), None);
        assert!(nacks.misses(2));
    }

    #[test]
    fn a_request_that_is_full_leaves_the_rest_for_the_next() {
        let begun = start();
        let mut at = begun;
        let mut nacks = Nacks::new(2 * WINDOW, true);
        for sequence in (0..6000).filter(|n| n % 20 != 19) {
            nacks.receive(begun, sequence);
        }
        let mut asked = Vec::new();
        for _ in 0..2 {
            at = nacks.poll_timeout().unwrap();
            let request = nacks.take_due(at, WAIT);
            asked.extend(numbers(&request, 3000));
        }
        assert_eq!(at, begun + REORDERING + PACE);
        assert_eq!(asked, (0..299).map(|n| n * 20 + 19).collect::<Vec<_>>());
    }

    #[test]
    fn regress_a_full_request_asks_for_nothing_that_came() {
        let begun = start();
        let mut nacks = Nacks::new(2 * WINDOW, true);
        let is_lost = |n: &u64| n % 20 == 17 || n % 20 == if *n < 5000 { 18 } else { 19 };
        for sequence in (0..6000).filter(|n| !is_lost(n)) {
            nacks.receive(begun, sequence);
        }
        let at = nacks.poll_timeout().unwrap();
        let asked = numbers(&nacks.take_due(at, WAIT), 6000);
        assert!(asked.iter().all(|n| nacks.misses(*n)));
        assert_eq!(nacks.take_tally().asked, asked.len() as u64);
    }

    #[test]
    fn the_nearest_number_is_meant() {
        assert_eq!(extend(None, 7), 7);
        assert_eq!(extend(Some(65_535), 0), 65_536);
        assert_eq!(extend(Some(65_536), 65_535), 65_535);
        assert_eq!(extend(Some(2), 65_535), 65_535);
        assert_eq!(extend(Some(3 << 16), 1), (3 << 16) + 1);
        assert_eq!(extend(Some(u64::MAX), 0), u64::MAX);
    }

    /// What may happen to a track.
    #[derive(Debug, Clone)]
    enum Act {
        /// The next number comes after so many that do not.
        Next(u64),
        /// One comes that is so far below the highest.
        Late(u64),
        Pass(u64),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            20 => Just(Act::Next(0)),
            4 => (1..40_u64).prop_map(Act::Next),
            1 => (1..10_000_u64).prop_map(Act::Next),
            8 => (0..200_u64).prop_map(Act::Late),
            1 => (0..9_000_u64).prop_map(Act::Late),
            6 => (0..200_u64).prop_map(Act::Pass),
        ];
        prop::collection::vec(act, 1..400)
    }

    proptest! {
        #[test]
        fn only_what_is_missing_is_asked_for_and_not_too_often(
            first in prop_oneof![Just(0), any::<u16>().prop_map(u64::from), 65_000..66_000_u64],
            acts in acts(),
        ) {
            let mut now = start();
            let mut nacks = track(now, [first]);
            let mut highest = first;
            let mut come = std::collections::BTreeSet::from([first]);
            let mut asked: BTreeMap<u64, (u8, Instant)> = BTreeMap::new();
            for act in acts {
                match act {
                    Act::Next(gap) => {
                        highest += gap + 1;
                        come.insert(highest);
                        nacks.receive(now, highest);
                    }
                    Act::Late(back) => {
                        let sequence = highest.saturating_sub(back);
                        let missed = nacks.misses(sequence);
                        let in_window = highest - sequence < WINDOW as u64 && sequence >= first;
                        prop_assert_eq!(missed, in_window && !come.contains(&sequence));
                        nacks.receive(now, sequence);
                        if in_window {
                            come.insert(sequence);
                        }
                        prop_assert!(!nacks.misses(sequence));
                    }
                    Act::Pass(ms) => {
                        let end = now + MS * u32::try_from(ms).unwrap();
                        while let Some(at) = nacks.poll_timeout().filter(|at| *at <= end) {
                            now = now.max(at);
                            let before = nacks.tally;
                            let entries = nacks.take_due(now, WAIT);
                            prop_assert!(nacks.tally != before, "woken for nothing");
                            for number in numbers(&entries, highest) {
                                prop_assert!(!come.contains(&number));
                                let (tries, last) = asked.entry(number).or_insert((0, now));
                                prop_assert!(*tries == 0 || *last + WAIT <= now);
                                (*tries, *last) = (*tries + 1, now);
                                prop_assert!(*tries <= TRIES_MAX);
                            }
                        }
                        now = end;
                    }
                }
                prop_assert!(nacks.wanted.len() <= WANTED_MAX);
                prop_assert!(nacks.due == nacks.wanted.iter().map(|w| w.due).min());
            }
            // In the end there is nothing left to do.
            while let Some(at) = nacks.poll_timeout() {
                nacks.take_due(at, WAIT);
            }
            prop_assert!(nacks.wanted.is_empty());
        }
    }
}
