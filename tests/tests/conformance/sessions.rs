//! A session from its offer to its end.

use kvill_tests::client::Client;
use kvill_tests::wire;

use crate::film::Film;
use crate::scenario::Scenario;
use crate::scene::{SOON, Scene, usual};

const JSON: (&str, &str) = ("Accept", "application/json");

#[test]
fn a_session_is_made_used_and_deleted() {
    let scenario = Scenario {
        args: &[
            "--ice-servers",
            "stun:stun.example:3478",
            "--ice-servers",
            "turn:turn.example:3478,user,secret",
        ],
        ..Scenario::new("sessions")
    };
    scenario.play(publish_and_watch, |counters| {
        assert!(counters.count("datagrams") > counters.count("packets_in"));
        assert!(counters.count("transmits") > 0, "{counters:?}");
    });
}

fn publish_and_watch(scene: &mut Scene) {
    scene.read("OPTIONS", "/live/whep");
    let mut peers = vec![scene.publisher("live")];
    for _ in 0..2 {
        peers.push(scene.join(Client::viewer, "/live/whep?for=you", &usual()));
    }
    wire::connect(&mut peers);
    let watching = |scene: &Scene| scene.told("live: ", " watches");
    let all_watch = wire::run(&mut peers, SOON, |_| watching(scene) == 2);
    assert!(all_watch, "{}", scene.kvill.log());
    scene.ask("GET", "/", &[JSON], "");

    let mut film = Film::new();
    film.show(&mut peers, 40);
    for viewer in 1..peers.len() {
        let all = film.arrives(&mut peers, viewer);
        assert!(all, "missing: {:?}", film.missing(&peers[viewer]));
        scene.note(&format!("viewer {viewer} has had every packet"));
    }

    for leaving in [1, 0] {
        let location = peers[leaving].location.clone();
        scene.ask("DELETE", &location, &[], "");
        let is_closed = wire::run(&mut peers, SOON, |p| p[leaving].client.is_closed());
        scene.note(&format!("DTLS is closed: {is_closed}"));
        scene.ask("GET", "/", &[JSON], "");
        scene.ask("DELETE", &location, &[], "");
    }
    scene.note(&format!(
        "the other viewer waits for a publisher: {}",
        peers[2].client.is_connected()
    ));
}
