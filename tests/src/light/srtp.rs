//! SRTP as far as a light viewer needs it, for RTCP both ways and for what it opens of RTP: AES-GCM (RFC
//! 7714), and what came before it.

use dimpl::SrtpProfile;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use str0m::crypto::SrtpProvider;

use super::counter::{self, Counter};

/// Longer packets are not opened.
pub const PACKET_LEN_MAX: usize = 1500;

const SALT_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// RTCP bytes that are authenticated and not encrypted.
pub(super) const RTCP_CLEAR_LEN: usize = 8;

/// Marks SRTCP as encrypted (RFC 3711 §3.4).
pub(super) const E_BIT: u32 = 0x8000_0000;

/// The keys of a session, as far as they are used.
#[derive(Debug)]
pub(super) struct Keys {
    /// Of the master keys.
    pub(super) len: usize,
    own_rtcp: Key,
    server_rtp: Key,
    server_rtcp: Key,
    rtcp_index: u32,
}

impl Keys {
    /// Of what the handshake exported (RFC 5764 §4.2), to its client or to the other side. `None`: a
    /// profile that a viewer does not offer.
    pub(super) fn derive(
        profile: SrtpProfile,
        material: &[u8],
        is_client: bool,
        provider: &dyn SrtpProvider,
    ) -> Option<Self> {
        let (key_len, salt_len) = match profile {
            SrtpProfile::AEAD_AES_128_GCM => (16, SALT_LEN),
            SrtpProfile::AEAD_AES_256_GCM => (32, SALT_LEN),
            SrtpProfile::AES128_CM_SHA1_80 => (16, counter::SALT_LEN),
            _ => return None,
        };
        let (client_key, rest) = material.split_at_checked(key_len)?;
        let (server_key, rest) = rest.split_at_checked(key_len)?;
        let (client_salt, rest) = rest.split_at_checked(salt_len)?;
        let (server_salt, _) = rest.split_at_checked(salt_len)?;
        let (client, server) = ((client_key, client_salt), (server_key, server_salt));
        let ((own_key, own_salt), (server_key, server_salt)) = match is_client {
            true => (client, server),
            false => (server, client),
        };
        let key = |master, salt, label| Key::derive(provider, master, salt, label);
        Some(Self {
            len: key_len,
            own_rtcp: key(own_key, own_salt, 3)?,
            server_rtp: key(server_key, server_salt, 0)?,
            server_rtcp: key(server_key, server_salt, 3)?,
            rtcp_index: 0,
        })
    }

    /// Seals the RTCP packet of `len` bytes in `buffer`. Gives its new length.
    pub(super) fn seal_rtcp(&mut self, len: usize, buffer: &mut [u8]) -> Option<usize> {
        let index = self.rtcp_index;
        self.rtcp_index += 1;
        match &self.own_rtcp {
            Key::Gcm(key) => key.seal_rtcp(index, len, buffer),
            Key::Counter(key) => key.seal_rtcp(index, len, buffer),
        }
    }

    /// Opens an RTCP packet of the server, into `room`.
    pub(super) fn open_rtcp<'a>(
        &self,
        packet: &[u8],
        room: &'a mut [u8; PACKET_LEN_MAX],
    ) -> Option<&'a [u8]> {
        match &self.server_rtcp {
            Key::Gcm(key) => key.open_rtcp(packet, room),
            Key::Counter(key) => key.open_rtcp(packet, room),
        }
    }

    /// Opens an RTP packet of the server into `room`: the payload.
    pub(super) fn open_rtp<'a>(
        &self,
        ssrc: u32,
        index: u64,
        packet: &[u8],
        room: &'a mut [u8; PACKET_LEN_MAX],
    ) -> Option<&'a [u8]> {
        match &self.server_rtp {
            Key::Gcm(key) => key.open_rtp(ssrc, index, packet, room),
            Key::Counter(key) => key.open_rtp(ssrc, index, packet, room),
        }
    }

    /// The sequence number of the packet that an RTX packet brings again (RFC 4588 §4).
    pub(super) fn open_repair(&self, ssrc: u32, index: u64, packet: &[u8]) -> Option<u16> {
        let mut room = [0; PACKET_LEN_MAX];
        let plain = self.open_rtp(ssrc, index, packet, &mut room)?;
        Some(u16::from_be_bytes(*plain.first_chunk()?))
    }
}

