//! What a viewer asks for again, and what comes of it.

use super::bench::{KEYFRAME, VIEWER, offer};
use super::*;
use crate::config::RepairLimits;

const MS: Duration = Duration::from_millis(1);

/// A viewer that asks for what it lost, and the sources that it was told.
struct Asking {
    client: Client,
    ssrc: u32,
    rtx_ssrc: Option<u32>,
}

/// A publisher, and a viewer whose offer has these lines besides.
fn pair(bench: &mut Bench, lines: &str) -> (Client, Asking) {
    let publisher = bench.connected("/a/whip", PUBLISHER);
    let certificate = certificate();
    let offer = offer(&certificate, false, 96, "VP8").replace("SAVPF 96", "SAVPF 96 97") + lines;
    let mut client = bench.join_offering("/a/whep", VIEWER, &certificate, offer);
    bench.connect(&mut client);
    let sources = client.answer.lines().filter_map(|line| {
        let ssrc = line.strip_prefix("a=ssrc:")?.split(' ').next()?;
        ssrc.parse().ok()
    });
    let mut sources: Vec<u32> = sources.collect();
    let ssrc = sources.remove(0);
    let viewer = Asking {
        client,
        ssrc,
        rtx_ssrc: sources.pop(),
    };
    (publisher, viewer)
}

const NACK: &str = "a=rtcp-fb:96 nack\r\n";
const RTX: &str = "a=rtcp-fb:96 nack\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n";

impl Asking {
    /// Seals RTCP as its own and has it arrive.
    fn say(&mut self, bench: &mut Bench, packet: &[u8]) {
        let (sealer, _) = self.client.srtp.as_mut().unwrap();
        let mut packet = packet.to_vec();
        packet.resize(packet.len() + sealer.rtcp_overhead(), 0);
        sealer.seal_rtcp(&mut packet).unwrap();
        bench.arrive(0, self.client.remote, &packet);
    }

    /// The report that it is sent, opened.
    fn report(&mut self, bench: &mut Bench) -> Vec<u8> {
        let is_report = |(_, to, c): &Sent| *to == self.client.remote && rtcp::is_rtcp(c);
        let mut report = bench.drain().into_iter().find(is_report).unwrap().2;
        let (_, opener) = self.client.srtp.as_mut().unwrap();
        opener.open_rtcp(&mut report).unwrap().to_vec()
    }

    /// Asks for a packet and those that the bits say.
    fn nack(&mut self, bench: &mut Bench, first: u16, following: u16) {
        let mut nack = vec![0x81, 205, 0, 3, 0, 0, 0, 9];
        nack.extend(self.ssrc.to_be_bytes());
        nack.extend(first.to_be_bytes());
        nack.extend(following.to_be_bytes());
        self.say(bench, &nack);
    }
}

/// The viewer's RTP packets of transmits, one by one: all of these tests are of one size.
fn packets(sent: Vec<Sent>, len: usize) -> Vec<Vec<u8>> {
    let is_media = |(_, to, c): &Sent| *to == address(VIEWER) && c[0] & 0xc0 == 0x80;
    sent.into_iter()
        .filter(is_media)
        .flat_map(|(_, _, contents)| {
            let packets = contents.chunks(len).map(<[u8]>::to_vec);
            packets.collect::<Vec<_>>()
        })
        .filter(|packet| !rtcp::is_rtcp(packet))
        .collect()
}

const LEN: usize = 12 + KEYFRAME.len() + 16;

fn sequence(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[2], packet[3]])
}

fn ssrc(packet: &[u8]) -> u32 {
    u32::from_be_bytes(*packet[8..].first_chunk().unwrap())
}

/// Publishes packets of these numbers, one at a time, and gives what the viewer is sent.
fn play(
    bench: &mut Bench,
    publisher: &Client,
    numbers: impl IntoIterator<Item = u16>,
) -> Vec<Vec<u8>> {
    let mut got = Vec::new();
    for number in numbers {
        bench.publish(publisher, 96, number);
        got.extend(packets(bench.drain(), LEN));
        bench.advance(MS / 10);
    }
    got
}

