//! ICE restarts and trickled candidates: a client changes its network and goes on.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use kvill_core::{Config, server::Event};
use kvill_tests::client::Options;
use kvill_tests::memory::{Broadcast, ClientId, Crossing, Link, PATH, SERVER, Way, World};
use kvill_tests::peer;
use kvill_tests::process::Kvill;
use str0m::format::Codec;

/// Everything arrives; what crosses is noted by kind.
#[derive(Debug, Default)]
struct Tap {
    /// DTLS that crossed, either way.
    dtls: usize,
    /// To where media last went, by client's address.
    media: Option<(Instant, SocketAddr)>,
}

impl Link for Tap {
    fn carries(&mut self, crossing: &Crossing<'_>) -> bool {
        match crossing.contents.first() {
            Some(20..=63) => self.dtls += 1,
            Some(128..=191) if crossing.way == Way::ToClient => {
                self.media = Some((crossing.now, crossing.client));
            }
            _ => {}
        }
        true
    }
}

const FRAME: Duration = Duration::from_millis(20);

fn broadcast(seed: u64, viewers: usize) -> Broadcast<Tap> {
    println!("seed {seed}");
    let world = World::with_link(seed, Config::default(), Tap::default());
    let options = Options::new(&[Codec::Vp8, Codec::Opus]).observing();
    let mut live = Broadcast::new(world, Codec::Vp8, viewers, &options);
    live.keyframe(2, 700);
    live.sound(90);
    live.world.settle();
    live.check_complete();
    live.world.link.dtls = 0;
    let _ = joined(&mut live);
    live
}

/// A frame and a packet of sound every 20 ms.
fn play(live: &mut Broadcast<Tap>, duration: Duration) {
    let end = live.world.now() + duration;
    while live.world.now() < end {
        live.delta(2, 700);
        live.sound(90);
        live.world.run(FRAME);
    }
}

/// Plays on, and gives the longest time in which a viewer got no video. What was lost on the way to
/// the server may come later; no number comes twice, and the source stays the same.
fn longest_gap(live: &mut Broadcast<Tap>, viewer: ClientId, duration: Duration) -> Duration {
    let begin = live.world.now();
    let end = begin + duration;
    let (mut last, mut longest) = (begin, Duration::ZERO);
    let mut seen = HashSet::new();
    live.world.client(viewer).video.clear();
    let mut ssrc = None;
    while live.world.now() < end {
        live.delta(2, 700);
        live.world.run(FRAME);
        let now = live.world.now();
        for packet in live.world.client(viewer).video.drain(..) {
            longest = longest.max(now.duration_since(last));
            last = now;
            assert!(seen.insert(packet.seq_no), "{:?} again", packet.seq_no);
            assert_eq!(*ssrc.get_or_insert(packet.header.ssrc), packet.header.ssrc);
        }
    }
    longest.max(end.duration_since(last))
}

/// Who joined or left since the last time.
fn joined(live: &mut Broadcast<Tap>) -> Vec<Event> {
    std::iter::from_fn(|| live.world.server.poll_event()).collect()
}

/// The session went on: nobody came or left, nothing was said by DTLS.
fn assert_undisturbed(live: &mut Broadcast<Tap>) {
    assert_eq!(joined(live), [], "a session came or went");
    assert_eq!(live.world.link.dtls, 0, "DTLS had something to say");
    let ids: Vec<_> = live.viewers.iter().map(|v| v.id).collect();
    for id in ids.into_iter().chain([live.publisher]) {
        assert!(live.world.client(id).is_connected());
    }
}

#[test]
fn a_restart_from_where_one_is_loses_nothing() {
    let mut live = broadcast(1, 2);
    let restarts = [live.viewers[0].id, live.publisher, live.viewers[1].id];
    for id in restarts {
        live.world.restart(id);
        play(&mut live, Duration::from_secs(8));
        live.check_complete();
    }
    // Longer than an address, a session or str0m's ICE lives without checks.
    play(&mut live, Duration::from_secs(40));
    live.check_complete();
    assert_undisturbed(&mut live);
}

#[test]
fn a_viewer_goes_on_watching_from_a_new_address() {
    let mut live = broadcast(2, 1);
    let viewer = live.viewers[0].id;
    let new = live.world.roam(viewer, 172);
    // It takes a browser so long to see that its network changed.
    let outage = Duration::from_millis(400);
    play(&mut live, outage);
    live.world.restart(viewer);
    let gap = longest_gap(&mut live, viewer, Duration::from_secs(30));
    println!("a viewer is away for {outage:?}, and video is back {gap:?} after its PATCH");
    assert!(gap <= Duration::from_millis(300), "{gap:?}");
    assert_eq!(live.world.link.media.map(|(_, to)| to), Some(new));
    assert_undisturbed(&mut live);
}

