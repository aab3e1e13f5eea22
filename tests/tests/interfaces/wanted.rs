//! Interfaces that are wanted by name.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use kvill_tests::namespace::{CABLE, Pair};
use kvill_tests::process::BINARIES;

use crate::scene::{CLIENT, SERVER, Scene, WAY};

const WIFI: &str = "wifi";

/// A server that was asked a moment ago does not look for changes again before this.
const NOTICED: Duration = Duration::from_millis(20);

fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    let parse = |address: &&str| address.parse().expect("an address");
    addresses.iter().map(parse).collect()
}

#[test]
fn only_addresses_of_wanted_interfaces_are_offered() {
    for binary in BINARIES {
        let Some(net) = Pair::if_possible(&[SERVER], &[CLIENT]) else {
            return;
        };
        let (there, here) = (set(&["10.98.0.1", "fd98::1"]), set(&["10.98.255.9"]));
        let list = |set: &BTreeSet<_>| set.iter().copied().collect::<Vec<IpAddr>>();
        let laid = net.lay(WIFI, &list(&there), &list(&here));
        laid.expect("a second cable, where there is a first");
        let by_wifi = [list(&here)[0], list(&there)[0]];

        let cases: [(&[&str], _, &[&str]); 3] = [
            (&[], WAY, &["10.98.0.1", "10.99.0.1", "fd98::1"]),
            (&[WIFI], by_wifi, &["10.98.0.1", "fd98::1"]),
            (&[CABLE], WAY, &["10.99.0.1"]),
        ];
        for (names, way, expected) in cases {
            let args = names
                .iter()
                .flat_map(|name| ["--ips-from-interfaces-list", name]);
            let args: Vec<_> = args.collect();
            let scene = Scene::new(&net, binary, &args);
            let publisher = scene.publisher(way);
            assert_eq!(scene.offered(), set(expected), "{binary} {args:?}");

            // An address more of either: each counts where its interface is wanted.
            let more = [("10.99.0.2", CABLE), ("10.98.0.2", WIFI)];
            let mut expected = set(expected);
            for (address, name) in more {
                let change = |verb| {
                    net.server
                        .ip(&format!("addr {verb} {address}/16 dev {name}"))
                };
                change("add").expect("a right to change addresses");
                thread::sleep(NOTICED);
                if names.is_empty() || names.contains(&name) {
                    expected.extend(set(&[address]));
                }
                assert_eq!(scene.offered(), expected, "{binary} {args:?}");
            }
            for (address, name) in more {
                let words = format!("addr del {address}/16 dev {name}");
                net.server.ip(&words).expect("it was added");
            }
            drop(publisher);
            let _ = scene.stop();
        }
    }
}