#[test]
fn one_lost_packet_is_repaired_once_by_the_source_of_repairs() {
    let mut bench = Bench::new(&[HERE]);
    let (publisher, mut viewer) = pair(&mut bench, RTX);
    let got = play(&mut bench, &publisher, 1..10);
    assert_eq!(got.len(), 9);

    let lost = sequence(&got[4]);
    for _ in 0..3 {
        viewer.nack(&mut bench, lost, 0);
    }
    let repairs = packets(bench.drain(), LEN + 2);
    assert_eq!(repairs.len(), 1);
    assert_eq!(Some(ssrc(&repairs[0])), viewer.rtx_ssrc);
    assert_eq!(repairs[0][1] & 0x7f, 97);
    assert_eq!(repairs[0][4..8], got[4][4..8], "the timestamp stays");

    // After a round trip it may be asked for again, which is another packet under another index.
    bench.advance(60 * MS);
    viewer.nack(&mut bench, lost, 0);
    let again = packets(bench.drain(), LEN + 2);
    assert_eq!(sequence(&again[0]), sequence(&repairs[0]).wrapping_add(1));
    let counters = bench.counters();
    assert_eq!((counters.nacked, counters.repairs), (4, 2));
    assert_eq!(counters.nacked_repeated, 2);
}

#[test]
fn without_a_source_of_repairs_the_same_bytes_come_again() {
    let mut bench = Bench::new(&[HERE]);
    let (publisher, mut viewer) = pair(&mut bench, NACK);
    assert_eq!(viewer.rtx_ssrc, None);
    let got = play(&mut bench, &publisher, 1..30);
    viewer.nack(&mut bench, sequence(&got[3]), 0b1000_0000_0000_0101);
    let repairs = packets(bench.drain(), LEN);
    let lost = [&got[3], &got[4], &got[6], &got[19]];
    assert_eq!(repairs.iter().collect::<Vec<_>>(), lost);
}

#[test]
fn a_thousand_nacks_for_one_packet_are_answered_once() {
    let mut bench = Bench::new(&[HERE]);
    let (publisher, mut viewer) = pair(&mut bench, RTX);
    let got = play(&mut bench, &publisher, 1..10);
    let mut repairs = 0;
    for n in 0..1000 {
        viewer.nack(&mut bench, sequence(&got[2]), 0);
        repairs += packets(bench.drain(), LEN + 2).len();
        if n % 100 == 99 {
            bench.advance(MS);
        }
    }
    let counters = bench.counters();
    assert_eq!((repairs, counters.repairs), (1, 1));
    assert_eq!((counters.nacked, counters.nacked_repeated), (1000, 999));
}

#[test]
fn a_storm_of_nacks_is_answered_up_to_the_budget() {
    let mut bench = Bench::new(&[HERE]);
    bench.server.config.repair = RepairLimits {
        percent: 10,
        burst: 1000,
    };
    let (publisher, mut viewer) = pair(&mut bench, RTX);
    let got = play(&mut bench, &publisher, 1..200);
    let mut bytes = 0;
    for packet in &got {
        viewer.nack(&mut bench, sequence(packet), 0);
        bytes += packets(bench.drain(), LEN + 2).concat().len();
    }
    assert!(bytes > 900 && bytes <= 1000, "{bytes}");
    let counters = bench.counters();
    assert_eq!(counters.repairs + counters.nacked_over_budget, 199);
    // Media earns more.
    play(&mut bench, &publisher, 200..230);
    viewer.nack(&mut bench, sequence(&got[190]), 0);
    assert_eq!(packets(bench.drain(), LEN + 2).len(), 1);
}

#[test]
fn media_does_not_wait_for_all_repairs() {
    let mut bench = Bench::new(&[HERE]);
    let (publisher, mut viewer) = pair(&mut bench, NACK);
    let got = play(&mut bench, &publisher, 1..200);
    for first in (0..190).step_by(17) {
        viewer.nack(&mut bench, sequence(&got[first]), u16::MAX);
    }
    bench.publish(&publisher, 96, 200);
    let newest = sequence(&got[198]).wrapping_add(1);
    let sent = bench.drain();
    let at = |sequence_of: &dyn Fn(&[u8]) -> bool| {
        let mut media = sent.iter().filter(|(_, to, _)| *to == address(VIEWER));
        media
            .position(|(.., c)| c.chunks(LEN).any(sequence_of))
            .unwrap()
    };
    assert_eq!(
        at(&|packet| sequence(packet) == newest),
        1,
        "after one train of repairs"
    );
    assert_eq!(at(&|packet| sequence(packet) == sequence(&got[0])), 0);
}

