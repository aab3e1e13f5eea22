//! PATCH: candidates that come later, and ICE restarts.

use std::time::Instant;

use kvill_tests::client::Client;
use kvill_tests::wire::{self, Peer};

use crate::film::Film;
use crate::scenario::Scenario;
use crate::scene::{SOON, Scene, usual};

const FRAGMENT: (&str, &str) = ("Content-Type", "application/trickle-ice-sdpfrag");

#[test]
fn ice_is_trickled_and_restarted() {
    Scenario::new("restarts").play(trickle_and_restart, |_| {});
}

fn trickle_and_restart(scene: &mut Scene) {
    let publisher = scene.publisher("live");
    let viewer = scene.join(Client::viewer, "/live/whep", &usual());
    let mut peers = [publisher, viewer];
    wire::connect(&mut peers);
    let is_told = wire::run(&mut peers, SOON, |_| scene.told("live: ", " watches") == 1);
    assert!(is_told, "{}", scene.kvill.log());
    let mut film = Film::new();
    film.show(&mut peers, 10);
    for who in [1, 0] {
        trickle(scene, &peers[who]);
        restart(scene, &mut peers, who, &mut film);
    }
    let all = film.arrives(&mut peers, 1);
    scene.note(&format!("the viewer has had every packet: {all}"));
}

fn trickle(scene: &mut Scene, peer: &Peer) {
    let candidate = "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
                     a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=end-of-candidates\r\n";
    let location = peer.location.as_str();
    scene.ask("PATCH", location, &[FRAGMENT], candidate);
    scene.ask("PATCH", location, &[FRAGMENT, ("If-Match", "*")], candidate);
    let old = ("If-Match", "\"of-another-session\"");
    scene.ask("PATCH", location, &[FRAGMENT, old], candidate);
    scene.ask(
        "PATCH",
        location,
        &[("Content-Type", "text/plain")],
        candidate,
    );
    scene.ask("PATCH", location, &[FRAGMENT], "{}");
    let half = "a=ice-ufrag:half\r\n";
    scene.ask("PATCH", location, &[FRAGMENT], half);
    scene.ask("PATCH", location, &[FRAGMENT], &"a=x\r\n".repeat(40 * 1024));
    scene.read("OPTIONS", location);
}

fn restart(scene: &mut Scene, peers: &mut [Peer], who: usize, film: &mut Film) {
    let fragment = peers[who].client.restart();
    let location = peers[who].location.clone();
    let reply = scene.ask("PATCH", &location, &[FRAGMENT], &fragment);
    assert_eq!(reply.status, 200, "{reply:?}");
    let taken = peers[who]
        .client
        .accept_restart(Instant::now(), &reply.body);
    taken.expect("the server's half works");
    film.show(peers, 20);
    let etag = reply.header("etag").expect("a restart has a new tag");
    let headers = [FRAGMENT, ("If-Match", etag)];
    scene.ask("PATCH", &location, &headers, "a=end-of-candidates\r\n");
    let is_connected = peers[who].client.is_connected();
    scene.note(&format!("still connected: {is_connected}"));
}
