//! A program's own encoder, and what viewers get of it.

use std::time::{Duration, Instant};

use kvill_core::ids::SourceId;
use kvill_core::media::{Codec, MediaKind};
use kvill_core::server::{Event, SourceError};
use kvill_tests::client::Options;
use kvill_tests::memory::{ClientId, World};
use str0m::format::{Codec as Offered, CodecExtra};
use str0m::rtp::RtpPacket as Got;
use str0m::unversioned::{Depacketizer, H264Depacketizer};

/// Between two frames, of sound too.
pub(crate) const FRAME: Duration = Duration::from_nanos(33_333_333);

/// How late a frame of video gets to the server: sound takes no time.
pub(crate) const ENCODING: Duration = Duration::from_millis(150);

/// A program's own encoder.
pub(crate) struct Camera {
    pub(crate) source: SourceId,
    pub(crate) began: Instant,
    pub(crate) key_next: bool,
    /// Every access unit, and whether it was a keyframe.
    pub(crate) video: Vec<(bool, Vec<u8>)>,
    pub(crate) audio: Vec<Vec<u8>>,
    /// When it was asked for a keyframe.
    pub(crate) asked: Vec<Instant>,
}

impl Camera {
    pub(crate) fn publish(world: &mut World, path: &str) -> Self {
        let now = world.now();
        let codecs = [Codec::h264(0x42_c01f), Codec::opus()];
        Self {
            source: world.server.publish(now, path, &codecs).expect("room"),
            began: now,
            key_next: true,
            video: Vec::new(),
            audio: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// When frame `n` was captured.
    pub(crate) fn captured(&self, kind: MediaKind, n: usize) -> Instant {
        let at = self.began + FRAME * u32::try_from(n).expect("a short test");
        match kind {
            MediaKind::Video => at - ENCODING,
            MediaKind::Audio => at,
        }
    }

    /// Feeds the next frame, of sound too, and lets its time pass.
    pub(crate) fn film(&mut self, world: &mut World) -> Result<(), SourceError> {
        let now = world.now();
        while let Some(event) = world.server.poll_event() {
            if let Event::KeyframeWanted { path, source } = event {
                assert_eq!((path.as_str(), source), ("cam", self.source));
                self.asked.push(now);
                self.key_next = true;
            }
        }
        let n = self.video.len();
        let key = std::mem::take(&mut self.key_next);
        let picture = access_unit(n, key);
        let sound = noise(0x78, n, 120);
        for (kind, frame) in [(MediaKind::Video, &picture), (MediaKind::Audio, &sound)] {
            let captured = self.captured(kind, n);
            let server = &mut world.server;
            server.handle_frame(now, self.source, kind, captured, frame)?;
        }
        self.video.push((key, picture));
        self.audio.push(sound);
        world.run(FRAME);
        Ok(())
    }

    pub(crate) fn play(&mut self, world: &mut World, frames: usize) {
        for _ in 0..frames {
            self.film(world).expect("a source that is there");
        }
    }
}

/// Bytes that no other frame has, none of them zero.
fn noise(first: u8, n: usize, len: usize) -> Vec<u8> {
    let byte = |number: usize| u8::try_from(number % 250).expect("a byte") + 1;
    let mut bytes = vec![first, byte(n), byte(n / 250)];
    bytes.extend((3..len).map(|i| byte(i + n)));
    bytes
}

/// Behind start codes of four bytes: a delimiter, parameter sets and an IDR slice, or a slice.
fn access_unit(n: usize, key: bool) -> Vec<u8> {
    const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d];
    const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
    let idr = noise(0x65, n, 20_000);
    let slice = noise(0x41, n, 10 + n * 137 % 3000);
    let units: &[&[u8]] = match key {
        true => &[&[0x09, 0xf0], SPS, PPS, &idr],
        false => &[&slice],
    };
    let start_code = [0, 0, 0, 1].as_slice();
    let bytes = units.iter().map(|unit| [start_code, unit].concat());
    bytes.collect::<Vec<_>>().concat()
}

/// The access units that arrived, by their timestamps, as str0m puts them together.
fn pictures(packets: &[Got]) -> Vec<(u32, Vec<u8>)> {
    let numbers = packets
        .windows(2)
        .map(|two| *two[1].seq_no - *two[0].seq_no);
    assert!(
        numbers.into_iter().all(|step| step == 1),
        "a packet is missing"
    );
    let frames = packets.chunk_by(|one, next| one.header.timestamp == next.header.timestamp);
    frames
        .map(|frame| {
            let mut depacketizer = H264Depacketizer::default();
            let (mut out, mut extra) = (Vec::new(), CodecExtra::None);
            for (at, packet) in frame.iter().enumerate() {
                let is_last = at + 1 == frame.len();
                assert_eq!(
                    packet.header.marker, is_last,
                    "the marker is the frame's end"
                );
                assert!(packet.payload.len() <= 1170);
                depacketizer
                    .depacketize(&packet.payload, &mut out, &mut extra)
                    .expect("a payload of H264");
            }
            (frame[0].header.timestamp, out)
        })
        .collect()
}

pub(crate) fn both() -> Options {
    Options::new(&[Offered::H264, Offered::Opus])
}

/// What a viewer got is what the camera made, from a keyframe on. Gives that keyframe's number.
pub(crate) fn check(world: &mut World, camera: &Camera, viewer: ClientId) -> usize {
    let client = world.client(viewer);
    let pictures = pictures(&client.video);
    let made = &camera.video;
    let first = made.len() - pictures.len();
    assert!(made[first].0, "it begins with a keyframe");
    for ((_, got), (_, made)) in pictures.iter().zip(&made[first..]) {
        assert_eq!(got, made);
    }
    for two in pictures.windows(2) {
        assert!((2999..=3001).contains(&two[1].0.wrapping_sub(two[0].0)));
    }
    let sounds = client.audio.iter().map(|packet| packet.payload.to_vec());
    let sounds: Vec<_> = sounds.collect();
    assert!(camera.audio.ends_with(&sounds) && !sounds.is_empty());
    first
}
