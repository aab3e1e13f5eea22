//! Asking the system.

use std::io;
use std::net::IpAddr;

use kvill_core::net::Interface;

/// Asks the system for its addresses: interfaces that are up, loopback included, IPv6 link-local
/// left out. Sorted by name and address, so that two lists compare.
///
/// # Errors
/// What the system says: the process has no file descriptor left, say.
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
