//! When the system is asked for its addresses.
//!
//! Pure: it is told the time, what happened, and how to ask. One lookup serves all sessions and
//! whatever is wanted: it brings all addresses, and what is wanted of them is chosen here, so that a
//! list is only ever given to those who want just that.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use kvill_core::net::Interface;
use tracing::{debug, warn};

use super::Wanted;

/// How long the old list is good enough after asking failed. Longer spares a system in need (it has
/// no descriptors left, say); shorter ends it sooner that clients are offered what may be gone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Interfaces that a line names. A machine full of containers has hundreds.
const NAMED_MAX: usize = 10;

/// Totals since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterfaceCounters {
    /// The system was asked for its addresses.
    pub asked: u64,
    /// That failed, and the old list was kept.
    pub failed: u64,
    /// A request was served without asking.
    pub served: u64,
    /// A list that was still good was ended by a notice of the system.
    pub ended_by_notice: u64,
    /// A list that was still good was ended by a datagram that could not be sent from an address
    /// of it.
    pub ended_by_failed_send: u64,
}

/// The last answer of the system, and what was chosen of it.
#[derive(Debug)]
pub struct InterfaceCache {
    ttl: Duration,
    /// When the system was asked, unless that was ended early, and how long its answer is trusted.
    trusted: Option<(Instant, Duration)>,
    /// What it answered.
    all: Vec<Interface>,
    /// What `list` was chosen by.
    wanted: Wanted,
    list: Vec<Interface>,
    /// Wanted names that nothing had, as far as this has been logged.
    missing: Vec<String>,
    /// Asking failed the last time.
    is_failing: bool,
    counters: InterfaceCounters,
}

impl InterfaceCache {
    /// A cache that has not asked yet: the next refresh does. A `ttl` of zero has every refresh ask.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            trusted: None,
            all: Vec::new(),
            wanted: Wanted::None,
            list: Vec::new(),
            missing: Vec::new(),
            is_failing: false,
            counters: InterfaceCounters::default(),
        }
    }

    /// Asks by `read`, which gives all addresses, if the last answer is out of date, and returns what
    /// is wanted of them if that is not what was returned before. When asking fails the old list
    /// stays, for a second or the TTL, whichever is shorter: stale addresses beat none.
    ///
    /// Where nothing is wanted nothing is asked, and nothing counted.
    pub fn refresh(
        &mut self,
        now: Instant,
        wanted: &Wanted,
        read: impl FnOnce() -> io::Result<Vec<Interface>>,
    ) -> Option<&[Interface]> {
        let is_new = !wanted.is_none() && self.renew(now, read);
        if *wanted != self.wanted {
            self.wanted.clone_from(wanted);
        } else if !is_new {
            return None;
        }
        self.tell_missing();
        let list = self.wanted.choose(&self.all);
        if list == self.list {
            return None;
        }
        self.list = list;
        Some(&self.list)
    }

    /// Returns whether the system answered.
    fn renew(&mut self, now: Instant, read: impl FnOnce() -> io::Result<Vec<Interface>>) -> bool {
        let is_trusted =
            |(at, for_long): (Instant, Duration)| now.saturating_duration_since(at) < for_long;
        if self.trusted.is_some_and(is_trusted) {
            self.counters.served += 1;
            return false;
        }
        self.counters.asked += 1;
        match read() {
            Ok(all) => {
                self.trusted = Some((now, self.ttl));
                self.is_failing = false;
                self.all = all;
                true
            }
            Err(error) => {
                self.trusted = Some((now, self.ttl.min(RETRY_AFTER)));
                self.counters.failed += 1;
                if self.is_failing {
                    debug!(%error, "the interface list still cannot be read");
                } else {
                    warn!(
                        %error,
                        "the interface list cannot be read: candidates may be out of date, and it \
                         is tried again"
                    );
                }
                self.is_failing = true;
                false
            }
        }
    }

    /// The system told that addresses or links changed.
    pub fn on_notice(&mut self) {
        if self.trusted.take().is_some() {
            self.counters.ended_by_notice += 1;
        }
    }

    /// A datagram could not be sent from this address. If the list does not have it that is known
    /// already: sessions that used it go on trying for a while, and must not cost a lookup each time.
    pub fn on_send_failed(&mut self, source: IpAddr) {
        let source = source.to_canonical();
        let is_listed = self.list.iter().any(|entry| entry.address == source);
        if is_listed && self.trusted.take().is_some() {
            self.counters.ended_by_failed_send += 1;
        }
    }

    /// The list as of the last refresh.
    #[must_use]
    pub fn list(&self) -> &[Interface] {
        &self.list
    }

    /// What was asked, served and ended so far.
    #[must_use]
    pub fn counters(&self) -> InterfaceCounters {
        self.counters
    }

    /// Says which wanted names nothing has, once for each change.
    fn tell_missing(&mut self) {
        let missing = self.wanted.missing(&self.all);
        if missing == self.missing {
            return;
        }
        if !missing.is_empty() {
            warn!(
                "no interface with an address is called {}, so nothing of it is offered until one \
                 is: check --ips-from-interfaces-list, this machine has {}",
                enumerate(missing.iter().map(String::as_str), " or "),
                enumerate(self.names(), ", "),
            );
        }
        self.missing = missing;
    }

    /// The names that there are, each once.
    fn names(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<_> = self.all.iter().map(|entry| entry.name.as_str()).collect();
        names.dedup();
        names.into_iter()
    }
}

