//! Which interfaces are wanted.

use std::net::IpAddr;

use kvill_core::net::Interface;

/// The interfaces whose addresses are offered to clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Wanted {
    /// All.
    #[default]
    All,
    /// Those of these names; loopback (`lo`) only if it is among them. A name may be of an interface
    /// that is not there yet. On Linux an interface's name stands for the addresses with labels of
    /// their own too (`eth0` for `eth0:1`), and a label for that address alone.
    Named(Vec<String>),
    /// None: only what the operator adds is offered.
    None,
}

impl Wanted {
    /// Whether no interface can ever be chosen.
    pub(super) fn is_none(&self) -> bool {
        match self {
            Self::All => false,
            Self::Named(names) => names.is_empty(),
            Self::None => true,
        }
    }

    /// What is wanted of all addresses.
    pub(super) fn choose(&self, all: &[Interface]) -> Vec<Interface> {
        let mut chosen: Vec<_> = all
            .iter()
            .filter(|interface| match self {
                Self::All => true,
                Self::Named(names) => names.iter().any(|name| is_named(interface, name)),
                Self::None => false,
            })
            .cloned()
            .collect();
        let is_better = |interface: &Interface| {
            !interface.address.is_loopback() && !is_link_local(interface.address)
        };
        if chosen.iter().any(is_better) {
            chosen.retain(|interface| !is_link_local(interface.address));
        }
        chosen
    }

    /// The names that no address has, in the order they were given.
    pub(super) fn missing(&self, all: &[Interface]) -> Vec<String> {
        let Self::Named(names) = self else {
            return Vec::new();
        };
        let is_missing = |name: &&String| !all.iter().any(|interface| is_named(interface, name));
        names.iter().filter(is_missing).cloned().collect()
    }
}

fn is_named(interface: &Interface, name: &str) -> bool {
    let (given, wanted) = (interface.name.as_str(), name);
    given == wanted
        || given
            .strip_prefix(wanted)
            .is_some_and(|rest| rest.starts_with(':'))
}

/// Of IPv6 there are none: they are never read.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.is_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interfaces(list: &[(&str, &str)]) -> Vec<Interface> {
        let interface = |(name, address): &(&str, &str)| Interface {
            name: (*name).to_owned(),
            address: address.parse().unwrap(),
        };
        list.iter().map(interface).collect()
    }

    fn named(names: &[&str]) -> Wanted {
        Wanted::Named(names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// The addresses chosen.
    fn chosen(wanted: &Wanted, list: &[(&str, &str)]) -> Vec<String> {
        let chosen = wanted.choose(&interfaces(list));
        chosen.iter().map(|i| i.address.to_string()).collect()
    }

    const MACHINE: [(&str, &str); 5] = [
        ("docker0", "172.17.0.1"),
        ("eth0", "192.0.2.1"),
        ("eth0:1", "192.0.2.2"),
        ("eth01", "192.0.2.3"),
        ("lo", "127.0.0.1"),
    ];

    #[test]
    fn unwanted_interfaces_are_left_out_and_loopback_is_one() {
        assert_eq!(chosen(&Wanted::All, &MACHINE).len(), MACHINE.len());
        assert_eq!(
            chosen(&named(&["eth0"]), &MACHINE),
            ["192.0.2.1", "192.0.2.2"]
        );
        assert_eq!(
            chosen(&named(&["lo", "docker0"]), &MACHINE),
            ["172.17.0.1", "127.0.0.1"]
        );
        assert_eq!(chosen(&named(&["eth0:1"]), &MACHINE), ["192.0.2.2"]);
        assert!(chosen(&named(&["eth"]), &MACHINE).is_empty());
        assert!(chosen(&Wanted::None, &MACHINE).is_empty());
        assert!(chosen(&named(&[]), &MACHINE).is_empty());
    }

    #[test]
    fn link_local_addresses_are_for_machines_that_have_nothing_else() {
        let cable = ("eth0", "169.254.7.8");
        let loopback = ("lo", "127.0.0.1");
        assert_eq!(
            chosen(&Wanted::All, &[cable, loopback]),
            ["169.254.7.8", "127.0.0.1"]
        );
        let other = ("eth1", "2001:db8::1");
        assert_eq!(
            chosen(&Wanted::All, &[cable, other, loopback]),
            ["2001:db8::1", "127.0.0.1"]
        );
        assert_eq!(chosen(&named(&["eth0"]), &[cable, other]), ["169.254.7.8"]);
    }

    #[test]
    fn names_that_nobody_has_are_told() {
        let all = interfaces(&MACHINE);
        assert_eq!(
            named(&["eth7", "eth0", "wlan0"]).missing(&all),
            ["eth7", "wlan0"]
        );
        assert!(named(&["eth0:1", "eth0"]).missing(&all).is_empty());
        assert!(Wanted::All.missing(&[]).is_empty());
    }
}
