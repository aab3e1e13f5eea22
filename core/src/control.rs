//! A viewer's ICE and DTLS: who it is and where it can be reached. Ends in SRTP keys.
//!
//! ICE is lite (RFC 8445 §2.5): we answer binding requests and follow what the peer nominates. We
//! are the DTLS server, or the client where the peer insists. Nothing but answers to valid binding
//! requests is sent before ICE has a nominated route.

use std::sync::Arc;
use std::time::Instant;

use dimpl::{DtlsCertificate, KeyingMaterial, Output, SrtpProfile};
use is::stun::StunMessage;
use str0m::crypto::CryptoProvider;

use crate::config::SrtpPolicy;
use crate::dtls;
use crate::fingerprint::Fingerprint;
use crate::ice::{Ice, Names};
use crate::net::Route;
use crate::srtp::{self, Opener, Sealer};
use crate::stats::EndReason;

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dtls: Arc<dimpl::Config>,
    pub(crate) certificate: DtlsCertificate,
    pub(crate) crypto: Arc<CryptoProvider>,
    pub(crate) srtp: SrtpPolicy,
}

impl Shared {
    /// Whether media may be protected by this profile.
    pub(crate) fn allows(&self, profile: SrtpProfile) -> Result<(), EndReason> {
        match self.srtp {
            SrtpPolicy::AeadOnly if !srtp::is_aead(profile) => {
                Err(EndReason::NoAead(srtp::name(profile).to_owned()))
            }
            SrtpPolicy::AeadOnly | SrtpPolicy::PreferAead => Ok(()),
        }
    }
}

/// What the offer said of the peer, and what the answer says of us.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) local_ufrag: String,
    pub(crate) local_password: String,
    pub(crate) remote_ufrag: String,
    pub(crate) remote_password: String,
    pub(crate) fingerprint: Fingerprint,
    /// We are the DTLS client.
    pub(crate) active: bool,
}

impl Credentials {
    /// What ICE begins with.
    pub(crate) fn names(&self) -> Names {
        Names {
            local_ufrag: self.local_ufrag.clone(),
            local_password: self.local_password.clone(),
            remote_ufrag: self.remote_ufrag.clone(),
            remote_password: self.remote_password.clone(),
        }
    }
}

/// See the module.
pub(crate) struct Control {
    pub(crate) ice: Ice,
    dtls: dtls::Session,
    fingerprint: Fingerprint,
    shared: Arc<Shared>,
    dtls_timeout: Option<Instant>,
    handshake: Handshake,
}

/// What a DTLS handshake has to bring, in whatever order it does.
#[derive(Debug, Default)]
struct Handshake {
    /// The peer has shown the certificate that its offer announced.
    verified: bool,
    connected: bool,
    /// It has brought keys, which may have been taken.
    keyed: bool,
    keys: Option<(KeyingMaterial, SrtpProfile)>,
}

impl Handshake {
    /// DTLS is done and there are no keys: the peers have no SRTP profile in common.
    fn is_in_vain(&self) -> bool {
        self.connected && self.verified && !self.keyed
    }

    /// The keys, once all is there.
    fn take(&mut self) -> Option<(KeyingMaterial, SrtpProfile)> {
        if self.verified && self.connected {
            self.keys.take()
        } else {
            None
        }
    }
}

/// What came of an input.
#[derive(Debug)]
pub(crate) enum Progress {
    /// A datagram is to be sent.
    Send(Route, Vec<u8>),
    /// The peer nominated another route.
    Selected(Route),
    /// The handshake is finished: the profile and the keys, once.
    Connected(SrtpProfile, Box<(Sealer, Opener)>),
    /// The session is over.
    Ended(EndReason),
}

impl Control {
    pub(crate) fn new(now: Instant, shared: &Arc<Shared>, credentials: Credentials) -> Self {
        let mut dtls = dtls::Session::new(now, shared.dtls.clone(), &shared.certificate);
        dtls.set_active(credentials.active);
        Self {
            ice: Ice::new(credentials.names(), shared.crypto.sha1_hmac_provider),
            dtls,
            fingerprint: credentials.fingerprint,
            shared: shared.clone(),
            dtls_timeout: None,
            handshake: Handshake::default(),
        }
    }

