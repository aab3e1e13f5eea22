//! Who is there, and who is gone. Not every ICE stack goes on asking once the handshake is done:
//! libnice, and so GStreamer, sends no binding request after it.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A receiver report about nothing, sealed and sent by a viewer.
fn report(bench: &mut Bench, viewer: &mut Client, is_genuine: bool) {
    let mut packet = vec![0x80, 201, 0, 1, 0, 0, 0, 78];
    let (sealer, _) = viewer.srtp.as_mut().unwrap();
    packet.resize(packet.len() + sealer.rtcp_overhead(), 0);
    sealer.seal_rtcp(&mut packet).unwrap();
    if !is_genuine {
        packet[9] ^= 1;
    }
    bench.arrive(0, viewer.remote, &packet);
}

#[test]
fn regress_a_publisher_that_asks_no_more_stays_while_its_media_comes() {
    let mut bench = Bench::new(&[HERE]);
    let publisher = bench.connected("/a/whip", PUBLISHER);
    let mut sent = Vec::new();
    for sequence in 1..=40 {
        bench.advance(SECOND);
        bench.publish(&publisher, 96, sequence);
        sent = bench.drain();
    }
    assert_eq!(bench.counters().packets_in, 40);
    assert_eq!(bench.sessions(), 1);
    // And is still sent reports.
    for _ in 0..5 {
        bench.advance(SECOND);
        sent.extend(bench.drain());
    }
    let is_report = |(_, to, c): &Sent| *to == publisher.remote && rtcp::is_rtcp(c);
    assert!(sent.iter().any(is_report));

    bench.advance(9 * SECOND);
    assert_eq!(bench.sessions(), 1);
    bench.advance(SECOND);
    assert_eq!(bench.sessions(), 0);
    assert_eq!(bench.reasons(), [EndReason::Gone]);
}

#[test]
fn regress_a_viewer_that_asks_no_more_stays_while_its_reports_come() {
    let mut bench = Bench::new(&[HERE]);
    let (publisher, mut viewer) = bench.pair();
    for _ in 0..40 {
        bench.advance(SECOND);
        bench.check(&publisher, publisher.check());
        report(&mut bench, &mut viewer, true);
        bench.drain();
    }
    assert_eq!(bench.sessions(), 2);
}

#[test]
fn forged_reports_keep_no_viewer_alive() {
    let mut bench = Bench::new(&[HERE]);
    let (publisher, mut viewer) = bench.pair();
    for _ in 0..16 {
        bench.advance(SECOND);
        bench.check(&publisher, publisher.check());
        report(&mut bench, &mut viewer, false);
        bench.drain();
    }
    assert_eq!(bench.sessions(), 1);
    assert_eq!(bench.reasons(), [EndReason::Gone]);
}

#[test]
fn regress_recorded_sender_reports_keep_no_publisher_alive() {
    let mut bench = Bench::new(&[HERE]);
    let mut publisher = bench.connected("/a/whip", PUBLISHER);
    bench.publish(&publisher, 96, 1);
    let mut recorded = Vec::new();
    for _ in 0..20 {
        let (sealer, _) = publisher.srtp.as_mut().unwrap();
        recorded = vec![0x80, 200, 0, 6, 0, 0, 0, 77];
        recorded.extend([0xe0; 8]);
        recorded.extend([0; 12]);
        recorded.resize(recorded.len() + sealer.rtcp_overhead(), 0);
        sealer.seal_rtcp(&mut recorded).unwrap();
        bench.advance(SECOND);
        bench.arrive(0, publisher.remote, &recorded);
        bench.drain();
    }
    assert_eq!(bench.sessions(), 1);
    for _ in 0..15 {
        bench.advance(SECOND);
        bench.arrive(0, publisher.remote, &recorded);
        bench.drain();
    }
    assert_eq!(bench.sessions(), 0);
}

#[test]
fn regress_a_peer_that_is_heard_elsewhere_only_is_not_sent_to_for_long() {
    let mut bench = Bench::new(&[HERE]);
    let (publisher, mut viewer) = bench.pair();
    let victim = Check {
        remote: address("10.66.66.66:6"),
        ..viewer.check()
    };
    bench.check(&viewer, victim);
    let elsewhere = Check {
        nominates: false,
        ..viewer.check()
    };
    for sequence in 1..=16 {
        bench.advance(SECOND);
        bench.check(&viewer, elsewhere);
        report(&mut bench, &mut viewer, true);
        bench.check(&publisher, publisher.check());
        bench.publish(&publisher, 96, sequence);
        bench.drain();
    }
    assert_eq!(bench.reasons(), [EndReason::Gone]);
}
