//! Randomness and hash order from one seed.
//!
//! Everything a [`Server`](crate::Server) draws comes from here, so that a run can be repeated
//! from a number. The generator is cryptographic (ChaCha): in production its seed is the operating
//! system's, and what it draws guards sessions.

use std::hash::BuildHasher;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use siphasher::sip::SipHasher13;

/// A hash map whose order follows from the seed and that a peer cannot fill with collisions.
#[expect(clippy::disallowed_types, reason = "this is the seeded one")]
pub(crate) type SeededMap<K, V> = std::collections::HashMap<K, V, SeededState>;

/// The source of all randomness of one server.
pub(crate) struct Seeded(StdRng);

impl Seeded {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self(StdRng::from_seed(seed))
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    pub(crate) fn u16(&mut self) -> u16 {
        (self.0.next_u32() >> 16) as u16
    }

    /// Uniform in `0.0..1.0`.
    pub(crate) fn fraction(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / (f64::from(u32::MAX) + 1.0)
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    pub(crate) fn map<K, V>(&mut self) -> SeededMap<K, V> {
        SeededMap::with_hasher(SeededState {
            keys: (self.u64(), self.u64()),
        })
    }
}

impl std::fmt::Debug for Seeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seeded")
    }
}

/// Keys of SipHash-1-3.
#[derive(Clone)]
pub(crate) struct SeededState {
    keys: (u64, u64),
}

impl BuildHasher for SeededState {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.keys.0, self.keys.1)
    }
}

impl std::fmt::Debug for SeededState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SeededState")
    }
}
