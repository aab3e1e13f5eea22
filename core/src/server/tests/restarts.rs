//! PATCH, by raw clients: what no WebRTC stack does by itself.

use super::*;

fn patch(bench: &mut Bench, client: &Client, if_match: &str, fragment: &str) -> Response {
    let headers = [
        ("content-type", "application/trickle-ice-sdpfrag"),
        ("if-match", if_match),
    ];
    bench.request_with("PATCH", &client.location, &headers, fragment.to_owned())
}

fn fragment(name: &str) -> String {
    format!(
        "a=ice-ufrag:{name}\r\na=ice-pwd:{name}{name}{name}{name}\r\nm=video 9 X 0\r\na=mid:v\r\n"
    )
}

fn line<'a>(body: &'a str, key: &str) -> &'a str {
    let line = body.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap_or_else(|| panic!("no {key} in {body}"))
}

/// The same client under new names: ours from a restart's answer, its own the given one.
struct Restarted {
    ufrag: String,
    password: String,
    name: String,
}

impl Restarted {
    fn new(response: &Response, name: &str) -> Self {
        assert_eq!(response.status(), 200, "{response:?}");
        let body = std::str::from_utf8(response.body()).unwrap();
        let ufrag = line(body, "a=ice-ufrag:").to_owned();
        assert_eq!(response.headers()["etag"], format!("\"{ufrag}\""));
        Self {
            ufrag,
            password: line(body, "a=ice-pwd:").to_owned(),
            name: name.to_owned(),
        }
    }

    /// Swaps the client's names for these.
    fn swap(&mut self, client: &mut Client) {
        std::mem::swap(&mut self.ufrag, &mut client.ufrag);
        std::mem::swap(&mut self.password, &mut client.password);
        std::mem::swap(&mut self.name, &mut client.name);
    }
}

/// Whether a binding request was taken for genuine.
fn is_taken(bench: &mut Bench, client: &Client, check: Check) -> bool {
    let before = bench.counters().dropped_stun;
    bench.check(client, check);
    bench.counters().dropped_stun == before
}

#[test]
fn a_restart_tells_our_half_and_moves_nothing() {
    let mut bench = Bench::new(&[HERE, ALSO_HERE]);
    let (publisher, viewer) = bench.pair();
    for client in [&publisher, &viewer] {
        let response = patch(&mut bench, client, "*", &fragment("new"));
        assert_eq!(response.status(), 200);
        let body = std::str::from_utf8(response.body()).unwrap();
        assert!(body.starts_with("a=ice-lite\r\nm=video "), "{body}");
        assert_eq!(line(body, "a=mid:"), "v");
        assert_eq!(
            line(body, "a=candidate:"),
            "1 1 udp 2130706431 10.0.0.1 5 typ host"
        );
        assert!(body.ends_with("a=end-of-candidates\r\n"));
        let ufrag = line(body, "a=ice-ufrag:");
        assert_ne!(ufrag, client.ufrag);
        assert_eq!(
            crate::ids::session_of_ufrag(ufrag),
            crate::ids::session_of_ufrag(&client.ufrag)
        );
    }
    bench.publish(&publisher, 96, 1);
    assert_eq!(media_of(&bench.drain()), [(0, viewer.remote)].into());
}

#[test]
fn the_first_etag_is_that_of_the_first_ice_session() {
    let mut bench = Bench::new(&[HERE]);
    let (_publisher, viewer) = bench.pair();
    let first = format!("\"{}\"", viewer.ufrag);
    let response = patch(&mut bench, &viewer, &first, "a=end-of-candidates");
    assert_eq!(response.status(), 204);
    assert_eq!(
        patch(&mut bench, &viewer, &first, &fragment("new")).status(),
        200
    );
    let response = patch(&mut bench, &viewer, &first, "a=end-of-candidates");
    assert_eq!(response.status(), 412);
}

#[test]
fn both_generations_are_obeyed_until_the_new_one_is_nominated() {
    let mut bench = Bench::new(&[HERE, ALSO_HERE]);
    let (publisher, mut viewer) = bench.pair();
    let response = patch(&mut bench, &viewer, "*", &fragment("new"));
    let mut other = Restarted::new(&response, "new");
    let (old, new) = (viewer.remote, address("10.7.7.7:9"));
    let at_new = |nominates, client: &Client| Check {
        remote: new,
        transport: 1,
        nominates,
        ..client.check()
    };

    other.swap(&mut viewer);
    let check = at_new(false, &viewer);
    assert!(is_taken(&mut bench, &viewer, check));
    other.swap(&mut viewer);
    let check = viewer.check();
    assert!(is_taken(&mut bench, &viewer, check));
    bench.drain();
    bench.publish(&publisher, 96, 1);
    assert_eq!(media_of(&bench.drain()), [(0, old)].into());

    other.swap(&mut viewer);
    let check = at_new(true, &viewer);
    assert!(is_taken(&mut bench, &viewer, check));
    bench.drain();
    bench.publish(&publisher, 96, 2);
    assert_eq!(media_of(&bench.drain()), [(1, new)].into());

    other.swap(&mut viewer);
    let check = viewer.check();
    assert!(!is_taken(&mut bench, &viewer, check));
    bench.drain();
    bench.publish(&publisher, 96, 3);
    assert_eq!(media_of(&bench.drain()), [(1, new)].into());
}

