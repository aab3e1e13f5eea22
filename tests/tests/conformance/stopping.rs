//! SIGTERM: a goodbye to everybody, and an end.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use kvill_tests::client::Client;
use kvill_tests::wire;
use str0m::rtp::rtcp::Rtcp;

use crate::film::Film;
use crate::scenario::Scenario;
use crate::scene::{SOON, Scene, usual};

/// How long an orderly end may take, with somebody who does not finish a request.
const STOP_TIME: Duration = Duration::from_secs(1);

/// What shells expect of a process that SIGTERM has ended.
const BY_SIGNAL: i32 = 128 + 15;

#[test]
fn a_signal_ends_every_session_and_the_process() {
    Scenario::new("stopping").play(stop, |_| {});
}

fn stop(scene: &mut Scene) {
    let publisher = scene.publisher("live");
    let viewer = scene.join(Client::viewer, "/live/whep", &usual().observing());
    let mut peers = [publisher, viewer];
    wire::connect(&mut peers);
    let is_told = wire::run(&mut peers, SOON, |_| scene.told("live: ", " watches") == 1);
    assert!(is_told, "{}", scene.kvill.log());
    let mut film = Film::new();
    film.show(&mut peers, 10);
    assert!(film.arrives(&mut peers, 1));
    let mut idle = scene.connect();
    idle.send("GET /favicon.ico HTTP/1.1\r\nHost: x\r\n\r\n");
    scene.hear(&mut idle, true);

    let asked = Instant::now();
    scene.kvill.ask_to_end();
    let all_closed = |p: &mut [wire::Peer]| p.iter().all(|p| p.client.is_closed());
    let is_closed = wire::run(&mut peers, SOON, all_closed);
    scene.note(&format!("DTLS is closed with both: {is_closed}"));
    let said = &peers[1].client.rtcp;
    let goodbyes = said
        .iter()
        .filter(|(_, said)| matches!(said, Rtcp::Goodbye(_)));
    scene.note(&format!(
        "RTCP goodbyes to the viewer: {}",
        goodbyes.count()
    ));
    scene.note("An idle connection:");
    scene.hear(&mut idle, true);
    scene.kvill.check_end();
    let took = asked.elapsed();
    assert!(took < STOP_TIME, "{took:?}");
    let is_refused = TcpStream::connect(scene.kvill.url().trim_start_matches("http://")).is_err();
    scene.note(&format!("nobody listens any more: {is_refused}"));
    scene.note("exit code 0, within a second");
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    Scenario::new("stopping-twice").play_to_the_end(stop_twice);
}

fn stop_twice(scene: &mut Scene) {
    // Who has not said its whole request keeps the server from ending at once.
    let mut slow = scene.connect();
    slow.send("POST /live/whip HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nv=0");
    let mut other = scene.connect();
    other.send("GET /favicon.ico HTTP/1.1\r\nHost: x\r\n\r\n");
    scene.hear(&mut other, true);
    scene.kvill.ask_to_end();
    scene.kvill.line(&[" INFO ", "stopping"]);
    scene.kvill.ask_to_end();
    let status = scene.kvill.wait(STOP_TIME);
    let code = status.and_then(|status| status.code());
    scene.note(&format!("exit code {code:?}"));
    assert_eq!(code, Some(BY_SIGNAL), "{}", scene.kvill.log());
}