/// `a, b and 4 more`.
fn enumerate<'a>(names: impl Iterator<Item = &'a str>, separator: &str) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    let mut text = names[..names.len().min(NAMED_MAX)].join(separator);
    if let more @ 1.. = names.len().saturating_sub(NAMED_MAX) {
        // Writing to a string cannot fail.
        let _ = write!(text, " and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    fn interface(name: &str, address: &str) -> Interface {
        Interface {
            name: name.to_owned(),
            address: address.parse().unwrap(),
        }
    }

    /// A list of one.
    fn only(address: &str) -> Vec<Interface> {
        vec![interface("test0", address)]
    }

    fn not_asked() -> io::Result<Vec<Interface>> {
        panic!("asked although the list was still good")
    }

    fn no_answer() -> io::Result<Vec<Interface>> {
        Err(io::Error::other("no"))
    }

    /// A cache that was told of 192.0.2.1, and when.
    fn cache() -> (InterfaceCache, Instant) {
        let (mut cache, start) = (InterfaceCache::new(TTL), Instant::now());
        let list = only("192.0.2.1");
        let told = cache.refresh(start, &Wanted::All, || Ok(list.clone()));
        assert_eq!(told, Some(&list[..]));
        (cache, start)
    }

    #[test]
    fn a_list_is_trusted_for_its_ttl_and_then_asked_for_again() {
        let (mut cache, start) = cache();
        let just_before = start + TTL - Duration::from_millis(1);
        assert_eq!(cache.refresh(just_before, &Wanted::All, not_asked), None);

        let second = only("192.0.2.2");
        let told = cache.refresh(start + TTL, &Wanted::All, || Ok(second.clone()));
        assert_eq!(told, Some(&second[..]));
        assert_eq!(cache.list(), second);
    }

    #[test]
    fn without_a_ttl_every_refresh_asks() {
        let mut cache = InterfaceCache::new(Duration::ZERO);
        let now = Instant::now();
        for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
            let list = only(address);
            let told = cache.refresh(now, &Wanted::All, || Ok(list.clone()));
            assert_eq!(told, Some(&list[..]));
        }
        assert_eq!(cache.counters().asked, 3);
        assert_eq!(cache.counters().served, 0);
    }

    #[test]
    fn the_longest_ttl_there_is_never_ends() {
        let mut cache = InterfaceCache::new(Duration::MAX);
        let start = Instant::now();
        cache.refresh(start, &Wanted::All, || Ok(only("192.0.2.1")));
        let year = Duration::from_secs(365 * 86_400);
        assert_eq!(cache.refresh(start + year, &Wanted::All, not_asked), None);
    }

    #[test]
    fn an_unchanged_list_is_not_reported() {
        let (mut cache, start) = cache();
        let again = || Ok(only("192.0.2.1"));
        assert_eq!(cache.refresh(start + TTL, &Wanted::All, again), None);
    }

    #[test]
    fn one_lookup_serves_whatever_is_wanted_and_each_gets_its_own() {
        let (mut cache, now) = (InterfaceCache::new(TTL), Instant::now());
        let (a, b) = (interface("a", "192.0.2.1"), interface("b", "192.0.2.2"));
        let all = [a.clone(), b.clone()];
        let named = |name: &str| Wanted::Named(vec![name.to_owned()]);
        let told = cache.refresh(now, &named("a"), || Ok(all.to_vec()));
        assert_eq!(told, Some(&[a][..]));
        assert_eq!(cache.refresh(now, &named("b"), not_asked), Some(&[b][..]));
        assert_eq!(cache.refresh(now, &Wanted::All, not_asked), Some(&all[..]));
        assert_eq!(cache.counters().asked, 1);
        assert_eq!(cache.refresh(now, &Wanted::None, not_asked), Some(&[][..]));
        assert_eq!(cache.refresh(now + TTL, &Wanted::None, not_asked), None);
    }

    #[test]
    fn where_nothing_is_wanted_the_system_is_never_asked() {
        let (mut cache, now) = (InterfaceCache::new(Duration::ZERO), Instant::now());
        for nothing in [Wanted::None, Wanted::Named(Vec::new())] {
            assert_eq!(cache.refresh(now, &nothing, not_asked), None);
        }
        assert_eq!(cache.counters(), InterfaceCounters::default());
    }

    #[test]
    fn a_notice_ends_the_list_at_once() {
        let (mut cache, start) = cache();
        cache.on_notice();
        // Nothing was asked in between: these end nothing.
        cache.on_notice();
        cache.on_send_failed("192.0.2.1".parse().unwrap());
        let second = only("192.0.2.2");
        let told = cache.refresh(start, &Wanted::All, || Ok(second.clone()));
        assert_eq!(told, Some(&second[..]));
        assert_eq!(cache.refresh(start, &Wanted::All, not_asked), None);
        assert_eq!(cache.counters().ended_by_notice, 1);
        assert_eq!(cache.counters().ended_by_failed_send, 0);
    }

    #[test]
    fn a_failed_send_ends_the_list_that_has_its_address_and_no_other() {
        let (mut cache, start) = cache();
        cache.on_send_failed("192.0.2.9".parse().unwrap());
        assert_eq!(cache.refresh(start, &Wanted::All, not_asked), None);

        cache.on_send_failed("::ffff:192.0.2.1".parse().unwrap());
        let told = cache.refresh(start, &Wanted::All, || Ok(Vec::new()));
        assert_eq!(told, Some(&[][..]));

        // Sessions that had the address go on trying.
        cache.on_send_failed("192.0.2.1".parse().unwrap());
        assert_eq!(cache.refresh(start, &Wanted::All, not_asked), None);
        assert_eq!(cache.counters().ended_by_failed_send, 1);
    }

    #[test]
    fn a_failed_lookup_keeps_the_old_list_and_is_repeated_after_a_second() {
        let (mut cache, start) = cache();
        let later = start + TTL;
        assert_eq!(cache.refresh(later, &Wanted::All, no_answer), None);
        assert_eq!(cache.list(), only("192.0.2.1"));
        let soon = later + RETRY_AFTER - Duration::from_millis(1);
        assert_eq!(cache.refresh(soon, &Wanted::All, not_asked), None);

        let second = only("192.0.2.2");
        let told = cache.refresh(later + RETRY_AFTER, &Wanted::All, || Ok(second.clone()));
        assert_eq!(told, Some(&second[..]));
        let counters = cache.counters();
        assert_eq!((counters.asked, counters.failed), (3, 1));
    }

    #[test]
    fn a_lookup_that_fails_does_not_hand_out_what_is_no_longer_wanted() {
        let (mut cache, start) = cache();
        let other = Wanted::Named(vec!["other0".to_owned()]);
        let told = cache.refresh(start + TTL, &other, no_answer);
        assert_eq!(told, Some(&[][..]));
    }

    #[test]
    fn five_hundred_offers_cost_one_lookup() {
        let (mut cache, start) = cache();
        for ms in 1..500 {
            let now = start + Duration::from_millis(ms);
            assert_eq!(cache.refresh(now, &Wanted::All, not_asked), None);
        }
        let counters = InterfaceCounters {
            asked: 1,
            served: 499,
            ..InterfaceCounters::default()
        };
        assert_eq!(cache.counters(), counters);
    }

    #[test]
    fn a_line_names_few_of_many() {
        assert_eq!(enumerate(["a", "b"].into_iter(), ", "), "a, b");
        assert_eq!(enumerate([].into_iter(), ", "), "none");
        let many: Vec<_> = (0..40).map(|n| format!("veth{n}")).collect();
        let text = enumerate(many.iter().map(String::as_str), ", ");
        assert!(text.ends_with("veth9 and 30 more"), "{text}");
    }
}