#[test]
fn a_restart_that_is_asked_for_again_is_answered_again_until_it_was_heard() {
    let mut bench = Bench::new(&[HERE]);
    let (_publisher, mut viewer) = bench.pair();
    let first = format!("\"{}\"", viewer.ufrag);
    let answer = patch(&mut bench, &viewer, &first, &fragment("new"));
    for if_match in ["*", &first] {
        let again = patch(&mut bench, &viewer, if_match, &fragment("new"));
        assert_eq!(again.status(), 200);
        assert_eq!(again.body(), answer.body());
        assert_eq!(again.headers(), answer.headers());
    }
    // Who knows the new tag has heard it, and brings candidates.
    let second = answer.headers()["etag"].to_str().unwrap().to_owned();
    let trickled = patch(&mut bench, &viewer, &second, &fragment("new"));
    assert_eq!(trickled.status(), 204);

    Restarted::new(&answer, "new").swap(&mut viewer);
    bench.check(&viewer, viewer.check());
    assert_eq!(
        patch(&mut bench, &viewer, "*", &fragment("new")).status(),
        204
    );
    assert_eq!(
        patch(&mut bench, &viewer, &first, &fragment("new")).status(),
        412
    );
}

#[test]
fn another_restart_may_name_the_tag_of_before_one_that_was_not_heard() {
    let mut bench = Bench::new(&[HERE]);
    let (_publisher, mut viewer) = bench.pair();
    let first = format!("\"{}\"", viewer.ufrag);
    let unheard = patch(&mut bench, &viewer, &first, &fragment("new"));
    let answer = patch(&mut bench, &viewer, &first, &fragment("newer"));
    assert_ne!(unheard.headers()["etag"], answer.headers()["etag"]);
    Restarted::new(&answer, "newer").swap(&mut viewer);
    let check = viewer.check();
    assert!(is_taken(&mut bench, &viewer, check));
    let late = patch(&mut bench, &viewer, &first, &fragment("newest"));
    assert_eq!(late.status(), 412);
}

#[test]
fn what_is_of_before_a_restart_is_refused_once_that_has_worked() {
    let mut bench = Bench::new(&[HERE]);
    let (_publisher, mut viewer) = bench.pair();
    let late = "a=ice-ufrag:peer\r\na=ice-pwd:peerpeerpeerpeerpeerpeer\r\n";
    assert_eq!(patch(&mut bench, &viewer, "*", late).status(), 204);
    let answer = patch(&mut bench, &viewer, "*", &fragment("new"));
    assert_eq!(patch(&mut bench, &viewer, "*", late).status(), 204);
    Restarted::new(&answer, "new").swap(&mut viewer);
    bench.check(&viewer, viewer.check());
    let refused = patch(&mut bench, &viewer, "*", late);
    assert_eq!(refused.status(), 409);
    // It began no generation: the one that works still does.
    let check = viewer.check();
    assert!(is_taken(&mut bench, &viewer, check));
}

#[test]
fn half_a_restart_is_refused_in_words() {
    let mut bench = Bench::new(&[HERE]);
    let (_publisher, viewer) = bench.pair();
    for half in ["a=ice-ufrag:other\r\n", "a=ice-pwd:other\r\n"] {
        let refused = patch(&mut bench, &viewer, "*", half);
        assert_eq!(refused.status(), 400);
        let says = String::from_utf8_lossy(refused.body()).into_owned();
        assert!(says.contains("send both"), "{says}");
    }
}

#[test]
fn regress_a_publisher_is_answered_where_it_nominated() {
    let mut bench = Bench::new(&[HERE, ALSO_HERE]);
    let (publisher, viewer) = bench.pair();
    let elsewhere = Check {
        transport: 1,
        remote: address("10.7.7.7:9"),
        nominates: false,
        ..publisher.check()
    };
    for (nominates, expected) in [
        (false, (0, publisher.remote)),
        (true, (1, address("10.7.7.7:9"))),
    ] {
        let check = Check {
            nominates,
            ..elsewhere
        };
        bench.check(&publisher, check);
        bench.drain();
        // The request for a keyframe, sealed: it reaches the publisher as RTCP.
        let id = crate::ids::session_of_ufrag(&viewer.ufrag).unwrap();
        bench.publish(&publisher, 96, if nominates { 2 } else { 1 });
        bench.drain();
        bench.advance(Duration::from_secs(1));
        bench.server.want_keyframe(bench.now, id);
        bench.advance(Duration::from_millis(100));
        let sent = bench.drain();
        let asked = sent.iter().filter(|(_, to, contents)| {
            *to != viewer.remote && contents[0] & 0xc0 == 0x80 && rtcp::is_rtcp(contents)
        });
        let to: BTreeSet<_> = asked.map(|(by, to, _)| (*by, *to)).collect();
        assert_eq!(to, [expected].into());
    }
}

#[test]
fn regress_a_peer_may_show_any_number_of_addresses() {
    let mut bench = Bench::new(&[HERE]);
    let (publisher, viewer) = bench.pair();
    for (client, host) in [(&publisher, 7), (&viewer, 8)] {
        for port in 1000..1200 {
            let check = Check {
                remote: ([10, 9, 9, host], port).into(),
                nominates: false,
                ..client.check()
            };
            assert!(is_taken(&mut bench, client, check), "{port}");
        }
    }
    assert_eq!(bench.server.addresses.len(), 8 + 8);
    // Those that they nominated are not forgotten over it.
    bench.publish(&publisher, 96, 1);
    assert_eq!(media_of(&bench.drain()), [(0, viewer.remote)].into());
}
