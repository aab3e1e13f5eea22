//! DTLS for everybody: one configuration of dimpl, a fallback for peers that dimpl does not take,
//! and str0m's way to both.
//!
//! Building a configuration runs the crypto library's self-tests, a millisecond of work: it is
//! built once for the process, and never changes. Publishers' DTLS is inside str0m, which asks a
//! [`DtlsProvider`] for it; ours gives it the same one.

mod fallback;
mod hello;
mod key;
mod session;
mod verifier;

use std::cell::Cell;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use dimpl::crypto::NamedGroup;
use dimpl::{Config, DtlsCertificate, Error, KeyingMaterial, Output, ProtocolVersion, SrtpProfile};
use str0m::crypto::dtls::{DtlsInstance, DtlsProvider, DtlsVersion};
use str0m::crypto::{CryptoError, CryptoProvider};

pub(crate) use session::Session;

/// The largest DTLS datagram that is sent: fits any link, IPv6's minimum of 1,280 included.
const MTU: usize = 1200;

/// The largest DTLS datagram that is taken. A hello with everything in it comes in two of 1,400.
pub(crate) const DATAGRAM_LEN_MAX: usize = 2048;

/// When a flight is sent again that nothing came of; each time later by twice as much. Shorter
/// finds a lost datagram sooner, and a peer that was not ready for our hello (ffmpeg); longer sends
/// less twice where the way is long.
const FLIGHT_RTO: Duration = Duration::from_millis(250);

/// How often a flight is sent again: for longer than any handshake may take by default.
const FLIGHT_RETRIES: usize = 6;

/// How many datagrams of a flight dimpl keeps until they make sense.
const QUEUE_MAX: usize = 30;

/// Room for whatever dimpl has to show, the peer's certificate above all: it cannot be longer than
/// what is kept of its flight. dimpl panics where a certificate does not fit.
pub(crate) const OUTPUT_LEN: usize = 64 * 1024;

const _: () = assert!(QUEUE_MAX * DATAGRAM_LEN_MAX < OUTPUT_LEN);

static CONFIG: LazyLock<Result<Arc<Config>, String>> = LazyLock::new(|| {
    // Binding requests prove an address before DTLS begins, so cookies are not needed.
    Config::builder()
        .with_crypto_provider(dimpl::crypto::CryptoProvider {
            key_provider: &key::Keys,
            signature_verification: &verifier::Verifier,
            ..dimpl::crypto::aws_lc_rs::default_provider()
        })
        .mtu(MTU)
        .max_queue_rx(QUEUE_MAX)
        .use_server_cookie(false)
        .flight_start_rto(FLIGHT_RTO)
        .flight_retries(FLIGHT_RETRIES)
        .kx_groups(&[NamedGroup::X25519, NamedGroup::Secp256r1])
        .build()
        .map(Arc::new)
        .map_err(|e| e.to_string())
});

/// The one configuration, or why the crypto library failed its self-tests.
pub(crate) fn config() -> Result<Arc<Config>, String> {
    CONFIG.clone()
}

/// str0m's crypto, with DTLS by the one configuration.
pub(crate) fn crypto_provider() -> CryptoProvider {
    CryptoProvider {
        dtls_provider: &Provider,
        ..str0m::crypto::from_feature_flags()
    }
}

#[derive(Debug)]
struct Provider;

impl DtlsProvider for Provider {
    fn generate_certificate(&self) -> Option<DtlsCertificate> {
        dimpl::certificate::generate_self_signed_certificate().ok()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCertificate,
        now: Instant,
        _version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let config = config().map_err(CryptoError::Other)?;
        Ok(Box::new(Instance {
            dtls: Session::new(now, config, certificate),
            certificate: certificate.clone(),
            now,
            scratch: vec![0; OUTPUT_LEN],
            is_connected: false,
            is_closed: false,
        }))
    }
}

thread_local! {
    /// What [`take_negotiated`] tells. Written and read within one call into str0m, which has no
    /// other way to tell what its DTLS came to.
    static NEGOTIATED: Cell<Option<Negotiated>> = const { Cell::new(None) };
    /// What [`take_failure`] tells.
    static FAILURE: Cell<Option<String>> = const { Cell::new(None) };
}

/// What a handshake came to: what SRTP is keyed by (RFC 5764 §4.2).
#[derive(Debug)]
pub(crate) struct Negotiated {
    pub(crate) profile: SrtpProfile,
    pub(crate) material: KeyingMaterial,
    /// We were the client.
    pub(crate) active: bool,
}

/// What the last poll of a str0m session came to, once.
pub(crate) fn take_negotiated() -> Option<Negotiated> {
    NEGOTIATED.take()
}

/// Why DTLS ended the last str0m session that it ended, once.
pub(crate) fn take_failure() -> Option<String> {
    FAILURE.take()
}

/// A publisher's DTLS. str0m polls it into 2,000 bytes; here is a buffer that holds everything, and
/// what does not fit str0m's ends the session.
#[derive(Debug)]
struct Instance {
    dtls: Session,
    certificate: DtlsCertificate,
    /// The last time that was told.
    now: Instant,
    scratch: Vec<u8>,
    is_connected: bool,
    is_closed: bool,
}

/// str0m's word for any end; the reason goes its own way.
fn fail(reason: String) -> Error {
    FAILURE.set(Some(reason));
    Error::ConnectionClosed
}

impl DtlsInstance for Instance {
    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), Error> {
        self.dtls
            .handle_packet(self.now, &self.certificate, packet)
            .map_err(fail)
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> Output<'a> {
        let output = self.dtls.poll_output(&mut self.scratch);
        let (bytes, wrap): (_, fn(&'a [u8]) -> Output<'a>) = match output {
            Output::Packet(packet) => (packet, Output::Packet),
            Output::PeerCert(certificate) => (certificate, Output::PeerCert),
            Output::ApplicationData(data) => (data, Output::ApplicationData),
            Output::Timeout(at) => return Output::Timeout(at),
            Output::Connected => {
                self.is_connected = true;
                return Output::Connected;
            }
            Output::KeyingMaterial(material, profile) => {
                NEGOTIATED.set(Some(Negotiated {
                    profile,
                    material: KeyingMaterial::new(&material),
                    active: self.dtls.is_active(),
                }));
                return Output::KeyingMaterial(material, profile);
            }
            _ => {
                self.is_closed = true;
                return Output::CloseNotify;
            }
        };
        match carry(bytes, buffer) {
            Some(bytes) => wrap(bytes),
            None => {
                FAILURE.set(Some(format!(
                    "the peer's certificate or data has {} bytes, and 2,000 are taken from a publisher",
                    bytes.len()
                )));
                self.is_closed = true;
                Output::CloseNotify
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        self.now = now;
        self.dtls.handle_timeout(now).map_err(fail)
    }

    fn send_application_data(&mut self, _data: &[u8]) -> Result<usize, Error> {
        // Data channels are not answered, so there is nothing to send by.
        Err(Error::ConnectionClosed)
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.is_connected.then_some(ProtocolVersion::DTLS1_2)
    }

    fn is_closing(&self) -> bool {
        self.is_closed
    }

    fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn close(&mut self) -> Result<(), Error> {
        self.dtls.close();
        Ok(())
    }
}

/// The same bytes in another buffer, if they fit.
fn carry<'a>(bytes: &[u8], buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let room = buffer.get_mut(..bytes.len())?;
    room.copy_from_slice(bytes);
    Some(room)
}