    /// The route that the peer nominated.
    pub(crate) fn selected(&self) -> Option<Route> {
        self.ice.selected()
    }

    /// Takes in a STUN message. Returns whether it was a valid binding request of this peer.
    pub(crate) fn handle_stun(&mut self, route: Route, message: &StunMessage<'_>) -> bool {
        self.ice.handle(route, message).is_some()
    }

    /// Takes in a DTLS datagram.
    pub(crate) fn handle_dtls(&mut self, now: Instant, contents: &[u8]) -> Result<(), EndReason> {
        self.dtls
            .handle_timeout(now)
            .and_then(|()| {
                let certificate = &self.shared.certificate;
                self.dtls.handle_packet(now, certificate, contents)
            })
            .map_err(EndReason::Failed)
    }

    /// Does what has fallen due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), EndReason> {
        if self.dtls_timeout.is_some_and(|at| now >= at) {
            self.dtls_timeout = None;
            self.dtls.handle_timeout(now).map_err(EndReason::Failed)?;
        }
        Ok(())
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.dtls_timeout
    }

    /// What is to be done, until `None`. `scratch` has
    /// [`OUTPUT_LEN`](crate::dtls::OUTPUT_LEN) bytes.
    pub(crate) fn poll(&mut self, scratch: &mut [u8]) -> Option<Progress> {
        if let Some(route) = self.ice.poll_selected() {
            return Some(Progress::Selected(route));
        }
        if let Some((route, contents)) = self.ice.poll_reply() {
            return Some(Progress::Send(route, contents));
        }
        self.poll_dtls(scratch)
    }

    fn poll_dtls(&mut self, scratch: &mut [u8]) -> Option<Progress> {
        // Nothing is sent before there is a way, so nothing is taken out either.
        let route = self.ice.selected()?;
        loop {
            match self.dtls.poll_output(scratch) {
                Output::Packet(packet) => return Some(Progress::Send(route, packet.to_vec())),
                Output::Timeout(at) => {
                    self.dtls_timeout = Some(at);
                    return self
                        .handshake
                        .is_in_vain()
                        .then_some(Progress::Ended(EndReason::NoSrtp));
                }
                Output::PeerCert(certificate) => {
                    if !self.fingerprint.matches(certificate) {
                        return Some(Progress::Ended(EndReason::Fingerprint));
                    }
                    self.handshake.verified = true;
                }
                Output::KeyingMaterial(material, profile) => {
                    self.handshake.keyed = true;
                    self.handshake.keys = Some((material, profile));
                }
                Output::Connected => self.handshake.connected = true,
                Output::CloseNotify => return Some(Progress::Ended(EndReason::PeerClosed)),
                // Data channels are not offered: what comes by them is not for us.
                Output::ApplicationData(_) => {}
                other => return Some(Progress::Ended(EndReason::Failed(format!("{other:?}")))),
            }
            if let Some((material, profile)) = self.handshake.take() {
                return Some(match self.keys(profile, &material) {
                    Ok(keys) => Progress::Connected(profile, Box::new(keys)),
                    Err(reason) => Progress::Ended(reason),
                });
            }
        }
    }

    fn keys(
        &self,
        profile: SrtpProfile,
        material: &KeyingMaterial,
    ) -> Result<(Sealer, Opener), EndReason> {
        self.shared.allows(profile)?;
        srtp::derive(profile, material, self.dtls.is_active()).ok_or(EndReason::NoSrtp)
    }

    /// Says goodbye by DTLS (close_notify). What is to be sent comes by [`poll`](Self::poll).
    pub(crate) fn close(&mut self) {
        self.dtls.close();
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("ice", &self.ice)
            .field("dtls", &self.dtls)
            .finish_non_exhaustive()
    }
}
