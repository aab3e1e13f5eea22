//! AES128_CM_HMAC_SHA1_80 (RFC 3711): AES in counter mode, and a tag of its own.
//!
//! For peers that have nothing better. Some three times the work of AES-GCM.

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;

use crate::srtp::{RTCP_CLEAR_LEN, RTP_HEADER_LEN, rtcp_ssrc};

/// Bytes that sealing adds to an RTP packet: the first 80 bits of the HMAC.
pub(super) const TAG_LEN: usize = 10;

/// Bytes that sealing adds to an RTCP packet: the index with the E bit, and the tag (RFC 3711
/// §3.4).
pub(super) const RTCP_OVERHEAD: usize = 4 + TAG_LEN;

/// Bytes of an encryption key.
pub(super) const KEY_LEN: usize = 16;

/// Bytes of an authentication key (RFC 3711 §5.2).
pub(super) const AUTH_KEY_LEN: usize = 20;

/// Bytes of a salt.
pub(super) const SALT_LEN: usize = 14;

/// Session keys and their salt, ready to use.
pub(super) struct Key {
    cipher: EncryptingKey,
    auth: hmac::Key,
    /// The salt where it stands in an IV.
    salt: u128,
}

impl Key {
    pub(super) fn new(
        key: &[u8; KEY_LEN],
        auth: &[u8; AUTH_KEY_LEN],
        salt: [u8; SALT_LEN],
    ) -> Option<Self> {
        let mut wide = [0; 16];
        let (high, _) = wide.split_at_mut(SALT_LEN);
        high.copy_from_slice(&salt);
        let cipher = UnboundCipherKey::new(&AES_128, key).ok()?;
        Some(Self {
            cipher: EncryptingKey::ctr(cipher).ok()?,
            auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth),
            salt: u128::from_be_bytes(wide),
        })
    }

    /// `packet` ends with [`TAG_LEN`] bytes of room.
    pub(super) fn seal_rtp(&self, ssrc: u32, index: u64, packet: &mut [u8]) -> Option<()> {
        let (packet, room) = packet.split_last_chunk_mut::<TAG_LEN>()?;
        let (_, payload) = packet.split_first_chunk_mut::<RTP_HEADER_LEN>()?;
        self.apply(ssrc, index, payload)?;
        // The roll-over counter is authenticated, and not sent (RFC 3711 §4.2).
        let [_, _, roc @ .., _, _] = index.to_be_bytes();
        *room = self.tag(packet, &roc)?;
        Some(())
    }

    /// Decrypts in place. Returns the length of the plaintext, which stands behind the header.
    pub(super) fn open_rtp(
        &self,
        header_len: usize,
        ssrc: u32,
        index: u64,
        packet: &mut [u8],
    ) -> Option<usize> {
        let (packet, tag) = packet.split_last_chunk_mut::<TAG_LEN>()?;
        let [_, _, roc @ .., _, _] = index.to_be_bytes();
        let expected = self.tag(packet, &roc)?;
        verify_slices_are_equal(&expected, tag).ok()?;
        let (_, payload) = packet.split_at_mut_checked(header_len)?;
        self.apply(ssrc, index, payload)?;
        Some(payload.len())
    }

    /// `packet` ends with [`RTCP_OVERHEAD`] bytes of room. `word` is the index with the E bit.
    pub(super) fn seal_rtcp(&self, index: u32, word: [u8; 4], packet: &mut [u8]) -> Option<()> {
        let (rest, tag_room) = packet.split_last_chunk_mut::<TAG_LEN>()?;
        let (rest, index_room) = rest.split_last_chunk_mut::<4>()?;
        let (clear, body) = rest.split_first_chunk_mut::<RTCP_CLEAR_LEN>()?;
        self.apply(rtcp_ssrc(clear), index.into(), body)?;
        *index_room = word;
        *tag_room = self.tag(rest, &word)?;
        Some(())
    }

    /// The word of a packet with its index and E bit: the four bytes before its tag.
    pub(super) fn rtcp_word(packet: &[u8]) -> Option<[u8; 4]> {
        let (rest, _) = packet.split_last_chunk::<TAG_LEN>()?;
        rest.last_chunk().copied()
    }

    /// Decrypts in place. Returns the plaintext's length.
    pub(super) fn open_rtcp(&self, index: u32, word: [u8; 4], packet: &mut [u8]) -> Option<usize> {
        let (rest, tag) = packet.split_last_chunk_mut::<TAG_LEN>()?;
        let (rest, _) = rest.split_last_chunk_mut::<4>()?;
        let expected = self.tag(rest, &word)?;
        verify_slices_are_equal(&expected, tag).ok()?;
        let len = rest.len();
        let (clear, body) = rest.split_first_chunk_mut::<RTCP_CLEAR_LEN>()?;
        self.apply(rtcp_ssrc(clear), index.into(), body)?;
        Some(len)
    }

    /// Encrypts or decrypts: in counter mode these are one (RFC 3711 §4.1.1).
    fn apply(&self, ssrc: u32, index: u64, text: &mut [u8]) -> Option<()> {
        let iv = self.salt ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16;
        let context = EncryptionContext::Iv128(FixedLength::from(iv.to_be_bytes()));
        self.cipher.less_safe_encrypt(text, context).ok()?;
        Some(())
    }

    fn tag(&self, packet: &[u8], more: &[u8; 4]) -> Option<[u8; TAG_LEN]> {
        let mut context = hmac::Context::with_key(&self.auth);
        context.update(packet);
        context.update(more);
        context.sign().as_ref().first_chunk().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_longer_header_is_authenticated_and_none_of_it_encrypted() {
        let key = Key::new(&[1; KEY_LEN], &[3; AUTH_KEY_LEN], [2; SALT_LEN]).unwrap();
        let header = b"\x91\x60\0\x01\0\0\0\0\0\0\0\x07CSRC\xbe\xde\0\x01\x10\x01\0\0";
        let mut text = b"a payload".to_vec();
        let index = 5 << 16 | 1;
        key.apply(7, index, &mut text).unwrap();
        let mut packet = [&header[..], &text].concat();
        packet.extend(key.tag(&packet, &[0, 0, 0, 5]).unwrap());
        for byte in 0..header.len() {
            let mut forged = packet.clone();
            forged[byte] ^= 1;
            assert_eq!(key.open_rtp(header.len(), 7, index, &mut forged), None);
        }
        assert_eq!(
            key.open_rtp(header.len(), 7, index, &mut packet.clone()),
            Some(9)
        );
        assert_eq!(key.open_rtp(60, 7, index, &mut packet.clone()), None);
        key.open_rtp(header.len(), 7, index, &mut packet).unwrap();
        assert_eq!(packet[24..33], *b"a payload");
    }
}
