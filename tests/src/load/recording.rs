//! Recorded pictures: VP8 in an IVF file, or H.264 as a byte stream (Annex B), as ffmpeg writes both.

use std::path::Path;
use std::sync::Arc;

use str0m::format::Codec;

/// Payload bytes of a packet.
const PAYLOAD_LEN: usize = 1150;

const IVF_FRAME_HEADER_LEN: usize = 12;

/// Frames, as the payloads of their packets.
#[derive(Debug)]
pub struct Recording {
    /// Of the pictures.
    pub codec: Codec,
    /// Frames per second, if the file tells.
    pub frame_rate: Option<f64>,
    frames: Vec<Vec<Arc<[u8]>>>,
}

impl Recording {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&bytes).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// Reads the contents of a file.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let recording = match bytes {
            [b'D', b'K', b'I', b'F', ..] => ivf(bytes)?,
            [0, 0, 1, ..] | [0, 0, 0, 1, ..] => annex_b(bytes),
            _ => {
                return Err(
                    "is neither IVF nor H.264 Annex B: make one by `ffmpeg -i FILE -an -c:v libvpx \
                     FILE.ivf` or `ffmpeg -i FILE -an -c:v libx264 -bf 0 FILE.h264`"
                        .to_owned(),
                );
            }
        };
        match recording.frames.is_empty() {
            true => Err("has no frames".to_owned()),
            false => Ok(recording),
        }
    }

    /// The payloads of a frame: the film begins again after its last one.
    pub(super) fn frame(&self, number: usize) -> &[Arc<[u8]>] {
        &self.frames[number % self.frames.len()]
    }
}

fn ivf(bytes: &[u8]) -> Result<Recording, String> {
    let word = |at: usize| {
        let word = bytes.get(at..)?.first_chunk()?;
        Some(f64::from(u32::from_le_bytes(*word)))
    };
    if bytes.get(8..12) != Some(b"VP80") {
        return Err("is IVF of another codec than VP8".to_owned());
    }
    let header_len = bytes.get(6..).and_then(|rest| rest.first_chunk());
    let header_len = header_len.map_or(32, |len| usize::from(u16::from_le_bytes(*len)));
    let frame_rate = word(16).zip(word(20)).map(|(rate, scale)| rate / scale);
    let mut rest = bytes.get(header_len..).unwrap_or_default();
    let mut frames = Vec::new();
    while let Some((header, more)) = rest.split_at_checked(IVF_FRAME_HEADER_LEN) {
        let len = header.first_chunk().map(|len| u32::from_le_bytes(*len));
        let len = len.and_then(|len| usize::try_from(len).ok());
        let Some((frame, more)) = len.and_then(|len| more.split_at_checked(len)) else {
            return Err("ends within a frame".to_owned());
        };
        frames.push(vp8(frame));
        rest = more;
    }
    Ok(Recording {
        codec: Codec::Vp8,
        frame_rate: frame_rate.filter(|rate| (1.0..=240.0).contains(rate)),
        frames,
    })
}

/// RFC 7741 §4.2: S in the first packet, and nothing else.
fn vp8(frame: &[u8]) -> Vec<Arc<[u8]>> {
    let parts = frame.chunks(PAYLOAD_LEN - 1).enumerate();
    let descriptor = |index: usize| if index == 0 { 0x10 } else { 0 };
    parts
        .map(|(index, part)| [&[descriptor(index)], part].concat().into())
        .collect()
}

fn annex_b(bytes: &[u8]) -> Recording {
    let mut frames: Vec<Vec<Arc<[u8]>>> = Vec::new();
    let mut has_slice = true;
    for unit in units(bytes) {
        let [header, rest @ ..] = unit else { continue };
        let kind = header & 0x1f;
        let is_slice = matches!(kind, 1..=5);
        // A slice whose first macroblock is that of the picture, or what only comes before slices.
        let begins = match is_slice {
            true => rest.first().is_some_and(|first| first & 0x80 != 0),
            false => matches!(kind, 6..=9 | 14..=18),
        };
        if has_slice && begins {
            frames.push(Vec::new());
            has_slice = false;
        }
        has_slice |= is_slice;
        // Access unit delimiters are of no use here (RFC 6184 has the packets of a frame).
        if let Some(frame) = frames.last_mut().filter(|_| kind != 9) {
            frame.extend(h264(unit));
        }
    }
    frames.retain(|frame| !frame.is_empty());
    Recording {
        codec: Codec::H264,
        frame_rate: None,
        frames,
    }
}

