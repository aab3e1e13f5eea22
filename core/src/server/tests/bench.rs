//! A server in memory, and raw clients of it: dimpl's DTLS, binding requests made by hand, SRTP by
//! our own ends of it.

use std::time::Duration;

use bytes::Bytes;
use dimpl::{Dtls, DtlsCertificate, KeyingMaterial, Output, SrtpProfile};
use is::stun::{StunMessage, TransId};

use crate::server::*;
use crate::srtp::{self, Opener, Sealer};

pub(super) const HERE: &str = "10.0.0.1:5";
pub(super) const ALSO_HERE: &str = "10.0.0.1:6";
pub(super) const PUBLISHER: &str = "10.0.0.9:1";
pub(super) const VIEWER: &str = "10.0.0.9:2";

/// VP8's payload descriptor and the first bytes of a keyframe.
pub(super) const KEYFRAME: [u8; 8] = [0x10, 0x00, 0x00, 0x00, 0x9d, 0x01, 0x2a, 0x00];

pub(super) struct Bench {
    pub(super) server: Server,
    pub(super) now: Instant,
    pub(super) requests: u64,
    pub(super) buffer: Vec<u8>,
}

/// A peer with its own ICE credentials and DTLS.
pub(super) struct Client {
    pub(super) dtls: Dtls,
    pub(super) remote: SocketAddr,
    pub(super) ufrag: String,
    pub(super) password: String,
    /// Its own ufrag.
    pub(super) name: String,
    pub(super) location: String,
    pub(super) answer: String,
    pub(super) connected: bool,
    pub(super) keying: Option<(KeyingMaterial, SrtpProfile)>,
    pub(super) srtp: Option<(Sealer, Opener)>,
}

/// By which transport, where to, what.
pub(super) type Sent = (u8, SocketAddr, Vec<u8>);

/// A binding request as its sender would like it.
#[derive(Clone, Copy)]
pub(super) struct Check {
    pub(super) transport: u8,
    pub(super) remote: SocketAddr,
    /// With the password that our answer told.
    pub(super) is_genuine: bool,
    pub(super) priority: u32,
    pub(super) nominates: bool,
}

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn config(transports: &[&str]) -> Config {
    Config {
        transports: transports.iter().map(|t| address(t)).collect(),
        publisher_grace: Duration::from_secs(5),
        ..Config::default()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as the beginning"
)]
pub(super) fn beginning() -> Instant {
    Instant::now()
}

pub(super) fn start(config: Config, now: Instant) -> Result<Server, ConfigError> {
    let unix_time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    Server::new(config, [7; 32], now, unix_time)
}

pub(super) fn certificate() -> DtlsCertificate {
    dimpl::certificate::generate_self_signed_certificate().unwrap()
}

/// A certificate of more than 3.6 KB.
pub(super) fn large_certificate() -> DtlsCertificate {
    let names: Vec<_> = (0..70)
        .map(|n| format!("host-{n:03}.a-name-that-takes-its-place.example.com"))
        .collect();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let params = rcgen::CertificateParams::new(names).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().to_vec();
    assert!(certificate.len() > 3_600, "{} bytes", certificate.len());
    DtlsCertificate {
        certificate,
        private_key: key.serialize_der(),
    }
}

pub(super) fn offer(
    certificate: &DtlsCertificate,
    publishes: bool,
    payload_type: u8,
    codec: &str,
) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, &certificate.certificate);
    let fingerprint: Vec<_> = digest.as_ref().iter().map(|b| format!("{b:02X}")).collect();
    let (fingerprint, pt) = (fingerprint.join(":"), payload_type);
    let direction = if publishes { "sendonly" } else { "recvonly" };
    [
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n",
        &format!("m=video 9 UDP/TLS/RTP/SAVPF {pt}\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n"),
        &format!("a=rtcp-mux\r\na={direction}\r\na=rtpmap:{pt} {codec}/90000\r\n"),
        &format!("a=rtcp-fb:{pt} nack pli\r\na=ice-ufrag:peer\r\na=setup:actpass\r\n"),
        "a=ice-pwd:peerpeerpeerpeerpeerpeer\r\n",
        &format!("a=fingerprint:sha-256 {fingerprint}\r\n"),
    ]
    .concat()
}

