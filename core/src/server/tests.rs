//! What no browser does must harm nobody else, and what went wrong once must not again.

mod bench;
mod endings;
mod fallback;
mod handshakes;
mod program;
mod repairs;
mod replays;
mod restarts;
mod silence;
mod uplink;

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::rtcp::{self, Feedback};
use bench::{
    ALSO_HERE, Bench, Check, Client, HERE, PUBLISHER, Sent, address, beginning, certificate,
    config, large_certificate, start,
};

/// By which transports media went, and where to.
fn media_of(sent: &[Sent]) -> BTreeSet<(u8, SocketAddr)> {
    let media = sent
        .iter()
        .filter(|(.., c)| c[0] & 0xc0 == 0x80 && !rtcp::is_rtcp(c));
    media.map(|(by, to, _)| (*by, *to)).collect()
}

#[test]
fn regress_a_large_certificate_ends_nobody_else() {
    let mut bench = Bench::new(&[HERE]);
    bench.pair();
    let large = large_certificate();
    for (uri, remote) in [("/b/whip", "10.0.0.9:3"), ("/a/whep", "10.0.0.9:4")] {
        let mut client = bench.join_with(uri, remote, &large, (96, "VP8"));
        bench.connect(&mut client);
        assert!(bench.sessions() >= 2, "{uri}");
    }
    assert!(bench.server.paths.by_name("b").is_none());
    bench.advance(Duration::from_secs(1));
    // str0m has no room for it; a viewer's is taken.
    let reasons = bench.reasons();
    let [EndReason::Failed(words)] = reasons.as_slice() else {
        panic!("{reasons:?}")
    };
    assert!(words.contains("2,000 are taken"), "{words}");
    assert_eq!(bench.server.stats().paths[0].viewers, 2);
}

#[test]
fn regress_long_application_data_ends_nobody_else() {
    for len in [1_980, 2_010, 2_100, 20_000] {
        for uri in ["/b/whip", "/a/whep"] {
            let mut bench = Bench::new(&[HERE]);
            bench.pair();
            let mut client = bench.connected(uri, "10.0.0.9:3");
            // A client of dimpl's sends it in one record, whatever its MTU.
            client.dtls.send_application_data(&vec![1; len]).unwrap();
            let data = client.flight().concat();
            assert!(data.len() > len);
            bench.arrive(0, client.remote, &data);
            let dropped = u64::from(data.len() > 2048);
            assert_eq!(bench.counters().dropped_media, dropped);
            bench.pump(&mut client);
            bench.advance(Duration::from_secs(1));
            assert!(bench.sessions() >= 2, "{uri} {len}");
            let kept = bench.server.stats();
            assert!(kept.paths[0].live && kept.paths[0].viewers >= 1);
        }
    }
}

#[test]
fn regress_application_data_does_not_hide_a_goodbye() {
    let mut bench = Bench::new(&[HERE]);
    let (_publisher, mut viewer) = bench.pair();
    viewer.dtls.send_application_data(&[1; 20]).unwrap();
    viewer.dtls.send_application_data(&[1; 20]).unwrap();
    let mut flight = viewer.flight();
    viewer.dtls.close().unwrap();
    flight.extend(viewer.flight());
    bench.arrive(0, viewer.remote, &flight.concat());
    assert_eq!(bench.reasons(), [EndReason::PeerClosed]);
    assert_eq!(bench.sessions(), 1);
}

#[test]
fn regress_addresses_on_two_transports_are_forgotten() {
    let mut bench = Bench::new(&[HERE, ALSO_HERE]);
    let publisher = bench.connected("/a/whip", PUBLISHER);
    for port in 2..12 {
        let viewer = bench.join("/a/whep", &format!("10.0.0.9:{port}"));
        bench.check(&viewer, viewer.check());
        let other = Check {
            transport: 1,
            ..viewer.check()
        };
        bench.check(&viewer, other);
    }
    bench.advance(Duration::from_secs(6));
    bench.check(&publisher, publisher.check());
    bench.advance(Duration::from_secs(5));
    assert_eq!(bench.sessions(), 1);
    assert_eq!(bench.server.addresses.len(), 1);
}

#[test]
fn regress_a_check_without_nomination_does_not_move_media() {
    let mut bench = Bench::new(&[HERE, ALSO_HERE]);
    let (publisher, viewer) = bench.pair();
    let check = Check {
        transport: 1,
        nominates: false,
        ..viewer.check()
    };
    bench.check(&viewer, check);
    bench.drain();
    bench.publish(&publisher, 96, 1);
    assert_eq!(media_of(&bench.drain()), [(0, viewer.remote)].into());
}

