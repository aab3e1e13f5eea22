//! One way of a path: when each datagram arrives, if it does.

use std::time::{Duration, Instant};

use super::faults::{Fault, Faults};

/// How a direction treats what it carries. By default everything arrives at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// How long everything takes at least.
    pub delay: Duration,
    /// How much longer it may take, evenly spread; datagrams keep their order.
    pub jitter: Duration,
    /// What gets lost.
    pub loss: Loss,
    /// The share of datagrams that are overtaken by those behind them.
    pub reordering: f64,
    /// How long those are held back.
    pub held: Duration,
    /// The share of datagrams that arrive twice.
    pub duplication: f64,
    /// How much fits through.
    pub rate: Option<Rate>,
    /// The longest UDP payload that passes.
    pub mtu: Option<usize>,
}

/// What gets lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// The share of datagrams.
    pub share: f64,
    /// How many are lost in a row, of those that come within [`BURST_MAX`].
    pub burst: u32,
}

/// A burst is over after this long, however few datagrams it has hit: it is the link that is bad
/// for a while, or one that carries little would be dead for seconds.
pub const BURST_MAX: Duration = Duration::from_millis(40);

/// How much fits through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// UDP payload bits per second.
    pub bits_per_second: u64,
    /// How many bytes may wait. What comes then is lost.
    pub queue: usize,
}

/// When a datagram arrives and when its copy does, counted from now; it is lost if neither does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays(pub [Option<Duration>; 2]);

impl Delays {
    /// It arrives once and takes no time.
    pub const AT_ONCE: Self = Self([Some(Duration::ZERO), None]);

    /// It does not arrive.
    pub const NEVER: Self = Self([None, None]);
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: Loss::NONE,
            reordering: 0.0,
            held: Duration::ZERO,
            duplication: 0.0,
            rate: None,
            mtu: None,
        }
    }
}

impl Profile {
    /// Everything arrives, after so long.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }

    /// The same, with losses.
    #[must_use]
    pub fn losing(self, loss: Loss) -> Self {
        Self { loss, ..self }
    }
}

impl Loss {
    /// Nothing.
    pub const NONE: Self = Self::random(0.0);

    /// This share, each datagram on its own.
    #[must_use]
    pub const fn random(share: f64) -> Self {
        Self { share, burst: 1 }
    }

    /// This share, so many in a row.
    #[must_use]
    pub const fn bursts(share: f64, burst: u32) -> Self {
        Self { share, burst }
    }

    /// How likely a burst begins with a datagram that is not in one: after 1/b datagrams on
    /// average, of which the last is the first of the burst.
    fn begins(self) -> f64 {
        let burst = f64::from(self.burst);
        match self.share > 0.0 {
            true => 1.0 / (burst / self.share - burst + 1.0),
            false => 0.0,
        }
    }
}

/// The state of one way of a path. Pure: what it decides follows from its seed and from what it is
/// shown when.
#[derive(Debug)]
pub struct Direction {
    profile: Profile,
    rng: fastrand::Rng,
    /// How many of a burst are still to be lost, and until when.
    losing: u32,
    losing_until: Option<Instant>,
    /// When what waits for the rate will have left.
    free: Option<Instant>,
    /// When the last datagram arrives that keeps its order: none does before.
    last: Option<Instant>,
    /// When those arrive that may be overtaken.
    held: Vec<Instant>,
    black_until: Option<Instant>,
}

impl Direction {
    /// A direction over which nothing is under way.
    #[must_use]
    pub fn new(seed: u64, profile: &Profile) -> Self {
        Self {
            profile: profile.clone(),
            rng: fastrand::Rng::with_seed(seed),
            losing: 0,
            losing_until: None,
            free: None,
            last: None,
            held: Vec::new(),
            black_until: None,
        }
    }

    /// Has another profile from now on, and decides by another seed.
    pub fn change(&mut self, seed: u64, profile: &Profile) {
        self.profile = profile.clone();
        self.rng = fastrand::Rng::with_seed(seed);
        self.losing = 0;
        self.black_until = None;
    }

    /// Carries nothing until then.
    pub fn black_out(&mut self, until: Instant) {
        self.black_until = Some(until);
    }