#[test]
fn a_viewer_that_has_moved_gets_a_keyframe() {
    let mut live = broadcast(2, 1);
    let viewer = live.viewers[0].id;
    let requests_over_a_restart = |live: &mut Broadcast<Tap>| {
        live.world.client(live.publisher).keyframe_requests.clear();
        live.world.restart(viewer);
        play(live, Duration::from_secs(3));
        live.world.client(live.publisher).keyframe_requests.len()
    };
    // From where it is nothing was lost.
    assert_eq!(requests_over_a_restart(&mut live), 0);
    live.world.roam(viewer, 172);
    play(&mut live, Duration::from_millis(400));
    assert!(requests_over_a_restart(&mut live) > 0);
}

#[test]
fn a_publisher_goes_on_publishing_from_a_new_address() {
    let mut live = broadcast(3, 1);
    let viewer = live.viewers[0].id;
    live.world.roam(live.publisher, 172);
    let outage = Duration::from_millis(400);
    play(&mut live, outage);
    live.world.restart(live.publisher);
    let gap = longest_gap(&mut live, viewer, Duration::from_secs(30));
    println!("a publisher is away for {outage:?}, and video is back {gap:?} after its PATCH");
    assert!(gap <= Duration::from_millis(300), "{gap:?}");
    assert_undisturbed(&mut live);

    // What the server has to say reaches it where it is.
    let now = live.world.now();
    live.world.client(live.publisher).keyframe_requests.clear();
    live.world.client(viewer).request_keyframe(now);
    live.world.run(Duration::from_secs(1));
    let asked = live.world.client(live.publisher).keyframe_requests.len();
    assert!(asked > 0, "no request for a keyframe came");
}

#[test]
fn a_restart_that_comes_to_nothing_leaves_the_old_route_playing() {
    let mut live = broadcast(4, 1);
    for id in [live.viewers[0].id, live.publisher] {
        // The answers never reach the client: it goes on as it was, and tries again.
        for _ in 0..3 {
            let fragment = live.world.client(id).restart();
            let response = live.world.patch(id, &fragment, Some("*"));
            assert_eq!(response.status(), StatusCode::OK);
            play(&mut live, Duration::from_secs(20));
            live.check_complete();
        }
    }
    assert_undisturbed(&mut live);
    // And a later one that is heard works.
    for id in [live.viewers[0].id, live.publisher] {
        live.world.restart(id);
        play(&mut live, Duration::from_secs(20));
        live.check_complete();
    }
    assert_undisturbed(&mut live);
}

#[test]
fn restarts_from_a_hundred_addresses_in_a_row_all_work() {
    let mut live = broadcast(5, 1);
    for network in 100..200 {
        for id in [live.viewers[0].id, live.publisher] {
            live.world.roam(id, network);
            live.world.restart(id);
            live.world.run(Duration::from_secs(2));
        }
    }
    let viewer = live.viewers[0].id;
    let gap = longest_gap(&mut live, viewer, Duration::from_secs(20));
    assert!(gap <= FRAME, "{gap:?}");
    assert_undisturbed(&mut live);
}

#[test]
fn candidates_that_nobody_can_use_are_taken_and_do_no_harm() {
    let mut live = broadcast(6, 1);
    let viewer = live.viewers[0].id;
    let trickle = "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
        a=candidate:1 1 udp 2113937151 5d9a3e1c-7d1b-4c5f-8b1e-0f2a8d6c4b3a.local 55555 typ host\r\n\
        a=candidate:2 1 tcp 1518280447 5d9a3e1c-7d1b-4c5f-8b1e-0f2a8d6c4b3a.local 9 typ host tcptype active\r\n\
        a=end-of-candidates\r\n";
    for id in [viewer, live.publisher] {
        for if_match in [None, Some("*")] {
            let response = live.world.patch(id, trickle, if_match);
            assert_eq!(response.status(), StatusCode::NO_CONTENT);
            assert!(response.body().is_empty());
        }
    }
    play(&mut live, Duration::from_secs(20));
    live.check_complete();
    assert_undisturbed(&mut live);
}

#[test]
fn candidates_before_the_handshake_do_not_hold_it_up() {
    let mut world = World::new(7, Config::default());
    let options = Options::new(&[Codec::Vp8]);
    let publisher = world.publish(PATH, &options);
    let response = world.patch(publisher, "a=end-of-candidates\r\n", Some("\"*\""));
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    world.connect(&[publisher]);
}

