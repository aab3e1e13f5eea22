//! STUN messages (RFC 8489) from any attributes, signed with a session's password: so that what is
//! behind the integrity check is reached.

use ring::hmac;

/// Bytes before the attributes.
pub const HEADER_LEN: usize = 20;

/// Says which message of ours it is, or whose answer.
pub type TransactionId = [u8; 12];

const COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
const USERNAME: u16 = 0x0006;
const INTEGRITY: u16 = 0x0008;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const CONTROLLING: u16 = 0x802a;

/// A binding request of this user, with more attributes as they are given.
#[must_use]
pub fn binding_request(user: &str, id: TransactionId, attributes: &[u8]) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0];
    message.extend(COOKIE);
    message.extend(id);
    put(&mut message, USERNAME, user.as_bytes());
    message.extend(attributes);
    message
}

/// The attributes of a controlling agent's check (RFC 8445 §7.2.2).
#[must_use]
pub fn check(nominates: bool) -> Vec<u8> {
    let mut attributes = Vec::new();
    put(&mut attributes, PRIORITY, &12_345_u32.to_be_bytes());
    put(&mut attributes, CONTROLLING, &[1; 8]);
    if nominates {
        put(&mut attributes, USE_CANDIDATE, &[]);
    }
    attributes
}

/// A message with its length set, and with integrity and fingerprint at its end. What is shorter
/// than a header stays as it is.
#[must_use]
pub fn signed(mut message: Vec<u8>, password: &str) -> Vec<u8> {
    if message.len() < HEADER_LEN {
        return message;
    }
    message.resize(message.len().next_multiple_of(4), 0);
    set_len(&mut message, 24);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let tag = hmac::sign(&key, &message);
    put(&mut message, INTEGRITY, tag.as_ref());
    set_len(&mut message, 8);
    let checksum = crc32(&message) ^ 0x5354_554e;
    put(&mut message, FINGERPRINT, &checksum.to_be_bytes());
    message
}

/// Whether a datagram is STUN by its first byte (RFC 7983 §7).
#[must_use]
pub fn is_stun(datagram: &[u8]) -> bool {
    matches!(datagram, [0..=3, ..])
}

/// The types of a message's attributes before its integrity, as far as it is well-formed.
pub fn attributes(message: &[u8]) -> impl Iterator<Item = u16> + '_ {
    let mut rest = message.get(HEADER_LEN..).unwrap_or_default();
    std::iter::from_fn(move || {
        let ([a, b, c, d], after) = rest.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes([*c, *d])).next_multiple_of(4);
        rest = after.get(len..)?;
        Some(u16::from_be_bytes([*a, *b]))
    })
    .take_while(|kind| *kind != INTEGRITY)
}

/// Whether a message nominates, as far as it is well-formed.
#[must_use]
pub fn nominates(message: &[u8]) -> bool {
    attributes(message).any(|kind| kind == USE_CANDIDATE)
}

fn put(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    let len = u16::try_from(value.len()).expect("a short attribute");
    message.extend(len.to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// Sets the length as if so many bytes more stood at the end.
fn set_len(message: &mut [u8], more: usize) {
    let len = message.len() - HEADER_LEN + more;
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    message[2..4].copy_from_slice(&len.to_be_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}
