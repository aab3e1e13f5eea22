//! The addresses of this machine.
//!
//! Asking the system walks all its interfaces, so the answer is kept for [`INTERFACE_TTL`]. The
//! cache is pure: it is told the time, and how to ask.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use kvill_core::net::Interface;
use tracing::warn;

/// How long an interface list is trusted. Shorter notices a new address sooner; longer saves
/// system calls when many viewers join at once.
pub const INTERFACE_TTL: Duration = Duration::from_secs(30);

/// The last interface list, and when it was read.
#[derive(Debug, Default)]
pub struct InterfaceCache {
    list: Vec<Interface>,
    read_at: Option<Instant>,
}

impl InterfaceCache {
    /// A cache that has not read yet: the next refresh does.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads anew if the list is older than [`INTERFACE_TTL`], and returns it if it changed. When
    /// reading fails, the old list stays for another period: stale addresses beat none.
    pub fn refresh(
        &mut self,
        now: Instant,
        read: impl FnOnce() -> io::Result<Vec<Interface>>,
    ) -> Option<&[Interface]> {
        if self
            .read_at
            .is_some_and(|at| now.saturating_duration_since(at) < INTERFACE_TTL)
        {
            return None;
        }
        self.read_at = Some(now);
        match read() {
            Ok(list) if list != self.list => {
                self.list = list;
                Some(&self.list)
            }
            Ok(_) => None,
            Err(error) => {
                warn!(%error, "the interface list could not be read: candidates may be out of date");
                None
            }
        }
    }

    /// The list as of the last refresh.
    #[must_use]
    pub fn list(&self) -> &[Interface] {
        &self.list
    }
}

/// Asks the system for its addresses: interfaces that are up, loopback included, IPv6 link-local
/// left out (it is of no use without a zone, and browsers offer none). Sorted, so that two lists
/// compare.
///
/// # Errors
/// What the system says.
pub fn read_interfaces() -> io::Result<Vec<Interface>> {
    let mut list: Vec<_> = if_addrs::get_if_addrs()?
        .into_iter()
        .filter(|interface| interface.is_oper_up() || interface.is_loopback())
        .map(|interface| Interface {
            address: interface.ip(),
            name: interface.name,
        })
        .filter(|interface| is_of_use(interface.address))
        .collect();
    list.sort_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
    list.dedup();
    Ok(list)
}

fn is_of_use(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(address: &str) -> Interface {
        Interface {
            name: "test0".to_owned(),
            address: address.parse().unwrap(),
        }
    }

    #[test]
    fn a_list_is_trusted_for_its_ttl_and_then_read_again() {
        let mut cache = InterfaceCache::new();
        let start = Instant::now();
        let first = vec![interface("192.0.2.1")];
        assert_eq!(cache.refresh(start, || Ok(first.clone())), Some(&first[..]));

        let not_asked = || -> io::Result<Vec<Interface>> { panic!("asked within the TTL") };
        let just_before = start + INTERFACE_TTL - Duration::from_millis(1);
        assert_eq!(cache.refresh(just_before, not_asked), None);

        let second = vec![interface("192.0.2.2")];
        assert_eq!(
            cache.refresh(start + INTERFACE_TTL, || Ok(second.clone())),
            Some(&second[..])
        );
        assert_eq!(cache.list(), second);
    }

    #[test]
    fn an_unchanged_list_is_not_reported() {
        let mut cache = InterfaceCache::new();
        let start = Instant::now();
        let list = vec![interface("192.0.2.1")];
        cache.refresh(start, || Ok(list.clone()));
        assert_eq!(
            cache.refresh(start + INTERFACE_TTL, || Ok(list.clone())),
            None
        );
    }

    #[test]
    fn a_failed_read_keeps_the_old_list_and_waits_for_the_next_period() {
        let mut cache = InterfaceCache::new();
        let start = Instant::now();
        let list = vec![interface("192.0.2.1")];
        cache.refresh(start, || Ok(list.clone()));
        let later = start + INTERFACE_TTL;
        assert_eq!(cache.refresh(later, || Err(io::Error::other("no"))), None);
        assert_eq!(cache.list(), list);
        let not_asked = || -> io::Result<Vec<Interface>> { panic!("asked again at once") };
        assert_eq!(
            cache.refresh(later + Duration::from_secs(1), not_asked),
            None
        );
    }

    #[test]
    fn this_machine_has_a_loopback_address_and_no_link_local_ones() {
        let list = read_interfaces().unwrap();
        assert!(
            list.iter().any(|interface| interface.address.is_loopback()),
            "{list:?}"
        );
        for interface in list {
            assert!(is_of_use(interface.address), "{interface:?}");
        }
    }
}
