//! SRTP and SRTCP of one viewer: AEAD_AES_128_GCM and AEAD_AES_256_GCM (RFC 7714), keyed by
//! DTLS-SRTP (RFC 5764).
//!
//! Sealing works in the caller's buffer: the packet is already where it will be sent from. There
//! is exactly one [`Sealer`] and one [`Opener`] per viewer, made once from its DTLS handshake, so
//! that nobody else ever seals under these keys.

use dimpl::SrtpProfile;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use str0m::crypto::SrtpProvider;

/// Bytes that sealing adds to an RTP packet.
const TAG_LEN: usize = 16;

/// Bytes that sealing adds to an RTCP packet: tag, and the index with the E bit (RFC 7714 §9.2).
const RTCP_OVERHEAD: usize = TAG_LEN + 4;

/// Bytes of an RTP header as it is sent to viewers: no CSRCs, no extension.
pub(crate) const RTP_HEADER_LEN: usize = 12;

/// RTCP bytes that are authenticated and not encrypted: the first packet's header and SSRC.
const RTCP_CLEAR_LEN: usize = 8;

const SALT_LEN: usize = 12;

/// The highest SRTP index (RFC 3711 §3.3.1: 48 bits). Above it nonces would repeat.
const RTP_INDEX_MAX: u64 = (1 << 48) - 1;

/// The highest SRTCP index (RFC 3711 §3.2.1: 31 bits). Under one key none is used twice.
const RTCP_INDEX_MAX: u32 = 0x7fff_ffff;

/// Both directions of one viewer, from the keying material that its DTLS handshake exported.
///
/// The material is client key, server key, client salt, server salt (RFC 5764 §4.2); ours is the
/// client's half where we were the DTLS client (`active`). `None` if the profile has no AEAD.
pub(crate) fn derive(
    profile: SrtpProfile,
    material: &[u8],
    active: bool,
    provider: &dyn SrtpProvider,
) -> Option<(Sealer, Opener)> {
    let key_len = match profile {
        SrtpProfile::AEAD_AES_128_GCM => 16,
        SrtpProfile::AEAD_AES_256_GCM => 32,
        _ => return None,
    };
    let (client_key, rest) = material.split_at_checked(key_len)?;
    let (server_key, rest) = rest.split_at_checked(key_len)?;
    let (client_salt, server_salt) = rest.split_first_chunk::<SALT_LEN>()?;
    let server_salt = server_salt.first_chunk::<SALT_LEN>()?;
    let client = Master::new(provider, client_key, *client_salt);
    let server = Master::new(provider, server_key, *server_salt);
    let (ours, theirs) = if active {
        (client, server)
    } else {
        (server, client)
    };
    Some((
        Sealer {
            rtp: ours.derive(Label::Rtp)?,
            rtcp: ours.derive(Label::Rtcp)?,
            rtcp_index: 0,
        },
        Opener {
            rtcp: theirs.derive(Label::Rtcp)?,
            replay: ReplayWindow::default(),
        },
    ))
}

/// Seals what one viewer is sent.
pub(crate) struct Sealer {
    rtp: SessionKey,
    rtcp: SessionKey,
    rtcp_index: u32,
}

impl Sealer {
    /// Bytes that sealing adds to an RTP packet. A profile's property: all of one viewer's are equal.
    pub(crate) fn rtp_overhead(&self) -> usize {
        TAG_LEN
    }

    /// Bytes that sealing adds to an RTCP packet.
    pub(crate) fn rtcp_overhead(&self) -> usize {
        RTCP_OVERHEAD
    }

    /// Seals the RTP packet in `packet`: a header of [`RTP_HEADER_LEN`] bytes, the payload, and
    /// [`TAG_LEN`] bytes of room. `index` is the packet index of RFC 3711 §3.3.1, whose lower 16
    /// bits stand in the header. Who calls sees to it that no (SSRC, index) comes twice with
    /// different contents.
    pub(crate) fn seal_rtp(&self, ssrc: u32, index: u64, packet: &mut [u8]) -> Option<()> {
        if index > RTP_INDEX_MAX {
            return None;
        }
        let (header, rest) = packet.split_first_chunk_mut::<RTP_HEADER_LEN>()?;
        let (payload, room) = rest.split_last_chunk_mut::<TAG_LEN>()?;
        *room = self
            .rtp
            .key
            .seal(self.rtp.rtp_nonce(ssrc, index), header, payload)?;
        Some(())
    }