#[test]
fn what_is_not_there_is_counted_and_not_answered() {
    let mut bench = Bench::new(&[HERE]);
    let (publisher, mut viewer) = pair(&mut bench, RTX);
    // Number 5 is lost on the publisher's way: the viewer sees the gap, and may ask.
    let got = play(&mut bench, &publisher, [1, 2, 3, 4, 6, 7]);
    let missing = sequence(&got[3]).wrapping_add(1);
    assert_eq!(sequence(&got[4]), missing.wrapping_add(1));
    let first = sequence(&got[0]);
    for asked in [missing, first.wrapping_sub(1), first.wrapping_add(5000)] {
        viewer.nack(&mut bench, asked, 0);
    }
    assert!(packets(bench.drain(), LEN + 2).is_empty());
    assert_eq!(bench.counters().nacked_unknown, 3);

    // It comes late, is forwarded, and can be repaired from then on.
    let late = play(&mut bench, &publisher, [5]);
    assert_eq!(
        late.iter().map(|p| sequence(p)).collect::<Vec<_>>(),
        [missing]
    );
    viewer.nack(&mut bench, missing, 0);
    assert_eq!(packets(bench.drain(), LEN + 2).len(), 1);
}

#[test]
fn a_viewer_that_did_not_negotiate_nack_is_not_answered() {
    let mut bench = Bench::new(&[HERE]);
    let (publisher, mut viewer) = pair(&mut bench, "");
    let got = play(&mut bench, &publisher, 1..10);
    viewer.nack(&mut bench, sequence(&got[4]), u16::MAX);
    assert!(packets(bench.drain(), LEN).is_empty());
    assert_eq!(bench.counters().nacked, 0);
}

#[test]
fn a_viewer_that_fell_off_the_history_is_not_repaired_from_before() {
    let mut bench = Bench::new(&[HERE]);
    bench.server.config.history.age = Duration::from_secs(1);
    let (publisher, mut viewer) = pair(&mut bench, RTX);
    let got = play(&mut bench, &publisher, 1..10);
    // The socket is full for two seconds; then it goes on with a keyframe.
    for number in 10..20 {
        bench.publish(&publisher, 96, number);
        bench.now += 200 * MS;
    }
    let later = packets(bench.drain(), LEN);
    assert!(!later.is_empty() && bench.counters().fell_off == 1);
    viewer.nack(&mut bench, sequence(&got[8]), 0);
    assert!(packets(bench.drain(), LEN + 2).is_empty());
}

#[test]
fn a_viewer_s_reports_tell_its_round_trip_loss_and_jitter() {
    let mut bench = Bench::new(&[HERE]);
    let (publisher, mut viewer) = pair(&mut bench, RTX);
    play(&mut bench, &publisher, 1..10);
    bench.advance(Duration::from_secs(1));
    let compound = viewer.report(&mut bench);
    let middle: [u8; 4] = *compound[10..].first_chunk().unwrap();

    bench.now += 70 * MS;
    let mut receiver = vec![0x81, 201, 0, 7, 0, 0, 0, 9];
    receiver.extend(viewer.ssrc.to_be_bytes());
    receiver.extend([64, 0, 0, 3, 0, 0, 0, 0]);
    receiver.extend(900_u32.to_be_bytes());
    receiver.extend(middle);
    // 20 ms.
    receiver.extend(1311_u32.to_be_bytes());
    viewer.say(&mut bench, &receiver);
    let [stats] = bench.server.viewer_stats().try_into().unwrap();
    assert_eq!(stats.path, "a");
    assert!(stats.rtt.unwrap().abs_diff(50 * MS) < MS, "{stats:?}");
    let video = stats.video.unwrap();
    assert_eq!((video.fraction_lost, video.packets_lost), (0.25, 3));
    assert_eq!(video.jitter, 10 * MS);
}

#[test]
fn a_viewer_that_tells_its_clock_is_told_it_back() {
    let mut bench = Bench::new(&[HERE]);
    let (publisher, mut viewer) = pair(&mut bench, RTX);
    play(&mut bench, &publisher, 1..10);
    let extended = [
        0x80, 207, 0, 4, 0, 0, 0, 9, 4, 0, 0, 2, 0, 1, 2, 3, 4, 5, 6, 7,
    ];
    viewer.say(&mut bench, &extended);
    bench.advance(Duration::from_secs(1));
    let compound = viewer.report(&mut bench);
    // RFC 3611 §4.5: who asked, what it told, how long ago.
    let answer = [5, 0, 0, 3, 0, 0, 0, 9, 2, 3, 4, 5, 0, 1, 0, 0];
    assert!(compound.ends_with(&answer), "{compound:x?}");
}

