//! What a peer's first hello says of it.

/// Whether a datagram is a ClientHello (RFC 6347 §4.2.1), or the first fragment of one, that offers
/// SRTP (RFC 5764 §4.1.1) and no profile with AEAD. Of a fragment it counts what is there.
pub(super) fn is_without_aead(datagram: &[u8]) -> bool {
    profiles(datagram).is_some_and(|profiles| {
        let ids = profiles.as_chunks::<2>().0;
        !ids.is_empty() && !ids.iter().any(|id| matches!(id, [0, 7 | 8]))
    })
}

/// The list in the extension `use_srtp`.
fn profiles(datagram: &[u8]) -> Option<&[u8]> {
    const HANDSHAKE: u8 = 22;
    const CLIENT_HELLO: u8 = 1;
    const USE_SRTP: [u8; 2] = [0, 14];
    let mut record = Reader(datagram);
    if record.take(1)? != [HANDSHAKE] {
        return None;
    }
    // Version, epoch, sequence number.
    record.take(10)?;
    let mut message = Reader(record.vector(2)?);
    if message.take(1)? != [CLIENT_HELLO] {
        return None;
    }
    // Its length and sequence number.
    message.take(5)?;
    let offset = message.take(3)?;
    if offset != [0, 0, 0] {
        return None;
    }
    // The fragment's length, version and random.
    message.take(3 + 34)?;
    let _session = message.vector(1)?;
    let _cookie = message.vector(1)?;
    let _suites = message.vector(2)?;
    let _compression = message.vector(1)?;
    // The length of all extensions, which a fragment may not have.
    message.take(2)?;
    loop {
        let kind = message.take(2)?;
        let body = message.vector(2)?;
        if kind == USE_SRTP {
            return Reader(body).vector(2);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Bytes behind their length, which stands in one byte or two.
    fn vector(&mut self, length_len: usize) -> Option<&'a [u8]> {
        let length = self.take(length_len)?;
        let length = length
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A ClientHello with the given SRTP profiles, behind another extension.
    fn hello(profiles: &[u8]) -> Vec<u8> {
        let length = |len: usize| u16::try_from(len).unwrap().to_be_bytes();
        let mut extensions = vec![0, 23, 0, 0];
        extensions.extend([0, 14]);
        extensions.extend(length(profiles.len() + 3));
        extensions.extend(length(profiles.len()));
        extensions.extend(profiles);
        extensions.push(0);
        let mut body = vec![0xfe, 0xfd];
        body.extend([7; 32]);
        body.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
        body.extend(length(extensions.len()));
        body.extend(extensions);
        let [high, low] = length(body.len());
        let mut message = vec![1, 0, high, low, 0, 0, 0, 0, 0, 0, high, low];
        message.extend(body);
        let mut record = vec![22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
        record.extend(length(message.len()));
        record.extend(message);
        record
    }

    #[test]
    fn only_a_hello_with_srtp_and_no_aead_is_one_without() {
        assert!(is_without_aead(&hello(&[0, 1])));
        assert!(is_without_aead(&hello(&[0, 1, 0, 2])));
        assert!(!is_without_aead(&hello(&[0, 1, 0, 8, 0, 7])));
        assert!(!is_without_aead(&hello(&[0, 7])));
        assert!(!is_without_aead(&hello(&[])));
        let mut later = hello(&[0, 1]);
        later[13 + 8] += 1;
        assert!(!is_without_aead(&later), "not the beginning");
    }

    /// The first of two datagrams, as GStreamer 1.22 sends it.
    #[test]
    fn a_first_fragment_says_what_it_has() {
        let mut whole = hello(&[0, 1]);
        let longer = |length: &mut [u8]| length[1] += 40;
        // The message is longer than its fragment, and so is the list of extensions.
        longer(&mut whole[13 + 2..]);
        let extensions = 25 + 34 + 1 + 1 + 4 + 2;
        longer(&mut whole[extensions..]);
        assert!(is_without_aead(&whole));
    }

    #[test]
    fn a_hello_cut_off_anywhere_says_nothing() {
        let whole = hello(&[0, 1]);
        for len in 0..whole.len() {
            assert!(!is_without_aead(&whole[..len]), "{len}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            is_without_aead(&bytes);
            let mut damaged = hello(&[0, 1]);
            for (to, from) in damaged.iter_mut().skip(11).zip(&bytes) {
                *to ^= from & 3;
            }
            is_without_aead(&damaged);
        }
    }
}