#[derive(Debug)]
enum Key {
    Gcm(Box<Gcm>),
    Counter(Box<Counter>),
}

impl Key {
    /// By AES-CM under the master key (RFC 3711 §4.3.3). `label` is the encryption key's; that of the
    /// tags' key is one more, that of the salt two.
    fn derive(provider: &dyn SrtpProvider, master: &[u8], salt: &[u8], label: u8) -> Option<Self> {
        let key_stream = |label: u8| {
            let mut stream = [0; 32];
            for (round, out) in (0_u8..).zip(stream.chunks_exact_mut(16)) {
                let mut input = [0; 16];
                input[..salt.len()].copy_from_slice(salt);
                input[7] ^= label;
                input[15] = round;
                // The provider asks for room for a second, padding block.
                let mut block = [0; 32];
                match master.len() {
                    16 => provider.srtp_aes_128_ecb_round(master, &input, &mut block),
                    _ => provider.srtp_aes_256_ecb_round(master, &input, &mut block),
                }
                out.copy_from_slice(&block[..16]);
            }
            stream
        };
        let (key, tags, own_salt) = (
            key_stream(label),
            key_stream(label + 1),
            key_stream(label + 2),
        );
        let key = key.get(..master.len())?;
        if salt.len() == counter::SALT_LEN {
            let counter = Counter::new(key, &own_salt, tags.get(..20)?)?;
            return Some(Self::Counter(Box::new(counter)));
        }
        let algorithm = match master.len() {
            16 => &AES_128_GCM,
            _ => &AES_256_GCM,
        };
        Some(Self::Gcm(Box::new(Gcm {
            aead: LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?),
            salt: *own_salt.first_chunk()?,
        })))
    }
}

/// A session key and its salt.
#[derive(Debug)]
struct Gcm {
    aead: LessSafeKey,
    salt: [u8; SALT_LEN],
}

impl Gcm {
    fn seal_rtcp(&self, index: u32, len: usize, buffer: &mut [u8]) -> Option<usize> {
        let word = (index | E_BIT).to_be_bytes();
        let (clear, rest) = buffer.split_first_chunk_mut::<RTCP_CLEAR_LEN>()?;
        let (body, room) = rest.split_at_mut_checked(len - RTCP_CLEAR_LEN)?;
        let nonce = self.nonce(word_at(clear, 4)?, index.into());
        let aad = Aad::from(rtcp_aad(clear, word));
        let tag = self.aead.seal_in_place_separate_tag(nonce, aad, body);
        room.get_mut(..TAG_LEN)?.copy_from_slice(tag.ok()?.as_ref());
        room.get_mut(TAG_LEN..TAG_LEN + 4)?.copy_from_slice(&word);
        Some(len + TAG_LEN + 4)
    }

    fn open_rtcp<'a>(&self, packet: &[u8], room: &'a mut [u8; PACKET_LEN_MAX]) -> Option<&'a [u8]> {
        let (sealed, word) = packet.split_last_chunk::<4>()?;
        let opened = room.get_mut(..sealed.len())?;
        opened.copy_from_slice(sealed);
        let (clear, body) = opened.split_first_chunk_mut::<RTCP_CLEAR_LEN>()?;
        let index = u32::from_be_bytes(*word) & !E_BIT;
        let nonce = self.nonce(word_at(clear, 4)?, index.into());
        let aad = Aad::from(rtcp_aad(clear, *word));
        let plain = self.aead.open_in_place(nonce, aad, body).ok()?.len();
        room.get(..RTCP_CLEAR_LEN + plain)
    }

    fn open_rtp<'a>(
        &self,
        ssrc: u32,
        index: u64,
        packet: &[u8],
        room: &'a mut [u8; PACKET_LEN_MAX],
    ) -> Option<&'a [u8]> {
        let opened = room.get_mut(..packet.len())?;
        opened.copy_from_slice(packet);
        let (header, body) = opened.split_at_mut_checked(header_len(packet)?)?;
        let nonce = self.nonce(ssrc, index);
        let plain = self.aead.open_in_place(nonce, Aad::from(&*header), body);
        plain.ok().map(|plain| &*plain)
    }

    /// RFC 7714 §8.1 and §9.1.
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = self.salt;
        let [_, _, index @ ..] = index.to_be_bytes();
        let unique = ssrc.to_be_bytes().into_iter().chain(index);
        nonce[2..].iter_mut().zip(unique).for_each(|(n, u)| *n ^= u);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// RFC 7714 §9.2.
