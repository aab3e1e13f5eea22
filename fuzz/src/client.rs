//! A server in memory, and light clients of it: dimpl's DTLS, binding requests made by hand, and
//! SRTP by the core's own ends of it, so that a target can seal whatever it likes.
//!
//! Time moves when it is told to. Nothing is lost on the way.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use dimpl::{Dtls, DtlsCertificate, KeyingMaterial, Output, SrtpProfile};
use http::{Method, StatusCode};
use kvill_core::fuzzing::Srtp;
use kvill_core::ids::{RequestId, TransportId};
use kvill_core::net::{Datagram, TRANSMIT_BUFFER_LEN};
use kvill_core::signal::{Request, Response};
use kvill_core::stats::Counters;
use kvill_core::{Config, Server};

use crate::message;

/// Where the server is reached.
pub const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 8189);

/// What the publishers send with.
pub const VIDEO_SSRC: u32 = 77;

/// The payload type of everybody's video.
pub const VIDEO: u8 = 96;

/// VP8's payload descriptor and the first bytes of a keyframe.
pub const KEYFRAME: [u8; 8] = [0x10, 0x00, 0x00, 0x00, 0x9d, 0x01, 0x2a, 0x00];

/// Above this, what one input made the server send is no answer to it any more.
const SENT_MAX: usize = 1 << 20;

/// The beginning of all time: inputs are to behave alike, whenever they come.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

static CERTIFICATE: LazyLock<DtlsCertificate> = LazyLock::new(|| {
    dimpl::certificate::generate_self_signed_certificate().expect("a certificate")
});

/// Building it runs the crypto library's self-tests.
static DTLS: LazyLock<Arc<dimpl::Config>> =
    LazyLock::new(|| Arc::new(dimpl::Config::builder().build().expect("working crypto")));

/// A server, its time, and who may be sent anything.
#[derive(Debug)]
pub struct Live {
    /// The server.
    pub server: Server,
    /// The time.
    pub now: Instant,
    /// The addresses that have sent a genuine binding request, or might have.
    pub proven: BTreeSet<SocketAddr>,
    requests: u64,
    buffer: Vec<u8>,
}

/// A datagram of the server's.
#[derive(Debug)]
pub struct Sent {
    /// Where to.
    pub to: SocketAddr,
    /// The UDP payload.
    pub contents: Vec<u8>,
}

impl Sent {
    /// It is RTP, not RTCP.
    #[must_use]
    pub fn is_media(&self) -> bool {
        matches!(self.contents[..], [128..=191, second, ..] if !(192..=223).contains(&second))
    }
}

impl Default for Live {
    fn default() -> Self {
        let config = Config {
            transports: vec![HERE],
            ..Config::default()
        };
        let unix_time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let server = Server::new(config, [7; 32], *BEGINNING, unix_time);
        Self {
            server: server.expect("a config that works"),
            now: *BEGINNING,
            proven: BTreeSet::new(),
            requests: 0,
            buffer: vec![0; TRANSMIT_BUFFER_LEN],
        }
    }
}

impl Live {
    /// Puts a request to the server, and checks that there is one answer.
    pub fn request(
        &mut self,
        method: Method,
        uri: &str,
        content_type: &'static str,
        body: &[u8],
    ) -> Response {
        let request = http::Request::builder().method(method).uri(uri);
        let request = request.header("content-type", content_type).body(());
        let (head, ()) = request.expect("a request").into_parts();
        self.send(head, body)
    }

    /// Puts a request of any head to the server, and checks that there is one answer.
    pub fn send(&mut self, head: http::request::Parts, body: &[u8]) -> Response {
        self.requests += 1;
        let id = RequestId(self.requests);
        let request = Request {
            peer: ([10, 0, 0, 9], 1).into(),
            tls: false,
            head,
            body: Bytes::copy_from_slice(body),
        };
        self.server.handle_request(self.now, id, request);
        let (answered, response) = self.server.poll_response().expect("an answer");
        assert_eq!(answered, id);
        assert!(self.server.poll_response().is_none(), "two answers to one");
        response
    }

    /// A datagram arrives.
    pub fn arrive(&mut self, remote: SocketAddr, contents: &[u8]) {
        let datagram = Datagram {
            transport: TransportId(0),
            local: HERE,
            remote,
            contents,
        };
        self.server.handle_datagram(self.now, datagram);
    }

