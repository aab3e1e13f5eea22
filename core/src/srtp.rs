//! SRTP and SRTCP of one peer, keyed by DTLS-SRTP (RFC 5764): AEAD_AES_128_GCM and
//! AEAD_AES_256_GCM (RFC 7714), and AES128_CM_HMAC_SHA1_80 (RFC 3711) for peers without these.
//!
//! Sealing works in the caller's buffer: the packet is already where it will be sent from. There
//! is exactly one [`Sealer`] and one [`Opener`] per viewer, made once from its DTLS handshake, so
//! that nobody else ever seals under these keys. A publisher's keys are str0m's as well: there our
//! sealer has a sender SSRC of its own ([`ingest`](crate::ingest)), and nonces differ by that.

mod counter;
mod gcm;

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use dimpl::SrtpProfile;

use crate::rtp::HEADER_LEN as RTP_HEADER_LEN;

/// RTCP bytes that are authenticated and not encrypted: the first packet's header and SSRC.
const RTCP_CLEAR_LEN: usize = 8;

/// The highest SRTP index (RFC 3711 §3.3.1: 48 bits). Above it nonces would repeat.
const RTP_INDEX_MAX: u64 = (1 << 48) - 1;

/// The highest SRTCP index (RFC 3711 §3.2.1: 31 bits). Under one key none is used twice.
const RTCP_INDEX_MAX: u32 = 0x7fff_ffff;

/// Marks SRTCP as encrypted (RFC 3711 §3.4).
const E_BIT: u32 = 0x8000_0000;

/// Whether a profile both encrypts and authenticates by one algorithm.
pub(crate) fn is_aead(profile: SrtpProfile) -> bool {
    matches!(
        profile,
        SrtpProfile::AEAD_AES_128_GCM | SrtpProfile::AEAD_AES_256_GCM
    )
}

/// A profile's name as the IANA registry has it (RFC 5764 §4.1.2, RFC 7714 §14.2).
pub(crate) fn name(profile: SrtpProfile) -> &'static str {
    match profile {
        SrtpProfile::AEAD_AES_128_GCM => "AEAD_AES_128_GCM",
        SrtpProfile::AEAD_AES_256_GCM => "AEAD_AES_256_GCM",
        SrtpProfile::AES128_CM_SHA1_80 => "AES128_CM_HMAC_SHA1_80",
        _ => "unknown",
    }
}

/// Both directions of one viewer, from the keying material that its DTLS handshake exported.
///
/// The material is client key, server key, client salt, server salt (RFC 5764 §4.2); ours is the
/// client's half where we were the DTLS client (`active`). `None` for a profile that is not known
/// here.
pub(crate) fn derive(
    profile: SrtpProfile,
    material: &[u8],
    active: bool,
) -> Option<(Sealer, Opener)> {
    let (ours, theirs) = masters(profile, material, active)?;
    let opener = Opener {
        rtcp: theirs.derive(Label::Rtcp)?,
        replays: Replays::default(),
    };
    Some((ours.sealer()?, opener))
}

/// The same of one publisher, whose RTCP str0m opens and whose media we may have to.
pub(crate) fn derive_for_media(
    profile: SrtpProfile,
    material: &[u8],
    active: bool,
) -> Option<(Sealer, MediaOpener)> {
    let (ours, theirs) = masters(profile, material, active)?;
    let opener = MediaOpener {
        rtp: theirs.derive(Label::Rtp)?,
    };
    Some((ours.sealer()?, opener))
}

/// Our master key and the peer's.
fn masters(
    profile: SrtpProfile,
    material: &[u8],
    active: bool,
) -> Option<(Master<'_>, Master<'_>)> {
    let (key_len, salt_len) = match profile {
        SrtpProfile::AEAD_AES_128_GCM => (16, gcm::SALT_LEN),
        SrtpProfile::AEAD_AES_256_GCM => (32, gcm::SALT_LEN),
        SrtpProfile::AES128_CM_SHA1_80 => (counter::KEY_LEN, counter::SALT_LEN),
        _ => return None,
    };
    let (client_key, rest) = material.split_at_checked(key_len)?;
    let (server_key, rest) = rest.split_at_checked(key_len)?;
    let (client_salt, rest) = rest.split_at_checked(salt_len)?;
    let (server_salt, _) = rest.split_at_checked(salt_len)?;
    let aead = is_aead(profile);
    let client = Master::new(aead, client_key, client_salt)?;
    let server = Master::new(aead, server_key, server_salt)?;
    Some(if active {
        (client, server)
    } else {
        (server, client)
    })
}

