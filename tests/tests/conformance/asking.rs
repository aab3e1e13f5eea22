//! What needs no session: pages, lists, preflights, refusals, and the manners of HTTP.

use std::time::Instant;

use kvill_tests::client::{Client, Options};
use kvill_tests::web::request;
use str0m::format::Codec;

use crate::scenario::Scenario;
use crate::scene::{HERE, Role, Scene, usual};

const SDP: (&str, &str) = ("Content-Type", "application/sdp");
const FRAGMENT: (&str, &str) = ("Content-Type", "application/trickle-ice-sdpfrag");

/// An offer that works.
fn offer(new: Role, options: &Options) -> String {
    new(Instant::now(), (HERE, 9).into(), options)
        .offer()
        .to_owned()
}

#[test]
fn pages_lists_and_preflights_are_answered() {
    let scenario = Scenario {
        args: &["--allow-origins", "https://*.example"],
        ..Scenario::new("pages")
    };
    scenario.play(answer_pages, |_| {});
}

fn answer_pages(scene: &mut Scene) {
    for target in [
        "/",
        "/live/",
        "/live/publish",
        "/live/reader.js",
        "/live/publisher.js",
    ] {
        let page = scene.read("GET", target);
        let head = scene.read("HEAD", target);
        assert_eq!((head.status, head.body.as_str()), (page.status, ""));
    }
    scene.read("GET", "/live");
    scene.read("GET", "/live/publish/?a=b");
    scene.read("GET", "/favicon.ico");
    scene.ask("GET", "/", &[("Accept", "application/json")], "");
    for target in ["/", "/live/", "/live/whip", "/live/whep/nobody", "*"] {
        scene.read("OPTIONS", target);
    }
    for origin in ["https://a.example", "https://a.example.net"] {
        let own = ("Origin", origin);
        let method = ("Access-Control-Request-Method", "POST");
        let headers = ("Access-Control-Request-Headers", "content-type");
        scene.ask("OPTIONS", "/live/whip", &[own, method, headers], "");
        scene.ask("GET", "/live/reader.js", &[own], "");
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    Scenario::new("refusals").play(refuse, |counters| {
        assert!(counters.count("refused") >= 20, "{counters:?}");
    });
}

fn refuse(scene: &mut Scene) {
    let publishing = offer(Client::publisher, &usual());
    let watching = offer(Client::viewer, &usual());
    let without = |start: &str| -> String {
        let kept = publishing.split_inclusive("\r\n");
        kept.filter(|line| !line.starts_with(start)).collect()
    };
    for body in ["", "hello", "v=0\r\n", "{\"type\":\"offer\"}"] {
        scene.offer("/live/whip", body);
        scene.offer("/live/whep", body);
    }
    scene.offer("/live/whip", &without("a=ice-pwd"));
    scene.offer("/live/whip", &without("a=fingerprint"));
    scene.offer("/live/whip", &without("a=group:BUNDLE"));
    scene.offer("/live/whip", &without("a=rtcp-mux"));
    scene.offer("/live/whip", &watching);
    scene.offer("/live/whip", &publishing.replace(" VP8/", " theora/"));
    let pcmu = offer(Client::publisher, &Options::new(&[Codec::PCMU]));
    scene.offer(
        "/live/whip",
        &pcmu.replace("PCMU", "L16").replace(" 0", " 99"),
    );
    scene.offer("/live/whep", &publishing);
    scene.offer("/garden/pond/whep", &watching);
    scene.offer("/a%20b/whip", &publishing);
    scene.offer(
        "/live/whip",
        &(publishing.clone() + &"a=x\r\n".repeat(40 * 1024)),
    );
    scene.ask("POST", "/live/whip", &[], &publishing);
    scene.ask("POST", "/live/whip", &[("Content-Type", "text/plain")], "");
    for (method, target) in [
        ("PUT", "/live/whip"),
        ("GET", "/live/whep"),
        ("POST", "/live/"),
        ("DELETE", "/"),
        ("GET", "/live/whip/nobody"),
    ] {
        scene.read(method, target);
    }
    scene.read("GET", "/live/whip/a/b/c.js");
    scene.read("DELETE", "/live/whep/nobody");
    scene.ask(
        "PATCH",
        "/live/whep/nobody",
        &[FRAGMENT],
        "a=end-of-candidates\r\n",
    );
}

#[test]
fn http_is_spoken_with_the_same_manners() {
    Scenario::new("manners").play(mind_manners, |_| {});
}

fn mind_manners(scene: &mut Scene) {
    let get = request("kvill.test", "GET", "/favicon.ico", &[], "");
    let post = request("kvill.test", "POST", "/live/whip", &[SDP], "v=0");

    scene.note("Three requests, one after the other:");
    let mut connection = scene.connect();
    for request in [&get, &post, &get] {
        connection.send(request);
        scene.hear(&mut connection, true);
    }
    scene.note("Three requests at once, and the third one is the last:");
    let close = request(
        "kvill.test",
        "GET",
        "/favicon.ico",
        &[("Connection", "close")],
        "",
    );
    connection.send([&get[..], &post, &close].concat());
    for _ in 0..4 {
        scene.hear(&mut connection, true);
    }

    scene.note("A request in pieces, of a client that then sends no more:");
    let mut connection = scene.connect();
    for piece in post.chunks(40) {
        connection.send(piece);
    }
    connection.finish_sending();
    for _ in 0..2 {
        scene.hear(&mut connection, true);
    }

    scene.note("A body in chunks:");
    let mut connection = scene.connect();
    connection.send("POST /live/whip HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n");
    connection.send("Content-Type: application/sdp\r\n\r\n3\r\nv=0\r\n2\r\n\r\n\r\n0\r\n\r\n");
    scene.hear(&mut connection, true);

    scene.note("A client that waits to be told to go on:");
    let mut connection = scene.connect();
    let expecting = [SDP, ("Expect", "100-continue")];
    let expecting = request("kvill.test", "POST", "/live/whip", &expecting, "v=0");
    connection.send(&expecting[..expecting.len() - 3]);
    scene.hear(&mut connection, true);
    connection.send("v=0");
    scene.hear(&mut connection, true);

    for (what, request) in [
        ("HTTP/1.0", "GET /favicon.ico HTTP/1.0\r\n\r\n".to_owned()),
        ("No Host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (
            "Two Hosts",
            "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_owned(),
        ),
        ("No HTTP", "hello\r\n\r\n".to_owned()),
        (
            "A long target",
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(70_000)),
        ),
        (
            "A long header",
            format!(
                "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
                "y".repeat(70_000)
            ),
        ),
        ("A client that leaves", "GET / HT".to_owned()),
    ] {
        scene.note(&format!("{what}:"));
        let mut connection = scene.connect();
        connection.send(request);
        connection.finish_sending();
        while scene.hear(&mut connection, true).is_some() {}
    }
}