    /// Seals the compound RTCP packet in `packet`, whose last [`RTCP_OVERHEAD`] bytes are room.
    /// `None` once 2³¹ packets were sealed: the session is at its end then.
    pub(crate) fn seal_rtcp(&mut self, packet: &mut [u8]) -> Option<()> {
        if self.rtcp_index > RTCP_INDEX_MAX {
            return None;
        }
        let index = self.rtcp_index;
        self.rtcp_index += 1;
        let word = (index | 0x8000_0000).to_be_bytes();
        let (clear, rest) = packet.split_first_chunk_mut::<RTCP_CLEAR_LEN>()?;
        let (rest, index_room) = rest.split_last_chunk_mut::<4>()?;
        let (body, tag_room) = rest.split_last_chunk_mut::<TAG_LEN>()?;
        let nonce = self.rtcp.rtcp_nonce(rtcp_ssrc(clear), index);
        *tag_room = self.rtcp.key.seal(nonce, &rtcp_aad(clear, word), body)?;
        index_room.copy_from_slice(&word);
        Some(())
    }
}

/// Opens what one viewer sends: RTCP, for it sends no media.
pub(crate) struct Opener {
    rtcp: SessionKey,
    replay: ReplayWindow,
}

impl Opener {
    /// Decrypts a compound SRTCP packet in place. `None`: forged, replayed, or not encrypted
    /// (which RFC 7714 allows and WebRTC forbids, RFC 8827 §6.5).
    pub(crate) fn open_rtcp<'a>(&mut self, packet: &'a mut [u8]) -> Option<&'a [u8]> {
        let (rest, word) = packet.split_last_chunk_mut::<4>()?;
        let index = u32::from_be_bytes(*word);
        if index & 0x8000_0000 == 0 {
            return None;
        }
        let index = index & RTCP_INDEX_MAX;
        if !self.replay.is_new(index) {
            return None;
        }
        let (clear, body) = rest.split_first_chunk_mut::<RTCP_CLEAR_LEN>()?;
        let nonce = self.rtcp.rtcp_nonce(rtcp_ssrc(clear), index);
        let plain_len = self.rtcp.key.open(nonce, &rtcp_aad(clear, *word), body)?;
        self.replay.note(index);
        packet.get(..RTCP_CLEAR_LEN + plain_len)
    }
}

fn rtcp_ssrc(clear: &[u8; RTCP_CLEAR_LEN]) -> u32 {
    let [.., a, b, c, d] = *clear;
    u32::from_be_bytes([a, b, c, d])
}

/// RFC 7714 §9.2: header, SSRC, then the word with the E bit and the index.
fn rtcp_aad(clear: &[u8; RTCP_CLEAR_LEN], word: [u8; 4]) -> [u8; RTCP_CLEAR_LEN + 4] {
    let mut aad = [0; RTCP_CLEAR_LEN + 4];
    let (head, tail) = aad.split_at_mut(RTCP_CLEAR_LEN);
    head.copy_from_slice(clear);
    tail.copy_from_slice(&word);
    aad
}

/// What a crypto library has to offer: AES-GCM under one key. Another library is another
/// implementation.
trait Aead {
    /// Encrypts in place and gives the tag.
    fn seal(&self, nonce: [u8; SALT_LEN], aad: &[u8], text: &mut [u8]) -> Option<[u8; TAG_LEN]>;

    /// Decrypts in place what has its tag at the end, and gives the length of the plaintext.
    fn open(&self, nonce: [u8; SALT_LEN], aad: &[u8], text: &mut [u8]) -> Option<usize>;
}

impl Aead for LessSafeKey {
    fn seal(&self, nonce: [u8; SALT_LEN], aad: &[u8], text: &mut [u8]) -> Option<[u8; TAG_LEN]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .seal_in_place_separate_tag(nonce, Aad::from(aad), text)
            .ok()?;
        tag.as_ref().try_into().ok()
    }

    fn open(&self, nonce: [u8; SALT_LEN], aad: &[u8], text: &mut [u8]) -> Option<usize> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let plain = self.open_in_place(nonce, Aad::from(aad), text).ok()?;
        Some(plain.len())
    }
}

/// An AEAD key and its salt, ready to use.
struct SessionKey {
    key: LessSafeKey,
    /// The salt as the number that nonces are XORed into.
    salt: u128,
}

