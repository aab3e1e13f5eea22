//! DTLS for peers whose certificates dimpl does not take: RSA, which GStreamer made until 1.28.
//!
//! rtc-dtls, of the webrtc-rs project, in the part of the server only. What it keeps of what it
//! is sent has no bound of its own, and an error of its ends nothing that is established: so
//! datagrams are counted here, and errors are the handshake's only. Should it panic, that ends
//! this one session.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{DtlsCertificate, KeyingMaterial, Output, SrtpProfile};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::{self, SignatureScheme};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

/// The peer as rtc-dtls knows it. Where it really is, is ICE's affair.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 9);

/// Datagrams that a handshake may take. A lossless one takes three or four.
const HANDSHAKE_DATAGRAMS_MAX: u32 = 64;

/// Datagrams that are looked at after the handshake: repetitions of its last flight, and a goodbye.
const LATER_DATAGRAMS_MAX: u32 = 256;

/// As long as nothing falls due.
const IDLE: Duration = Duration::from_secs(3600);

#[expect(
    clippy::disallowed_types,
    reason = "never locked: str0m wants a session to be `Sync`, and an exclusive reference needs no lock"
)]
type Exclusive<T> = std::sync::Mutex<T>;

/// See the module.
pub(super) struct Fallback {
    endpoint: Exclusive<Endpoint>,
    now: Instant,
    /// Datagrams that may still come.
    left: u32,
    events: VecDeque<Event>,
    established: bool,
}

enum Event {
    Certificate(Vec<u8>),
    Connected,
    Keys(Vec<u8>, SrtpProfile),
    Closed,
}

impl Fallback {
    pub(super) fn new(now: Instant, certificate: &DtlsCertificate) -> Result<Self, String> {
        let config = config(certificate)?;
        let here = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
        Ok(Self {
            endpoint: Exclusive::new(Endpoint::new(
                here,
                Default::default(),
                Some(Arc::new(config)),
            )),
            now,
            left: HANDSHAKE_DATAGRAMS_MAX,
            events: VecDeque::new(),
            established: false,
        })
    }

    pub(super) fn handle_packet(&mut self, packet: &[u8]) -> Result<(), String> {
        let Some(left) = self.left.checked_sub(1) else {
            return self.of_handshake("too many datagrams".to_owned());
        };
        self.left = left;
        let (now, endpoint) = (self.now, exclusive(&mut self.endpoint));
        let events = contained(|| {
            endpoint
                .read(now, PEER, None, packet.into())
                .map_err(|error| error.to_string())
        });
        match events {
            Ok(events) => events
                .into_iter()
                .try_for_each(|event| self.on_event(&event)),
            Err(error) => self.of_handshake(error),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), String> {
        self.now = now;
        let endpoint = exclusive(&mut self.endpoint);
        if endpoint.poll_timeout(&PEER).is_none_or(|at| now < at) {
            return Ok(());
        }
        let outcome = contained(|| {
            endpoint
                .handle_timeout(PEER, now)
                .map_err(|error| error.to_string())
        });
        outcome.or_else(|error| self.of_handshake(error))
    }

    /// An error is the end of a handshake, and noise after it.
    fn of_handshake(&self, error: String) -> Result<(), String> {
        if self.established {
            tracing::trace!("DTLS after the handshake: {error}");
            return Ok(());
        }
        Err(error)
    }

    fn on_event(&mut self, event: &EndpointEvent) -> Result<(), String> {
        match event {
            EndpointEvent::HandshakeComplete => self.on_handshake(),
            EndpointEvent::PeerClosed => {
                self.events.push_back(Event::Closed);
                Ok(())
            }
            // Data channels are not offered.
            _ => Ok(()),
        }
    }

    fn on_handshake(&mut self) -> Result<(), String> {
        self.established = true;
        self.left = LATER_DATAGRAMS_MAX;
        let state = exclusive(&mut self.endpoint).get_connection_state(PEER);
        let state = state.ok_or("the handshake left no state")?;
        let certificate = state.peer_certificates.first().cloned();
        let certificate = certificate.ok_or("the peer showed no certificate")?;
        self.events.push_back(Event::Certificate(certificate));
        self.events.push_back(Event::Connected);
        // Anything else is no SRTP, which is said when no keys come.
        if state.srtp_protection_profile() == SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 {
            let profile = SrtpProfile::AES128_CM_SHA1_80;
            let keys = state
                .export_keying_material("EXTRACTOR-dtls_srtp", &[], profile.keying_material_len())
                .map_err(|error| error.to_string())?;
            let keys = keys.as_ref().to_vec();
            self.events.push_back(Event::Keys(keys, profile));
        }
        Ok(())
    }

    pub(super) fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> Output<'a> {
        if let Some(transmit) = exclusive(&mut self.endpoint).poll_transmit() {
            return match super::carry(&transmit.message, buffer) {
                Some(packet) => Output::Packet(packet),
                None => Output::CloseNotify,
            };
        }
        match self.events.pop_front() {
            Some(Event::Certificate(certificate)) => match super::carry(&certificate, buffer) {
                Some(certificate) => Output::PeerCert(certificate),
                None => Output::CloseNotify,
            },
            Some(Event::Connected) => Output::Connected,
            Some(Event::Keys(keys, profile)) => {
                Output::KeyingMaterial(KeyingMaterial::new(&keys), profile)
            }
            Some(Event::Closed) => Output::CloseNotify,
            None => {
                let due = exclusive(&mut self.endpoint).poll_timeout(&PEER);
                Output::Timeout(due.unwrap_or(self.now + IDLE))
            }
        }
    }

    pub(super) fn close(&mut self) {
        let (now, endpoint) = (self.now, exclusive(&mut self.endpoint));
        // An error means that there is nobody to say goodbye to.
        let _ = contained(|| {
            endpoint.stop(now, PEER);
            Ok(())
        });
    }
}

fn exclusive<T>(of: &mut Exclusive<T>) -> &mut T {
    of.get_mut()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn contained<T>(act: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(act))
        .unwrap_or_else(|_| Err("the DTLS library failed (please report it)".to_owned()))
}

fn config(certificate: &DtlsCertificate) -> Result<HandshakeConfig, String> {
    let provider = crypto_provider::default_provider().map_err(|error| error.to_string())?;
    let key = provider
        .crypto()
        .import_signing_key(SignatureScheme::EcdsaP256Sha256, &certificate.private_key)
        .map_err(|error| error.to_string())?;
    let chain = vec![certificate.certificate.clone().into()];
    ConfigBuilder::default()
        .with_crypto_provider(provider)
        .with_certificates(vec![Certificate::from_signing_key(chain, key)])
        // Checked by its fingerprint.
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        .with_extended_master_secret(ExtendedMasterSecretType::Request)
        .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80])
        .with_mtu(super::MTU)
        .with_flight_interval(super::FLIGHT_RTO)
        .build(false, None)
        .map_err(|error| error.to_string())
}

impl std::fmt::Debug for Fallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fallback")
            .field("established", &self.established)
            .finish_non_exhaustive()
    }
}
