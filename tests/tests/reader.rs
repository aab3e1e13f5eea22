//! What people build on `reader.js` and `publisher.js`: pages of their own, which go on when the
//! network changes and when the server comes back.
//!
//! The scripts below `tests/peers/chromium/` do what a person or a network does, and measure.
//! Here it is said what is good enough.

use std::net::TcpListener;
use std::time::Duration;

use kvill_tests::peer::{self, list, number, report};
use kvill_tests::process::Kvill;
use serde_json::Value;

/// How long one script may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest gap between two pictures that may come of a restart of ICE alone. Pictures are 33
/// to 50 ms apart here; two browsers on two cores are a bit unsteady.
const RESTART_GAP_MS: f64 = 400.0;
/// The same where the way was lost and nobody said so: the silence has to be noticed first
/// (2.5 s, looked for every half second). A browser left to itself asks for a keyframe 3 s later.
const LOST_GAP_MS: f64 = 5_000.0;
/// The same where the server has forgotten the session, and a new one is made.
const NEW_SESSION_GAP_MS: f64 = 2_500.0;

fn words<'a>(of: &'a Value, name: &str) -> Vec<&'a str> {
    list(of, name).iter().filter_map(Value::as_str).collect()
}

#[test]
fn pages_of_another_origin_publish_and_play_by_the_classes_they_embed() {
    let _alone = peer::alone();
    let Some(chromium) = peer::chromium() else {
        return;
    };
    let kvill = Kvill::start(&[]);
    let result = chromium.run("chromium/outsider.mjs", &["--base", kvill.url()], PATIENCE);
    let seconds = number(&result, "seconds");

    let before = result["beforeIt"].as_str().unwrap_or_default();
    assert!(before.contains("Nobody publishes pond yet"), "{before:?}");
    for page in ["reader", "trickled"] {
        let page = &result[page];
        assert_eq!(page["codec"], "VP8", "{page}");
        assert_eq!(words(page, "tracks"), ["audio", "video"], "{page}");
        // Drawn 25 times a second, by a timer.
        assert!(number(page, "frames") >= seconds * 15.0, "{page}");
        assert!(number(page, "heard") >= 0.9 * seconds * 48_000.0, "{page}");
        // Nothing that the server could connect to, even if it wanted.
        let candidates = words(page, "candidates");
        assert!(!candidates.is_empty(), "{page}");
        assert!(
            candidates.iter().all(|line| line.contains(".local ")),
            "the test means to hide all addresses: {candidates:?}"
        );
    }

    let sent = &result["sent"];
    assert_eq!(
        words(sent, "codecs"),
        ["audio/opus", "video/VP8"],
        "a codec with its clock rate is understood: {sent}"
    );
    assert_eq!(sent["bitrates"], serde_json::json!([96_000, 500_000]));
    assert_eq!(sent["offersStereo"], true, "music is offered in stereo");
    assert_eq!(sent["answersStereo"], true, "and taken in stereo");

    assert_eq!(
        words(&result, "saidAfterClose"),
        [""; 0],
        "who was closed is silent"
    );

    let trickled = &result["trickled"];
    assert_eq!(
        list(trickled, "answers").len(),
        list(trickled, "trickled").len(),
        "{trickled}"
    );
    for status in list(trickled, "answers") {
        assert_eq!(*status, 204, "a candidate by PATCH: {trickled}");
    }
    assert_eq!(
        result["viewers"],
        serde_json::json!([2, 1]),
        "close() tells the server"
    );
    for complaint in words(&result, "complaints") {
        let waits = complaint.contains("404") && complaint.contains("/pond/whep");
        let own_mistake = complaint.contains("TypeError") && complaint.contains("onError");
        assert!(
            waits || own_mistake,
            "only the wait for the publisher and the page's own mistake may be noted: {complaint}"
        );
    }
    kvill.stop();
}

#[test]
fn pictures_go_on_when_a_network_changes() {
    let _alone = peer::alone();
    let Some(chromium) = peer::chromium() else {
        return;
    };
    let kvill = Kvill::start(&[]);
    let result = chromium.run("chromium/restart.mjs", &["--base", kvill.url()], PATIENCE);
    let changes = list(&result, "changes");
    report("networks", &table(changes));

    // In the order of the script.
    let [nothing, online @ .., no_http, http_again, forgotten] = changes else {
        panic!("no changes were made: {result}");
    };
    let [player_online, publisher_online, player_lost, publisher_lost] = online else {
        panic!("other changes were made than thought: {result}");
    };
    assert_eq!(words(nothing, "requests"), [""; 0], "{nothing}");
    assert_eq!(nothing["otherCredentials"], false, "{nothing}");
    assert_eq!(words(no_http, "requests"), [""; 0], "{no_http}");
    for change in online.iter().chain([http_again]) {
        assert_eq!(
            words(change, "requests"),
            ["PATCH 200"],
            "a restart, and no new session: {change}"
        );
        assert_eq!(change["otherCredentials"], true, "{change}");
    }
    for (change, most) in [
        (nothing, RESTART_GAP_MS),
        (player_online, RESTART_GAP_MS),
        (publisher_online, RESTART_GAP_MS),
        (player_lost, LOST_GAP_MS),
        (publisher_lost, LOST_GAP_MS),
        (no_http, RESTART_GAP_MS),
        (http_again, RESTART_GAP_MS),
        (forgotten, NEW_SESSION_GAP_MS),
    ] {
        assert!(number(change, "gapMs") <= most, "{change}");
    }
    assert_eq!(
        words(forgotten, "requests"),
        ["PATCH 404", "POST 201"],
        "{forgotten}"
    );
    kvill.stop();
}

/// The changes as a table for the README.
fn table(changes: &[Value]) -> String {
    let mut lines = vec![
        "Chromium publishes, Chromium plays, 320x240 VP8: the network changes".to_owned(),
        "| what happens | longest gap between two pictures | requests |".to_owned(),
        "|---|---|---|".to_owned(),
    ];
    for change in changes {
        lines.push(format!(
            "| {} | {} ms | {} |",
            change["name"].as_str().unwrap_or("?"),
            change["gapMs"],
            words(change, "requests").join(", "),
        ));
    }
    lines.join("\n") + "\n"
}

#[test]
fn pages_find_a_server_again_that_was_stopped_and_started() {
    let _alone = peer::alone();
    let Some(chromium) = peer::chromium() else {
        return;
    };
    let address = TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port is free")
        .to_string();
    let base = format!("http://{address}");
    let start = || Kvill::start(&["--http-address", &address]);

    let first = start();
    let mut pages = chromium.spawn("chromium/comeback.mjs", &["--base", &base]);
    assert_eq!(pages.next(PATIENCE)["event"], "playing");
    first.stop();
    let gone = pages.next(PATIENCE);
    for page in ["player", "publisher"] {
        let said = gone[page].as_str().unwrap_or_default();
        assert!(said.contains("The server does not answer"), "{said:?}");
    }
    let second = start();
    let result = pages.finish(PATIENCE);
    // Both look every 2 to 2.5 s, and the player may come before the publisher.
    assert!(number(&result, "playingAfterMs") <= 15_000.0, "{result}");
    assert_eq!(result["notice"], false, "the words are gone: {result}");
    assert_eq!(result["message"], false, "the words are gone: {result}");
    second.stop();
}
