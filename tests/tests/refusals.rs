//! Every mistake that clients make, against the real `kvill`: the status, the JSON that says what
//! to do, and the line of the log that tells the operator the same.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use kvill_core::Config;
use kvill_core::server::Event;
use kvill_tests::client::{Client, Options};
use kvill_tests::memory::{Crossing, Link, Way, World};
use kvill_tests::process::Kvill;
use kvill_tests::web::{self, Reply};
use kvill_tests::wire::{self, Peer};
use str0m::format::Codec;

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn options() -> Options {
    Options::new(&[Codec::Vp8, Codec::Opus])
}

/// An offer that works.
fn offer(new: fn(Instant, std::net::SocketAddr, &Options) -> Client, options: &Options) -> String {
    let client = new(Instant::now(), (HERE, 9).into(), options);
    client.offer().to_owned()
}

fn publishers_offer() -> String {
    offer(Client::publisher, &options())
}

/// What every refusal has to be; `words` are of its sentence.
#[track_caller]
fn check(kvill: &Kvill, reply: &Reply, request: &str, status: u16, words: &[&str]) {
    assert_eq!(reply.status, status, "{request}: {reply:?}");
    let sentence = reply.sentence();
    for word in words {
        assert!(
            sentence.contains(word),
            "{request}: no {word:?} in: {sentence}"
        );
    }
    let told = format!("{request} of {HERE} refused with {status}: {sentence}");
    let line = kvill.line(&[&told]);
    assert!(line.contains(" INFO "), "{line}");
}

/// Publishes for as long as the peer is kept and driven.
fn publisher(kvill: &Kvill, path: &str) -> Peer {
    let mut peer = Peer::new(HERE, Client::publisher, &options());
    peer.join(kvill.url(), &format!("/{path}/whip"));
    wire::connect(std::slice::from_mut(&mut peer));
    kvill.line(&[&format!("{path}: "), " publishes VP8"]);
    peer
}

#[test]
fn a_body_that_is_no_offer_is_refused() {
    let kvill = Kvill::start(&[]);
    for (body, words) in [
        ("", "not an SDP offer"),
        ("hello", "createOffer()"),
        ("v=0\r\n", "no m= line"),
        ("{\"type\":\"offer\",\"sdp\":\"v=0\"}", "createOffer()"),
    ] {
        for endpoint in ["/live/whip", "/live/whep"] {
            let reply = web::offer(kvill.url(), endpoint, body);
            check(&kvill, &reply, &format!("POST {endpoint}"), 400, &[words]);
        }
    }
    kvill.stop();
}

#[test]
fn a_wrong_content_type_is_refused_with_the_right_one() {
    let kvill = Kvill::start(&[]);
    let headers: [&[_]; 3] = [
        &[],
        &[("Content-Type", "application/json")],
        &[("Content-Type", "application/sdp-fragment")],
    ];
    for headers in headers {
        let reply = web::ask(
            kvill.url(),
            "POST",
            "/live/whip",
            headers,
            publishers_offer(),
        );
        check(
            &kvill,
            &reply,
            "POST /live/whip",
            415,
            &["Content-Type: application/sdp"],
        );
        assert_eq!(reply.header("accept-post"), Some("application/sdp"));
    }
    kvill.stop();
}

#[test]
fn a_body_of_200_kib_is_refused_and_its_client_reads_why() {
    let kvill = Kvill::start(&[]);
    let large = publishers_offer() + &"a=x\r\n".repeat(40 * 1024);
    assert!(large.len() > 200 * 1024);
    let reply = web::offer(kvill.url(), "/live/whip", &large);
    check(
        &kvill,
        &reply,
        "POST /live/whip",
        413,
        &["131072 bytes", "offer fewer"],
    );
    kvill.stop();
}

#[test]
fn codecs_that_do_not_meet_are_named_on_both_sides() {
    let kvill = Kvill::start(&[]);
    let strange = publishers_offer().replace(" VP8/", " theora/");
    let reply = web::offer(kvill.url(), "/live/whip", &strange);
    let words = ["(theora", "offer H264, H265, VP8, VP9 or AV1"];
    check(&kvill, &reply, "POST /live/whip", 406, &words);

    let _publisher = publisher(&kvill, "live");
    let h264 = Options::new(&[Codec::H264, Codec::Opus]);
    let reply = web::offer(kvill.url(), "/live/whep", &offer(Client::viewer, &h264));
    let words = [
        "the stream's video is VP8",
        "(H264",
        "publish with another codec",
    ];
    check(&kvill, &reply, "POST /live/whep", 406, &words);
    let deaf = offer(Client::viewer, &Options::new(&[Codec::PCMU]));
    let reply = web::offer(kvill.url(), "/live/whep", &deaf);
    check(&kvill, &reply, "POST /live/whep", 406, &["Opus", "PCMU"]);
    kvill.stop();
}

