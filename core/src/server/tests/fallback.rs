//! Peers whose certificates dimpl does not take: clients of another DTLS library, with RSA.

use std::time::Duration;

use dimpl::{DtlsCertificate, SrtpProfile};
use rtc_dtls::config::{ConfigBuilder, ExtendedMasterSecretType};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::default_provider;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use super::bench::VIEWER;
use super::*;
use crate::config::SrtpPolicy;
use crate::srtp::{self, Opener, Sealer};

/// A client with an RSA certificate, that knows AES-CM only.
struct RsaClient {
    ice: Client,
    endpoint: Endpoint,
    certificate: Vec<u8>,
    srtp: Option<(Sealer, Opener)>,
    /// The server has said goodbye.
    is_closed: bool,
}

fn rsa() -> Certificate {
    let crypto = default_provider().unwrap();
    let names = ["peer".to_owned()];
    Certificate::generate_self_signed_with_alg(names, &rcgen::PKCS_RSA_SHA256, crypto.crypto())
        .unwrap()
}

impl RsaClient {
    /// Asks for a session, with the fingerprint of `announced`.
    fn join(bench: &mut Bench, uri: &str, remote: &str, announced: Option<&[u8]>) -> Self {
        let certificate = rsa();
        let der = certificate.certificate[0].to_vec();
        let shown = DtlsCertificate {
            certificate: announced.unwrap_or(&der).to_vec(),
            ..super::certificate()
        };
        let ice = bench.join_with(uri, remote, &shown, (96, "VP8"));
        let config = ConfigBuilder::default()
            .with_crypto_provider(default_provider().unwrap())
            .with_certificates(vec![certificate])
            .with_insecure_skip_verify(true)
            .with_extended_master_secret(ExtendedMasterSecretType::Request)
            .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80])
            .build(true, Some(address(HERE)))
            .unwrap();
        let mut endpoint = Endpoint::new(address(remote), Default::default(), None);
        bench.check(&ice, ice.check());
        endpoint
            .connect(bench.now, address(HERE), Arc::new(config), None)
            .unwrap();
        Self {
            ice,
            endpoint,
            certificate: der,
            srtp: None,
            is_closed: false,
        }
    }

    fn flight(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.endpoint.poll_transmit())
            .map(|transmit| transmit.message.to_vec())
            .collect()
    }

    /// Carries datagrams to and fro until there are none, each first through `change`.
    fn pump(&mut self, bench: &mut Bench, mut change: impl FnMut(&mut Vec<u8>)) {
        loop {
            let flight = self.flight();
            for mut packet in flight.clone() {
                change(&mut packet);
                bench.arrive(0, self.ice.remote, &packet);
            }
            let mut arrived = false;
            for (_, to, contents) in bench.drain() {
                if to != self.ice.remote || !matches!(contents[0], 20..=63) {
                    continue;
                }
                arrived = true;
                let contents = contents.as_slice().into();
                let events = self.endpoint.read(bench.now, address(HERE), None, contents);
                let events = events.unwrap_or_default();
                let is_closed = |event| matches!(event, &EndpointEvent::PeerClosed);
                self.is_closed |= events.iter().any(is_closed);
                let is_complete = |event| matches!(event, &EndpointEvent::HandshakeComplete);
                if events.iter().any(is_complete) {
                    let state = self.endpoint.get_connection_state(address(HERE)).unwrap();
                    let keys = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], 60);
                    let profile = SrtpProfile::AES128_CM_SHA1_80;
                    self.srtp = srtp::derive(profile, keys.unwrap().as_ref(), true);
                }
            }
            if flight.is_empty() && !arrived {
                return;
            }
        }
    }
}

#[test]
fn a_peer_with_an_rsa_certificate_publishes_and_another_watches() {
    let mut bench = Bench::new(&[HERE]);
    let mut publisher = RsaClient::join(&mut bench, "/a/whip", PUBLISHER, None);
    publisher.pump(&mut bench, |_| {});
    assert!(publisher.srtp.is_some() && bench.server.stats().paths[0].live);
    let mut viewer = RsaClient::join(&mut bench, "/a/whep", VIEWER, None);
    viewer.pump(&mut bench, |_| {});
    assert_eq!(bench.server.stats().paths[0].viewers, 1);
    bench.drain();

    publisher.ice.srtp = publisher.srtp.take();
    bench.publish(&publisher.ice, 96, 1);
    let sent = bench.drain();
    assert_eq!(media_of(&sent), [(0, viewer.ice.remote)].into());

    // Goodbye by DTLS.
    viewer.endpoint.stop(bench.now, address(HERE));
    viewer.pump(&mut bench, |_| {});
    assert_eq!(bench.reasons(), [EndReason::PeerClosed]);
    bench.server.shut_down(bench.now);
    let last = bench.drain();
    assert!(
        last.iter()
            .any(|(_, to, c)| *to == publisher.ice.remote && c[0] == 21)
    );
}