fn rtcp_aad(clear: &[u8; RTCP_CLEAR_LEN], word: [u8; 4]) -> [u8; RTCP_CLEAR_LEN + 4] {
    let mut aad = [0; RTCP_CLEAR_LEN + 4];
    aad[..RTCP_CLEAR_LEN].copy_from_slice(clear);
    aad[RTCP_CLEAR_LEN..].copy_from_slice(&word);
    aad
}

/// With CSRCs and extension (RFC 3550 §5.1).
pub(super) fn header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let fixed = 12 + 4 * usize::from(first & 0xf);
    if first & 0x10 == 0 {
        return Some(fixed);
    }
    let words = packet.get(fixed + 2..)?.first_chunk()?;
    Some(fixed + 4 + 4 * usize::from(u16::from_be_bytes(*words)))
}

pub(super) fn word_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What libsrtp proves itself with, keys and packets.
    const KEY: [u8; 16] = [
        0xe1, 0xf9, 0x7a, 0x0d, 0x3e, 0x01, 0x8b, 0xe0, 0xd6, 0x4f, 0xa3, 0x2c, 0x06, 0xde, 0x41,
        0x39,
    ];
    const SALT: [u8; 14] = [
        0x0e, 0xc6, 0x75, 0xad, 0x49, 0x8a, 0xfe, 0xeb, 0xb6, 0x96, 0x0b, 0x3a, 0xab, 0xe6,
    ];
    const RTP: [u8; 38] = [
        0x80, 0x0f, 0x12, 0x34, 0xde, 0xca, 0xfb, 0xad, 0xca, 0xfe, 0xba, 0xbe, 0x4e, 0x55, 0xdc,
        0x4c, 0xe7, 0x99, 0x78, 0xd8, 0x8c, 0xa4, 0xd2, 0x15, 0x94, 0x9d, 0x24, 0x02, 0xb7, 0x8d,
        0x6a, 0xcc, 0x99, 0xea, 0x17, 0x9b, 0x8d, 0xbb,
    ];
    const RTCP: [u8; 38] = [
        0x81, 0xc8, 0x00, 0x0b, 0xca, 0xfe, 0xba, 0xbe, 0x71, 0x28, 0x03, 0x5b, 0xe4, 0x87, 0xb9,
        0xbd, 0xbe, 0xf8, 0x90, 0x41, 0xf9, 0x77, 0xa5, 0xa8, 0x80, 0x00, 0x00, 0x01, 0x99, 0x3e,
        0x08, 0xcd, 0x54, 0xd6, 0xc1, 0x23, 0x07, 0x98,
    ];

    #[test]
    fn without_aead_packets_are_what_they_are_elsewhere() {
        let provider = str0m::crypto::from_feature_flags().srtp_provider;
        // Both sides have the same keys.
        let material = [&KEY[..], &KEY, &SALT, &SALT].concat();
        let profile = SrtpProfile::AES128_CM_SHA1_80;
        let mut keys = Keys::derive(profile, &material, true, provider).unwrap();
        let mut room = [0; PACKET_LEN_MAX];
        let payload = keys.open_rtp(0xcafe_babe, 0x1234, &RTP, &mut room);
        assert_eq!(payload, Some(&[0xab; 16][..]));
        let report = [&RTCP[..8], &[0xab; 16]].concat();
        assert_eq!(keys.open_rtcp(&RTCP, &mut room), Some(&report[..]));
        for spoilt in [RTP, RTCP].map(|packet| packet.map(|byte| byte ^ 1)) {
            assert_eq!(keys.open_rtp(0xcafe_babe, 0x1234, &spoilt, &mut room), None);
            assert_eq!(keys.open_rtcp(&spoilt, &mut room), None);
        }

        let mut buffer = [report, vec![0; 14]].concat();
        keys.rtcp_index = 1;
        assert_eq!(keys.seal_rtcp(24, &mut buffer), Some(RTCP.len()));
        assert_eq!(buffer, RTCP);
    }
}