#[test]
fn regress_a_viewer_that_moved_is_repaired_though_its_old_socket_is_full() {
    let mut bench = Bench::new(&[HERE, ALSO_HERE]);
    let (publisher, mut viewer) = pair(&mut bench, RTX);
    let got = play(&mut bench, &publisher, 1..30);
    viewer.nack(&mut bench, sequence(&got[4]), 0);
    // Transport 0 is not polled: its socket is full.
    let moved = Check {
        transport: 1,
        ..viewer.client.check()
    };
    bench.check(&viewer.client, moved);
    viewer.nack(&mut bench, sequence(&got[6]), 0);
    let mut repairs = 0;
    while let Some(transmit) =
        bench
            .server
            .poll_transmit(bench.now, TransportId(1), &mut bench.buffer)
    {
        let sent = (transmit.size, bench.buffer[1] & 0x7f);
        repairs += usize::from(sent == (2 * (LEN + 2), 97));
    }
    assert_eq!(repairs, 1, "{:?}", bench.counters());
}

#[test]
fn one_nack_of_many_losses_is_answered_whole() {
    let mut bench = Bench::new(&[HERE]);
    let (publisher, mut viewer) = pair(&mut bench, RTX);
    let got = play(&mut bench, &publisher, 1..1000);
    let mut nack = vec![0x81, 205, 0, 2 + 18, 0, 0, 0, 9];
    nack.extend(viewer.ssrc.to_be_bytes());
    for lost in got.iter().step_by(50).take(18) {
        nack.extend(sequence(lost).to_be_bytes());
        nack.extend([0, 0]);
    }
    viewer.say(&mut bench, &nack);
    assert_eq!(packets(bench.drain(), LEN + 2).len(), 18);
}

/// How many packets of video leave by a transport.
fn video_by(bench: &mut Bench, transport: u8) -> usize {
    let mut count = 0;
    while let Some(transmit) =
        bench
            .server
            .poll_transmit(bench.now, TransportId(transport), &mut bench.buffer)
    {
        if bench.buffer[1] & 0x7f == 96 {
            count += transmit.size / LEN;
        }
    }
    count
}

#[test]
fn regress_what_a_burst_left_is_sent_to_a_viewer_that_moved_though_its_old_socket_is_full() {
    let mut bench = Bench::new(&[HERE, ALSO_HERE]);
    let (publisher, viewer) = pair(&mut bench, RTX);
    play(&mut bench, &publisher, 1..30);
    // Its report waits on transport 0, which is not polled.
    for _ in 0..20 {
        bench.advance(100 * MS);
    }
    let moved = Check {
        transport: 1,
        ..viewer.client.check()
    };
    bench.check(&viewer.client, moved);
    for number in 30..75 {
        bench.publish(&publisher, 96, number);
    }
    let mut got = vec![video_by(&mut bench, 1)];
    for _ in 0..3 {
        bench.advance(2 * MS);
        got.push(video_by(&mut bench, 1));
    }
    assert_eq!(got, [20, 20, 5, 0]);
}

#[test]
fn regress_a_stream_of_the_highest_bitrate_reaches_a_viewer_whole() {
    let mut bench = Bench::new(&[HERE]);
    bench.server.config.history = crate::config::HistoryLimits::for_mbps(160);
    let (publisher, _viewer) = pair(&mut bench, RTX);
    // Of 610 bytes each, which is what the history counts on.
    let mut payload = KEYFRAME.to_vec();
    payload.resize(560, 0);
    bench.publish_payload(&publisher, 96, 1, &payload);
    bench.drain();
    let mut number = 2;
    for _ in 0..1900 {
        for _ in 0..32 {
            bench.publish_payload(&publisher, 96, number, &payload);
            number += 1;
        }
        bench.drain();
        bench.advance(MS);
    }
    for _ in 0..20 {
        bench.advance(2 * MS);
        bench.drain();
    }
    let counters = bench.counters();
    assert_eq!(counters.fell_off, 0);
    assert_eq!(counters.packets_out, counters.packets_in);
}
