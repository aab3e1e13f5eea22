//! AEAD_AES_128_GCM and AEAD_AES_256_GCM (RFC 7714).

mod aead;

pub(super) use crate::srtp::gcm::aead::Aead;
use crate::srtp::gcm::aead::Aes;
use crate::srtp::{RTCP_CLEAR_LEN, RTP_HEADER_LEN, rtcp_ssrc};

/// Bytes that sealing adds to an RTP packet.
pub(super) const TAG_LEN: usize = 16;

/// Bytes that sealing adds to an RTCP packet: tag, and the index with the E bit (RFC 7714 §9.2).
pub(super) const RTCP_OVERHEAD: usize = TAG_LEN + 4;

/// Bytes of a salt, and of a nonce.
pub(super) const SALT_LEN: usize = 12;

/// A session key and its salt, ready to use.
pub(super) struct Key {
    aead: Aead,
    /// The salt as the number that nonces are XORed into.
    salt: u128,
}

impl Key {
    pub(super) fn new(aead: Aead, salt: [u8; SALT_LEN]) -> Self {
        let mut wide = [0; 16];
        let (_, low) = wide.split_at_mut(4);
        low.copy_from_slice(&salt);
        Self {
            aead,
            salt: u128::from_be_bytes(wide),
        }
    }

    /// `packet` ends with [`TAG_LEN`] bytes of room.
    pub(super) fn seal_rtp(&self, ssrc: u32, index: u64, packet: &mut [u8]) -> Option<()> {
        let (header, rest) = packet.split_first_chunk_mut::<RTP_HEADER_LEN>()?;
        let (payload, room) = rest.split_last_chunk_mut::<TAG_LEN>()?;
        *room = self.aead.seal(self.nonce(ssrc, index), header, payload)?;
        Some(())
    }

    /// `packet` is a header and room for the payload and [`TAG_LEN`] bytes.
    pub(super) fn seal_rtp_of(
        &self,
        ssrc: u32,
        index: u64,
        payload: &[u8],
        packet: &mut [u8],
    ) -> Option<()> {
        let (header, rest) = packet.split_first_chunk_mut::<RTP_HEADER_LEN>()?;
        let (sealed, room) = rest.split_last_chunk_mut::<TAG_LEN>()?;
        let nonce = self.nonce(ssrc, index);
        self.aead.seal_from(nonce, header, payload, sealed, room)
    }

    /// Decrypts in place. Returns the length of the plaintext, which stands behind the header.
    pub(super) fn open_rtp(
        &self,
        header_len: usize,
        ssrc: u32,
        index: u64,
        packet: &mut [u8],
    ) -> Option<usize> {
        let (header, text) = packet.split_at_mut_checked(header_len)?;
        self.aead.open(self.nonce(ssrc, index), header, text)
    }

    /// `packet` ends with [`RTCP_OVERHEAD`] bytes of room. `word` is the index with the E bit.
    pub(super) fn seal_rtcp(&self, index: u32, word: [u8; 4], packet: &mut [u8]) -> Option<()> {
        let (clear, rest) = packet.split_first_chunk_mut::<RTCP_CLEAR_LEN>()?;
        let (rest, index_room) = rest.split_last_chunk_mut::<4>()?;
        let (body, tag_room) = rest.split_last_chunk_mut::<TAG_LEN>()?;
        let nonce = self.nonce(rtcp_ssrc(clear), index.into());
        *tag_room = self.aead.seal(nonce, &rtcp_aad(clear, word), body)?;
        index_room.copy_from_slice(&word);
        Some(())
    }

    /// The word of a packet with its index and E bit: its last four bytes.
    pub(super) fn rtcp_word(packet: &[u8]) -> Option<[u8; 4]> {
        packet.last_chunk().copied()
    }

    /// Decrypts in place. Returns the plaintext's length.
    pub(super) fn open_rtcp(&self, index: u32, word: [u8; 4], packet: &mut [u8]) -> Option<usize> {
        let (rest, _) = packet.split_last_chunk_mut::<4>()?;
        let (clear, body) = rest.split_first_chunk_mut::<RTCP_CLEAR_LEN>()?;
        let nonce = self.nonce(rtcp_ssrc(clear), index.into());
        let plain_len = self.aead.open(nonce, &rtcp_aad(clear, word), body)?;
        Some(RTCP_CLEAR_LEN + plain_len)
    }

