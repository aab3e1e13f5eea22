//! What a publisher publishes: pictures that are made up in the shape of a camera's, or recorded ones,
//! and sound every 20 ms.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::format::Codec;
use str0m::media::MediaKind;

use super::recording::Recording;
use crate::client::media::{Packet, Source};

/// Payload bytes of a packet of sound: 64 kbit/s.
const SOUND_LEN: usize = 160;

const SOUND_INTERVAL: Duration = Duration::from_millis(20);

/// The clock of video.
const CLOCK: f64 = 90_000.0;

/// What is to be published.
#[derive(Debug, Clone)]
pub struct Program {
    /// The codec of made up pictures: VP8 or H264.
    pub codec: Codec,
    /// Frames per second, of made up pictures and of a recording that does not tell.
    pub frame_rate: f64,
    /// Packets of a frame.
    pub frame_packets: usize,
    /// Packets of a keyframe.
    pub keyframe_packets: usize,
    /// Payload bytes of each of them.
    pub packet_len: usize,
    /// Between two keyframes that nobody asked for.
    pub keyframe_interval: Duration,
    /// The share of the time until the next frame over which the packets of one leave, evenly. Browsers
    /// pace so, other encoders send at once, by 0.
    pub spread: f64,
    /// Nothing is published: the publisher is there, and silent.
    pub is_silent: bool,
    /// What is shown instead of made up pictures, again and again.
    pub recording: Option<Arc<Recording>>,
}

impl Default for Program {
    /// VP8, 30 frames a second of 8 packets, 2.3 Mbit/s, and a keyframe of 40 every two seconds.
    /// Each leaves at once.
    fn default() -> Self {
        Self {
            codec: Codec::Vp8,
            frame_rate: 30.0,
            frame_packets: 8,
            keyframe_packets: 40,
            packet_len: 1150,
            keyframe_interval: Duration::from_secs(2),
            spread: 0.0,
            is_silent: false,
            recording: None,
        }
    }
}

/// A packet that is due.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) kind: MediaKind,
    pub(super) packet: Packet,
    /// The last bytes mean nothing, and may be written over.
    pub(super) is_stamped: bool,
}

/// One frame, of one track.
#[derive(Debug)]
struct Frame {
    due: Instant,
    kind: MediaKind,
    packets: Vec<Packet>,
}

/// What is due when.
#[derive(Debug)]
pub(super) struct Film {
    program: Program,
    pictures: Source,
    sounds: Source,
    /// Of pictures, of sounds, and of keyframes, once it runs.
    due: Option<[Instant; 3]>,
    is_keyframe_asked: bool,
    /// The next frame of the recording.
    place: usize,
    /// What is left of frames that are on their way out, and when it leaves.
    leaving: VecDeque<(Instant, Due)>,
}

impl Film {
    pub(super) fn new(program: &Program) -> Self {
        let mut program = program.clone();
        if let Some(recording) = &program.recording {
            program.codec = recording.codec;
            program.frame_rate = recording.frame_rate.unwrap_or(program.frame_rate);
        }
        let source = |codec| Source::new(codec, fastrand::u64(1..30_000), fastrand::u32(..));
        let mut pictures = source(program.codec);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a second at most, and more than nothing"
        )]
        let step = (CLOCK / program.frame_rate) as u32;
        pictures.step = step;
        Self {
            pictures,
            sounds: source(Codec::Opus),
            program,
            due: None,
            is_keyframe_asked: true,
            place: 0,
            leaving: VecDeque::new(),
        }
    }

    /// The codec of its pictures.
    pub(super) fn codec(&self) -> Codec {
        self.program.codec
    }

    /// The next picture is to be a keyframe. A recording has its own.
    pub(super) fn request_keyframe(&mut self) {
        self.is_keyframe_asked = true;
    }

    /// When [`packet`](Self::packet) has something. It begins when this is asked first.
    pub(super) fn next(&mut self, now: Instant) -> Option<Instant> {
        let frame = self.next_frame(now)?;
        let packet = self.leaving.front();
        Some(packet.map_or(frame, |(at, _)| frame.min(*at)))
    }

    /// The next packet that is due.
    pub(super) fn packet(&mut self, now: Instant) -> Option<Due> {
        while let Some(frame) = self.frame(now) {
            self.send_off(frame);
        }
        self.leaving.front().filter(|(at, _)| *at <= now)?;
        self.leaving.pop_front().map(|(_, due)| due)
    }

    fn next_frame(&mut self, now: Instant) -> Option<Instant> {
        if self.program.is_silent {
            return None;
        }
        let [picture, sound, _] = self.due.get_or_insert([now; 3]);
        Some(*picture.min(sound))
    }

    /// Sound overtakes what is left of a picture.
    fn send_off(&mut self, frame: Frame) {
        let kind = frame.kind;
        let due = |packet, is_stamped| Due {
            kind,
            packet,
            is_stamped,
        };
        if kind == MediaKind::Audio {
            let packets = frame.packets.into_iter();
            return packets
                .for_each(|packet| self.leaving.push_front((frame.due, due(packet, true))));
        }
        let is_stamped = self.program.recording.is_none();
        #[expect(clippy::cast_precision_loss, reason = "packets of a frame")]
        let gap = self.program.spread / self.program.frame_rate / frame.packets.len().max(1) as f64;
        let mut at = frame.due;
        for packet in frame.packets {
            self.leaving.push_back((at, due(packet, is_stamped)));
            at += Duration::from_secs_f64(gap);
        }
    }

    /// The next frame that is due.
    fn frame(&mut self, now: Instant) -> Option<Frame> {
        self.next_frame(now)?;
        let [picture, sound, keyframe] = self.due.as_mut()?;
        if *sound <= now {
            let due = *sound;
            *sound += SOUND_INTERVAL;
            return Some(Frame {
                due,
                kind: MediaKind::Audio,
                packets: self.sounds.delta(1, SOUND_LEN),
            });
        }
        if *picture > now {
            return None;
        }
        let due = *picture;
        *picture += Duration::from_secs_f64(1.0 / self.program.frame_rate);
        let program = &self.program;
        let packets = if let Some(recording) = &program.recording {
            let frame = recording.frame(self.place);
            self.place += 1;
            wrap(&mut self.pictures, frame)
        } else if std::mem::take(&mut self.is_keyframe_asked) || *keyframe <= now {
            *keyframe = now + program.keyframe_interval;
            let packets = program.keyframe_packets;
            self.pictures.keyframe(packets, program.packet_len)
        } else {
            let packets = program.frame_packets;
            self.pictures.delta(packets, program.packet_len)
        };
        Some(Frame {
            due,
            kind: MediaKind::Video,
            packets,
        })
    }
}

