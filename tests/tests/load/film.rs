//! A recorded film is seen as it was recorded: every frame, from one of its own keyframes on.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kvill_tests::client::{Client, Options};
use kvill_tests::process::{BINARIES, Kvill};
use kvill_tests::web;
use kvill_tests::wire::{Peer, connect, run};
use serde_json::Value;
use str0m::format::Codec;

use super::{Kept, check};

/// Frames of the film, and between two keyframes: a third of a second.
const FRAMES: u8 = 30;
const GROUP: u8 = 10;

/// Frames that are looked at: more than the film has, for it is shown again and again.
const WATCHED: usize = 40;

/// The header of a VP8 keyframe, behind its first byte (RFC 6386 §9.1): 320x240.
const VP8_KEYFRAME: [u8; 9] = [0, 0, 0x9d, 1, 0x2a, 64, 1, 240, 0];

fn is_keyframe(number: u8) -> bool {
    number.is_multiple_of(GROUP)
}

/// The bytes of a frame, of two packets or three, which are not those of any other.
fn filling(number: u8) -> Vec<u8> {
    let len = if is_keyframe(number) { 2500 } else { 1500 };
    vec![number + 1; len]
}

/// VP8: the film as a file, and its frames as they are to be seen.
pub(crate) fn ivf() -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut file = b"DKIF\0\0\x20\0VP80\x40\x01\xf0\0\x1e\0\0\0\x01\0\0\0".to_vec();
    file.extend([0; 8]);
    let frame = |number: u8| match is_keyframe(number) {
        true => [&[0x10], &VP8_KEYFRAME[..], &filling(number)].concat(),
        false => [&[0x11], &filling(number)[..]].concat(),
    };
    let frames: Vec<_> = (0..FRAMES).map(frame).collect();
    for frame in &frames {
        let len = u32::try_from(frame.len()).expect("a short frame");
        file.extend(len.to_le_bytes());
        file.extend([0; 8]);
        file.extend(frame);
    }
    (file, frames)
}

/// H.264: the same, as NAL units with their start codes.
fn annex_b() -> (Vec<u8>, Vec<Vec<u8>>) {
    const START: [u8; 4] = [0, 0, 0, 1];
    let frame = |number: u8| {
        // A slice whose first macroblock is that of the picture.
        let slice = |header: u8| [&START[..], &[header, 0x88], &filling(number)].concat();
        match is_keyframe(number) {
            true => [
                &START[..],
                &[0x67, 0x42, 0xe0, 0x1f, 7],
                &START,
                &[0x68, 8],
                &slice(0x65),
            ]
            .concat(),
            false => slice(0x41),
        }
    };
    let frames: Vec<_> = (0..FRAMES).map(frame).collect();
    (frames.concat(), frames)
}

/// Payloads of the packets of a frame put together.
fn frame(codec: Codec, payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = Vec::new();
    for payload in payloads {
        match (codec, payload[0] & 0x1f) {
            (Codec::H264, 28) => {
                if payload[1] & 0x80 != 0 {
                    frame.extend([0, 0, 0, 1, payload[0] & 0xe0 | payload[1] & 0x1f]);
                }
                frame.extend(&payload[2..]);
            }
            (Codec::H264, _) => frame.extend([&[0, 0, 0, 1], &payload[..]].concat()),
            _ => frame.extend(&payload[1..]),
        }
    }
    frame
}

/// The frames that somebody sees who joins now, from the first keyframe on.
fn watch(kvill: &Kvill, codec: Codec, first: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let options = Options::new(&[codec, Codec::Opus]);
    let mut peer = Peer::new(Ipv4Addr::LOCALHOST, Client::viewer, &options);
    let reply = wait_for_stream(kvill, peer.client.offer());
    let answer = reply.body.clone();
    peer.take(&reply, &answer);
    let mut peers = [peer];
    connect(&mut peers);
    let (mut frames, mut payloads) = (Vec::new(), Vec::new());
    let is_done = run(&mut peers, Duration::from_secs(10), |peers| {
        for packet in peers[0].client.video.drain(..) {
            payloads.push(packet.payload.to_vec());
            if packet.header.marker {
                frames.push(frame(codec, &std::mem::take(&mut payloads)));
            }
        }
        let begin = frames.iter().position(|frame| first(frame));
        frames.drain(..begin.unwrap_or(frames.len()));
        frames.len() >= WATCHED
    });
    assert!(is_done, "only {} frames came", frames.len());
    frames
}

/// `kvill-load` has just been started, and publishes soon.
fn wait_for_stream(kvill: &Kvill, offer: &str) -> web::Reply {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let reply = web::offer(kvill.url(), "/live/whep", offer);
        if reply.status != 404 || Instant::now() > deadline {
            return reply;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Shows a film by one of the binaries, and looks at it beside the viewers of `kvill-load`.
fn show(binary: &str, codec: Codec, name: &str, (file, frames): &(Vec<u8>, Vec<Vec<u8>>)) {
    let kvill = Kvill::of_binary(binary, &[]);
    let (film, json) = (Kept::new(name), Kept::new(&format!("{name}.json")));
    std::fs::write(film.name(), file).expect("a folder for temporary files");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvill-load"));
    command
        .arg(format!("{}/live", kvill.url()))
        .args(["--file", film.name(), "--json", json.name()])
        .args(["--viewers", "10", "--join-rate", "0", "--duration", "2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let load = command.spawn().expect("it was built for this");
    let seen = watch(&kvill, codec, |frame| {
        frames.iter().step_by(10).any(|it| it == frame)
    });
    let output = load.wait_with_output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let start = frames.iter().position(|frame| *frame == seen[0]);
    let start = start.expect("it begins with one of the film's");
    let due = frames.iter().cycle().skip(start);
    let wrong = seen.iter().zip(due).position(|(seen, due)| seen != due);
    assert_eq!(wrong, None, "frames come in the film's order, whole");
    let report: Value = serde_json::from_str(&json.text()).expect("JSON");
    check(&report);
    assert_eq!(
        report["video"][codec.to_string().as_str()],
        10,
        "{report:#}"
    );
    kvill.stop();
}

#[test]
fn a_film_in_vp8_is_seen_as_it_was_recorded() {
    show(BINARIES[0], Codec::Vp8, "film.ivf", &ivf());
}

#[test]
fn a_film_in_h264_is_seen_as_it_was_recorded() {
    show(BINARIES[1], Codec::H264, "film.h264", &annex_b());
}