#[test]
fn an_offer_that_no_connection_can_come_of_is_refused() {
    let kvill = Kvill::start(&[]);
    let good = publishers_offer();
    let without = |start: &str| -> String {
        let kept = good.split_inclusive("\r\n");
        kept.filter(|line| !line.starts_with(start)).collect()
    };
    let _publisher = publisher(&kvill, "live");
    let watching = offer(Client::viewer, &options());
    for (offer, status, words) in [
        (without("a=group:BUNDLE"), 406, "offer them bundled"),
        (without("a=rtcp-mux"), 406, "offer a=rtcp-mux"),
        (without("a=ice-pwd"), 400, "a=ice-pwd: offer both"),
        (
            without("a=fingerprint"),
            400,
            "offer an a=fingerprint of SHA-256",
        ),
        (
            good.replace("a=setup:actpass", "a=setup:holdconn"),
            400,
            "offer actpass",
        ),
        (
            good.replace("a=sendonly", "a=inactive"),
            406,
            "use the whep URL",
        ),
        (watching, 406, "use the whep URL"),
    ] {
        let reply = web::offer(kvill.url(), "/live/whip", &offer);
        check(&kvill, &reply, "POST /live/whip", status, &[words]);
    }
    let reply = web::offer(kvill.url(), "/live/whep", &good);
    check(
        &kvill,
        &reply,
        "POST /live/whep",
        406,
        &["use the whip URL"],
    );
    kvill.stop();
}

#[test]
fn a_path_that_nobody_publishes_or_could_is_refused() {
    let kvill = Kvill::start(&[]);
    let watching = offer(Client::viewer, &options());
    let reply = web::offer(kvill.url(), "/garden/pond/whep", &watching);
    let words = [
        "nobody publishes garden/pond yet",
        "/garden/pond/publish",
        "/garden/pond/whip",
    ];
    check(&kvill, &reply, "POST /garden/pond/whep", 404, &words);
    let reply = web::offer(kvill.url(), "/a%20b/whip", &publishers_offer());
    check(
        &kvill,
        &reply,
        "POST /a b/whip",
        400,
        &["use letters, digits"],
    );
    kvill.stop();
}

#[test]
fn a_second_publisher_is_refused_where_the_first_is_protected() {
    let kvill = Kvill::start(&["--override-publisher", "false"]);
    // Its offer came while nobody was there yet: it finds out when it connects.
    let mut late = Peer::new(HERE, Client::publisher, &options());
    late.join(kvill.url(), "/live/whip");
    let first = publisher(&kvill, "live");

    let reply = web::offer(kvill.url(), "/live/whip", &publishers_offer());
    let words = [
        "live has a publisher already",
        "stop that one, or use another path",
    ];
    check(&kvill, &reply, "POST /live/whip", 409, &words);

    let mut peers = [first, late];
    let is_closed = |peers: &mut [Peer]| peers[1].client.is_closed();
    assert!(wire::run(&mut peers, Duration::from_secs(10), is_closed));
    kvill.line(&[
        "live: publisher",
        "did not connect: somebody else publishes on the path",
    ]);
    assert!(peers[0].client.is_connected());
    kvill.stop();
}

#[test]
fn a_second_publisher_takes_over_where_nothing_else_is_said() {
    let kvill = Kvill::start(&[]);
    let mut peers = [publisher(&kvill, "live"), publisher(&kvill, "live")];
    let is_closed = |peers: &mut [Peer]| peers[0].client.is_closed();
    assert!(wire::run(&mut peers, Duration::from_secs(10), is_closed));
    kvill.line(&[
        "live: publisher",
        "left: another publisher took over the path",
    ]);
    assert!(peers[1].client.is_connected());
    kvill.stop();
}

#[test]
fn a_certificate_that_the_offer_did_not_announce_is_turned_away() {
    let kvill = Kvill::start(&[]);
    let publisher = publisher(&kvill, "live");
    for (role, endpoint, new) in [
        (
            "viewer",
            "/live/whep",
            Client::viewer as fn(_, _, &Options) -> Client,
        ),
        ("publisher", "/other/whip", Client::publisher),
    ] {
        let mut peer = Peer::new(HERE, new, &options());
        let mark = "a=fingerprint:sha-256 ";
        let offer = peer.client.offer();
        let at = offer.find(mark).unwrap() + mark.len();
        let (genuine, other) = (&offer[at..at + 95], ["5A"; 32].join(":"));
        let offer = offer.replace(genuine, &other);
        let reply = web::offer(kvill.url(), endpoint, &offer);
        let answer = reply.body.clone();
        peer.take(&reply, &answer);
        let mut peers = [peer];
        let words = format!(
            "{role} {} did not connect: the peer's certificate does not match",
            reply.header("id").unwrap()
        );
        let is_told = |_: &mut [Peer]| kvill.log().contains(&words);
        assert!(
            wire::run(&mut peers, Duration::from_secs(5), is_told),
            "{words}\n{}",
            kvill.log()
        );
        assert!(kvill.line(&[&words]).contains(" INFO "));
    }
    assert!(publisher.client.is_connected());
    kvill.stop();
}

