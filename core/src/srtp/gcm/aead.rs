//! AES-GCM under one key, by the library that is fastest on this processor.
//!
//! With AVX-512 that is aws-lc, which also seals from one place into another without a copy; without
//! it, ring. Nanoseconds for 1,150 bytes: 252 and 315 on a Xeon with AVX-512, a hundred keys in turn;
//! 507 and 359 on a Zen 3, which has none, two hundred keys. aws-lc's keys are allocations, ring's are
//! values: from a thousand keys on, finding them takes half of that back. Both give the same bytes.

use aws_lc_rs::aead as aws;
use ring::aead as ring;

use crate::srtp::gcm::{SALT_LEN, TAG_LEN};

type Nonce = [u8; SALT_LEN];

/// What a crypto library has to offer. Another library is another implementation.
pub(super) trait Aes {
    /// Encrypts in place and gives the tag.
    fn seal(&self, nonce: Nonce, aad: &[u8], text: &mut [u8]) -> Option<[u8; TAG_LEN]>;

    /// Encrypts from one place into another of the same length, and writes the tag.
    fn seal_from(
        &self,
        nonce: Nonce,
        aad: &[u8],
        text: &[u8],
        sealed: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) -> Option<()>;

    /// Decrypts in place what has its tag at the end, and gives the length of the plaintext.
    fn open(&self, nonce: Nonce, aad: &[u8], text: &mut [u8]) -> Option<usize>;
}

/// See the module.
#[expect(
    clippy::large_enum_variant,
    reason = "a process has keys of one kind, and a box would be one more miss of the caches"
)]
pub(in crate::srtp) enum Aead {
    AwsLc(aws::LessSafeKey),
    Ring(ring::LessSafeKey),
}

impl Aead {
    /// For what is sealed all the time. `key` has 16 or 32 bytes.
    pub(in crate::srtp) fn fastest(key: &[u8]) -> Option<Self> {
        if has_avx512() {
            Self::aws_lc(key)
        } else {
            Self::ring(key)
        }
    }

    /// For what is seldom used: ring's keys need no allocation of their own. `key` has 16 or 32 bytes.
    pub(in crate::srtp) fn smallest(key: &[u8]) -> Option<Self> {
        Self::ring(key)
    }

    fn aws_lc(key: &[u8]) -> Option<Self> {
        let algorithm = match key.len() {
            16 => &aws::AES_128_GCM,
            32 => &aws::AES_256_GCM,
            _ => return None,
        };
        let key = aws::UnboundKey::new(algorithm, key).ok()?;
        Some(Self::AwsLc(aws::LessSafeKey::new(key)))
    }

    fn ring(key: &[u8]) -> Option<Self> {
        let algorithm = match key.len() {
            16 => &ring::AES_128_GCM,
            32 => &ring::AES_256_GCM,
            _ => return None,
        };
        let key = ring::UnboundKey::new(algorithm, key).ok()?;
        Some(Self::Ring(ring::LessSafeKey::new(key)))
    }

    /// Whatever the processor is.
    #[cfg(test)]
    pub(super) fn all(key: &[u8]) -> [Self; 2] {
        [Self::aws_lc(key), Self::ring(key)].map(Option::unwrap)
    }
}

/// What aws-lc's fastest code asks for.
#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}

impl Aes for Aead {
    fn seal(&self, nonce: Nonce, aad: &[u8], text: &mut [u8]) -> Option<[u8; TAG_LEN]> {
        match self {
            Self::AwsLc(key) => key.seal(nonce, aad, text),
            Self::Ring(key) => key.seal(nonce, aad, text),
        }
    }

    fn seal_from(
        &self,
        nonce: Nonce,
        aad: &[u8],
        text: &[u8],
        sealed: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) -> Option<()> {
        match self {
            Self::AwsLc(key) => key.seal_from(nonce, aad, text, sealed, tag),
            Self::Ring(key) => key.seal_from(nonce, aad, text, sealed, tag),
        }
    }

    fn open(&self, nonce: Nonce, aad: &[u8], text: &mut [u8]) -> Option<usize> {
        match self {
            Self::AwsLc(key) => key.open(nonce, aad, text),
            Self::Ring(key) => key.open(nonce, aad, text),
        }
    }
}

impl Aes for aws::LessSafeKey {
    fn seal(&self, nonce: Nonce, aad: &[u8], text: &mut [u8]) -> Option<[u8; TAG_LEN]> {
        let nonce = aws::Nonce::assume_unique_for_key(nonce);
        let tag = self.seal_in_place_separate_tag(nonce, aws::Aad::from(aad), text);
        tag.ok()?.as_ref().try_into().ok()
    }

    fn seal_from(
        &self,
        nonce: Nonce,
        aad: &[u8],
        text: &[u8],
        sealed: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) -> Option<()> {
        let nonce = aws::Nonce::assume_unique_for_key(nonce);
        self.seal_out_of_place_scatter(nonce, aws::Aad::from(aad), text, sealed, &[], tag)
            .ok()
    }

    fn open(&self, nonce: Nonce, aad: &[u8], text: &mut [u8]) -> Option<usize> {
        let nonce = aws::Nonce::assume_unique_for_key(nonce);
        let plain = self.open_in_place(nonce, aws::Aad::from(aad), text).ok()?;
        Some(plain.len())
    }
}

impl Aes for ring::LessSafeKey {
    fn seal(&self, nonce: Nonce, aad: &[u8], text: &mut [u8]) -> Option<[u8; TAG_LEN]> {
        let nonce = ring::Nonce::assume_unique_for_key(nonce);
        let tag = self.seal_in_place_separate_tag(nonce, ring::Aad::from(aad), text);
        tag.ok()?.as_ref().try_into().ok()
    }

    fn seal_from(
        &self,
        nonce: Nonce,
        aad: &[u8],
        text: &[u8],
        sealed: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) -> Option<()> {
        if sealed.len() != text.len() {
            return None;
        }
        sealed.copy_from_slice(text);
        *tag = Aes::seal(self, nonce, aad, sealed)?;
        Some(())
    }

    fn open(&self, nonce: Nonce, aad: &[u8], text: &mut [u8]) -> Option<usize> {
        let nonce = ring::Nonce::assume_unique_for_key(nonce);
        let plain = self.open_in_place(nonce, ring::Aad::from(aad), text).ok()?;
        Some(plain.len())
    }
}