    /// Lets time pass, and has the server do what is due then.
    pub fn advance(&mut self, time: Duration) {
        self.now += time;
        let mut turns = 0;
        while self.server.poll_timeout().is_some_and(|d| d.at <= self.now) {
            self.server.handle_timeout(self.now);
            turns += 1;
            assert!(turns < 1000, "what is due stays due");
        }
    }

    /// Everything that is to be sent: no more than makes sense, in datagrams that make sense, and
    /// to nobody who has not shown that it is there.
    pub fn drain(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        let mut bytes = 0;
        let transport = TransportId(0);
        while let Some(transmit) = self
            .server
            .poll_transmit(self.now, transport, &mut self.buffer)
        {
            let to = transmit.destination;
            assert!(self.proven.contains(&to), "{to} was sent something");
            assert_eq!(transmit.source, HERE);
            assert!(transmit.size > 0, "an empty datagram");
            bytes += transmit.size;
            assert!(bytes < SENT_MAX, "no end of it");
            let contents = &self.buffer[..transmit.size];
            let segment = transmit.segment_size.unwrap_or(transmit.size);
            let segments = contents.chunks(segment).map(|contents| Sent {
                to,
                contents: contents.to_vec(),
            });
            sent.extend(segments);
        }
        sent
    }

    /// What the server has counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.server.stats().counters
    }

    /// A client's binding request arrives: from elsewhere than where it is, if it says so.
    pub fn check(&mut self, client: &mut Client, from: Option<SocketAddr>, attributes: &[u8]) {
        let request = client.request(attributes);
        let from = from.unwrap_or(client.remote);
        self.proven.insert(from);
        self.arrive(from, &request);
    }

    /// Brings ICE and DTLS of a client to their end. Gives what was sent to others meanwhile.
    ///
    /// # Panics
    /// If that does not work out.
    pub fn connect(&mut self, client: &mut Client) -> Vec<Sent> {
        let others = self.try_connect(client);
        assert!(client.srtp.is_some(), "{} is not connected", client.remote);
        others
    }

    /// The same, for a client that the server may know no longer.
    pub fn try_connect(&mut self, client: &mut Client) -> Vec<Sent> {
        self.check(client, None, &message::check(true));
        client.dtls.handle_timeout(self.now).expect("a handshake");
        let mut others = Vec::new();
        loop {
            let flight = client.flight();
            for packet in &flight {
                self.arrive(client.remote, packet);
            }
            let sent = self.drain();
            if flight.is_empty() && sent.is_empty() {
                return others;
            }
            for datagram in sent {
                let is_dtls = matches!(datagram.contents[0], 20..=63);
                if is_dtls && datagram.to == client.remote {
                    client
                        .dtls
                        .handle_packet(&datagram.contents)
                        .expect("a handshake that works");
                } else {
                    others.push(datagram);
                }
            }
        }
    }
}

/// A publisher or a viewer.
pub struct Client {
    /// Where it sends from.
    pub remote: SocketAddr,
    /// Its session's URL.
    pub location: String,
    /// The answer to its offer.
    pub answer: String,
    /// SRTP, once it is connected.
    pub srtp: Option<Srtp>,
    /// Genuine datagrams of its: its checks and its handshake.
    pub said: Vec<Vec<u8>>,
    dtls: Dtls,
    keying: Option<(KeyingMaterial, SrtpProfile)>,
    user: String,
    password: String,
    requests: u32,
    /// The SRTP index of its next packet.
    index: u64,
}

impl Client {
    /// A client that has its answer: a publisher where the endpoint is `whip`, else a viewer.
    ///
    /// # Errors
    /// The status of a refusal.
    pub fn join(live: &mut Live, endpoint: &str, remote: SocketAddr) -> Result<Self, StatusCode> {
        let offer = offer(endpoint.ends_with("/whip"));
        let response = live.request(Method::POST, endpoint, "application/sdp", offer.as_bytes());
        if response.status() != StatusCode::CREATED {
            return Err(response.status());
        }
        let answer = String::from_utf8(response.body().to_vec()).expect("an answer in UTF-8");
        let value = |key| {
            let line = answer.lines().find_map(|line| line.strip_prefix(key));
            line.expect("an answer with everything in it").to_owned()
        };
        let mut dtls = Dtls::new_12(DTLS.clone(), CERTIFICATE.clone(), live.now);
        dtls.set_active(true);
        let location = response.headers()["location"].to_str();
        Ok(Self {
            remote,
            location: location.expect("a URL in ASCII").to_owned(),
            srtp: None,
            said: Vec::new(),
            dtls,
            keying: None,
            user: format!("{}:peer", value("a=ice-ufrag:")),
            password: value("a=ice-pwd:"),
            answer,
            requests: 0,
            index: 1,
        })
    }

