//! The DTLS handshake of a light viewer, which is dropped when it is done.

use std::time::Instant;

use dimpl::{Dtls, KeyingMaterial, Output, SrtpProfile};

use super::shared;
use super::srtp::Keys;

/// What is offered for SRTP, of what there is, which is what dimpl has.
const CIPHERS: &str = "AES-GCM and AES128_CM_HMAC_SHA1_80";

/// One side of a handshake: the client's, unless the server wants to be the client.
#[derive(Debug)]
pub(super) struct Handshake {
    dtls: Dtls,
    is_client: bool,
    timeout: Instant,
    is_connected: bool,
    keys: Option<(KeyingMaterial, SrtpProfile)>,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Step {
    /// So many bytes are to be sent.
    Send(usize),
    /// Something is to come.
    Wait,
    /// It is done. As a client nothing is left to be sent: the last flight is the server's (RFC 6347
    /// §4.2.4). As a server it was, and is not sent again if it is lost.
    Done(Box<Keys>),
}

impl Handshake {
    pub(super) fn new(now: Instant, is_client: bool) -> Result<Self, String> {
        let shared = shared();
        let mut dtls = Dtls::new_12(shared.dtls.clone(), shared.certificate.clone(), now);
        dtls.set_active(is_client);
        dtls.handle_timeout(now).map_err(|e| e.to_string())?;
        Ok(Self {
            dtls,
            is_client,
            timeout: now,
            is_connected: false,
            keys: None,
        })
    }

    /// When [`poll`](Self::poll) has something to do.
    pub(super) fn timeout(&self) -> Instant {
        self.timeout
    }

    /// Takes in a datagram.
    pub(super) fn handle(&mut self, now: Instant, contents: &[u8]) -> Result<(), String> {
        self.timeout = now;
        self.dtls
            .handle_timeout(now)
            .and_then(|()| self.dtls.handle_packet(contents))
            .map_err(|e| e.to_string())
    }

    /// Does what is due. To be called until there is nothing to send.
    pub(super) fn poll(&mut self, now: Instant, buffer: &mut [u8]) -> Result<Step, String> {
        if self.timeout > now {
            return Ok(Step::Wait);
        }
        self.dtls.handle_timeout(now).map_err(|e| e.to_string())?;
        loop {
            match self.dtls.poll_output(buffer) {
                Output::Packet(packet) => return Ok(Step::Send(packet.len())),
                Output::Connected => self.is_connected = true,
                Output::KeyingMaterial(material, profile) => {
                    self.keys = Some((material, profile));
                }
                Output::Timeout(at) => {
                    self.timeout = at;
                    break;
                }
                // Whom the server shows itself as does not matter here.
                Output::PeerCert(_) => {}
                other => return Err(format!("unexpected in a handshake: {other:?}")),
            }
        }
        if !self.is_connected {
            return Ok(Step::Wait);
        }
        let (material, profile) = self.keys.take().ok_or_else(|| {
            format!("the server agreed to no cipher of SRTP: viewers have {CIPHERS}")
        })?;
        let provider = shared().crypto.srtp_provider;
        let keys = Keys::derive(profile, &material, self.is_client, provider).ok_or_else(|| {
            format!("the server chose {profile:?} for SRTP: viewers have {CIPHERS}")
        })?;
        Ok(Step::Done(Box::new(keys)))
    }
}