    /// Takes in a datagram of so many bytes. Draws the same number of random numbers for each,
    /// whatever becomes of it.
    pub fn pass(&mut self, now: Instant, len: usize, faults: &mut Faults) -> Delays {
        let draws: [f64; 5] = std::array::from_fn(|_| self.rng.f64());
        let [loss, jitter, reordering, duplication, copy] = draws;
        let lost = self.loses(now, loss, faults);
        if self.is_black(now, faults) || self.is_too_long(len, faults) || lost {
            return Delays::NEVER;
        }
        let Some(left) = self.queue(now, len, faults) else {
            return Delays::NEVER;
        };
        let mut at = left + self.profile.delay;
        if !self.profile.jitter.is_zero() {
            let longer = self.profile.jitter.mul_f64(jitter);
            at += longer;
            faults.arm(Fault::Jitter);
            if !longer.is_zero() {
                faults.strike(Fault::Jitter);
            }
        }
        at = at.max(self.last.unwrap_or(at));
        at = self.order(now, at, reordering, faults);

        let mut copy_at = None;
        if self.profile.duplication > 0.0 {
            faults.arm(Fault::Duplication);
            if duplication < self.profile.duplication {
                faults.strike(Fault::Duplication);
                let later = self.profile.jitter + Duration::from_millis(1);
                copy_at = Some(at + later.mul_f64(copy));
            }
        }
        Delays([
            Some(at.saturating_duration_since(now)),
            copy_at.map(|at| at.saturating_duration_since(now)),
        ])
    }

    fn loses(&mut self, now: Instant, draw: f64, faults: &mut Faults) -> bool {
        let Loss { share, burst } = self.profile.loss;
        if share <= 0.0 {
            return false;
        }
        let fault = match burst {
            0 | 1 => Fault::Loss,
            _ => Fault::Burst,
        };
        faults.arm(fault);
        if self.losing_until.is_some_and(|until| until <= now) {
            self.losing = 0;
        }
        if self.losing == 0 && draw < self.profile.loss.begins() {
            self.losing = burst.max(1);
            self.losing_until = Some(now + BURST_MAX);
            faults.strike(fault);
        }
        let lost = self.losing > 0;
        self.losing = self.losing.saturating_sub(1);
        lost
    }

    fn is_black(&mut self, now: Instant, faults: &mut Faults) -> bool {
        let black = self.black_until.is_some_and(|until| now < until);
        if black {
            faults.strike(Fault::Blackout);
        } else {
            self.black_until = None;
        }
        black
    }

    fn is_too_long(&self, len: usize, faults: &mut Faults) -> bool {
        let Some(mtu) = self.profile.mtu else {
            return false;
        };
        faults.arm(Fault::Mtu);
        if len > mtu {
            faults.strike(Fault::Mtu);
        }
        len > mtu
    }

    /// When it has left the queue; `None`: there was no room.
    fn queue(&mut self, now: Instant, len: usize, faults: &mut Faults) -> Option<Instant> {
        let Some(rate) = self.profile.rate else {
            return Some(now);
        };
        let time_of = |bytes: usize| {
            let nanos = bytes as u128 * 8 * 1_000_000_000 / u128::from(rate.bits_per_second);
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        };
        let free = self.free.map_or(now, |free| free.max(now));
        faults.arm(Fault::Queueing);
        faults.arm(Fault::Overflow);
        if free > now {
            faults.strike(Fault::Queueing);
        }
        if free + time_of(len) > now + time_of(rate.queue) {
            faults.strike(Fault::Overflow);
            return None;
        }
        let left = free + time_of(len);
        self.free = Some(left);
        Some(left)
    }