/// Seals what one peer is sent.
pub(crate) struct Sealer {
    rtp: Key,
    /// Apart: keys are large, and only the other is asked for with every train.
    rtcp: Box<Key>,
    rtcp_index: u32,
}

impl Sealer {
    /// Bytes that sealing adds to an RTP packet. A profile's property: all of one viewer's are equal.
    pub(crate) fn rtp_overhead(&self) -> usize {
        match self.rtp {
            Key::Gcm(_) => gcm::TAG_LEN,
            Key::Counter(_) => counter::TAG_LEN,
        }
    }

    /// Bytes that sealing adds to an RTCP packet.
    pub(crate) fn rtcp_overhead(&self) -> usize {
        match *self.rtcp {
            Key::Gcm(_) => gcm::RTCP_OVERHEAD,
            Key::Counter(_) => counter::RTCP_OVERHEAD,
        }
    }

    /// Seals the RTP packet in `packet`: a header of [`RTP_HEADER_LEN`] bytes, the payload, and
    /// [`rtp_overhead`](Self::rtp_overhead) bytes of room. `index` is the packet index of RFC 3711
    /// §3.3.1, whose lower 16 bits stand in the header. Who calls sees to it that no (SSRC, index)
    /// comes twice with different contents.
    pub(crate) fn seal_rtp(&self, ssrc: u32, index: u64, packet: &mut [u8]) -> Option<()> {
        if index > RTP_INDEX_MAX {
            return None;
        }
        match &self.rtp {
            Key::Gcm(key) => key.seal_rtp(ssrc, index, packet),
            Key::Counter(key) => key.seal_rtp(ssrc, index, packet),
        }
    }

    /// The same of a payload that is somewhere else: `packet` is the header and room.
    pub(crate) fn seal_rtp_of(
        &self,
        ssrc: u32,
        index: u64,
        payload: &[u8],
        packet: &mut [u8],
    ) -> Option<()> {
        match &self.rtp {
            Key::Gcm(key) if index <= RTP_INDEX_MAX => {
                key.seal_rtp_of(ssrc, index, payload, packet)
            }
            _ => {
                let (_, rest) = packet.split_first_chunk_mut::<RTP_HEADER_LEN>()?;
                if rest.len() != payload.len() + self.rtp_overhead() {
                    return None;
                }
                rest.get_mut(..payload.len())?.copy_from_slice(payload);
                self.seal_rtp(ssrc, index, packet)
            }
        }
    }

    /// Seals the compound RTCP packet in `packet`, whose last
    /// [`rtcp_overhead`](Self::rtcp_overhead) bytes are room. `None` once 2³¹ packets were sealed:
    /// the session is at its end then.
    pub(crate) fn seal_rtcp(&mut self, packet: &mut [u8]) -> Option<()> {
        if self.rtcp_index > RTCP_INDEX_MAX {
            return None;
        }
        let index = self.rtcp_index;
        self.rtcp_index += 1;
        let word = (index | E_BIT).to_be_bytes();
        match &*self.rtcp {
            Key::Gcm(key) => key.seal_rtcp(index, word, packet),
            Key::Counter(key) => key.seal_rtcp(index, word, packet),
        }
    }
}

/// Opens what one viewer sends: RTCP, for it sends no media.
pub(crate) struct Opener {
    rtcp: Key,
    replays: Replays,
}

impl Opener {
    /// Decrypts a compound SRTCP packet in place. `None`: forged, replayed, or not encrypted
    /// (which RFC 3711 and 7714 allow and WebRTC forbids, RFC 8827 §6.5).
    pub(crate) fn open_rtcp<'a>(&mut self, packet: &'a mut [u8]) -> Option<&'a [u8]> {
        let word = match &self.rtcp {
            Key::Gcm(_) => gcm::Key::rtcp_word(packet)?,
            Key::Counter(_) => counter::Key::rtcp_word(packet)?,
        };
        let index = u32::from_be_bytes(word);
        if index & E_BIT == 0 {
            return None;
        }
        let index = index & RTCP_INDEX_MAX;
        let ssrc = rtcp_ssrc(packet.first_chunk()?);
        if !self.replays.is_new(ssrc, index) {
            return None;
        }
        let len = match &self.rtcp {
            Key::Gcm(key) => key.open_rtcp(index, word, packet)?,
            Key::Counter(key) => key.open_rtcp(index, word, packet)?,
        };
        self.replays.note(ssrc, index);
        packet.get(..len)
    }
}

/// Opens the media that one publisher sends.
pub(crate) struct MediaOpener {
    rtp: Key,
}

