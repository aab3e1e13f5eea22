//! Fingerprints of certificates.
pub(crate) use crate::signal::offer::Fingerprint;
