//! What was genuine once, sent again by somebody else.

use super::bench::{KEYFRAME, VIEWER};
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const THIEF: &str = "10.66.66.66:6";

#[test]
fn regress_a_recorded_nomination_moves_no_media() {
    let mut bench = Bench::new(&[HERE]);
    let publisher = bench.connected("/a/whip", PUBLISHER);
    let mut viewer = bench.join("/a/whep", VIEWER);
    let recorded = bench.request_of(&viewer, viewer.check());
    bench.arrive(0, viewer.remote, &recorded);
    bench.pump(&mut viewer);
    assert!(viewer.connected);

    bench.arrive(0, address(THIEF), &recorded);
    bench.drain();
    bench.publish(&publisher, 96, 1);
    assert_eq!(media_of(&bench.drain()), [(0, viewer.remote)].into());
}

#[test]
fn regress_a_nomination_that_comes_late_moves_no_media_back() {
    let mut bench = Bench::new(&[HERE, ALSO_HERE]);
    let publisher = bench.connected("/a/whip", PUBLISHER);
    let mut viewer = bench.join("/a/whep", VIEWER);
    let first = bench.request_of(&viewer, viewer.check());
    bench.arrive(0, viewer.remote, &first);
    bench.pump(&mut viewer);
    let roamed = Check {
        transport: 1,
        remote: address("10.7.7.7:9"),
        ..viewer.check()
    };
    bench.check(&viewer, roamed);
    bench.arrive(0, viewer.remote, &first);
    bench.drain();
    bench.publish(&publisher, 96, 1);
    assert_eq!(media_of(&bench.drain()), [(1, roamed.remote)].into());
}

#[test]
fn recorded_media_keeps_no_publisher_alive() {
    let mut bench = Bench::new(&[HERE]);
    let publisher = bench.connected("/a/whip", PUBLISHER);
    let (sealer, _) = publisher.srtp.as_ref().unwrap();
    let mut packet = vec![0x80, 0x80 | 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 77];
    packet.extend(KEYFRAME);
    packet.resize(packet.len() + sealer.rtp_overhead(), 0);
    sealer.seal_rtp(77, 1, &mut packet).unwrap();
    for _ in 0..30 {
        bench.advance(SECOND);
        bench.arrive(0, publisher.remote, &packet);
        bench.drain();
    }
    assert_eq!(bench.sessions(), 0);
}

fn patch(bench: &mut Bench, client: &Client, fragment: &str) -> Response {
    let headers = [
        ("content-type", "application/trickle-ice-sdpfrag"),
        ("if-match", "*"),
    ];
    bench.request_with("PATCH", &client.location, &headers, fragment.to_owned())
}

#[test]
fn regress_candidates_of_a_restart_that_was_given_up_undo_none() {
    let mut bench = Bench::new(&[HERE]);
    let (_publisher, mut viewer) = bench.pair();
    let names = |name: &str| format!("a=ice-ufrag:{name}\r\na=ice-pwd:{name}{name}{name}\r\n");
    patch(&mut bench, &viewer, &names("second"));
    let answer = patch(&mut bench, &viewer, &names("third"));
    assert_eq!(answer.status(), 200);
    // Requests overtake each other: a candidate of the restart before.
    let late = format!(
        "{}a=candidate:1 1 udp 1 10.0.0.9 1 typ host\r\n",
        names("second")
    );
    assert_eq!(patch(&mut bench, &viewer, &late).status(), 409);
    let body = String::from_utf8(answer.body().to_vec()).unwrap();
    let get = |key| {
        body.lines()
            .find_map(|l| l.strip_prefix(key))
            .unwrap()
            .to_owned()
    };
    viewer.ufrag = get("a=ice-ufrag:");
    viewer.password = get("a=ice-pwd:");
    viewer.name = "third".to_owned();
    let before = bench.counters().dropped_stun;
    bench.check(&viewer, viewer.check());
    assert_eq!(
        bench.counters().dropped_stun,
        before,
        "the answer that was given holds"
    );
}