/// NAL units between start codes, without the zeros around them.
fn units(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let codes = bytes.windows(3).enumerate();
    let mut starts: Vec<_> = codes
        .filter(|(_, three)| *three == [0, 0, 1])
        .map(|(at, _)| at)
        .collect();
    starts.push(bytes.len());
    let unit = move |n: usize| {
        let unit = &bytes[starts[n] + 3..starts[n + 1]];
        let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
        &unit[..unit.len() - zeros]
    };
    let count = bytes.windows(3).filter(|three| *three == [0, 0, 1]).count();
    (0..count).map(unit)
}

/// As it is, or in fragments (RFC 6184 §5.8).
fn h264(unit: &[u8]) -> Vec<Arc<[u8]>> {
    const FU_A: u8 = 28;
    if unit.len() <= PAYLOAD_LEN {
        return vec![unit.into()];
    }
    let (header, body) = (unit[0], &unit[1..]);
    let parts = body.chunks(PAYLOAD_LEN - 2);
    let last = parts.len() - 1;
    let fragment = |(index, part): (usize, &[u8])| {
        let start = u8::from(index == 0) << 7;
        let end = u8::from(index == last) << 6;
        let head = [header & 0xe0 | FU_A, start | end | header & 0x1f];
        [&head, part].concat().into()
    };
    parts.enumerate().map(fragment).collect()
}

#[cfg(test)]
mod tests {
    use super::super::keyframe;
    use super::*;

    #[test]
    fn frames_of_ivf_become_packets() {
        let mut file = b"DKIF\0\0\x20\0VP80".to_vec();
        file.extend([0x40, 1, 0xf0, 0]);
        file.extend([50, 0, 0, 0, 2, 0, 0, 0]);
        file.extend([0; 8]);
        for (len, first) in [(2000_u32, 0_u8), (10, 1)] {
            file.extend(len.to_le_bytes());
            file.extend([0; 8]);
            file.extend(vec![first; len as usize]);
        }
        let film = Recording::parse(&file).unwrap();
        assert_eq!((film.codec, film.frame_rate), (Codec::Vp8, Some(25.0)));
        let lens = |n| film.frame(n).iter().map(|p| p.len()).collect::<Vec<_>>();
        assert_eq!(
            [lens(0), lens(1), lens(2)],
            [vec![1150, 852], vec![11], vec![1150, 852]]
        );
        assert!(keyframe::begins(Codec::Vp8, &film.frame(0)[0]));
        assert!(!keyframe::begins(Codec::Vp8, &film.frame(1)[0]));
        file.pop();
        assert!(Recording::parse(&file).is_err());
    }

    #[test]
    fn pictures_of_a_byte_stream_are_told_apart() {
        let big = [&[0x65, 0x88][..], &[9; 2000]].concat();
        let units: [&[u8]; 7] = [
            &[9, 0xf0],
            &[0x67, 1, 2],
            &[0x68, 3],
            &big,
            &[0x41, 0x80, 5],
            &[0x41, 0x40, 6],
            &[0x41, 0xc0, 7],
        ];
        let file = units.map(|unit| [&[0, 0, 0, 1], unit].concat()).concat();
        let film = Recording::parse(&file).unwrap();
        let lens = |n| film.frame(n).iter().map(|p| p.len()).collect::<Vec<_>>();
        assert_eq!(film.frames.len(), 3);
        assert_eq!(
            [lens(0), lens(1), lens(2)],
            [vec![3, 2, 1150, 855], vec![3, 3], vec![3]]
        );
        assert_eq!(film.frame(0)[2][..2], [0x7c, 0x85]);
        assert_eq!(film.frame(0)[3][..2], [0x7c, 0x45]);
    }

    #[test]
    fn another_file_is_refused_with_what_to_do() {
        let error = Recording::parse(b"\x1aE\xdf\xa3 a film in Matroska").unwrap_err();
        assert!(error.contains("ffmpeg"), "{error}");
    }
}