impl SessionKey {
    /// RFC 7714 §8.1: two zero bytes, SSRC, 48-bit index; XOR salt.
    fn rtp_nonce(&self, ssrc: u32, index: u64) -> [u8; SALT_LEN] {
        self.nonce(u128::from(ssrc) << 48 | u128::from(index))
    }

    /// RFC 7714 §9.1: two zero bytes, SSRC, two zero bytes, 31-bit index; XOR salt.
    fn rtcp_nonce(&self, ssrc: u32, index: u32) -> [u8; SALT_LEN] {
        self.nonce(u128::from(ssrc) << 48 | u128::from(index))
    }

    fn nonce(&self, unique: u128) -> [u8; SALT_LEN] {
        let mut nonce = [0; SALT_LEN];
        let bytes = (unique ^ self.salt).to_be_bytes();
        let [_, _, _, _, low @ ..] = bytes;
        nonce.copy_from_slice(&low);
        nonce
    }
}

#[derive(Clone, Copy)]
enum Label {
    Rtp,
    Rtcp,
}

/// A master key, from which session keys are derived (RFC 3711 §4.3, RFC 7714 §11).
struct Master<'a> {
    provider: &'a dyn SrtpProvider,
    key: &'a [u8],
    salt: [u8; SALT_LEN],
}

impl<'a> Master<'a> {
    fn new(provider: &'a dyn SrtpProvider, key: &'a [u8], salt: [u8; SALT_LEN]) -> Self {
        Self {
            provider,
            key,
            salt,
        }
    }

    fn derive(&self, label: Label) -> Option<SessionKey> {
        let (key_label, salt_label) = match label {
            Label::Rtp => (0, 2),
            Label::Rtcp => (3, 5),
        };
        let algorithm: &'static Algorithm = if self.key.len() == 16 {
            &AES_128_GCM
        } else {
            &AES_256_GCM
        };
        let stream = self.key_stream(key_label);
        let key = LessSafeKey::new(UnboundKey::new(algorithm, stream.get(..self.key.len())?).ok()?);
        let mut salt = [0; 16];
        let (_, low) = salt.split_at_mut(4);
        low.copy_from_slice(self.key_stream(salt_label).get(..SALT_LEN)?);
        Some(SessionKey {
            key,
            salt: u128::from_be_bytes(salt),
        })
    }

    /// The first 32 bytes of AES-CM under the master key (RFC 3711 §4.3.3).
    fn key_stream(&self, label: u8) -> [u8; 32] {
        let mut stream = [0; 32];
        for (round, out) in (0_u8..).zip(stream.chunks_exact_mut(16)) {
            let mut input = [0; 16];
            let (salt, counter) = input.split_at_mut(14);
            for (to, from) in salt.iter_mut().zip(self.salt) {
                *to = from;
            }
            if let Some(byte) = salt.get_mut(7) {
                *byte ^= label;
            }
            if let [.., low] = counter {
                *low = round;
            }
            // The provider's interface asks for room for a second, padding block.
            let mut block = [0; 32];
            if self.key.len() == 16 {
                self.provider
                    .srtp_aes_128_ecb_round(self.key, &input, &mut block);
            } else {
                self.provider
                    .srtp_aes_256_ecb_round(self.key, &input, &mut block);
            }
            for (to, from) in out.iter_mut().zip(block) {
                *to = from;
            }
        }
        stream
    }
}

/// Which SRTCP indices have been seen (RFC 3711 §3.3.2), the newest 64 of them.
#[derive(Debug, Default)]
struct ReplayWindow {
    /// One above the highest index seen.
    end: u32,
    /// Bit `n`: index `end - 1 - n` was seen.
    seen: u64,
}

impl ReplayWindow {
    fn is_new(&self, index: u32) -> bool {
        match self.end.checked_sub(index + 1) {
            None => true,
            Some(age) => age < 64 && self.seen >> age & 1 == 0,
        }
    }

