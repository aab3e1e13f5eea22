//! What an offer costs, with the list that is kept and without.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use kvill_tests::namespace::Pair;
use kvill_tests::peer::report;
use kvill_tests::process::BINARIES;
use kvill_tests::wire::{self, Peer};

use crate::scene::{CLIENT, SERVER, Scene, WAY, addresses};

/// To each server.
const OFFERS: usize = 500;

/// Offers to one server before the other has its turn: what the machine does beside hits both.
const BLOCK: usize = 50;

/// Addresses of the server's machine, beside loopback.
const COUNTS: [usize; 2] = [1, 200];

/// How long the publisher is heard between blocks.
const BREATH: Duration = Duration::from_millis(5);

/// A server, and what it took for its offers.
struct Side<'a> {
    scene: Scene<'a>,
    publisher: Vec<Peer>,
    cpu: Duration,
}

impl<'a> Side<'a> {
    fn new(net: &'a Pair, binary: &str, ttl: &str) -> Self {
        let scene = Scene::new(net, binary, &["--interface-ttl", ttl]);
        let publisher = scene.publisher(WAY);
        Self {
            scene,
            publisher,
            cpu: Duration::ZERO,
        }
    }

    /// Only offers are measured: that their sessions end is not.
    fn block(&mut self, count: usize) {
        let before = self.scene.kvill().cpu();
        let replies = self.scene.offer(BLOCK);
        self.cpu += self.scene.kvill().cpu() - before;
        for reply in &replies {
            assert_eq!(addresses(reply).len(), count, "{reply:?}");
        }
        self.scene.delete(&replies);
        wire::run(&mut self.publisher, BREATH, |_| false);
    }

    fn cpu_per_offer(&self) -> String {
        let offers = u32::try_from(OFFERS).expect("few offers");
        format!("{} µs", (self.cpu / offers).as_micros())
    }
}

fn many(count: usize) -> Vec<IpAddr> {
    let IpAddr::V4(first) = SERVER else {
        unreachable!("it is IPv4")
    };
    let addresses = (first.to_bits()..).map(|bits| Ipv4Addr::from_bits(bits).into());
    addresses.take(count).collect()
}

#[test]
fn many_offers_cost_one_lookup() {
    let build = match cfg!(debug_assertions) {
        true => "debug",
        false => "release",
    };
    let mut table = format!(
        "{OFFERS} offers in a row, {build} build; lookups from start to stop: that of the start too, and \
         if no list is kept those of each DELETE\n\
         | server | addresses | lookups | CPU per offer | lookups, no list kept | CPU per offer |\n\
         |---|---|---|---|---|---|\n"
    );
    for (binary, count) in BINARIES.iter().flat_map(|b| COUNTS.map(|count| (b, count))) {
        let Some(net) = Pair::if_possible(&many(count), &[CLIENT]) else {
            return;
        };
        let mut sides = ["30", "0"].map(|ttl| Side::new(&net, binary, ttl));
        for _ in 0..OFFERS / BLOCK {
            for side in &mut sides {
                side.block(count);
            }
        }
        let cpu = sides.each_ref().map(Side::cpu_per_offer);
        let [kept, asking] = sides.map(|side| side.scene.stop());
        let _ = writeln!(
            table,
            "| {binary} | {count} | {} | {} | {} | {} |",
            kept.asked, cpu[0], asking.asked, cpu[1],
        );
        // That of the start is the only one: none was made for an offer.
        assert_eq!(kept.asked, 1, "{kept:?}");
        assert!(kept.served >= OFFERS, "{kept:?}");
        assert!(asking.asked > OFFERS, "{asking:?}");
    }
    report("interface-lookups", &table);
}
