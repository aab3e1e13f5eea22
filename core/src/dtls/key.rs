//! Our private key, parsed once.
//!
//! dimpl has the key parsed for each session, and aws-lc then checks that the public half belongs to
//! it, which costs more than signing with it does. A server shows the same certificate to everybody:
//! the key that was parsed last on this thread is taken again. It stays there as long as the thread.

use std::cell::Cell;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use dimpl::crypto::{Buf, HashAlgorithm, KeyProvider, SignatureAlgorithm, SigningKey};
use dimpl::{CryptoError, CryptoOperation};

/// Parses private keys. Those that are not P-256 in PKCS#8, as nobody's of ours is, go the usual way.
#[derive(Debug)]
pub(super) struct Keys;

thread_local! {
    static LAST: Cell<Option<Parsed>> = const { Cell::new(None) };
}

struct Parsed {
    der: Box<[u8]>,
    pair: Arc<EcdsaKeyPair>,
}

impl KeyProvider for Keys {
    fn load_private_key(&self, der: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        let last = LAST.take().filter(|last| *last.der == *der);
        if let Some(last) = last {
            let pair = Arc::clone(&last.pair);
            LAST.set(Some(last));
            return Ok(Box::new(Key(pair)));
        }
        let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der) else {
            let usual = dimpl::crypto::aws_lc_rs::default_provider();
            return usual.key_provider.load_private_key(der);
        };
        let pair = Arc::new(pair);
        LAST.set(Some(Parsed {
            der: der.into(),
            pair: Arc::clone(&pair),
        }));
        Ok(Box::new(Key(pair)))
    }
}

/// ECDSA with P-256 and SHA-256 (RFC 8422 §5.10).
#[derive(Debug)]
struct Key(Arc<EcdsaKeyPair>);

impl SigningKey for Key {
    fn sign(
        &mut self,
        data: &[u8],
        hash: HashAlgorithm,
        signature: &mut Buf,
    ) -> Result<(), CryptoError> {
        if hash != self.hash_algorithm() {
            return Err(CryptoError::SigningKeyHashMismatch {
                key_hash: self.hash_algorithm(),
                requested: hash,
            });
        }
        let signed = self.0.sign(&SystemRandom::new(), data);
        let signed = signed.map_err(|_| CryptoError::OperationFailed(CryptoOperation::Sign))?;
        signature.clear();
        signature.extend_from_slice(signed.as_ref());
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &[HashAlgorithm::SHA256]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_certificate_of_ours_is_parsed_once_and_signs_with_its_own_hash_alone() {
        let made = dimpl::certificate::generate_self_signed_certificate();
        let der = made.unwrap().private_key;
        let load = || Keys.load_private_key(&der).unwrap();
        let (mut key, _other) = (load(), load());
        let last = LAST.take().unwrap();
        assert_eq!(*last.der, *der);
        // Ours, and those of both.
        assert_eq!(Arc::strong_count(&last.pair), 3);

        let mut signature = Buf::new();
        key.sign(b"text", HashAlgorithm::SHA256, &mut signature)
            .unwrap();
        assert!(!signature.is_empty());
        let refused = key.sign(b"text", HashAlgorithm::SHA384, &mut signature);
        assert!(refused.is_err());
    }
}