    /// The SSRCs of its answer, in their order: each track's, and where there are repairs, theirs.
    #[must_use]
    pub fn ssrcs(&self) -> Vec<u32> {
        let mut ssrcs = Vec::new();
        let lines = self.answer.lines();
        for line in lines.filter_map(|line| line.strip_prefix("a=ssrc:")) {
            let ssrc = line.split(' ').next().and_then(|ssrc| ssrc.parse().ok());
            ssrcs.extend(ssrc.filter(|ssrc| !ssrcs.contains(ssrc)));
        }
        ssrcs
    }

    /// A genuine binding request, with these attributes besides the user name.
    pub fn request(&mut self, attributes: &[u8]) -> Vec<u8> {
        self.requests += 1;
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.requests.to_be_bytes());
        let request = message::binding_request(&self.user, id, attributes);
        let request = message::signed(request, &self.password);
        if self.said.len() < 16 {
            self.said.push(request.clone());
        }
        request
    }

    /// A genuine RTP packet with this payload, `ahead` places further on than the next would be.
    ///
    /// # Panics
    /// If it is not connected.
    pub fn packet(&mut self, payload_type: u8, ahead: u8, payload: &[u8]) -> Vec<u8> {
        self.index += u64::from(ahead);
        let index = self.index;
        self.index += 1;
        let [.., high, low] = index.to_be_bytes();
        let [_, _, _, _, timestamp @ ..] = (index * 3000).to_be_bytes();
        let mut packet = vec![0x80, payload_type, high, low];
        packet.extend(timestamp);
        packet.extend(VIDEO_SSRC.to_be_bytes());
        packet.extend(payload);
        let srtp = self.srtp.as_mut().expect("it is connected");
        srtp.seal_rtp(VIDEO_SSRC, index, &mut packet)
            .expect("indices are left");
        packet
    }

    /// A genuine RTCP packet of these bytes, the first of which becomes what RTCP begins with.
    ///
    /// # Panics
    /// If it is not connected.
    pub fn rtcp(&mut self, compound: &[u8]) -> Vec<u8> {
        let mut packet = compound.to_vec();
        packet.resize(packet.len().max(8), 0);
        packet[0] = packet[0] & 0x3f | 0x80;
        packet[1] = packet[1] & 0x1f | 0xc0;
        let srtp = self.srtp.as_mut().expect("it is connected");
        srtp.seal_rtcp(&mut packet).expect("indices are left");
        packet
    }

    /// What DTLS wants to send.
    fn flight(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; TRANSMIT_BUFFER_LEN];
        let mut flight = Vec::new();
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => flight.push(packet.to_vec()),
                Output::Timeout(_) => break,
                Output::KeyingMaterial(material, profile) => {
                    self.keying = Some((material, profile));
                }
                _ => {}
            }
        }
        if let Some((material, profile)) = self.keying.take() {
            self.srtp = Srtp::of_client(profile, &material);
        }
        self.said.extend(flight.iter().cloned());
        flight
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("remote", &self.remote)
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

/// Pictures and sound, of a publisher or a viewer.
#[must_use]
pub fn offer(publishes: bool) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, &CERTIFICATE.certificate);
    let fingerprint: Vec<_> = digest.as_ref().iter().map(|b| format!("{b:02X}")).collect();
    let fingerprint = fingerprint.join(":");
    let (direction, ssrcs) = match publishes {
        true => (
            "sendonly",
            ["a=ssrc:77 cname:a\r\n", "a=ssrc:78 cname:a\r\n"],
        ),
        false => ("recvonly", ["", ""]),
    };
    let shared = format!(
        "a=rtcp-xr:rcvr-rtt=all\r\nc=IN IP4 0.0.0.0\r\na=rtcp-mux\r\na=rtcp-rsize\r\na={direction}\r\na=ice-ufrag:peer\r\n\
         a=ice-pwd:peerpeerpeerpeerpeerpeer\r\na=setup:actpass\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\n"
    );
    let [video, audio] = ssrcs;
    format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:0\r\n{shared}a=rtpmap:96 VP8/90000\r\n\
         a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\n\
         a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n{video}\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\n{shared}a=rtpmap:111 opus/48000/2\r\n\
         a=rtcp-fb:111 nack\r\n{audio}"
    )
}
