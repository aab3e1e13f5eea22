//! A handshake that comes to nothing says how far it came, and what to do.

use std::time::Duration;

use super::bench::VIEWER;
use super::*;
use crate::config::SrtpPolicy;
use crate::stats::{Reached, Unfinished};

/// Why the only session that waits did not connect.
fn reason(bench: &mut Bench) -> EndReason {
    bench.advance(Duration::from_secs(10));
    let reasons = bench.reasons();
    let [reason] = reasons.as_slice() else {
        panic!("one session ended: {reasons:?}");
    };
    assert_eq!(bench.counters().handshake_timeouts, 1);
    reason.clone()
}

fn unfinished(reached: Reached) -> EndReason {
    EndReason::Handshake(Unfinished {
        offered: vec![address(HERE)],
        reached,
    })
}

#[test]
fn a_peer_that_is_never_heard_of_is_told_from_one_that_is() {
    let mut bench = Bench::new(&[HERE]);
    bench.join("/a/whip", PUBLISHER);
    let reason = reason(&mut bench);
    assert_eq!(reason, unfinished(Reached::Nothing));
    let text = reason.to_string();
    assert!(text.contains("nothing arrived by UDP"), "{text}");
    assert!(text.contains(HERE), "{text}");
    assert!(text.contains("--additional-hosts"), "{text}");
}

#[test]
fn checks_with_another_password_are_named_with_their_source() {
    let mut bench = Bench::new(&[HERE]);
    let client = bench.join("/a/whip", PUBLISHER);
    let forged = Check {
        is_genuine: false,
        ..client.check()
    };
    bench.check(&client, forged);
    let from = client.remote;
    let reason = reason(&mut bench);
    assert_eq!(reason, unfinished(Reached::Unproven { from }));
    assert!(reason.to_string().contains(PUBLISHER), "{reason}");
}

#[test]
fn a_peer_that_nominates_nothing_is_told_of_the_way_out() {
    for uri in ["/a/whip", "/b/whep"] {
        let mut bench = Bench::new(&[HERE]);
        let other = bench.connected("/b/whip", "10.0.0.9:7");
        let client = bench.join(uri, VIEWER);
        let check = Check {
            nominates: false,
            ..client.check()
        };
        bench.check(&client, check);
        bench.advance(Duration::from_secs(5));
        bench.check(&other, other.check());
        bench.advance(Duration::from_secs(5));
        let from = client.remote;
        let expected = unfinished(Reached::Checks { from });
        assert_eq!(bench.reasons(), [expected], "{uri}");
    }
}

#[test]
fn ice_without_dtls_and_dtls_without_an_end_are_told_apart() {
    let mut bench = Bench::new(&[HERE]);
    let client = bench.join("/a/whip", PUBLISHER);
    bench.check(&client, client.check());
    let from = client.remote;
    assert_eq!(reason(&mut bench), unfinished(Reached::Ice { from }));

    let mut bench = Bench::new(&[HERE]);
    let mut client = bench.join("/a/whip", PUBLISHER);
    bench.check(&client, client.check());
    client.dtls.handle_timeout(bench.now).unwrap();
    for packet in client.flight() {
        bench.arrive(0, client.remote, &packet);
    }
    let reached = Reached::Dtls { from, datagrams: 1 };
    assert_eq!(reason(&mut bench), unfinished(reached));
}

#[test]
fn a_server_for_aead_only_takes_no_other_profile() {
    use dimpl::SrtpProfile;
    let now = beginning();
    let only = Config {
        srtp: SrtpPolicy::AeadOnly,
        ..config(&[HERE])
    };
    let strict = start(only, now).unwrap().shared;
    let lenient = start(config(&[HERE]), now).unwrap().shared;
    for profile in [SrtpProfile::AEAD_AES_128_GCM, SrtpProfile::AEAD_AES_256_GCM] {
        assert_eq!(strict.allows(profile), Ok(()));
    }
    let counter_mode = SrtpProfile::AES128_CM_SHA1_80;
    assert_eq!(lenient.allows(counter_mode), Ok(()));
    let refused = strict.allows(counter_mode).unwrap_err();
    assert_eq!(
        refused,
        EndReason::NoAead("AES128_CM_HMAC_SHA1_80".to_owned())
    );
}

#[test]
fn who_asks_for_an_ended_session_is_told_why_it_ended() {
    let mut bench = Bench::new(&[HERE]);
    let client = bench.join("/a/whip", PUBLISHER);
    bench.advance(Duration::from_secs(10));
    for method in ["DELETE", "PATCH"] {
        let response = bench.request(method, &client.location, String::new());
        assert_eq!(response.status(), 404, "{method}");
        let body = String::from_utf8(response.body().to_vec()).unwrap();
        assert!(body.contains("nothing arrived by UDP"), "{method}: {body}");
        assert!(body.contains("POST to /a/whip"), "{method}: {body}");
    }
    let elsewhere = client.location.replace("/a/", "/b/");
    let response = bench.request("DELETE", &elsewhere, String::new());
    assert_eq!(response.status(), 404);
}

#[test]
fn a_client_that_gives_up_is_told_what_it_waited_for_in_vain() {
    let mut bench = Bench::new(&[HERE]);
    let delete = |bench: &mut Bench, client: &Client| {
        let response = bench.request("DELETE", &client.location, String::new());
        assert_eq!(response.status(), 200);
        String::from_utf8(response.body().to_vec()).unwrap()
    };
    let client = bench.join("/a/whip", PUBLISHER);
    bench.advance(Duration::from_secs(2));
    assert_eq!(delete(&mut bench, &client), r#"{"status":"ok"}"#);
    assert_eq!(bench.reasons(), [EndReason::Deleted]);

    let client = bench.join("/a/whip", PUBLISHER);
    bench.advance(Duration::from_secs(9));
    let body = delete(&mut bench, &client);
    assert!(body.contains("nothing arrived by UDP"), "{body}");
    let reasons = bench.reasons();
    assert!(
        matches!(reasons.as_slice(), [EndReason::GaveUp(_)]),
        "{reasons:?}"
    );

    let connected = bench.connected("/a/whip", PUBLISHER);
    bench.advance(Duration::from_secs(9));
    assert_eq!(delete(&mut bench, &connected), r#"{"status":"ok"}"#);
}
