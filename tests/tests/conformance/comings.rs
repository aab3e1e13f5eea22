//! Publishers that leave, come back and take over.

use std::time::Instant;

use kvill_tests::client::Client;
use kvill_tests::wire::{self, Peer};

use crate::film::Film;
use crate::scenario::Scenario;
use crate::scene::{SOON, Scene, usual};

#[test]
fn viewers_stay_while_their_publisher_comes_back() {
    let scenario = Scenario {
        args: &["--publisher-grace", "20"],
        ..Scenario::new("comebacks")
    };
    scenario.play(come_back, |_| {});
}

/// Plays a film of the first of them, and writes down whether the second has had all of it.
fn watch(scene: &mut Scene, peers: &mut [Peer]) {
    peers[1].client.video.clear();
    peers[1].client.audio.clear();
    let mut film = Film::new();
    film.show(peers, 20);
    let all = film.arrives(peers, 1);
    scene.note(&format!("the viewer has had every packet: {all}"));
}

fn come_back(scene: &mut Scene) {
    let publisher = scene.publisher("live");
    let viewer = scene.join(Client::viewer, "/live/whep", &usual());
    let mut peers = vec![publisher, viewer];
    wire::connect(&mut peers);
    let is_told = wire::run(&mut peers, SOON, |_| scene.told("live: ", " watches") == 1);
    assert!(is_told, "{}", scene.kvill.log());
    watch(scene, &mut peers);

    scene.note("The publisher says goodbye, and another one comes:");
    peers[0].client.close(Instant::now());
    let left = |scene: &Scene| scene.told("live: publisher", " left: ");
    assert!(wire::run(&mut peers, SOON, |_| left(scene) == 1));
    scene.ask("GET", "/", &[("Accept", "application/json")], "");
    peers[0] = scene.publisher("live");
    watch(scene, &mut peers);

    scene.note("Yet another one takes over:");
    let other = scene.publisher("live");
    let replaced = std::mem::replace(&mut peers[0], other);
    peers.push(replaced);
    let is_closed = wire::run(&mut peers, SOON, |p| p[2].client.is_closed());
    scene.note(&format!("the one before is disconnected: {is_closed}"));
    watch(scene, &mut peers);
    scene.ask("GET", "/", &[("Accept", "application/json")], "");
    scene.note(&format!(
        "the viewer has made one request and is connected: {}",
        peers[1].client.is_connected()
    ));
}

#[test]
fn a_protected_publisher_is_not_replaced() {
    let scenario = Scenario {
        args: &["--override-publisher", "false", "--publisher-grace", "0"],
        ..Scenario::new("protected")
    };
    scenario.play(protect, |_| {});
}

fn protect(scene: &mut Scene) {
    let late = scene.join(Client::publisher, "/live/whip", &usual());
    let mut peers = vec![scene.publisher("live")];
    let viewer = scene.join(Client::viewer, "/live/whep", &usual());
    let offer = late.client.offer().to_owned();
    scene.offer("/live/whip", &offer);
    peers.extend([viewer, late]);
    let is_closed = wire::run(&mut peers, SOON, |p| p[2].client.is_closed());
    scene.note(&format!(
        "who offered when nobody was there, and connects when somebody is, is disconnected: {is_closed}"
    ));
    let is_connected = |p: &mut [Peer]| p[1].client.is_connected();
    let all_are = wire::run(&mut peers, SOON, is_connected) && peers[0].client.is_connected();
    scene.note(&format!(
        "the publisher and the viewer are connected: {all_are}"
    ));

    scene.note("The publisher says goodbye, and there is no grace:");
    peers[0].client.close(Instant::now());
    let is_closed = wire::run(&mut peers, SOON, |p| p[1].client.is_closed());
    scene.note(&format!("the viewer is disconnected: {is_closed}"));
    let location = peers[1].location.clone();
    scene.ask("DELETE", &location, &[], "");
    let offer = peers[1].client.offer().to_owned();
    scene.offer("/live/whep", &offer);
}