#[test]
fn what_comes_late_of_a_peer_without_aead_is_taken() {
    let mut bench = Bench::new(&[HERE]);
    let mut publisher = RsaClient::join(&mut bench, "/a/whip", PUBLISHER, None);
    publisher.pump(&mut bench, |_| {});
    publisher.ice.srtp = publisher.srtp.take();
    for number in (1..=300).filter(|n| *n != 5).chain([5]) {
        bench.publish(&publisher.ice, 96, number);
    }
    assert_eq!(bench.counters().packets_in, 300);
}

#[test]
fn a_server_for_aead_only_ends_it_by_an_alert() {
    for uri in ["/a/whip", "/b/whep"] {
        let mut bench = Bench::new(&[HERE]);
        let only = Config {
            srtp: SrtpPolicy::AeadOnly,
            ..config(&[HERE])
        };
        bench.server = start(only, bench.now).unwrap();
        let _other = bench.connected("/b/whip", "10.0.0.9:7");
        let mut client = RsaClient::join(&mut bench, uri, VIEWER, None);
        client.pump(&mut bench, |_| {});
        let reason = EndReason::NoAead("AES128_CM_HMAC_SHA1_80".to_owned());
        assert_eq!(bench.reasons(), [reason], "{uri}");
        assert!(client.is_closed, "{uri}");
    }
}

#[test]
fn an_rsa_certificate_that_was_not_announced_ends_the_session() {
    for uri in ["/a/whip", "/b/whep"] {
        let mut bench = Bench::new(&[HERE]);
        let _other = bench.connected("/b/whip", "10.0.0.9:7");
        let mut client = RsaClient::join(&mut bench, uri, VIEWER, Some(b"another certificate"));
        assert_ne!(client.certificate, b"another certificate");
        client.pump(&mut bench, |_| {});
        assert_eq!(bench.reasons(), [EndReason::Fingerprint], "{uri}");
    }
}

#[test]
fn damaged_flights_end_their_own_session_at_most() {
    for n in 0..40_usize {
        let mut bench = Bench::new(&[HERE]);
        let (_publisher, _viewer) = bench.pair();
        for (uri, remote) in [("/c/whip", "10.0.0.9:8"), ("/a/whep", "10.0.0.9:9")] {
            let mut client = RsaClient::join(&mut bench, uri, remote, None);
            let mut count = 0;
            client.pump(&mut bench, |packet| {
                count += 1;
                let at = (n * 7919 + count * 13) % packet.len();
                match n % 4 {
                    0 => packet[at] ^= 1 << (n % 8),
                    1 => packet.truncate(at),
                    2 => packet.extend_from_within(at..),
                    _ if at > 12 => packet[11..13].fill(0xff),
                    _ => packet.fill(0xfe),
                }
            });
            assert!(bench.sessions() >= 2, "{uri} {n}");
        }
        assert_eq!(bench.server.stats().paths[0].viewers, 1, "{n}");
    }
}

#[test]
fn noise_ends_a_handshake_soon_and_an_established_session_never() {
    let noise = |n: u8| [22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 1, n, 0, 30];
    let mut bench = Bench::new(&[HERE]);
    let mut client = RsaClient::join(&mut bench, "/a/whip", PUBLISHER, None);
    let hello = client.flight().concat();
    bench.arrive(0, client.ice.remote, &hello);
    for n in 0..100 {
        bench.arrive(0, client.ice.remote, &[&noise(n)[..], &[n; 30]].concat());
    }
    assert_eq!(bench.sessions(), 0, "no more than 64 datagrams are kept");

    let mut client = RsaClient::join(&mut bench, "/a/whip", VIEWER, None);
    client.pump(&mut bench, |_| {});
    assert!(client.srtp.is_some());
    for n in 0..=255 {
        bench.arrive(0, client.ice.remote, &noise(n));
        bench.arrive(0, client.ice.remote, &[&noise(n)[..], &[n; 30]].concat());
        // An alert that nobody signed.
        let alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 1, n, 0, 2, 2, 40];
        bench.arrive(0, client.ice.remote, &alert);
    }
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.sessions(), 1);
}
