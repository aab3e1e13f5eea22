//! The test clients against str0m as the answering side: what they send and get is what they
//! claim, before they judge a server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kvill_tests::client::media::{Follower, Source};
use kvill_tests::client::{Client, Options};
use str0m::change::SdpOffer;
use str0m::format::Codec;
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::rtcp::Rtcp;
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc};

/// The answering side: a plain `Rtc`, ICE-lite like the server.
struct Answerer {
    rtc: Rtc,
    local: SocketAddr,
    timeout: Instant,
    packets: Vec<RtpPacket>,
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

impl Answerer {
    fn new(now: Instant) -> Self {
        let local = address(1);
        let mut rtc = Rtc::builder()
            .set_rtp_mode(true)
            .set_ice_lite(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(local, "udp").unwrap());
        Self {
            rtc,
            local,
            timeout: now,
            packets: Vec::new(),
        }
    }

    fn answer(&mut self, offer: &str) -> String {
        let offer = SdpOffer::from_sdp_string(offer).unwrap();
        self.rtc
            .sdp_api()
            .accept_offer(offer)
            .unwrap()
            .to_sdp_string()
    }

    fn drain(&mut self, now: Instant, client: &mut Client) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) => {
                    self.timeout = at;
                    return;
                }
                Output::Transmit(t) => client.handle_datagram(now, self.local, &t.contents),
                Output::Event(Event::RtpPacket(packet)) => self.packets.push(packet),
                Output::Event(_) => {}
            }
        }
    }

    /// Lets both talk for a while.
    fn run(&mut self, now: &mut Instant, client: &mut Client, duration: Duration) {
        let end = *now + duration;
        loop {
            self.drain(*now, client);
            while let Some(out) = client.poll_transmit() {
                let contents = out.contents.as_slice();
                let receive =
                    Receive::new(Protocol::Udp, client.local(), self.local, contents).unwrap();
                self.rtc
                    .handle_input(Input::Receive(*now, receive))
                    .unwrap();
                self.drain(*now, client);
            }
            if *now >= end {
                return;
            }
            *now = self.timeout.min(client.poll_timeout()).clamp(*now, end);
            if self.timeout <= *now {
                self.rtc.handle_input(Input::Timeout(*now)).unwrap();
            }
            if client.poll_timeout() <= *now {
                client.handle_timeout(*now);
            }
        }
    }
}

#[test]
fn a_publishers_numbers_and_bytes_are_the_tests() {
    fastrand::seed(1);
    let mut now = Instant::now();
    let mut peer = Answerer::new(now);
    let options = Options::new(&[Codec::H264, Codec::Opus]);
    let mut client = Client::publisher(now, address(2), &options);
    let answer = peer.answer(client.offer());
    client.accept_answer(now, &answer).unwrap();
    peer.run(&mut now, &mut client, Duration::from_secs(1));
    assert!(client.is_connected());

    // Over the 16-bit edge, with a gap and a swap.
    let mut source = Source::new(Codec::H264, 65_530, 77);
    let mut sent = source.keyframe(5, 1100);
    source.skip(3);
    sent.extend(source.delta(4, 900));
    sent.swap(6, 7);
    client.write(now, MediaKind::Video, &sent);
    peer.run(&mut now, &mut client, Duration::from_millis(10));

    let got: Vec<_> = peer
        .packets
        .iter()
        .map(|p| (*p.seq_no, p.header.timestamp, p.header.marker, &p.payload))
        .collect();
    let want: Vec<_> = sent
        .iter()
        .map(|p| (p.seq, p.timestamp, p.marker, &p.payload))
        .collect();
    assert_eq!(got, want);
    let ssrc = client.ssrc(MediaKind::Video);
    assert!(peer.packets.iter().all(|p| p.header.ssrc == ssrc));

    let mut api = peer.rtc.direct_api();
    api.stream_rx(&ssrc)
        .unwrap()
        .request_keyframe(KeyframeRequestKind::Pli);
    peer.rtc.handle_input(Input::Timeout(now)).unwrap();
    peer.run(&mut now, &mut client, Duration::from_millis(10));
    assert_eq!(client.keyframe_requests.len(), 1);
}

#[test]
fn a_viewer_sees_packets_reports_and_the_end() {
    fastrand::seed(2);
    let mut now = Instant::now();
    let mut peer = Answerer::new(now);
    let options = Options::new(&[Codec::Vp8]).observing();
    let mut client = Client::viewer(now, address(2), &options);
    let answer = peer.answer(client.offer());
    client.accept_answer(now, &answer).unwrap();
    peer.run(&mut now, &mut client, Duration::from_secs(1));
    assert!(client.is_connected());

    let mut source = Source::new(Codec::Vp8, 9, 99);
    let mut sent = source.keyframe(3, 1000);
    sent.extend(source.delta(2, 500));
    let mid = Mid::from(mid_of(client.offer()).as_str());
    let media = peer.rtc.media(mid).unwrap();
    assert_eq!(media.direction(), Direction::SendOnly);
    let pt = media.remote_pts()[0];
    for packet in &sent {
        let mut api = peer.rtc.direct_api();
        let write = RtpWrite::new(
            pt,
            packet.seq.into(),
            packet.timestamp,
            now,
            packet.payload.clone(),
        )
        .marker(packet.marker);
        api.stream_tx_by_mid(mid, None).unwrap().write_rtp(write);
        peer.rtc.handle_input(Input::Timeout(now)).unwrap();
        peer.drain(now, &mut client);
    }
    peer.run(&mut now, &mut client, Duration::from_secs(2));

    let mut follower = Follower::default();
    for packet in &client.video {
        follower.follow(&sent, packet).unwrap();
    }
    assert_eq!(follower.count, sent.len());
    assert_eq!(client.decrypted, sent.len() as u64);
    let reports = client
        .rtcp
        .iter()
        .filter(|(_, r)| matches!(r, Rtcp::SenderReport(_)));
    assert!(reports.count() >= 1, "{:?}", client.rtcp);

    peer.rtc.close().unwrap();
    peer.run(&mut now, &mut client, Duration::from_millis(100));
    assert!(client.is_closed());
}

fn mid_of(offer: &str) -> String {
    let line = offer.lines().find_map(|l| l.strip_prefix("a=mid:"));
    line.expect("an offer has a mid").to_owned()
}
