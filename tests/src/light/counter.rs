//! SRTP as a light viewer needs it of servers without AEAD: AES128_CM_HMAC_SHA1_80 (RFC 3711 §4).

use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use ring::hmac;

use super::srtp::{E_BIT, PACKET_LEN_MAX, RTCP_CLEAR_LEN, header_len, word_at};

pub(super) const SALT_LEN: usize = 14;
const TAG_LEN: usize = 10;

/// A session key, its salt, and the key of its tags.
#[derive(Debug)]
pub(super) struct Counter {
    key: DecryptingKey,
    salt: [u8; SALT_LEN],
    tags: hmac::Key,
}

impl Counter {
    /// Of 16, 14 and 20 bytes.
    pub(super) fn new(key: &[u8], salt: &[u8], tags: &[u8]) -> Option<Self> {
        let key = UnboundCipherKey::new(&AES_128, key).ok()?;
        Some(Self {
            key: DecryptingKey::ctr(key).ok()?,
            salt: *salt.first_chunk()?,
            tags: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, tags),
        })
    }

    pub(super) fn seal_rtcp(&self, index: u32, len: usize, buffer: &mut [u8]) -> Option<usize> {
        let (clear, body) = buffer
            .get_mut(..len)?
            .split_first_chunk_mut::<RTCP_CLEAR_LEN>()?;
        self.apply(word_at(clear, 4)?, index.into(), body)?;
        let word = (index | E_BIT).to_be_bytes();
        buffer.get_mut(len..len + 4)?.copy_from_slice(&word);
        let (sealed, room) = buffer.split_at_mut_checked(len + 4)?;
        room.get_mut(..TAG_LEN)?
            .copy_from_slice(&self.tag(sealed, &[]));
        Some(len + 4 + TAG_LEN)
    }

    pub(super) fn open_rtcp<'a>(
        &self,
        packet: &[u8],
        room: &'a mut [u8; PACKET_LEN_MAX],
    ) -> Option<&'a [u8]> {
        let (sealed, tag) = packet.split_last_chunk::<TAG_LEN>()?;
        let (contents, word) = sealed.split_last_chunk::<4>()?;
        if self.tag(sealed, &[]) != *tag {
            return None;
        }
        let opened = room.get_mut(..contents.len())?;
        opened.copy_from_slice(contents);
        let (clear, body) = opened.split_first_chunk_mut::<RTCP_CLEAR_LEN>()?;
        let index = u32::from_be_bytes(*word);
        if index & E_BIT != 0 {
            self.apply(word_at(clear, 4)?, (index & !E_BIT).into(), body)?;
        }
        Some(opened)
    }

    pub(super) fn open_rtp<'a>(
        &self,
        ssrc: u32,
        index: u64,
        packet: &[u8],
        room: &'a mut [u8; PACKET_LEN_MAX],
    ) -> Option<&'a [u8]> {
        let (contents, tag) = packet.split_last_chunk::<TAG_LEN>()?;
        let roll_overs = u32::try_from(index >> 16).ok()?.to_be_bytes();
        if self.tag(contents, &roll_overs) != *tag {
            return None;
        }
        let body = contents.get(header_len(packet)?..)?;
        let opened = room.get_mut(..body.len())?;
        opened.copy_from_slice(body);
        self.apply(ssrc, index, opened)?;
        Some(opened)
    }

    /// Encrypts and decrypts, which is the same (RFC 3711 §4.1.1).
    fn apply(&self, ssrc: u32, index: u64, body: &mut [u8]) -> Option<()> {
        let mut iv = [0; 16];
        iv[..SALT_LEN].copy_from_slice(&self.salt);
        let [_, _, index @ ..] = index.to_be_bytes();
        let unique = ssrc.to_be_bytes().into_iter().chain(index);
        iv[4..].iter_mut().zip(unique).for_each(|(n, u)| *n ^= u);
        let context = DecryptionContext::Iv128(FixedLength::from(iv));
        self.key.decrypt(body, context).ok().map(drop)
    }

    /// Of two parts (RFC 3711 §4.2).
    fn tag(&self, first: &[u8], second: &[u8]) -> [u8; TAG_LEN] {
        let mut context = hmac::Context::with_key(&self.tags);
        context.update(first);
        context.update(second);
        let tag = context.sign();
        *tag.as_ref().first_chunk().expect("SHA-1 has 20 bytes")
    }
}