impl MediaOpener {
    /// Decrypts an SRTP packet in place, whose header (with CSRCs and extension) has `header_len`
    /// bytes. `index` is the packet index of RFC 3711 §3.3.1. Gives the payload with its padding;
    /// `None`: forged, or another index. Whether it has come before is for the caller to know.
    pub(crate) fn open_rtp<'a>(
        &self,
        header_len: usize,
        ssrc: u32,
        index: u64,
        packet: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        if index > RTP_INDEX_MAX {
            return None;
        }
        let len = match &self.rtp {
            Key::Gcm(key) => key.open_rtp(header_len, ssrc, index, packet)?,
            Key::Counter(key) => key.open_rtp(header_len, ssrc, index, packet)?,
        };
        packet.get(header_len..header_len + len)
    }
}

fn rtcp_ssrc(clear: &[u8; RTCP_CLEAR_LEN]) -> u32 {
    let [.., a, b, c, d] = *clear;
    u32::from_be_bytes([a, b, c, d])
}

/// The session keys of one direction and one protocol.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are of the large one, which is used for every packet"
)]
enum Key {
    Gcm(gcm::Key),
    Counter(Box<counter::Key>),
}

#[derive(Clone, Copy)]
enum Label {
    Rtp,
    Rtcp,
}

/// A master key, from which session keys are derived (RFC 3711 §4.3, RFC 7714 §11).
struct Master<'a> {
    cipher: EncryptingKey,
    aead: bool,
    key_len: usize,
    salt: &'a [u8],
}

impl<'a> Master<'a> {
    fn new(aead: bool, key: &[u8], salt: &'a [u8]) -> Option<Self> {
        let algorithm = if key.len() == 16 { &AES_128 } else { &AES_256 };
        let cipher = UnboundCipherKey::new(algorithm, key).ok()?;
        Some(Self {
            cipher: EncryptingKey::ctr(cipher).ok()?,
            aead,
            key_len: key.len(),
            salt,
        })
    }

    fn sealer(&self) -> Option<Sealer> {
        Some(Sealer {
            rtp: self.derive(Label::Rtp)?,
            rtcp: Box::new(self.derive(Label::Rtcp)?),
            rtcp_index: 0,
        })
    }

    fn derive(&self, label: Label) -> Option<Key> {
        let (key_label, auth_label, salt_label) = match label {
            Label::Rtp => (0, 1, 2),
            Label::Rtcp => (3, 4, 5),
        };
        let key: [u8; 32] = self.key_stream(key_label)?;
        if self.aead {
            let key = key.get(..self.key_len)?;
            let aead = match label {
                Label::Rtp => gcm::Aead::fastest(key),
                Label::Rtcp => gcm::Aead::smallest(key),
            }?;
            let salt = self.key_stream(salt_label)?;
            return Some(Key::Gcm(gcm::Key::new(aead, salt)));
        }
        let auth = self.key_stream(auth_label)?;
        let salt = self.key_stream(salt_label)?;
        let key = counter::Key::new(key.first_chunk()?, &auth, salt);
        key.map(|key| Key::Counter(Box::new(key)))
    }

    /// The first bytes of AES-CM under the master key (RFC 3711 §4.3.3).
    fn key_stream<const LEN: usize>(&self, label: u8) -> Option<[u8; LEN]> {
        let mut counter = [0; 16];
        for (to, from) in counter.iter_mut().zip(self.salt) {
            *to = *from;
        }
        counter[7] ^= label;
        let mut stream = [0; LEN];
        let context = EncryptionContext::Iv128(FixedLength::from(counter));
        self.cipher.less_safe_encrypt(&mut stream, context).ok()?;
        Some(stream)
    }
}

/// The sender's SSRC and the index that an SRTCP packet bears. Nothing has shown that they are
/// genuine.
pub(crate) fn rtcp_index(profile: SrtpProfile, packet: &[u8]) -> Option<(u32, u32)> {
    let word = if is_aead(profile) {
        gcm::Key::rtcp_word(packet)?
    } else {
        counter::Key::rtcp_word(packet)?
    };
    let index = u32::from_be_bytes(word) & RTCP_INDEX_MAX;
    Some((rtcp_ssrc(packet.first_chunk()?), index))
}

/// How many senders' indices are kept apart. A peer has one for each of its streams, or one for all.
const SENDERS_MAX: usize = 8;