/// Payloads of a frame as packets.
fn wrap(source: &mut Source, payloads: &[Arc<[u8]>]) -> Vec<Packet> {
    let timestamp = source.timestamp;
    source.timestamp = timestamp.wrapping_add(source.step);
    let wrap = |(index, payload): (usize, &Arc<[u8]>)| {
        let seq = source.seq;
        source.seq += 1;
        Packet {
            seq,
            timestamp,
            marker: index + 1 == payloads.len(),
            payload: Arc::clone(payload),
        }
    };
    payloads.iter().enumerate().map(wrap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_pictures_and_sounds_and_keyframes_when_asked() {
        let mut film = Film::new(&Program::default());
        let start = Instant::now();
        film.next(start);
        let play = |film: &mut Film, from: u64, to: u64| {
            let (mut pictures, mut sounds, mut packets) = (0, 0, 0);
            for ms in from..to {
                while let Some(due) = film.packet(start + Duration::from_millis(ms)) {
                    match due.kind {
                        MediaKind::Video => {
                            pictures += u32::from(due.packet.marker);
                            packets += 1;
                        }
                        MediaKind::Audio => sounds += 1,
                    }
                }
            }
            (pictures, sounds, packets)
        };
        assert_eq!(play(&mut film, 0, 1000), (30, 50, 40 + 29 * 8));
        film.request_keyframe();
        assert_eq!(play(&mut film, 1000, 2000), (30, 50, 40 + 29 * 8));
        let again = play(&mut film, 2000, 4000);
        assert_eq!(
            again,
            (60, 100, 40 + 59 * 8),
            "two seconds after the last one"
        );
    }

    #[test]
    fn packets_of_a_frame_are_spread_as_far_as_is_asked_for() {
        let program = Program {
            frame_rate: 25.0,
            keyframe_packets: 4,
            spread: 0.5,
            ..Program::default()
        };
        let mut film = Film::new(&program);
        let start = Instant::now();
        let mut now = start;
        let (mut pictures, mut sounds) = (Vec::new(), Vec::new());
        while pictures.len() < 12 {
            now = film.next(now).unwrap();
            let due = film.packet(now).unwrap();
            let seen = match due.kind {
                MediaKind::Video => &mut pictures,
                MediaKind::Audio => &mut sounds,
            };
            seen.push((now - start).as_micros());
        }
        let keyframe = [0, 5000, 10_000, 15_000];
        let frame = [
            40_000, 42_500, 45_000, 47_500, 50_000, 52_500, 55_000, 57_500,
        ];
        assert_eq!(pictures, [&keyframe[..], &frame].concat());
        assert_eq!(sounds, [0, 20_000, 40_000]);
    }

    #[test]
    fn a_silent_film_has_nothing() {
        let program = Program {
            is_silent: true,
            ..Program::default()
        };
        let mut film = Film::new(&program);
        let now = Instant::now();
        assert!(film.next(now).is_none() && film.packet(now).is_none());
    }
}
