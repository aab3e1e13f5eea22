//! SRTP as far as a light viewer needs it: AES-GCM (RFC 7714), for RTCP both ways and for repairs.

use dimpl::SrtpProfile;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use str0m::crypto::SrtpProvider;

/// Longer packets are not opened.
pub const PACKET_LEN_MAX: usize = 1500;

const SALT_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// RTCP bytes that are authenticated and not encrypted.
const RTCP_CLEAR_LEN: usize = 8;

/// Marks SRTCP as encrypted (RFC 3711 §3.4).
const E_BIT: u32 = 0x8000_0000;

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
    /// profile that is not AES-GCM.
    pub(super) fn derive(
        profile: SrtpProfile,
        material: &[u8],
        is_client: bool,
        provider: &dyn SrtpProvider,
    ) -> Option<Self> {
        let key_len = match profile {
            SrtpProfile::AEAD_AES_128_GCM => 16,
            SrtpProfile::AEAD_AES_256_GCM => 32,
            _ => return None,
        };
        let (client_key, rest) = material.split_at_checked(key_len)?;
        let (server_key, rest) = rest.split_at_checked(key_len)?;
        let (client_salt, rest) = rest.split_at_checked(SALT_LEN)?;
        let (server_salt, _) = rest.split_at_checked(SALT_LEN)?;
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
        let word = (self.rtcp_index | E_BIT).to_be_bytes();
        let (clear, rest) = buffer.split_first_chunk_mut::<RTCP_CLEAR_LEN>()?;
        let (body, room) = rest.split_at_mut_checked(len - RTCP_CLEAR_LEN)?;
        let nonce = self
            .own_rtcp
            .nonce(word_at(clear, 4)?, self.rtcp_index.into());
        let aad = rtcp_aad(clear, word);
        self.rtcp_index += 1;
        let tag = self
            .own_rtcp
            .aead
            .seal_in_place_separate_tag(nonce, Aad::from(aad), body);
        room.get_mut(..TAG_LEN)?.copy_from_slice(tag.ok()?.as_ref());
        room.get_mut(TAG_LEN..TAG_LEN + 4)?.copy_from_slice(&word);
        Some(len + TAG_LEN + 4)
    }

    /// Opens an RTCP packet of the server, into `room`.
    pub(super) fn open_rtcp<'a>(
        &self,
        packet: &[u8],
        room: &'a mut [u8; PACKET_LEN_MAX],
    ) -> Option<&'a [u8]> {
        let (sealed, word) = packet.split_last_chunk::<4>()?;
        let opened = room.get_mut(..sealed.len())?;
        opened.copy_from_slice(sealed);
        let (clear, body) = opened.split_first_chunk_mut::<RTCP_CLEAR_LEN>()?;
        let index = u32::from_be_bytes(*word) & !E_BIT;
        let nonce = self.server_rtcp.nonce(word_at(clear, 4)?, index.into());
        let aad = rtcp_aad(clear, *word);
        let aead = &self.server_rtcp.aead;
        let plain = aead.open_in_place(nonce, Aad::from(aad), body).ok()?.len();
        room.get(..RTCP_CLEAR_LEN + plain)
    }

    /// Opens an RTP packet of the server into `room`: the payload.
    pub(super) fn open_rtp<'a>(
        &self,
        ssrc: u32,
        index: u64,
        packet: &[u8],
        room: &'a mut [u8; PACKET_LEN_MAX],
    ) -> Option<&'a [u8]> {
        let opened = room.get_mut(..packet.len())?;
        opened.copy_from_slice(packet);
        let (header, body) = opened.split_at_mut_checked(header_len(packet)?)?;
        let nonce = self.server_rtp.nonce(ssrc, index);
        let aead = &self.server_rtp.aead;
        let plain = aead.open_in_place(nonce, Aad::from(&*header), body);
        plain.ok().map(|plain| &*plain)
    }

    /// The sequence number of the packet that an RTX packet brings again (RFC 4588 §4).
    pub(super) fn open_repair(&self, ssrc: u32, index: u64, packet: &[u8]) -> Option<u16> {
        let mut room = [0; PACKET_LEN_MAX];
        let plain = self.open_rtp(ssrc, index, packet, &mut room)?;
        Some(u16::from_be_bytes(*plain.first_chunk()?))
    }
}

/// A session key and its salt.
#[derive(Debug)]
struct Key {
    aead: LessSafeKey,
    salt: [u8; SALT_LEN],
}

impl Key {
    /// By AES-CM under the master key (RFC 3711 §4.3.3). `label` is the encryption key's; that of
    /// the salt is two more.
    fn derive(provider: &dyn SrtpProvider, master: &[u8], salt: &[u8], label: u8) -> Option<Self> {
        let key_stream = |label: u8| {
            let mut stream = [0; 32];
            for (round, out) in (0_u8..).zip(stream.chunks_exact_mut(16)) {
                let mut input = [0; 16];
                input[..SALT_LEN].copy_from_slice(salt);
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
        let algorithm = match master.len() {
            16 => &AES_128_GCM,
            _ => &AES_256_GCM,
        };
        let key = key_stream(label);
        let key = UnboundKey::new(algorithm, key.get(..master.len())?).ok()?;
        Some(Self {
            aead: LessSafeKey::new(key),
            salt: *key_stream(label + 2).first_chunk()?,
        })
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
fn header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let fixed = 12 + 4 * usize::from(first & 0xf);
    if first & 0x10 == 0 {
        return Some(fixed);
    }
    let words = packet.get(fixed + 2..)?.first_chunk()?;
    Some(fixed + 4 + 4 * usize::from(u16::from_be_bytes(*words)))
}

fn word_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
