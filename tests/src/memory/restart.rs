//! Clients that change their address, and PATCH.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Method, StatusCode, header};
use kvill_core::signal::Response;

use super::{ClientId, Link, World};

impl<L: Link> World<L> {
    /// PATCHes a client's session with a fragment.
    ///
    /// # Panics
    ///
    /// If no answer comes within ten virtual seconds.
    pub fn patch(&mut self, id: ClientId, fragment: &str, if_match: Option<&str>) -> Response {
        let location = self.location(id);
        let from = self.client(id).local();
        self.patch_at(&location, from, fragment, if_match)
    }

    /// PATCHes the session of a URL with a fragment.
    ///
    /// # Panics
    ///
    /// If no answer comes within ten virtual seconds.
    pub fn patch_at(
        &mut self,
        location: &str,
        from: SocketAddr,
        fragment: &str,
        if_match: Option<&str>,
    ) -> Response {
        let mut request = http::Request::builder()
            .method(Method::PATCH)
            .uri(location)
            .header(header::CONTENT_TYPE, "application/trickle-ice-sdpfrag");
        if let Some(if_match) = if_match {
            request = request.header(header::IF_MATCH, if_match);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        self.send(head, from, Bytes::copy_from_slice(fragment.as_bytes()))
    }

    /// Restarts a client's ICE, from where it is. Gives the new ETag.
    ///
    /// # Panics
    ///
    /// If the server does not answer with its half of a restart.
    pub fn restart(&mut self, id: ClientId) -> String {
        let etag = self.try_restart(id);
        etag.unwrap_or_else(|response| panic!("no restart: {response:?}"))
    }

    /// Like [`restart`](Self::restart), but gives a refusal back, with which a client's session is
    /// over.
    pub fn try_restart(&mut self, id: ClientId) -> Result<String, Box<Response>> {
        let fragment = self.client(id).restart();
        let response = self.patch(id, &fragment, Some("*"));
        if response.status() != StatusCode::OK {
            return Err(response.into());
        }
        let content_type = &response.headers()[header::CONTENT_TYPE];
        assert_eq!(content_type, "application/trickle-ice-sdpfrag");
        let half = std::str::from_utf8(response.body()).expect("a fragment in UTF-8");
        let now = self.now;
        if let Err(error) = self.client(id).accept_restart(now, half) {
            panic!("the server's half does not work: {error}\n{half}");
        }
        let etag = response.headers()[header::ETAG].to_str();
        Ok(etag.expect("an ETag in ASCII").to_owned())
    }

    /// Gives a client another address, on the network of this number. Its old one is gone, and
    /// nobody tells the server.
    ///
    /// # Panics
    ///
    /// If the client has left.
    pub fn roam(&mut self, id: ClientId, network: u8) -> SocketAddr {
        let old = self.client(id).local();
        let SocketAddr::V4(v4) = old else {
            panic!("clients have IPv4 addresses");
        };
        let [_, b, c, d] = v4.ip().octets();
        let new = SocketAddr::new(Ipv4Addr::new(network, b, c, d).into(), old.port());
        self.client(id).roam(new);
        self.addresses.remove(&old);
        self.addresses.insert(new, id);
        self.link.on_moved(old, new);
        new
    }
}