#[test]
fn regress_media_follows_the_newest_nomination_at_once() {
    let mut bench = Bench::new(&[HERE, ALSO_HERE]);
    let (publisher, viewer) = bench.pair();
    let roamed = address("10.7.7.7:9");
    for (sequence, (transport, remote, priority)) in (1..).zip([
        (1, viewer.remote, 12_345),
        (1, roamed, 100),
        (0, roamed, 100),
        (0, viewer.remote, 100),
    ]) {
        let check = Check {
            transport,
            remote,
            priority,
            ..viewer.check()
        };
        bench.check(&viewer, check);
        bench.drain();
        bench.publish(&publisher, 96, sequence);
        assert_eq!(media_of(&bench.drain()), [(transport, remote)].into());
    }
}

#[test]
fn regress_a_check_by_another_transport_does_not_unbind_the_selected_one() {
    let mut bench = Bench::new(&[HERE, ALSO_HERE]);
    let (publisher, _viewer) = bench.pair();
    let check = Check {
        transport: 1,
        nominates: false,
        ..publisher.check()
    };
    bench.check(&publisher, check);
    bench.publish(&publisher, 96, 1);
    assert_eq!(bench.counters().packets_in, 1);
}

#[test]
fn regress_the_selected_route_is_kept_by_whatever_local_address_it_is_asked() {
    let mut bench = Bench::new(&[HERE]);
    let publisher = bench.connected("/a/whip", PUBLISHER);
    let not_nominating = Check {
        nominates: false,
        ..publisher.check()
    };
    // The same pair of ports by another address of ours.
    let contents = bench.request_of(&publisher, not_nominating);
    let datagram = Datagram {
        transport: TransportId(0),
        local: address("10.0.0.2:5"),
        remote: publisher.remote,
        contents: &contents,
    };
    bench.server.handle_datagram(bench.now, datagram);
    for port in 100..110 {
        let elsewhere = Check {
            remote: ([10, 9, 9, 9], port).into(),
            ..not_nominating
        };
        bench.check(&publisher, elsewhere);
    }
    bench.publish(&publisher, 96, 1);
    assert_eq!(bench.counters().packets_in, 1);
}

#[test]
fn regress_an_address_that_its_session_left_is_free_for_another() {
    let mut bench = Bench::new(&[HERE]);
    let (publisher, viewer) = bench.pair();
    let roamed = Check {
        remote: address("10.7.7.7:9"),
        ..viewer.check()
    };
    for _ in 0..30 {
        bench.advance(Duration::from_secs(1));
        bench.check(&viewer, roamed);
        bench.check(&publisher, publisher.check());
        bench.drain();
    }
    bench.connected("/a/whep", bench::VIEWER);
}

#[test]
fn regress_forged_stun_keeps_nobody_alive() {
    let mut bench = Bench::new(&[HERE]);
    let publisher = bench.connected("/a/whip", PUBLISHER);
    let before = bench.counters().dropped_stun;
    for _ in 0..20 {
        bench.advance(Duration::from_secs(1));
        let forged = Check {
            is_genuine: false,
            ..publisher.check()
        };
        bench.check(&publisher, forged);
    }
    assert_eq!(bench.counters().dropped_stun - before, 20);
    assert_eq!(bench.sessions(), 0);
    assert_eq!(bench.reasons(), [EndReason::Gone]);
}

#[test]
fn regress_a_path_ends_with_its_only_session() {
    let mut bench = Bench::new(&[HERE]);
    for n in 1..=100 {
        let publisher = bench.connected(&format!("/p{n}/whip"), &format!("10.0.0.9:{n}"));
        let response = bench.request("DELETE", &publisher.location, String::new());
        assert_eq!(response.status(), 200);
    }
    assert_eq!(bench.server.paths.iter().count(), 0);
}

#[test]
fn regress_a_path_stands_in_an_outbox_once() {
    let mut bench = Bench::new(&[HERE]);
    let (publisher, _viewer) = bench.pair();
    bench.connected("/a/whep", "10.0.0.9:3");
    for sequence in 1..500 {
        bench.now += Duration::from_millis(1);
        bench.publish(&publisher, 96, sequence);
        assert!(bench.server.outboxes[0].paths.len() <= 1);
        let Bench {
            server,
            now,
            buffer,
            ..
        } = &mut bench;
        server.poll_transmit(*now, TransportId(0), buffer).unwrap();
        assert!(bench.server.outboxes[0].paths.len() <= 1);
    }
}

#[test]
fn regress_a_viewer_that_comes_and_goes_leaves_its_path_in_an_outbox_once() {
    let mut bench = Bench::new(&[HERE, ALSO_HERE]);
    let (_publisher, viewer) = bench.pair();
    for n in 0..10 {
        let check = Check {
            transport: 1 - n % 2,
            ..viewer.check()
        };
        bench.check(&viewer, check);
    }
    assert_eq!(bench.server.outboxes[1].paths.len(), 1);
}

#[test]
fn regress_dtls_takes_no_place_among_the_sources_of_payload_type_126() {
    let mut bench = Bench::new(&[HERE]);
    let certificate = certificate();
    let mut publisher = bench.join_with("/a/whip", PUBLISHER, &certificate, (126, "VP8"));
    bench.connect(&mut publisher);
    for _ in 0..8 {
        publisher.dtls.send_application_data(&[1; 20]).unwrap();
        bench.pump(&mut publisher);
    }
    bench.advance(Duration::from_secs(2));
    // A source that was taken up would be reported on.
    assert!(!bench.drain().iter().any(|(.., c)| rtcp::is_rtcp(c)));
    bench.publish(&publisher, 126, 1);
    assert_eq!(bench.counters().packets_in, 1);
}