    /// RFC 7714 §8.1 and §9.1: two zero bytes, SSRC, the index in 48 bits; XOR salt.
    fn nonce(&self, ssrc: u32, index: u64) -> [u8; SALT_LEN] {
        let unique = u128::from(ssrc) << 48 | u128::from(index);
        let [_, _, _, _, nonce @ ..] = (unique ^ self.salt).to_be_bytes();
        nonce
    }
}

/// RFC 7714 §9.2: header, SSRC, then the word with the E bit and the index.
fn rtcp_aad(clear: &[u8; RTCP_CLEAR_LEN], word: [u8; 4]) -> [u8; RTCP_CLEAR_LEN + 4] {
    let mut aad = [0; RTCP_CLEAR_LEN + 4];
    let (head, tail) = aad.split_at_mut(RTCP_CLEAR_LEN);
    head.copy_from_slice(clear);
    tail.copy_from_slice(&word);
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of RFC 7714 §16.1.1 and §16.2.1 are given for session keys.
    #[test]
    fn sealing_and_opening_match_rfc_7714() {
        let salt: [u8; 12] = *b"\x51\x75\x69\x64\x20\x70\x72\x6f\x20\x71\x75\x6f";
        let plain = b"\x80\x40\xf1\x7b\x80\x41\xf8\xd3\x55\x01\xa0\xb2Gallia est omnis divisa in partes tres";
        type Case = (Vec<u8>, [u8; 4], [u8; TAG_LEN]);
        let cases: [Case; 2] = [
            (
                (0..16).collect(),
                [0xf2, 0x4d, 0xe3, 0xa3],
                *b"\x89\x9d\x7f\x27\xbe\xb1\x6a\x91\x52\xcf\x76\x5e\xe4\x39\x0c\xce",
            ),
            (
                (0..32).collect(),
                [0x32, 0xb1, 0xde, 0x78],
                *b"\x7a\xa3\xdb\x36\xdf\xff\xd6\xb0\xf9\xbb\x78\x78\xd7\xa7\x6c\x13",
            ),
        ];
        for (key, begin, tag) in cases {
            for aead in Aead::all(&key) {
                let key = Key::new(aead, salt);
                let mut packet = plain.to_vec();
                packet.resize(plain.len() + TAG_LEN, 0);
                let mut other = packet.clone();
                other[12..].fill(7);
                key.seal_rtp(0x5501_a0b2, 0xf17b, &mut packet).unwrap();
                assert_eq!(packet[12..16], begin);
                assert_eq!(packet[packet.len() - TAG_LEN..], tag);
                key.seal_rtp_of(0x5501_a0b2, 0xf17b, &plain[12..], &mut other)
                    .unwrap();
                assert_eq!(packet, other);
                let len = key.open_rtp(12, 0x5501_a0b2, 0xf17b, &mut packet);
                assert_eq!(packet[12..12 + len.unwrap()], plain[12..]);
                // Room for another length is refused, and nothing is written there.
                other.fill(7);
                let before = other.clone();
                let short = key.seal_rtp_of(0x5501_a0b2, 0xf17b, &plain[13..], &mut other);
                assert_eq!((short, other), (None, before));
            }
        }
    }

    #[test]
    fn all_of_a_longer_header_is_authenticated_and_none_of_it_encrypted() {
        let key = Key::new(Aead::fastest(&[1; 16]).unwrap(), [2; SALT_LEN]);
        let header = b"\x91\x60\0\x01\0\0\0\0\0\0\0\x07CSRC\xbe\xde\0\x01\x10\x01\0\0";
        let mut text = b"a payload".to_vec();
        let tag = key.aead.seal(key.nonce(7, 1), header, &mut text).unwrap();
        let mut packet = [&header[..], &text, &tag].concat();
        for byte in 0..header.len() {
            let mut forged = packet.clone();
            forged[byte] ^= 1;
            assert_eq!(key.open_rtp(header.len(), 7, 1, &mut forged), None);
        }
        assert_eq!(key.open_rtp(header.len(), 7, 1, &mut packet), Some(9));
        assert_eq!(packet[24..33], *b"a payload");
        assert_eq!(key.open_rtp(60, 7, 1, &mut packet), None);
    }
}
