//! The clients' crypto: str0m's own, but for DTLS, of which all clients share one configuration.
//!
//! Building a configuration runs the crypto library's self-tests, half of what a handshake costs.
//! Its random numbers (hello, retransmission times) come from a seed. Keys and signatures do not,
//! so no two handshakes are the same bytes, nor always of the same length.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use dimpl::{Config, Dtls, DtlsCertificate, Error, Output, ProtocolVersion};
use str0m::config::CryptoProvider;
use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{DtlsInstance, DtlsProvider, DtlsVersion};

/// What dimpl draws from.
const SEED: u64 = 42;

pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || {
        Arc::new(CryptoProvider {
            dtls_provider: &Provider,
            ..str0m::crypto::from_feature_flags()
        })
    };
    PROVIDER.get_or_init(make).clone()
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
        _: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        static CONFIG: OnceLock<Arc<Config>> = OnceLock::new();
        let make = || {
            let mut builder = Config::builder()
                .use_server_cookie(false)
                .dangerously_set_rng_seed(SEED);
            if let Some(mtu) = mtu {
                builder = builder.mtu(mtu);
            }
            Arc::new(builder.build().expect("a crypto library that works"))
        };
        let config = CONFIG.get_or_init(make).clone();
        let certificate = DtlsCertificate {
            certificate: certificate.certificate.clone(),
            private_key: certificate.private_key.clone(),
        };
        Ok(Box::new(Instance(Dtls::new_12(config, certificate, now))))
    }
}

/// dimpl's side of one handshake.
struct Instance(Dtls);

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").finish_non_exhaustive()
    }
}

impl DtlsInstance for Instance {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), Error> {
        self.0.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> Output<'a> {
        self.0.poll_output(buffer)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, Error> {
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&mut self) -> Result<(), Error> {
        self.0.close()
    }
}
