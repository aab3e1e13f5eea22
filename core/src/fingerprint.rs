//! Fingerprints of certificates (RFC 8122): what an offer announces, and what a DTLS handshake
//! has to show.

/// A hash of the peer's certificate in DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// Which hash.
    pub(crate) hash: Hash,
    /// Its value, as long as the hash says.
    pub(crate) bytes: Vec<u8>,
}

impl Fingerprint {
    /// Whether the peer showed the certificate that it announced.
    pub(crate) fn matches(&self, certificate: &[u8]) -> bool {
        let algorithm = match self.hash {
            Hash::Sha256 => &ring::digest::SHA256,
            Hash::Sha384 => &ring::digest::SHA384,
            Hash::Sha512 => &ring::digest::SHA512,
        };
        ring::digest::digest(algorithm, certificate).as_ref() == self.bytes
    }
}

/// The hashes that are strong enough to trust. Greater ones are longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hash {
    /// What everybody sends.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
}

impl Hash {
    /// As `a=fingerprint` spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    /// Bytes of its value.
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}