#[test]
fn dtls_that_never_finishes_ends_after_ten_seconds_with_what_to_check() {
    let kvill = Kvill::start(&[]);
    let publisher = publisher(&kvill, "live");
    let mut peers = [
        Peer::new(HERE, Client::publisher, &options()),
        Peer::new(HERE, Client::viewer, &options()),
        publisher,
    ];
    peers[0].without_dtls = true;
    peers[0].join(kvill.url(), "/other/whip");
    peers[1].without_dtls = true;
    peers[1].join(kvill.url(), "/live/whep");
    let started = Instant::now();
    let count = || kvill.log().matches(" did not connect: ").count();
    assert!(
        wire::run(&mut peers, Duration::from_secs(15), |_| count() == 2),
        "{}",
        kvill.log()
    );
    let took = started.elapsed();
    assert!((9.0..12.0).contains(&took.as_secs_f64()), "{took:?}");
    for who in ["other: publisher", "live: viewer"] {
        let line = kvill.line(&[who, "did not connect: ICE is done with 127.0.0.1"]);
        assert!(line.contains(" WARN "), "{line}");
    }
    assert!(peers[2].client.is_connected());
    let is_gone = |location: &str| {
        let reply = web::ask(kvill.url(), "DELETE", location, &[], "");
        reply.status == 404
    };
    assert!(is_gone(&peers[0].location) && is_gone(&peers[1].location));
    kvill.stop();
}

/// Carries everything but DTLS to the server.
#[derive(Debug)]
struct WithoutDtls;

impl Link for WithoutDtls {
    fn carries(&mut self, crossing: &Crossing<'_>) -> bool {
        crossing.way == Way::ToClient || !matches!(crossing.contents, [20..64, ..])
    }
}

#[test]
fn how_long_dtls_may_take_is_what_the_config_says() {
    let config = Config {
        handshake_timeout: Duration::from_secs(2),
        ..Config::default()
    };
    let mut world = World::with_link(5, config, WithoutDtls);
    world.publish("live", &options());
    world.run(Duration::from_millis(1_900));
    let stats = world.server.stats();
    assert_eq!((stats.sessions, stats.counters.handshake_timeouts), (1, 0));
    assert!(stats.counters.transmits > 0, "ICE is answered");
    world.run(Duration::from_millis(200));
    let stats = world.server.stats();
    assert_eq!((stats.sessions, stats.counters.handshake_timeouts), (0, 1));
    let event = world.server.poll_event().unwrap();
    let Event::HandshakeFailed { path, reason, .. } = &event else {
        panic!("{event:?}")
    };
    assert_eq!(path, "live");
    let words = reason.to_string();
    assert!(
        words.starts_with("ICE is done with 10.0.0.0:50000, but no DTLS came"),
        "{words}"
    );
}

#[test]
fn a_server_that_can_take_no_more_says_when_to_come_again() {
    let config = Config {
        sessions_max: 1,
        ..Config::default()
    };
    let mut world = World::new(6, config);
    let publisher = world.publish("live", &options());
    world.connect(&[publisher]);
    let refused = |world: &mut World, words: &str| {
        for response in [
            world.try_view("live", &options()).unwrap_err(),
            world.try_publish("other", &options()).unwrap_err(),
        ] {
            assert_eq!(response.status(), 503, "{response:?}");
            assert_eq!(response.headers()["retry-after"], "5");
            let body = std::str::from_utf8(response.body()).unwrap();
            assert!(body.contains(words) && body.contains("retry"), "{body}");
        }
    };
    refused(&mut world, "this server is full (1 sessions)");
    world.leave(publisher);
    let publisher = world.publish("live", &options());
    world.connect(&[publisher]);
    assert_eq!(world.server.stats().counters.refused, 2);

    let mut world = World::new(7, Config::default());
    world.publish("live", &options());
    let now = world.now();
    world.server.shut_down(now);
    let response = world.try_publish("other", &options()).unwrap_err();
    assert_eq!(response.status(), 503, "{response:?}");
    let body = std::str::from_utf8(response.body()).unwrap();
    assert!(body.contains("shutting down: retry in a moment"), "{body}");
}