    /// When it arrives, if not at `at`: because it is held back for others to overtake it.
    fn order(&mut self, now: Instant, at: Instant, draw: f64, faults: &mut Faults) -> Instant {
        self.held.retain(|held| *held > now);
        if self.profile.reordering > 0.0 {
            faults.arm(Fault::Reordering);
            if draw < self.profile.reordering {
                let later = at + self.profile.held;
                self.held.push(later);
                return later;
            }
        }
        self.last = Some(at);
        let before = self.held.len();
        self.held.retain(|held| *held <= at);
        for _ in self.held.len()..before {
            faults.strike(Fault::Reordering);
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// When each of `count` datagrams of 1,000 bytes arrives, sent 1 ms apart.
    fn carry(profile: &Profile, count: u32) -> (Vec<Delays>, Faults) {
        let mut direction = Direction::new(3, profile);
        let (mut faults, start) = (Faults::default(), Instant::now());
        let delays = (0..count)
            .map(|n| direction.pass(start + MS * n, 1000, &mut faults))
            .collect();
        (delays, faults)
    }

    #[test]
    fn by_default_everything_arrives_at_once() {
        let (delays, faults) = carry(&Profile::default(), 100);
        assert!(delays.iter().all(|d| *d == Delays::AT_ONCE));
        assert_eq!(faults, Faults::default());
    }

    #[test]
    fn losses_come_up_to_their_share_alone_and_in_bursts() {
        for burst in [1, 5] {
            let loss = Loss::bursts(0.05, burst);
            let (delays, faults) = carry(&Profile::default().losing(loss), 100_000);
            let is_lost = |d: &Delays| *d == Delays::NEVER;
            let lost = delays.iter().filter(|d| is_lost(d)).count();
            assert!((4_700..5_300).contains(&lost), "{lost} of 100,000");
            let runs = delays.chunk_by(|a, b| is_lost(a) == is_lost(b));
            let lens = runs.filter(|r| is_lost(&r[0])).map(<[_]>::len);
            let shortest = lens.min().unwrap();
            // The last may be cut off.
            assert!(burst == 1 || shortest >= 5, "{shortest} in a row");
            faults.check();
        }
    }

    #[test]
    fn jitter_keeps_the_order_and_what_is_held_back_is_overtaken() {
        let jittery = Profile {
            delay: 20 * MS,
            jitter: 10 * MS,
            ..Profile::default()
        };
        let arrivals = |delays: &[Delays]| -> Vec<Duration> {
            (0..)
                .zip(delays)
                .map(|(n, d)| MS * n + d.0[0].unwrap())
                .collect()
        };
        let (delays, _) = carry(&jittery, 1000);
        assert!(arrivals(&delays).is_sorted());
        assert!(delays.iter().all(|d| d.0[0].unwrap() >= 20 * MS));

        let reordering = Profile {
            reordering: 0.02,
            held: 5 * MS,
            ..jittery
        };
        let (delays, faults) = carry(&reordering, 1000);
        let late = arrivals(&delays).windows(2).filter(|w| w[0] > w[1]).count();
        assert!((5..40).contains(&late), "{late} overtaken");
        faults.check();
    }

    #[test]
    fn what_is_too_much_waits_and_what_cannot_wait_is_lost() {
        // 1,000 bytes every ms are 8 Mbit/s.
        let rate = |bits_per_second| Profile {
            rate: Some(Rate {
                bits_per_second,
                queue: 10_000,
            }),
            ..Profile::default()
        };
        let (delays, faults) = carry(&rate(8_000_000), 1000);
        assert!(delays.iter().all(|d| d.0[0] == Some(MS)));
        assert_eq!(faults.struck(Fault::Overflow), 0);
        let (delays, faults) = carry(&rate(4_000_000), 1000);
        let lost = delays.iter().filter(|d| **d == Delays::NEVER).count();
        assert!((480..500).contains(&lost), "{lost} of 1,000 did not fit");
        let longest = delays.iter().filter_map(|d| d.0[0]).max().unwrap();
        assert!(longest <= 20 * MS && longest > 17 * MS, "{longest:?}");
        faults.check();
    }

    #[test]
    fn what_is_long_does_not_pass_nor_does_anything_in_a_blackout() {
        let profile = Profile {
            mtu: Some(999),
            ..Profile::default()
        };
        let (delays, _) = carry(&profile, 3);
        assert!(delays.iter().all(|d| *d == Delays::NEVER));

        let mut direction = Direction::new(3, &Profile::default());
        let (mut faults, start) = (Faults::default(), Instant::now());
        direction.black_out(start + 10 * MS);
        assert_eq!(direction.pass(start, 1, &mut faults), Delays::NEVER);
        let after = direction.pass(start + 10 * MS, 1, &mut faults);
        assert_eq!(after, Delays::AT_ONCE);
    }

    #[test]
    fn duplicates_come_after_and_what_is_lost_changes_nothing_for_the_rest() {
        let twice = Profile {
            delay: 5 * MS,
            duplication: 0.5,
            ..Profile::default()
        };
        let (all, _) = carry(&twice, 1000);
        let copies = all.iter().filter(|d| d.0[1].is_some()).count();
        assert!((400..600).contains(&copies), "{copies} copies");
        let (some, _) = carry(&twice.losing(Loss::random(0.1)), 1000);
        for (all, some) in all.iter().zip(&some) {
            assert!(some == all || *some == Delays::NEVER);
        }
    }
}
