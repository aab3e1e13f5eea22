//! What is lost on the way from a publisher, and what comes of it.

use super::bench::{KEYFRAME, VIEWER, offer};
use super::*;

const MS: Duration = Duration::from_millis(1);

const NACK: &str = "a=rtcp-fb:96 nack\r\n";
const RTX: &str = "a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n";
const REDUCED: &str = "a=rtcp-rsize\r\n";

/// The source of a publisher's packets, and that of its repairs.
const MAIN: u32 = 77;
const REPAIRS: u32 = 78;

/// A publisher whose offer is changed before it is sent.
fn join(bench: &mut Bench, change: impl Fn(String) -> String) -> Client {
    let certificate = certificate();
    let offer = offer(&certificate, true, 96, "VP8").replace("SAVPF 96", "SAVPF 96 97");
    let mut publisher = bench.join_offering("/a/whip", PUBLISHER, &certificate, change(offer));
    bench.connect(&mut publisher);
    assert!(publisher.connected);
    publisher
}

/// An offer with these lines at its end.
fn with(lines: &[&str]) -> impl Fn(String) -> String {
    let lines = lines.concat();
    move |offer| offer + &lines
}

/// Has a packet arrive, which the publisher sealed under this index.
fn send(bench: &mut Bench, by: &Client, payload_type: u8, ssrc: u32, index: u64, payload: &[u8]) {
    let mut packet = vec![0x80, 0x80 | payload_type];
    packet.extend(&index.to_be_bytes()[6..]);
    packet.extend([0, 0, 0, 9]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    let (sealer, _) = by.srtp.as_ref().unwrap();
    packet.resize(packet.len() + sealer.rtp_overhead(), 0);
    sealer.seal_rtp(ssrc, index, &mut packet).unwrap();
    bench.arrive(0, by.remote, &packet);
}

fn publish(bench: &mut Bench, by: &Client, indices: impl IntoIterator<Item = u64>) {
    for index in indices {
        send(bench, by, 96, MAIN, index, &KEYFRAME);
    }
}

/// A repair (RFC 4588) of a packet, the `index`th of its source.
fn repair(bench: &mut Bench, by: &Client, index: u64, number: u64) {
    let payload = [&number.to_be_bytes()[6..], &KEYFRAME].concat();
    send(bench, by, 97, REPAIRS, index, &payload);
}

/// The RTCP packets that the publisher is sent, opened, as (sender's SSRC, first packet type, all).
fn heard(bench: &mut Bench, by: &mut Client) -> Vec<(u32, u8, Vec<u8>)> {
    let (_, opener) = by.srtp.as_mut().unwrap();
    let sent = bench.drain().into_iter();
    sent.filter(|(_, to, c)| *to == by.remote && c[0] & 0xc0 == 0x80)
        .map(|(.., mut contents)| {
            let opened = opener.open_rtcp(&mut contents).unwrap().to_vec();
            let sender = u32::from_be_bytes(*opened[4..].first_chunk().unwrap());
            (sender, opened[1], opened)
        })
        .collect()
}

/// Lets so much time pass, and gives the pairs (RFC 4585 §6.2.1) of what the publisher is asked for.
fn asked(bench: &mut Bench, by: &mut Client, time: Duration) -> Vec<(u16, u16)> {
    let mut pairs = Vec::new();
    let end = bench.now + time;
    while bench.now < end {
        bench.advance(MS);
        for (.., compound) in heard(bench, by) {
            let nack = compound
                .windows(12)
                .position(|w| w[..2] == [0x81, 205] && w[8..] == MAIN.to_be_bytes());
            let entries = nack.map_or(&[][..], |at| &compound[at + 12..]);
            pairs.extend(entries.chunks(4).map(|e| {
                let [a, b, c, d] = *e.first_chunk().unwrap();
                (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
            }));
        }
    }
    pairs
}

#[test]
fn a_gap_is_asked_for_once_by_us_and_never_by_str0m() {
    let mut bench = Bench::new(&[HERE]);
    let mut publisher = join(&mut bench, with(&[NACK, RTX, REDUCED]));
    publish(&mut bench, &publisher, [1, 2, 4, 7]);
    let soon = asked(&mut bench, &mut publisher, 6 * MS);
    assert_eq!(soon, [(3, 0b110)]);
    // str0m would have, every 33 ms.
    assert_eq!(asked(&mut bench, &mut publisher, 90 * MS), []);
    for (index, number) in [(1, 3), (2, 5), (3, 6)] {
        repair(&mut bench, &publisher, index, number);
    }
    assert_eq!(asked(&mut bench, &mut publisher, 500 * MS), []);
    let counters = bench.counters();
    assert_eq!(counters.packets_in, 7);
    assert_eq!(
        (counters.publisher_nacked, counters.publisher_repaired),
        (3, 3)
    );
}

#[test]
fn requests_and_str0m_s_reports_have_senders_of_their_own() {
    // As ffmpeg has it, which takes no compound packets: audio says nothing of reduced size.
    let audio = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\n\
                 a=rtcp-mux\r\na=sendonly\r\na=rtpmap:111 opus/48000/2\r\n";
    for (lines, first) in [
        (&[NACK, RTX, REDUCED, audio][..], 205),
        (&[NACK, RTX, audio, REDUCED], 201),
        (&[NACK, RTX], 201),
    ] {
        let mut bench = Bench::new(&[HERE]);
        let bundled = |offer: String| with(lines)(offer.replace("BUNDLE 0", "BUNDLE 0 1"));
        let mut publisher = join(&mut bench, bundled);
        let mut senders = [BTreeSet::new(), BTreeSet::new()];
        let (mut next, mut requests) = (1, 0);
        for _ in 0..300 {
            publish(&mut bench, &publisher, [next]);
            next += 2;
            bench.advance(10 * MS);
            for (sender, packet_type, compound) in heard(&mut bench, &mut publisher) {
                let is_request = compound.windows(2).any(|w| w == [0x81, 205]);
                requests += usize::from(is_request);
                if is_request {
                    assert_eq!(packet_type, first);
                    let description = [0x81, 202].as_slice();
                    assert_eq!(compound.get(8..10) == Some(description), first == 201);
                }
                senders[usize::from(is_request)].insert(sender);
            }
        }
        assert!(requests > 100, "{requests}");
        assert_eq!(senders.each_ref().map(BTreeSet::len), [1, 1]);
        assert!(senders[0].is_disjoint(&senders[1]));
    }
}

#[test]
fn what_str0m_has_given_up_is_taken_from_either_source() {
    for by_repairs in [true, false] {
        let mut bench = Bench::new(&[HERE]);
        let lines = [NACK, if by_repairs { RTX } else { "" }];
        let mut publisher = join(&mut bench, with(&lines));
        let (first, last) = (65_000, 66_500);
        let missing = [65_300, 65_535, 65_536, 65_900];
        publish(
            &mut bench,
            &publisher,
            (first..=last).filter(|n| !missing.contains(n)),
        );
        assert_eq!(asked(&mut bench, &mut publisher, 6 * MS).len(), 3);
        for (index, number) in (1..).zip(missing) {
            match by_repairs {
                true => repair(&mut bench, &publisher, index, number),
                false => publish(&mut bench, &publisher, [number]),
            }
        }
        let counters = bench.counters();
        assert_eq!(counters.packets_in, last - first + 1);
        assert_eq!(counters.publisher_repaired, 4);
        assert_eq!(
            (counters.dropped_media, counters.dropped_unrecorded),
            (0, 0)
        );
    }
}

#[test]
fn a_viewer_sees_the_gap_and_then_what_came_late() {
    let mut bench = Bench::new(&[HERE]);
    let publisher = join(&mut bench, with(&[NACK, RTX]));
    let _viewer = bench.connected("/a/whep", VIEWER);
    bench.drain();
    let mut numbers = Vec::new();
    for index in (1..=300).filter(|n| *n != 5).chain([5]) {
        publish(&mut bench, &publisher, [index]);
        let packets = bench.drain().into_iter();
        bench.advance(Duration::from_micros(100));
        numbers.extend(
            packets
                .filter(|(_, to, c)| *to == address(VIEWER) && !rtcp::is_rtcp(c))
                .map(|(.., c)| u16::from_be_bytes([c[2], c[3]])),
        );
    }
    let first = numbers[0];
    let numbers: Vec<_> = numbers.iter().map(|n| n - first + 1).collect();
    assert_eq!(
        numbers,
        (1..=300).filter(|n| *n != 5).chain([5]).collect::<Vec<_>>()
    );
}

#[test]
fn of_too_many_none_is_asked_for_and_a_keyframe_is() {
    let mut bench = Bench::new(&[HERE]);
    let mut publisher = join(&mut bench, with(&[NACK, RTX]));
    publish(&mut bench, &publisher, [1, 2]);
    bench.advance(Duration::from_secs(2));
    heard(&mut bench, &mut publisher);
    let before = bench.counters().keyframe_requests;
    publish(&mut bench, &publisher, [1004]);
    bench.advance(MS);
    let got = heard(&mut bench, &mut publisher);
    assert!(
        got.iter()
            .any(|(.., c)| c.windows(2).any(|w| w == [0x81, 206])),
        "{got:?}"
    );
    assert_eq!(asked(&mut bench, &mut publisher, 500 * MS), []);
    let counters = bench.counters();
    assert_eq!(counters.keyframe_requests, before + 1);
    assert_eq!(counters.publisher_given_up, 1001);
}

#[test]
fn what_is_given_up_asks_for_no_keyframe() {
    let mut bench = Bench::new(&[HERE]);
    let mut publisher = join(&mut bench, with(&[NACK, RTX]));
    publish(&mut bench, &publisher, [1, 3]);
    let before = bench.counters().keyframe_requests;
    let asked = asked(&mut bench, &mut publisher, Duration::from_secs(3));
    assert_eq!(asked, [(2, 0); 10]);
    let counters = bench.counters();
    assert_eq!(counters.publisher_given_up, 1);
    assert_eq!(counters.keyframe_requests, before);
}

#[test]
fn audio_without_a_source_of_repairs_is_asked_for_too() {
    let mut bench = Bench::new(&[HERE]);
    let mut publisher = join(&mut bench, |offer| {
        offer
            .replace("m=video", "m=audio")
            .replace("VP8/90000", "opus/48000/2")
            + NACK
    });
    publish(&mut bench, &publisher, [1, 3]);
    assert_eq!(asked(&mut bench, &mut publisher, 6 * MS), [(2, 0)]);
    publish(&mut bench, &publisher, [2]);
    assert_eq!(bench.counters().publisher_repaired, 1);
    // Too large a gap: what would a keyframe of Opus be?
    publish(&mut bench, &publisher, [3000]);
    assert_eq!(asked(&mut bench, &mut publisher, 500 * MS), []);
    assert_eq!(bench.counters().keyframe_requests, 0);
}

#[test]
fn who_did_not_offer_nack_is_asked_for_nothing() {
    let mut bench = Bench::new(&[HERE]);
    let mut publisher = join(&mut bench, with(&[RTX]));
    publish(&mut bench, &publisher, [1, 3]);
    assert_eq!(asked(&mut bench, &mut publisher, 500 * MS), []);
    assert_eq!(bench.counters().publisher_nacked, 0);
}

#[test]
fn what_comes_twice_is_forwarded_once_and_counted() {
    let mut bench = Bench::new(&[HERE]);
    let publisher = join(&mut bench, with(&[NACK, RTX]));
    publish(&mut bench, &publisher, (1..=300).filter(|n| *n != 5));
    for _ in 0..10 {
        repair(&mut bench, &publisher, 1, 5);
        publish(&mut bench, &publisher, [5, 7, 299]);
    }
    let counters = bench.counters();
    assert_eq!(counters.packets_in, 300);
    assert_eq!(counters.dropped_media + counters.dropped_unrecorded, 39);
}

#[test]
fn late_packets_that_are_damaged_hurt_nobody() {
    let mut bench = Bench::new(&[HERE]);
    let publisher = join(&mut bench, with(&[NACK, RTX]));
    publish(&mut bench, &publisher, (1..=300).filter(|n| *n != 5));
    let (sealer, _) = publisher.srtp.as_ref().unwrap();
    let seal = |head: [u8; 2], ssrc: u32, payload: &[u8]| {
        let mut packet = head.to_vec();
        packet.extend([0, 5, 0, 0, 0, 9]);
        packet.extend(ssrc.to_be_bytes());
        packet.extend(payload);
        packet.resize(packet.len() + sealer.rtp_overhead(), 0);
        sealer.seal_rtp(ssrc, 5, &mut packet).unwrap();
        packet
    };
    // Genuine, but no more than padding, or less; repairs of nothing; an extension without end.
    let odd = [
        seal([0xa0, 0x61], REPAIRS, &[0, 5, 1, 200]),
        seal([0xa0, 0x61], REPAIRS, &[0, 0, 0, 4]),
        seal([0x80, 0x61], REPAIRS, &[0]),
        seal([0x80, 0x61], REPAIRS, &[]),
        seal([0x90, 0x60], MAIN, &[0xbe, 0xde, 0xff, 0xff, 1, 2, 3]),
        seal([0xa0, 0x60], MAIN, &[9, 9, 200]),
    ];
    for packet in &odd {
        bench.arrive(0, publisher.remote, packet);
    }
    for genuine in [
        seal([0x80, 0x60], MAIN, &KEYFRAME),
        seal([0x80, 0x61], REPAIRS, &[&[0, 5][..], &KEYFRAME].concat()),
    ] {
        for i in 0..genuine.len() {
            let mut forged = genuine.clone();
            forged[i] ^= 0x11;
            bench.arrive(0, publisher.remote, &forged);
            bench.arrive(0, publisher.remote, &genuine[..i]);
        }
    }
    assert_eq!(bench.counters().packets_in, 299);
    bench.arrive(0, publisher.remote, &seal([0x80, 0x60], MAIN, &KEYFRAME));
    assert_eq!(bench.counters().packets_in, 300);
    assert_eq!(bench.sessions(), 1);
}