    fn note(&mut self, index: u32) {
        let end = index + 1;
        if end > self.end {
            self.seen = self.seen.checked_shl(end - self.end).unwrap_or(0) | 1;
            self.end = end;
        } else {
            self.seen |= 1 << (self.end - end);
        }
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("rtcp_index", &self.rtcp_index)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener")
            .field("replay", &self.replay)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(profile: SrtpProfile) -> ((Sealer, Opener), (Sealer, Opener)) {
        let crypto = str0m::crypto::from_feature_flags();
        let material: Vec<u8> = (0_u8..).take(profile.keying_material_len()).collect();
        (
            derive(profile, &material, false, crypto.srtp_provider).unwrap(),
            derive(profile, &material, true, crypto.srtp_provider).unwrap(),
        )
    }

    const REPORT: [u8; 12] = [0x80, 201, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8];

    fn sealed_report(sealer: &mut Sealer) -> Vec<u8> {
        let mut packet = REPORT.to_vec();
        packet.resize(REPORT.len() + RTCP_OVERHEAD, 0);
        sealer.seal_rtcp(&mut packet).unwrap();
        packet
    }

    #[test]
    fn rtcp_opens_at_the_other_end_and_only_once() {
        for profile in [SrtpProfile::AEAD_AES_128_GCM, SrtpProfile::AEAD_AES_256_GCM] {
            let ((mut server, _), (_, mut client)) = halves(profile);
            let first = sealed_report(&mut server);
            let second = sealed_report(&mut server);
            assert_ne!(first, second);
            assert_eq!(client.open_rtcp(&mut second.clone()).unwrap(), REPORT);
            assert_eq!(client.open_rtcp(&mut first.clone()).unwrap(), REPORT);
            assert!(client.open_rtcp(&mut first.clone()).is_none());
        }
    }

    #[test]
    fn forged_and_truncated_rtcp_does_not_open() {
        let ((mut server, _), (_, mut client)) = halves(SrtpProfile::AEAD_AES_128_GCM);
        let genuine = sealed_report(&mut server);
        for i in 0..genuine.len() {
            let mut forged = genuine.clone();
            forged[i] ^= 1;
            assert!(client.open_rtcp(&mut forged).is_none(), "byte {i}");
            assert!(
                client.open_rtcp(&mut genuine[..i].to_vec()).is_none(),
                "length {i}"
            );
        }
    }

    #[test]
    fn a_profile_without_aead_has_no_keys_here() {
        let crypto = str0m::crypto::from_feature_flags();
        assert!(
            derive(
                SrtpProfile::AES128_CM_SHA1_80,
                &[0; 60],
                false,
                crypto.srtp_provider
            )
            .is_none()
        );
    }

    /// The test vectors of RFC 7714 §16.1.1 and §16.2.1 are given for session keys.
    #[test]
    fn sealing_matches_rfc_7714() {
        let salt: [u8; 12] = *b"\x51\x75\x69\x64\x20\x70\x72\x6f\x20\x71\x75\x6f";
        let plain = b"\x80\x40\xf1\x7b\x80\x41\xf8\xd3\x55\x01\xa0\xb2Gallia est omnis divisa in partes tres";
        type Case = (&'static Algorithm, Vec<u8>, [u8; 4], [u8; TAG_LEN]);
        let cases: [Case; 2] = [
            (
                &AES_128_GCM,
                (0..16).collect(),
                [0xf2, 0x4d, 0xe3, 0xa3],
                *b"\x89\x9d\x7f\x27\xbe\xb1\x6a\x91\x52\xcf\x76\x5e\xe4\x39\x0c\xce",
            ),
            (
                &AES_256_GCM,
                (0..32).collect(),
                [0x32, 0xb1, 0xde, 0x78],
                *b"\x7a\xa3\xdb\x36\xdf\xff\xd6\xb0\xf9\xbb\x78\x78\xd7\xa7\x6c\x13",
            ),
        ];
        for (algorithm, key, begin, tag) in cases {
            let mut wide = [0; 16];
            wide[4..].copy_from_slice(&salt);
            let key = || SessionKey {
                key: LessSafeKey::new(UnboundKey::new(algorithm, &key).unwrap()),
                salt: u128::from_be_bytes(wide),
            };
            let sealer = Sealer {
                rtp: key(),
                rtcp: key(),
                rtcp_index: 0,
            };
            let mut packet = plain.to_vec();
            packet.resize(plain.len() + TAG_LEN, 0);
            sealer.seal_rtp(0x5501_a0b2, 0xf17b, &mut packet).unwrap();
            assert_eq!(packet[12..16], begin);
            assert_eq!(packet[packet.len() - TAG_LEN..], tag);
        }
    }
}
