//! One DTLS session: dimpl's, or the fallback's for a peer that needs it.
//!
//! Which one is decided by the peer's first hello, where we are the server: who offers SRTP without
//! AEAD may well show an RSA certificate, which dimpl does not take.

use std::sync::Arc;
use std::time::Instant;

use dimpl::{Config, DtlsCertificate, Output};

use crate::dtls::fallback::Fallback;
use crate::dtls::hello;

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    stack: Stack,
    /// Nothing has come from the peer.
    is_fresh: bool,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large one")]
enum Stack {
    Dimpl(dimpl::Dtls),
    Fallback(Box<Fallback>),
}

impl Session {
    pub(crate) fn new(now: Instant, config: Arc<Config>, certificate: &DtlsCertificate) -> Self {
        Self {
            stack: Stack::Dimpl(dimpl::Dtls::new_12(config, certificate.clone(), now)),
            is_fresh: true,
        }
    }

    /// We are the client, or the server: to be said before anything comes.
    pub(crate) fn set_active(&mut self, active: bool) {
        debug_assert!(self.is_fresh);
        if let Stack::Dimpl(dtls) = &mut self.stack {
            dtls.set_active(active);
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        match &self.stack {
            Stack::Dimpl(dtls) => dtls.is_active(),
            Stack::Fallback(_) => false,
        }
    }

    /// Takes in a datagram. `certificate` is ours.
    pub(crate) fn handle_packet(
        &mut self,
        now: Instant,
        certificate: &DtlsCertificate,
        packet: &[u8],
    ) -> Result<(), String> {
        let is_first = std::mem::take(&mut self.is_fresh);
        if is_first && !self.is_active() && hello::is_without_aead(packet) {
            self.stack = Stack::Fallback(Box::new(Fallback::new(now, certificate)?));
        }
        match &mut self.stack {
            Stack::Dimpl(dtls) => dtls.handle_packet(packet).map_err(|e| e.to_string()),
            Stack::Fallback(dtls) => dtls.handle_packet(packet),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), String> {
        match &mut self.stack {
            Stack::Dimpl(dtls) => dtls.handle_timeout(now).map_err(|e| e.to_string()),
            Stack::Fallback(dtls) => dtls.handle_timeout(now),
        }
    }

    pub(crate) fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> Output<'a> {
        match &mut self.stack {
            Stack::Dimpl(dtls) => dtls.poll_output(buffer),
            Stack::Fallback(dtls) => dtls.poll_output(buffer),
        }
    }

    /// Says goodbye (close_notify).
    pub(crate) fn close(&mut self) {
        match &mut self.stack {
            // An error means that there is nobody to say goodbye to.
            Stack::Dimpl(dtls) => {
                let _ = dtls.close();
            }
            Stack::Fallback(dtls) => dtls.close(),
        }
    }
}
