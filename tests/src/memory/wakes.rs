//! What the server asked to be woken for.

use std::fmt;

use kvill_core::time::{Deadline, Reason};

/// How often a deadline may stand where it stood after the server was woken for it and had
/// nothing to say: once for each hundred sessions, which may be due all at once, and a few times
/// beyond.
const STANDSTILLS_MAX: usize = 8;

/// How often the server was woken at a deadline of its own, by the deadline's reason.
#[derive(Debug, Clone, Default)]
pub struct Wakes {
    tallies: Vec<(Reason, Tally)>,
    /// How often in a row the deadline did not move.
    standstills: usize,
}

/// The wake-ups of one reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub all: u64,
    /// Those of which nothing came: nothing was sent, and no session and no path ended.
    pub idle: u64,
}

impl Wakes {
    /// Notes that the server was woken for `due`, and what it has to wait for next.
    ///
    /// # Panics
    ///
    /// If the deadline has not moved again and again, and nothing comes of it.
    pub(super) fn note(
        &mut self,
        due: Deadline,
        next: Option<Deadline>,
        something: bool,
        sessions: usize,
    ) {
        let at = match self.tallies.iter().position(|t| t.0 == due.reason) {
            Some(at) => at,
            None => {
                self.tallies.push((due.reason, Tally::default()));
                self.tallies.len() - 1
            }
        };
        let tally = &mut self.tallies[at].1;
        tally.all += 1;
        tally.idle += u64::from(!something);
        let stands = !something && next.is_some_and(|next| next.at <= due.at);
        self.standstills = if stands { self.standstills + 1 } else { 0 };
        assert!(
            self.standstills <= STANDSTILLS_MAX + sessions / 100,
            "woken for {due:?} {} times, nothing comes of it, and it wants to be woken for {next:?}",
            self.standstills
        );
    }

    /// The wake-ups of one reason.
    #[must_use]
    pub fn of(&self, reason: Reason) -> Tally {
        let tally = self.tallies.iter().find(|t| t.0 == reason);
        tally.map(|t| t.1).unwrap_or_default()
    }

    /// All wake-ups.
    #[must_use]
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        for (_, tally) in &self.tallies {
            total.add(*tally);
        }
        total
    }

    /// Counts those of another world as well.
    pub fn add(&mut self, other: &Self) {
        for (reason, tally) in &other.tallies {
            match self.tallies.iter_mut().find(|t| t.0 == *reason) {
                Some((_, own)) => own.add(*tally),
                None => self.tallies.push((*reason, *tally)),
            }
        }
    }
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.all += other.all;
        self.idle += other.idle;
    }
}

impl fmt::Display for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12} {:>12} {:>12}", "wake-ups", "all", "for nothing")?;
        for (reason, tally) in &self.tallies {
            let name = format!("{reason:?}").to_lowercase();
            writeln!(f, "{name:<12} {:>12} {:>12}", tally.all, tally.idle)?;
        }
        Ok(())
    }
}