#[test]
fn a_restart_before_anything_is_connected_works() {
    let mut world = World::new(8, Config::default());
    let options = Options::new(&[Codec::Vp8]);
    let publisher = world.publish(PATH, &options);
    world.restart(publisher);
    world.connect(&[publisher]);
    let viewer = world.view(PATH, &options);
    world.restart(viewer);
    world.connect(&[viewer]);
}

#[test]
fn if_match_is_honoured_where_it_is_sent() {
    let mut live = broadcast(9, 1);
    let viewer = live.viewers[0].id;
    let trickle = "a=end-of-candidates\r\n";
    let second = live.world.restart(viewer);
    live.world.run(Duration::from_secs(3));
    let third = live.world.restart(viewer);
    live.world.run(Duration::from_secs(3));
    assert_ne!(second, third);
    let weak = format!("W/{third}");
    let list = format!("{second}, {third}");
    let unquoted = third.trim_matches('"');
    for (if_match, status) in [
        (None, 204),
        (Some("*"), 204),
        (Some("\"*\""), 204),
        (Some(third.as_str()), 204),
        (Some(unquoted), 204),
        (Some(&list), 204),
        (Some(second.as_str()), 412),
        (Some(&weak), 412),
        (Some("\"nonsense\""), 412),
    ] {
        let response = live.world.patch(viewer, trickle, if_match);
        assert_eq!(response.status(), status, "{if_match:?}");
    }
    for (if_match, status) in [(second.as_str(), 412), (third.as_str(), 200)] {
        let fragment = live.world.client(viewer).restart();
        let response = live.world.patch(viewer, &fragment, Some(if_match));
        assert_eq!(response.status(), status, "{if_match}");
        let says = String::from_utf8_lossy(response.body());
        assert!(status != 412 || says.contains("If-Match: *"), "{says}");
    }
    play(&mut live, Duration::from_secs(20));
    live.check_complete();
}

#[test]
fn a_session_that_has_ended_is_not_there_to_be_patched() {
    let mut world = World::new(10, Config::default());
    let options = Options::new(&[Codec::Vp8]);
    let publisher = world.publish(PATH, &options);
    world.connect(&[publisher]);
    let viewer = world.view(PATH, &options);
    world.connect(&[viewer]);
    for id in [viewer, publisher] {
        let location = world.location(id);
        let from = world.client(id).local();
        let elsewhere = location.replace("/whep/", "/whip/");
        if elsewhere != location {
            let response = world.patch_at(&elsewhere, from, "a=end-of-candidates\r\n", None);
            assert_eq!(response.status(), StatusCode::NOT_FOUND);
        }
        world.leave(id);
        for body in ["a=end-of-candidates\r\n", "nonsense", ""] {
            let response = world.patch_at(&location, from, body, Some("*"));
            assert_eq!(response.status(), StatusCode::NOT_FOUND);
            let says = String::from_utf8_lossy(response.body()).into_owned();
            assert!(says.contains("has ended (ended by DELETE)"), "{says}");
        }
        let response = world.request(Method::DELETE, &location, SERVER, Bytes::new());
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }
}

#[test]
fn chromium_goes_on_over_restarts_of_either_side() {
    let Some(chromium) = peer::chromium() else {
        return;
    };
    let kvill = Kvill::start(&[]);
    let args = ["--base", kvill.url(), "--restarts", "3"];
    let result = chromium.run("chromium/patch.mjs", &args, Duration::from_secs(120));
    let mut table = "ICE restarts by Chromium, publisher and viewer: longest gap between frames\n\
        | who restarts, 3 times | frames shown | longest gap |\n|---|---|---|\n"
        .to_owned();
    for (who, name) in [
        ("nobody", "calm"),
        ("the viewer", "viewer"),
        ("the publisher", "publisher"),
    ] {
        let frames = &result[name]["frames"];
        let gap = result[name]["longestGapMs"].as_f64().unwrap_or(f64::NAN);
        table.push_str(&format!("| {who} | {frames} | {gap:.0} ms |\n"));
    }
    peer::report("restart", &table);
    for name in ["viewer", "publisher"] {
        let side = &result[name];
        let expected = serde_json::json!([204, 200, 204, 200, 204, 200, 204]);
        assert_eq!(side["statuses"], expected, "{name}: {side}");
        let states = serde_json::json!(["connecting", "connected"]);
        assert_eq!(side["states"], states, "{name}: {side}");
        assert_eq!(side["complaints"], serde_json::json!([]), "{name}: {side}");
        let gap = side["longestGapMs"].as_f64().unwrap();
        assert!(gap < 500.0, "{name}: a gap of {gap} ms: {side}");
    }
    kvill.stop();
}
