//! Programs that publish and watch by themselves.

use std::io::Write;
use std::net::UdpSocket;
use std::process::Stdio;

use kvill_core::rtp::RtpPacket;
use str0m::rtp::RtpPacket as Got;

use super::*;

/// Between two frames.
const FRAME: Duration = Duration::from_nanos(33_333_333);

const FRAMES: u32 = 60;

/// An access unit in Annex B format: a delimiter, parameter sets and an IDR picture.
fn access_unit(number: u32) -> Vec<u8> {
    let mut unit = vec![0, 0, 0, 1, 9, 0x10];
    unit.extend([0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40]);
    unit.extend([0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80]);
    unit.extend([0, 0, 0, 1, 0x65]);
    // Longer than a packet, and every byte is a picture's own.
    unit.extend((0..3_000_u32).map(|at| (number * 7 + at) as u8 | 0x80));
    unit
}

/// The frames that have arrived whole, by their markers, and the timestamps of these.
fn frames(came: &[Got]) -> Vec<u32> {
    let ends = came.iter().filter(|packet| packet.header.marker);
    ends.map(|packet| packet.header.timestamp).collect()
}

#[test]
fn a_program_that_has_access_units_serves_them_to_viewers() {
    let (input, mut output) = std::io::pipe().expect("a pipe");
    let example = Kvill::example_with("publish", &[], input);
    let mut viewer = Peer::new(HERE, Client::viewer, &Options::new(&[Codec::H264]));
    viewer.join(example.url(), "/live/whep");
    let mut peers = vec![viewer];
    wire::connect(&mut peers);

    let started = Instant::now();
    for n in 0..FRAMES {
        output.write_all(&access_unit(n)).expect("it reads");
        let next = started + FRAME * (n + 1);
        wire::run(&mut peers, SOON, |_| Instant::now() >= next);
    }
    // The program knows that a unit is whole when the next one begins.
    let all = |peers: &mut [Peer]| frames(&peers[0].client.video).len() + 1 == FRAMES as usize;
    assert!(
        wire::run(&mut peers, SOON, all),
        "{} of {FRAMES} frames\n{}",
        frames(&peers[0].client.video).len(),
        example.log()
    );
    let stamps = frames(&peers[0].client.video);
    let regular = |two: &[u32]| two[1].wrapping_sub(two[0]) == 90_000 / 30;
    assert!(stamps.windows(2).all(regular), "{stamps:?}");

    // The end of the stream is the end of the program.
    drop(output);
    let all_closed = |peers: &mut [Peer]| peers.iter().all(|peer| peer.client.is_closed());
    assert!(wire::run(&mut peers, SOON, all_closed));
}

#[test]
fn what_an_encoder_of_gstreamers_makes_plays_in_a_browser() {
    let _alone = peer::alone();
    let (Some(mut launcher), Some(chromium)) = (peer::gst_launch(), peer::chromium()) else {
        return;
    };
    let pipeline = "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1 \
                    ! x264enc tune=zerolatency key-int-max=30 \
                    ! video/x-h264,profile=constrained-baseline ! h264parse \
                    ! video/x-h264,stream-format=byte-stream,alignment=au ! fdsink";
    let mut encoder = launcher
        .arg("-q")
        .args(pipeline.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let units = encoder.stdout.take().expect("a pipe");
    let example = Kvill::example_with("publish", &[], units);
    let args = ["--base", example.url(), "--seconds", "4"];
    let played = chromium.run("chromium/play.mjs", &args, Duration::from_secs(60));
    let _ = encoder.kill();
    let _ = encoder.wait();
    assert!(number(&played, "frames") >= 0.95 * 4.0 * 30.0, "{played}");
    assert_eq!(played["width"], 320, "{played}");
    assert_eq!(played["packets_lost"], 0, "{played}");
}

#[test]
fn a_program_that_watches_passes_on_what_is_published() {
    let receiver = UdpSocket::bind((HERE, 0)).expect("a port is free");
    receiver.set_read_timeout(Some(SOON)).expect("a time");
    let to = receiver.local_addr().expect("it is bound").to_string();
    let example = Kvill::example_with("watch", &[&to], Stdio::null());
    let mut publisher = Peer::new(HERE, Client::publisher, &Options::new(&[Codec::Vp8]));
    publisher.join(example.url(), "/live/whip");
    let mut peers = vec![publisher];
    wire::connect(&mut peers);
    // It watches, and waits for a keyframe.
    example.line(&["VP8"]);

    let mut source = Source::new(Codec::Vp8, 65_500, 7);
    let mut sent = Vec::new();
    for n in 0..PACKETS {
        let packets = match n {
            0 => source.keyframe(1, 1100),
            _ => source.delta(1, 1100),
        };
        let now = Instant::now();
        peers[0].client.write(now, MediaKind::Video, &packets);
        sent.extend(packets);
        wire::run(&mut peers, SOON, |_| now.elapsed() >= PERIOD);
    }
    let mut last = None;
    for packet in &sent {
        let mut datagram = [0; 1500];
        let len = receiver.recv(&mut datagram).expect("all of it");
        let got = RtpPacket::parse(&datagram[..len]).expect("it is RTP");
        assert_eq!(*got.payload, *packet.payload);
        let follows = last.is_none_or(|last: u16| got.sequence == last.wrapping_add(1));
        assert!(follows, "{} after {last:?}", got.sequence);
        last = Some(got.sequence);
    }
    leave(&example, peers);
}
