//! Values of `--ips-from-interfaces` and `--ips-from-interfaces-list`.

use crate::interfaces::Wanted;

/// Reads an interface's name. It may have blanks (`Local Area Connection`), and need not exist.
pub(super) fn parse_interface_name(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty: give the name of an interface, `eth0` say, or leave it out".into()),
        name => Ok(name.to_owned()),
    }
}

/// As in MediaMTX: an empty list is all, and no list counts where interfaces are not offered at all.
pub(super) fn wanted(from_interfaces: bool, names: Vec<String>) -> Wanted {
    match (from_interfaces, names.is_empty()) {
        (false, _) => Wanted::None,
        (true, true) => Wanted::All,
        (true, false) => Wanted::Named(names),
    }
}
