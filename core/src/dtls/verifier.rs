//! The proof that a peer has its certificate's key.
//!
//! dimpl reads a certificate whole for it, names, dates and extensions. That it is the announced one
//! is shown by its fingerprint, and its key is all that is needed of it.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use dimpl::CryptoError;
use dimpl::crypto::{HashAlgorithm, NamedGroup, SignatureAlgorithm, SignatureVerifier};

/// Checks ECDSA with P-256 and SHA-256, which browsers make. What else there is goes the usual way.
#[derive(Debug)]
pub(super) struct Verifier;

impl SignatureVerifier for Verifier {
    fn verify_signature(
        &self,
        certificate: &[u8],
        data: &[u8],
        signature: &[u8],
        hash: HashAlgorithm,
        algorithm: SignatureAlgorithm,
    ) -> Result<(), CryptoError> {
        let key = match (algorithm, hash) {
            (SignatureAlgorithm::ECDSA, HashAlgorithm::SHA256) => p256_key(certificate),
            _ => None,
        };
        let Some(key) = key else {
            let usual = dimpl::crypto::aws_lc_rs::default_provider().signature_verification;
            return usual.verify_signature(certificate, data, signature, hash, algorithm);
        };
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
            .verify(data, signature)
            .map_err(|_| CryptoError::SignatureVerificationFailed {
                signature: algorithm,
                hash,
                group: NamedGroup::Secp256r1,
            })
    }
}

/// A SubjectPublicKeyInfo (RFC 5480 §2) of an uncompressed point on P-256, up to the point.
const P256: [u8; 26] = *b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

/// Bytes of a point on P-256: a mark, x, y.
const POINT_LEN: usize = 65;

/// The key of a certificate (RFC 5280 §4.1) in DER. `None`: it is another one, or hard to find.
fn p256_key(certificate: &[u8]) -> Option<&[u8; POINT_LEN]> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 2;
    const VERSION: u8 = 0xa0;
    let (signed, _) = element(SEQUENCE, certificate)?;
    let (fields, _) = element(SEQUENCE, signed)?;
    let fields = element(VERSION, fields).map_or(fields, |(_, rest)| rest);
    let (_serial_number, fields) = element(INTEGER, fields)?;
    let (_algorithm, fields) = element(SEQUENCE, fields)?;
    let (_issuer, fields) = element(SEQUENCE, fields)?;
    let (_validity, fields) = element(SEQUENCE, fields)?;
    let (_subject, fields) = element(SEQUENCE, fields)?;
    fields.strip_prefix(&P256)?.first_chunk()
}

/// What an element of that tag contains (X.690 §8.1), and what stands behind it.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.strip_prefix(&[tag])?.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => {
            let (&length, rest) = rest.split_first()?;
            (usize::from(length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use dimpl::crypto::Buf;
    use proptest::prelude::*;

    use super::*;

    const DATA: &[u8] = b"what both have said";

    /// A certificate, and its signature of [`DATA`].
    fn peer() -> (Vec<u8>, Vec<u8>) {
        let own = dimpl::certificate::generate_self_signed_certificate().unwrap();
        let keys = dimpl::crypto::aws_lc_rs::default_provider().key_provider;
        let mut key = keys.load_private_key(&own.private_key).unwrap();
        let mut signature = Buf::new();
        key.sign(DATA, HashAlgorithm::SHA256, &mut signature)
            .unwrap();
        (own.certificate, signature.to_vec())
    }

    fn verify(certificate: &[u8], data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let (hash, algorithm) = (HashAlgorithm::SHA256, SignatureAlgorithm::ECDSA);
        Verifier.verify_signature(certificate, data, signature, hash, algorithm)
    }

    #[test]
    fn the_key_of_a_certificate_is_found() {
        let (certificate, signature) = peer();
        assert!(p256_key(&certificate).is_some());
        assert_eq!(verify(&certificate, DATA, &signature), Ok(()));
    }

    #[test]
    fn a_signature_of_another_text_or_key_proves_nothing() {
        let ((certificate, signature), (other, _)) = (peer(), peer());
        let wrong = Err(CryptoError::SignatureVerificationFailed {
            signature: SignatureAlgorithm::ECDSA,
            hash: HashAlgorithm::SHA256,
            group: NamedGroup::Secp256r1,
        });
        assert_eq!(verify(&certificate, b"something else", &signature), wrong);
        assert_eq!(verify(&other, DATA, &signature), wrong);
    }

    /// The mark of P-256 may stand in a name: there it does not count.
    #[test]
    fn a_key_elsewhere_in_a_certificate_is_not_its_key() {
        let (certificate, _) = peer();
        let mut bare = certificate.clone();
        let at = bare.windows(P256.len()).position(|bytes| bytes == P256);
        bare[at.unwrap() + P256.len() - 3] ^= 1;
        assert_eq!(p256_key(&bare), None);
        bare.extend(&P256);
        bare.extend([4; POINT_LEN]);
        assert_eq!(p256_key(&bare), None);
    }

    proptest! {
        #[test]
        fn no_certificate_makes_it_panic(cut in 0_usize..600, at in 0_usize..600, to in any::<u8>()) {
            let (mut certificate, signature) = peer();
            if let Some(byte) = certificate.get_mut(at) {
                *byte = to;
            }
            certificate.truncate(certificate.len().saturating_sub(cut));
            let _ = verify(&certificate, DATA, &signature);
        }
    }
}
