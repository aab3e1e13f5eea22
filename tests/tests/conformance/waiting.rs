//! Clients that are slow: all of them at once, for their limits are ten seconds.

use std::time::{Duration, Instant};

use kvill_tests::client::Client;
use kvill_tests::web::Connection;
use kvill_tests::wire::{self, Peer};

use crate::scenario::Scenario;
use crate::scene::{HERE, Scene, usual};

/// After so long, a server has waited long enough for a header, a body, another request or a
/// handshake.
const LIMIT: Duration = Duration::from_secs(10);
/// How much later than that it may say so.
const SLACK: Duration = Duration::from_secs(2);

#[test]
fn who_is_slow_is_told_or_cut_off_after_ten_seconds() {
    Scenario::new("waiting").play(wait, |_| {});
}

fn wait(scene: &mut Scene) {
    let publisher = scene.publisher("live");
    let mut peers = [
        publisher,
        Peer::new(HERE, Client::publisher, &usual()),
        Peer::new(HERE, Client::viewer, &usual()),
    ];
    let started = Instant::now();
    let endpoints = ["/other/whip", "/live/whep"];
    for (peer, endpoint) in peers[1..].iter_mut().zip(endpoints) {
        peer.without_dtls = true;
        peer.join(scene.kvill.url(), endpoint);
    }
    let mut slow = [
        ("no header", "", 0),
        ("half a header", "GET / HTTP/1.1\r\nHo", 0),
        (
            "half a body",
            "POST /live/whip HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nv=0",
            1,
        ),
        (
            "no second request",
            "GET /favicon.ico HTTP/1.1\r\nHost: x\r\n\r\n",
            1,
        ),
    ]
    .map(|(what, sent, replies)| {
        let mut connection = scene.connect();
        connection.send(sent);
        (what, connection, replies)
    });

    let unfinished = |scene: &Scene| scene.told(" did not connect: ICE is done with ", "no DTLS");
    let is_over = wire::run(&mut peers, LIMIT + SLACK, |_| unfinished(scene) == 2);
    assert!(is_over, "{}", scene.kvill.log());
    let took = started.elapsed();
    assert!((LIMIT - SLACK..LIMIT + SLACK).contains(&took), "{took:?}");
    scene.note("handshakes without DTLS are over");
    for (peer, endpoint) in peers[1..].iter().zip(endpoints) {
        let client = peer.client.local().to_string();
        scene.learn("client", &client);
        let secret = peer.location.rsplit('/').next().unwrap_or_default();
        scene.learn("secret", secret);
        scene.note(&format!("of {endpoint}:"));
        scene.ask("DELETE", &peer.location, &[], "");
    }
    let is_connected = peers[0].client.is_connected();
    scene.note(&format!("the publisher is connected: {is_connected}"));
    for (what, connection, replies) in &mut slow {
        scene.note(&format!("{what}:"));
        hear(scene, connection, *replies);
    }
    let took = started.elapsed();
    assert!(took < LIMIT + SLACK, "{took:?}");
}

/// So many responses, and the end.
fn hear(scene: &mut Scene, connection: &mut Connection, replies: usize) {
    for _ in 0..replies {
        assert!(scene.hear(connection, true).is_some(), "it is answered");
    }
    assert!(scene.hear(connection, true).is_none(), "then it is closed");
}