/// Which SRTCP indices have been seen. Each sender counts for itself (RFC 3711 §3.2.3): libsrtp does,
/// and Chromium reports on audio and on video as two senders.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    /// By the sender's SSRC. Where there are too many, the one heard first is forgotten.
    windows: heapless::Vec<(u32, ReplayWindow), SENDERS_MAX>,
}

impl Replays {
    pub(crate) fn is_new(&self, ssrc: u32, index: u32) -> bool {
        let window = self.windows.iter().find(|(own, _)| *own == ssrc);
        window.is_none_or(|(_, window)| window.is_new(index))
    }

    /// A genuine packet came: who cannot make one takes no place here.
    pub(crate) fn note(&mut self, ssrc: u32, index: u32) {
        if let Some((_, window)) = self.windows.iter_mut().find(|(own, _)| *own == ssrc) {
            return window.note(index);
        }
        let mut window = ReplayWindow::default();
        window.note(index);
        if self.windows.is_full() {
            self.windows.remove(0);
        }
        let _ = self.windows.push((ssrc, window));
    }
}

/// Which SRTCP indices of one sender have been seen (RFC 3711 §3.3.2), the newest 64 of them.
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
            .field("replays", &self.replays)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for MediaOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaOpener").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(profile: SrtpProfile) -> ((Sealer, Opener), (Sealer, Opener)) {
        let material: Vec<u8> = (0_u8..).take(profile.keying_material_len()).collect();
        (
            derive(profile, &material, false).unwrap(),
            derive(profile, &material, true).unwrap(),
        )
    }

    const PROFILES: [SrtpProfile; 3] = [
        SrtpProfile::AEAD_AES_128_GCM,
        SrtpProfile::AEAD_AES_256_GCM,
        SrtpProfile::AES128_CM_SHA1_80,
    ];

    const REPORT: [u8; 12] = [0x80, 201, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8];

    fn sealed_report(sealer: &mut Sealer) -> Vec<u8> {
        let mut packet = REPORT.to_vec();
        packet.resize(REPORT.len() + sealer.rtcp_overhead(), 0);
        sealer.seal_rtcp(&mut packet).unwrap();
        packet
    }

    #[test]
    fn rtcp_opens_at_the_other_end_and_only_once() {
        for profile in PROFILES {
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
    fn media_opens_at_the_other_end_under_its_index_only() {
        for profile in PROFILES {
            let material: Vec<u8> = (0_u8..).take(profile.keying_material_len()).collect();
            let ((sealer, _), _) = halves(profile);
            let (_, opener) = derive_for_media(profile, &material, true).unwrap();
            let index = 5 << 16 | 0x0102;
            let mut sealed = [0x80, 96, 1, 2, 0, 0, 0, 9, 0, 0, 0, 7].to_vec();
            sealed.extend(b"a payload");
            sealed.resize(sealed.len() + sealer.rtp_overhead(), 0);
            sealer.seal_rtp(7, index, &mut sealed).unwrap();

            let open = |index, packet: &[u8]| {
                let mut packet = packet.to_vec();
                opener
                    .open_rtp(12, 7, index, &mut packet)
                    .map(<[u8]>::to_vec)
            };
            assert_eq!(open(index, &sealed).unwrap(), b"a payload");
            for wrong in [index + (1 << 16), index - (1 << 16), u64::MAX] {
                assert!(open(wrong, &sealed).is_none());
            }
            for i in 0..sealed.len() {
                let mut forged = sealed.clone();
                forged[i] ^= 1;
                assert!(open(index, &forged).is_none(), "byte {i}");
                assert!(open(index, &sealed[..i]).is_none(), "length {i}");
            }
        }
    }

    #[test]
    fn regress_two_senders_count_each_for_itself() {
        for profile in PROFILES {
            let ((mut one, _), (_, mut client)) = halves(profile);
            let ((mut another, _), _) = halves(profile);
            for _ in 0..3 {
                let of_one = sealed_report(&mut one);
                let mut of_another = [0x80, 201, 0, 2, 9, 9, 9, 9, 5, 6, 7, 8].to_vec();
                of_another.resize(of_another.len() + another.rtcp_overhead(), 0);
                another.seal_rtcp(&mut of_another).unwrap();
                for packet in [of_one, of_another] {
                    assert!(client.open_rtcp(&mut packet.clone()).is_some());
                    assert!(client.open_rtcp(&mut packet.clone()).is_none());
                }
            }
        }
    }

    #[test]
    fn a_peer_of_many_senders_takes_bounded_room() {
        let mut replays = Replays::default();
        for ssrc in 0..1000 {
            assert!(replays.is_new(ssrc, 5));
            replays.note(ssrc, 5);
            assert!(!replays.is_new(ssrc, 5));
        }
        assert_eq!(replays.windows.len(), SENDERS_MAX);
    }

    #[test]
    fn forged_and_truncated_rtcp_does_not_open() {
        for profile in PROFILES {
            let ((mut server, _), (_, mut client)) = halves(profile);
            let genuine = sealed_report(&mut server);
            for i in 0..genuine.len() {
                let mut forged = genuine.clone();
                forged[i] ^= 1;
                assert!(client.open_rtcp(&mut forged).is_none(), "byte {i}");
                let mut cut = genuine[..i].to_vec();
                assert!(client.open_rtcp(&mut cut).is_none(), "length {i}");
            }
            assert!(client.open_rtcp(&mut genuine.clone()).is_some());
        }
    }

    /// The test vectors of RFC 3711 appendix B.3, for the session keys of RTP.
    #[test]
    fn key_derivation_matches_rfc_3711() {
        let key = b"\xe1\xf9\x7a\x0d\x3e\x01\x8b\xe0\xd6\x4f\xa3\x2c\x06\xde\x41\x39";
        let salt = b"\x0e\xc6\x75\xad\x49\x8a\xfe\xeb\xb6\x96\x0b\x3a\xab\xe6";
        let master = Master::new(false, key, salt).unwrap();
        assert_eq!(
            master.key_stream(0).unwrap(),
            *b"\xc6\x1e\x7a\x93\x74\x4f\x39\xee\x10\x73\x4a\xfe\x3f\xf7\xa0\x87"
        );
        assert_eq!(
            master.key_stream(2).unwrap(),
            *b"\x30\xcb\xbc\x08\x86\x3d\x8c\x85\xd4\x9d\xb3\x4a\x9a\xe1"
        );
        assert_eq!(
            master.key_stream(1).unwrap(),
            *b"\xce\xbe\x32\x1f\x6f\xf7\x71\x6b\x6f\xd4\xab\x49\xaf\x25\x6a\x15\x6d\x38\xba\xa4"
        );
    }

    /// What other implementations make of the keys of RFC 3711 appendix B.3: a packet of RTP with
    /// index 0x1234, and one of RTCP with index 1.
    #[test]
    fn counter_mode_seals_as_others_do() {
        let key = b"\xe1\xf9\x7a\x0d\x3e\x01\x8b\xe0\xd6\x4f\xa3\x2c\x06\xde\x41\x39";
        let salt = b"\x0e\xc6\x75\xad\x49\x8a\xfe\xeb\xb6\x96\x0b\x3a\xab\xe6";
        let material = [&key[..], key, salt, salt].concat();
        let profile = SrtpProfile::AES128_CM_SHA1_80;
        let (mut sealer, mut opener) = derive(profile, &material, false).unwrap();

        let mut rtp = b"\x80\x0f\x12\x34\xde\xca\xfb\xad\xca\xfe\xba\xbe".to_vec();
        rtp.extend([0xab; 16]);
        rtp.resize(rtp.len() + sealer.rtp_overhead(), 0);
        sealer.seal_rtp(0xcafe_babe, 0x1234, &mut rtp).unwrap();
        assert_eq!(
            rtp[12..],
            *b"\x4e\x55\xdc\x4c\xe7\x99\x78\xd8\x8c\xa4\xd2\x15\x94\x9d\x24\x02\
               \xb7\x8d\x6a\xcc\x99\xea\x17\x9b\x8d\xbb"
        );
        let (_, media) = derive_for_media(profile, &material, false).unwrap();
        let payload = media.open_rtp(12, 0xcafe_babe, 0x1234, &mut rtp);
        assert_eq!(payload.unwrap(), [0xab; 16]);

        let mut rtcp = b"\x81\xc8\x00\x0b\xca\xfe\xba\xbe".to_vec();
        rtcp.extend([0xab; 16]);
        let plain = rtcp.clone();
        rtcp.resize(rtcp.len() + sealer.rtcp_overhead(), 0);
        sealer.seal_rtcp(&mut rtcp.clone()).unwrap();
        sealer.seal_rtcp(&mut rtcp).unwrap();
        assert_eq!(
            rtcp[8..],
            *b"\x71\x28\x03\x5b\xe4\x87\xb9\xbd\xbe\xf8\x90\x41\xf9\x77\xa5\xa8\
               \x80\x00\x00\x01\x99\x3e\x08\xcd\x54\xd6\xc1\x23\x07\x98"
        );
        assert_eq!(opener.open_rtcp(&mut rtcp).unwrap(), plain);
    }
}
