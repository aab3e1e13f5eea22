//! What went wrong, counted.

use std::fmt;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Datagrams are lost one by one.
    Loss,
    /// Several are lost in a row.
    Burst,
    /// Datagrams take longer than others, and keep their order.
    Jitter,
    /// One is overtaken by another.
    Reordering,
    /// One arrives twice.
    Duplication,
    /// There is more to carry than fits: some wait.
    Queueing,
    /// There is more to carry than may wait: some are lost.
    Overflow,
    /// Large ones are lost.
    Mtu,
    /// Nothing arrives for a while.
    Blackout,
    /// A client is elsewhere.
    Roaming,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Loss,
        Self::Burst,
        Self::Jitter,
        Self::Reordering,
        Self::Duplication,
        Self::Queueing,
        Self::Overflow,
        Self::Mtu,
        Self::Blackout,
        Self::Roaming,
    ];
}

/// How often each fault was armed (it was switched on, or a datagram was exposed to it) and how
/// often it struck.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults([(u64, u64); Fault::ALL.len()]);

impl Faults {
    pub(super) fn arm(&mut self, fault: Fault) {
        self.0[fault as usize].0 += 1;
    }

    pub(super) fn strike(&mut self, fault: Fault) {
        self.0[fault as usize].1 += 1;
    }

    /// How often a fault was armed.
    #[must_use]
    pub fn armed(&self, fault: Fault) -> u64 {
        self.0[fault as usize].0
    }

    /// How often a fault struck.
    #[must_use]
    pub fn struck(&self, fault: Fault) -> u64 {
        self.0[fault as usize].1
    }

    /// Counts those of another network as well.
    pub fn add(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            own.0 += other.0;
            own.1 += other.1;
        }
    }

    /// Holds that what was armed has struck: a scenario whose fault never did tried nothing.
    ///
    /// # Panics
    ///
    /// If not.
    pub fn check(&self) {
        for fault in Fault::ALL {
            let (armed, struck) = self.0[fault as usize];
            assert!(
                armed == 0 || struck > 0,
                "{fault:?} was armed {armed} times and never struck"
            );
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12} {:>12} {:>12}", "fault", "armed", "struck")?;
        for fault in Fault::ALL {
            let (armed, struck) = self.0[fault as usize];
            let name = format!("{fault:?}").to_lowercase();
            writeln!(f, "{name:<12} {armed:>12} {struck:>12}")?;
        }
        Ok(())
    }
}