impl Bench {
    pub(super) fn new(transports: &[&str]) -> Self {
        let now = beginning();
        Self {
            server: start(config(transports), now).unwrap(),
            now,
            requests: 0,
            buffer: vec![0; 70_000],
        }
    }

    pub(super) fn request(&mut self, method: &str, uri: &str, body: String) -> Response {
        self.request_with(method, uri, &[("content-type", "application/sdp")], body)
    }

    pub(super) fn request_with(
        &mut self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Response {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        self.requests += 1;
        let request = Request {
            peer: address(PUBLISHER),
            tls: false,
            head,
            body: Bytes::from(body),
        };
        self.server
            .handle_request(self.now, RequestId(self.requests), request);
        self.server.poll_response().unwrap().1
    }

    pub(super) fn join_with(
        &mut self,
        uri: &str,
        remote: &str,
        certificate: &DtlsCertificate,
        (payload_type, codec): (u8, &str),
    ) -> Client {
        let offer = offer(certificate, uri.ends_with("whip"), payload_type, codec);
        self.join_offering(uri, remote, certificate, offer)
    }

    pub(super) fn join_offering(
        &mut self,
        uri: &str,
        remote: &str,
        certificate: &DtlsCertificate,
        offer: String,
    ) -> Client {
        let response = self.request("POST", uri, offer);
        assert_eq!(response.status(), 201, "{:?}", response.body());
        let answer = String::from_utf8(response.body().to_vec()).unwrap();
        let get = |key| {
            let line = answer.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap().to_owned()
        };
        let (ufrag, password) = (get("a=ice-ufrag:"), get("a=ice-pwd:"));
        let config = dimpl::Config::builder().build().unwrap();
        let mut dtls = Dtls::new_12(Arc::new(config), certificate.clone(), self.now);
        dtls.set_active(true);
        Client {
            dtls,
            remote: address(remote),
            ufrag,
            password,
            name: "peer".to_owned(),
            location: response.headers()["location"].to_str().unwrap().to_owned(),
            answer,
            connected: false,
            keying: None,
            srtp: None,
        }
    }

    pub(super) fn join(&mut self, uri: &str, remote: &str) -> Client {
        self.join_with(uri, remote, &certificate(), (96, "VP8"))
    }

    pub(super) fn connected(&mut self, uri: &str, remote: &str) -> Client {
        let mut client = self.join(uri, remote);
        self.connect(&mut client);
        assert!(client.connected);
        client
    }

    /// A publisher and a viewer of the path `a`.
    pub(super) fn pair(&mut self) -> (Client, Client) {
        let publisher = self.connected("/a/whip", PUBLISHER);
        (publisher, self.connected("/a/whep", VIEWER))
    }

    pub(super) fn connect(&mut self, client: &mut Client) {
        self.check(client, client.check());
        self.pump(client);
    }

    pub(super) fn check(&mut self, client: &Client, check: Check) {
        let contents = self.request_of(client, check);
        self.arrive(check.transport, check.remote, &contents);
    }

    /// A binding request in bytes.
    pub(super) fn request_of(&self, client: &Client, check: Check) -> Vec<u8> {
        let name = format!("{}:{}", client.ufrag, client.name);
        let id = TransId::new();
        let (priority, nominates) = (check.priority, check.nominates);
        let message = StunMessage::binding_request(&name, id, true, 1, priority, nominates);
        let hmac = self.server.shared.crypto.sha1_hmac_provider;
        let password = match check.is_genuine {
            true => &client.password,
            false => "a password that is not the one",
        };
        let mut contents = vec![0; 600];
        let len = message
            .to_bytes(Some(password.as_bytes()), &mut contents, |key, parts| {
                hmac.sha1_hmac(key, parts)
            })
            .unwrap();
        contents.truncate(len);
        contents
    }

    pub(super) fn arrive(&mut self, transport: u8, remote: SocketAddr, contents: &[u8]) {
        let datagram = Datagram {
            transport: TransportId(transport),
            local: self.server.config.transports[usize::from(transport)],
            remote,
            contents,
        };
        self.server.handle_datagram(self.now, datagram);
    }

    /// Carries datagrams to and fro until there are none. What is for others is lost.
    pub(super) fn pump(&mut self, client: &mut Client) {
        client.dtls.handle_timeout(self.now).unwrap();
        loop {
            let flight = client.flight();
            for packet in &flight {
                self.arrive(0, client.remote, packet);
            }
            let mut arrived = false;
            for (_, to, contents) in self.drain() {
                arrived = true;
                if to == client.remote && matches!(contents[0], 20..=63) {
                    // What our end makes of its goodbye does not matter.
                    let _ = client.dtls.handle_packet(&contents);
                }
            }
            if flight.is_empty() && !arrived {
                return;
            }
        }
    }

    /// Everything that is to be sent.
    pub(super) fn drain(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        for transport in (0..).take(self.server.outboxes.len()) {
            while let Some(transmit) =
                self.server
                    .poll_transmit(self.now, TransportId(transport), &mut self.buffer)
            {
                let contents = self.buffer[..transmit.size].to_vec();
                sent.push((transport, transmit.destination, contents));
            }
        }
        sent
    }

    /// One sealed RTP packet of the publisher.
    pub(super) fn publish(&mut self, publisher: &Client, payload_type: u8, sequence: u16) {
        self.publish_payload(publisher, payload_type, sequence, &KEYFRAME);
    }

    pub(super) fn publish_payload(
        &mut self,
        publisher: &Client,
        payload_type: u8,
        sequence: u16,
        payload: &[u8],
    ) {
        let mut packet = vec![0x80, 0x80 | payload_type];
        packet.extend(sequence.to_be_bytes());
        packet.extend((u32::from(sequence) * 3000).to_be_bytes());
        packet.extend(77_u32.to_be_bytes());
        packet.extend(payload);
        let (sealer, _) = publisher.srtp.as_ref().unwrap();
        packet.resize(packet.len() + sealer.rtp_overhead(), 0);
        sealer.seal_rtp(77, sequence.into(), &mut packet).unwrap();
        self.arrive(0, publisher.remote, &packet);
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.now += time;
        self.server.handle_timeout(self.now);
    }

    pub(super) fn sessions(&self) -> usize {
        self.server.stats().sessions
    }

    pub(super) fn counters(&self) -> Counters {
        self.server.stats().counters
    }

    pub(super) fn reasons(&mut self) -> Vec<EndReason> {
        std::iter::from_fn(|| self.server.poll_event())
            .filter_map(|event| match event {
                Event::ViewerLeft { reason, .. }
                | Event::PublisherLeft { reason, .. }
                | Event::HandshakeFailed { reason, .. } => Some(reason),
                _ => None,
            })
            .collect()
    }
}

impl Client {
    /// A good one that nominates the first transport.
    pub(super) fn check(&self) -> Check {
        Check {
            transport: 0,
            remote: self.remote,
            is_genuine: true,
            priority: 12_345,
            nominates: true,
        }
    }

    /// What DTLS wants to send.
    pub(super) fn flight(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 70_000];
        let mut flight = Vec::new();
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => flight.push(packet.to_vec()),
                Output::Timeout(_) => break,
                Output::Connected => self.connected = true,
                Output::KeyingMaterial(material, profile) => {
                    self.keying = Some((material, profile))
                }
                _ => {}
            }
        }
        if let Some((material, profile)) = self.keying.take() {
            self.srtp = srtp::derive(profile, &material, true);
        }
        flight
    }
}
