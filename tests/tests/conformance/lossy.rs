//! A viewer behind a network that loses packets.

use std::time::Duration;

use kvill_tests::client::Client;
use kvill_tests::relay::{Network, Relay};
use kvill_tests::wire::{self, Peer};

use crate::film::Film;
use crate::scenario::Scenario;
use crate::scene::{HERE, SOON, Scene, usual};

/// How much is lost, each way: of what a viewer asks for too.
const LOSS: f64 = 0.05;
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// What gets lost is drawn from a seed, but of packets that come in no fixed order, so what is asked
/// for and how often differs from run to run. What has to hold of these is said below.
const OF_TIME: &[&str] = &[
    "nacked",
    "nacked_repeated",
    "nacked_unknown",
    "repairs",
    "repair_bytes",
];

#[test]
fn what_a_network_loses_is_repaired() {
    let scenario = Scenario {
        of_time: OF_TIME,
        ..Scenario::new("lossy")
    };
    scenario.play(lose, |counters| {
        let [nacked, repairs] = ["nacked", "repairs"].map(|name| counters.count(name));
        assert!(repairs > 0 && nacked >= repairs, "{counters:?}");
        assert!(
            counters.count("repair_bytes") > 900 * repairs,
            "{counters:?}"
        );
        // 200 packets of video, of which one in twenty is lost, and some twice. A bound from below
        // would be missed once in some hundred runs: what is drawn for whom is chance.
        assert!(repairs <= 60, "{counters:?}");
    });
}

fn lose(scene: &mut Scene) {
    let mut peers = vec![scene.publisher("live")];
    let relay = Relay::start(scene.kvill.url(), Network::both(LOSS, ROUND_TRIP), 5);
    let mut viewer = Peer::new(HERE, Client::viewer, &usual());
    viewer.join(relay.url(), "/live/whep");
    peers.push(viewer);
    wire::connect(&mut peers);
    let is_told = wire::run(&mut peers, SOON, |_| scene.told("live: ", " watches") == 1);
    assert!(is_told, "{}", scene.kvill.log());

    let mut film = Film::new();
    film.show(&mut peers, 100);
    let shown = film.video.len();
    // A packet is missed when a later one comes: some more, of which the last need not arrive.
    let mut more = film.more();
    more.show(&mut peers, 20);
    let is_complete = |peers: &mut [Peer]| film.missing(&peers[1]).0 == 0;
    let all = wire::run(&mut peers, SOON, is_complete);
    scene.note(&format!("of {shown} packets of video all have come: {all}"));
    // Sound is not asked for again by this client.
    let (_, lost) = film.missing(&peers[1]);
    assert!(lost < 30, "{lost} packets of sound are missing");
    let counts = relay.to_peer();
    assert!(counts.rtp_lost > 0, "{counts:?}");
    assert!(counts.repairs > 0, "{counts:?}");
}