/// A path with so many viewers that they do not all end in one call.
fn crowd(bench: &mut Bench) -> (Client, Vec<Client>) {
    let publisher = bench.connected("/a/whip", PUBLISHER);
    let certificate = certificate();
    let mut viewers = Vec::new();
    for n in 0..600_u16 {
        let remote = format!("10.1.{}.{}:5", n / 250, n % 250 + 1);
        let mut viewer = bench.join_with("/a/whep", &remote, &certificate, (96, "VP8"));
        bench.connect(&mut viewer);
        viewers.push(viewer);
    }
    bench.publish(&publisher, 96, 1);
    assert_eq!(media_of(&bench.drain()).len(), viewers.len());
    (publisher, viewers)
}

/// Goes on as a driver does, and checks that all viewers hear goodbye by RTCP and by DTLS.
fn assert_goodbyes(bench: &mut Bench, viewers: &mut [Client]) {
    const ALERT: u8 = 21;
    let mut sent = bench.drain();
    for _ in 0..20 {
        bench.advance(Duration::ZERO);
        sent.extend(bench.drain());
    }
    for viewer in viewers {
        let (_, opener) = viewer.srtp.as_mut().unwrap();
        let (mut bye, mut close) = (false, false);
        for (_, _, contents) in sent.iter_mut().filter(|(_, to, _)| *to == viewer.remote) {
            close |= contents[0] == ALERT;
            if rtcp::is_rtcp(contents) {
                let compound = opener.open_rtcp(contents).unwrap();
                bye |= rtcp::feedback(compound).any(|f| matches!(f, Feedback::Goodbye));
            }
        }
        assert!(bye && close, "{}: {bye} {close}", viewer.remote);
    }
    assert_eq!(bench.counters().dropped_answers, 0);
    assert_eq!(bench.sessions(), 0);
}

#[test]
fn regress_all_viewers_hear_that_the_server_stops() {
    let mut bench = Bench::new(&[HERE]);
    let (_publisher, mut viewers) = crowd(&mut bench);
    bench.server.shut_down(bench.now);
    assert_goodbyes(&mut bench, &mut viewers);
}

#[test]
fn regress_all_viewers_hear_that_their_path_ended() {
    let mut bench = Bench::new(&[HERE]);
    let (publisher, mut viewers) = crowd(&mut bench);
    bench.request("DELETE", &publisher.location, String::new());
    bench.drain();
    assert_eq!(bench.sessions(), viewers.len());
    bench.now += bench.server.config.publisher_grace;
    assert_goodbyes(&mut bench, &mut viewers);
    assert_eq!(bench.server.paths.iter().count(), 0);
}

#[test]
fn regress_a_publisher_of_another_codec_leaves_room_for_new_viewers() {
    let mut bench = Bench::new(&[HERE]);
    bench.pair();
    let certificate = certificate();
    let mut second = bench.join_with("/a/whip", "10.0.0.9:3", &certificate, (98, "VP9"));
    bench.connect(&mut second);
    let mut viewer = bench.join_with("/a/whep", "10.0.0.9:4", &certificate, (98, "VP9"));
    bench.connect(&mut viewer);
    assert!(second.connected && viewer.connected);
    bench.advance(Duration::from_millis(1));
    assert_eq!(
        bench.reasons(),
        [EndReason::Replaced, EndReason::CodecChanged]
    );
    assert_eq!(bench.server.stats().paths[0].codecs.len(), 1);
    assert_eq!(bench.server.stats().paths[0].viewers, 1);
    assert_eq!(bench.sessions(), 2);
}

#[test]
fn regress_an_endless_grace_is_refused() {
    let config = Config {
        publisher_grace: Duration::MAX,
        ..config(&[HERE])
    };
    let refused = start(config, beginning()).unwrap_err();
    assert_eq!(refused, ConfigError::TooLong("publisher_grace"));
}

#[test]
fn a_viewer_of_what_was_announced_is_let_in_though_the_stream_is_more() {
    let mut bench = Bench::new(&[HERE]);
    let h264 = (96, "H264");
    let mut publisher = bench.join_with("/a/whip", PUBLISHER, &certificate(), h264);
    bench.connect(&mut publisher);
    bench.publish_payload(&publisher, 96, 1, b"\x67\x64\x0c\x2a\xac");
    assert_eq!(
        bench.server.stats().paths[0].codecs,
        ["H264 (profile-level-id 640c2a, packetization-mode 0)"]
    );
    let mut viewer = bench.join_with("/a/whep", "10.0.0.9:2", &certificate(), h264);
    bench.connect(&mut viewer);
    assert!(viewer.connected);
}
