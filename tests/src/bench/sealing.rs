//! A viewer of which nothing is left but the copying and sealing of its packets: the floor.

use std::fmt;

use aws_lc_rs::aead as aws_lc;
use ring::aead as ring;
use str0m::media::MediaKind;

use crate::client::media::Packet;

/// An RTP header without extensions.
pub const RTP_HEADER_LEN: usize = 12;

/// Of AES-GCM.
pub const TAG_LEN: usize = 16;

/// What sealing a packet adds to its payload, the header included.
pub const OVERHEAD: usize = RTP_HEADER_LEN + TAG_LEN;

/// AES-GCM under one key, of one library.
pub trait Aead: Sized {
    /// The library.
    const NAME: &'static str;

    /// A key of 16 or 32 bytes.
    fn new(key: &[u8]) -> Self;

    /// Seals the payload into `room`, which is longer by the tag.
    fn seal(&self, nonce: [u8; 12], header: [u8; RTP_HEADER_LEN], payload: &[u8], room: &mut [u8]);
}

impl Aead for ring::LessSafeKey {
    const NAME: &'static str = "ring";

    fn new(key: &[u8]) -> Self {
        let algorithm = match key.len() {
            16 => &ring::AES_128_GCM,
            _ => &ring::AES_256_GCM,
        };
        let key = ring::UnboundKey::new(algorithm, key);
        Self::new(key.expect("a key of 16 or 32 bytes"))
    }

    fn seal(&self, nonce: [u8; 12], header: [u8; RTP_HEADER_LEN], payload: &[u8], room: &mut [u8]) {
        let (sealed, tag) = room.split_at_mut(payload.len());
        sealed.copy_from_slice(payload);
        let nonce = ring::Nonce::assume_unique_for_key(nonce);
        let made = self.seal_in_place_separate_tag(nonce, ring::Aad::from(header), sealed);
        tag.copy_from_slice(made.expect("it fits").as_ref());
    }
}

/// Without a copy: this library seals from one place to another.
impl Aead for aws_lc::LessSafeKey {
    const NAME: &'static str = "aws-lc-rs";

    fn new(key: &[u8]) -> Self {
        let algorithm = match key.len() {
            16 => &aws_lc::AES_128_GCM,
            _ => &aws_lc::AES_256_GCM,
        };
        let key = aws_lc::UnboundKey::new(algorithm, key);
        Self::new(key.expect("a key of 16 or 32 bytes"))
    }

    fn seal(&self, nonce: [u8; 12], header: [u8; RTP_HEADER_LEN], payload: &[u8], room: &mut [u8]) {
        let (sealed, tag) = room.split_at_mut(payload.len());
        let nonce = aws_lc::Nonce::assume_unique_for_key(nonce);
        let aad = aws_lc::Aad::from(header);
        let done = self.seal_out_of_place_scatter(nonce, aad, payload, sealed, &[], tag);
        done.expect("it fits");
    }
}

/// See the module.
pub struct Viewer<A> {
    key: A,
    salt: [u8; 12],
    /// That of its video; that of its audio follows.
    ssrc: u32,
}

impl<A> fmt::Debug for Viewer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Viewer")
            .field("ssrc", &self.ssrc)
            .finish_non_exhaustive()
    }
}

impl<A: Aead> Viewer<A> {
    /// With a random key of so many bytes.
    #[must_use]
    pub fn new(key_len: usize) -> Self {
        let key: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
            .take(key_len)
            .collect();
        Self {
            key: A::new(&key),
            salt: std::array::from_fn(|_| fastrand::u8(..)),
            ssrc: fastrand::u32(..u32::MAX),
        }
    }

    /// Writes a packet to the beginning of the buffer, and gives its length.
    ///
    /// # Panics
    ///
    /// If it does not fit.
    #[must_use]
    pub fn seal(&self, kind: MediaKind, packet: &Packet, buffer: &mut [u8]) -> usize {
        let (payload_type, ssrc) = match kind {
            MediaKind::Video => (96, self.ssrc),
            MediaKind::Audio => (111, self.ssrc + 1),
        };
        let index = packet.seq.to_be_bytes();
        let ssrc = ssrc.to_be_bytes();
        let mut header = [0; RTP_HEADER_LEN];
        header[..2].copy_from_slice(&[0x80, payload_type | u8::from(packet.marker) << 7]);
        header[2..4].copy_from_slice(&index[6..]);
        header[4..8].copy_from_slice(&packet.timestamp.to_be_bytes());
        header[8..].copy_from_slice(&ssrc);

        // RFC 7714 §8.1.
        let mut nonce = self.salt;
        let unique = ssrc.iter().chain(&index[2..]);
        nonce[2..].iter_mut().zip(unique).for_each(|(n, u)| *n ^= u);

        let len = OVERHEAD + packet.payload.len();
        let (head, room) = buffer[..len].split_at_mut(RTP_HEADER_LEN);
        head.copy_from_slice(&header);
        self.key.seal(nonce, header, &packet.payload, room);
        len
    }

    /// Writes packets one behind the other, and gives the length of all.
    ///
    /// # Panics
    ///
    /// If they do not fit.
    #[must_use]
    pub fn seal_all(&self, kind: MediaKind, packets: &[Packet], buffer: &mut [u8]) -> usize {
        packets.iter().fold(0, |at, packet| {
            at + self.seal(kind, packet, &mut buffer[at..])
        })
    }
}

#[cfg(test)]
mod tests {
    use str0m::format::Codec;

    use super::*;
    use crate::client::media::Source;

    #[test]
    fn both_libraries_seal_to_the_same_bytes() {
        let packet = &Source::new(Codec::Vp8, 70_000, 9).delta(1, 500)[0];
        for key_len in [16, 32] {
            let key = vec![7; key_len];
            let (salt, ssrc) = ([3; 12], 5);
            let one = Viewer {
                key: <ring::LessSafeKey as Aead>::new(&key),
                salt,
                ssrc,
            };
            let other = Viewer {
                key: <aws_lc::LessSafeKey as Aead>::new(&key),
                salt,
                ssrc,
            };
            let mut buffers = [[0; 600], [0; 600]];
            let len = one.seal(MediaKind::Video, packet, &mut buffers[0]);
            assert_eq!(len, 500 + OVERHEAD);
            assert_eq!(other.seal(MediaKind::Video, packet, &mut buffers[1]), len);
            assert_eq!(buffers[0], buffers[1]);
        }
    }
}