#[test]
fn a_session_that_has_ended_is_not_there_to_be_deleted() {
    let kvill = Kvill::start(&[]);
    let publisher = publisher(&kvill, "live");
    let mut viewer = Peer::new(HERE, Client::viewer, &options());
    viewer.join(kvill.url(), "/live/whep");
    let mut peers = [publisher, viewer];
    wire::connect(&mut peers);
    let secrets: Vec<_> = peers
        .iter()
        .map(|peer| peer.location.rsplit('/').next().unwrap().to_owned())
        .collect();
    for (peer, (endpoint, role)) in peers
        .iter()
        .rev()
        .zip([("/live/whep", "viewer"), ("/live/whip", "publisher")])
    {
        let delete = || web::ask(kvill.url(), "DELETE", &peer.location, &[], "");
        assert_eq!(delete().status, 200);
        kvill.line(&[&format!("live: {role}"), "left: ended by DELETE"]);
        let ended = format!("this {role} session of live has ended (ended by DELETE)");
        let words = [ended.as_str(), "start a new one with a POST to"];
        let request = format!("DELETE {endpoint}/…");
        check(&kvill, &delete(), &request, 404, &words);
        let fragment = "a=end-of-candidates\r\n";
        let headers = [("Content-Type", "application/trickle-ice-sdpfrag")];
        let patch = web::ask(kvill.url(), "PATCH", &peer.location, &headers, fragment);
        let request = format!("PATCH {endpoint}/…");
        check(&kvill, &patch, &request, 404, &words);
    }
    let made_up = web::ask(kvill.url(), "DELETE", "/live/whep/made-up", &[], "");
    assert_eq!(made_up.status, 404);
    for secret in secrets {
        assert!(
            !kvill.log().contains(&secret),
            "a session's secret stands in the log"
        );
    }
    kvill.stop();
}

#[test]
fn a_method_that_is_not_possible_is_told_which_ones_are() {
    let kvill = Kvill::start(&[]);
    for (method, target, allow) in [
        ("PUT", "/live/whip", "OPTIONS, POST"),
        ("GET", "/live/whep", "OPTIONS, POST"),
        ("POST", "/live/", "OPTIONS, GET, HEAD"),
        ("DELETE", "/", "OPTIONS, GET, HEAD"),
    ] {
        let reply = web::ask(kvill.url(), method, target, &[], "");
        check(
            &kvill,
            &reply,
            &format!("{method} {target}"),
            405,
            &[&format!("use {allow}")],
        );
        assert_eq!(reply.header("allow"), Some(allow));
    }
    kvill.stop();
}

#[test]
fn what_is_no_proper_http_is_refused_by_the_host() {
    let kvill = Kvill::start(&[]);
    let without_host = b"GET /live/ HTTP/1.1\r\nConnection: close\r\n\r\n";
    let reply = web::ask_raw(kvill.url(), without_host);
    check(&kvill, &reply, "GET /live/", 400, &["send one Host header"]);

    let address = kvill.url().trim_start_matches("http://");
    let mut slow = TcpStream::connect(address).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(15)))
        .unwrap();
    slow.write_all(b"POST /live/whip HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nv=0")
        .unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(
        answer.contains("did not arrive in time: send it at once"),
        "{answer}"
    );
    kvill.line(&[
        " INFO ",
        "POST /live/whip of 127.0.0.1 refused with 408: the request body",
    ]);

    let long = "y".repeat(70_000);
    for (request, status) in [
        ("hello\r\n\r\n".to_owned(), 400),
        (
            format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"),
            431,
        ),
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), 431),
    ] {
        let reply = web::ask_raw(kvill.url(), request.as_bytes());
        assert_eq!((reply.status, reply.body.as_str()), (status, ""));
    }
    kvill.stop();
}

#[test]
fn a_flood_of_refusals_does_not_flood_the_log() {
    let kvill = Kvill::start(&[]);
    let watching = offer(Client::viewer, &options());
    let told = || kvill.log().matches(" refused with ").count();
    for _ in 0..100 {
        assert_eq!(web::offer(kvill.url(), "/live/whep", &watching).status, 404);
    }
    kvill.line(&["nobody publishes live yet"]);
    assert_eq!(told(), 1, "{}", kvill.log());
    for n in 0..100 {
        let reply = web::offer(kvill.url(), &format!("/{n}/whep"), &watching);
        assert_eq!(reply.status, 404);
    }
    kvill.line(&["many requests are refused"]);
    assert_eq!(told(), 50, "{}", kvill.log());
    kvill.stop();
}
