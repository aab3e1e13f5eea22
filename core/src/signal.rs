//! HTTP requests in, responses out: WHIP, WHEP and the pages.

use std::net::SocketAddr;

use bytes::Bytes;

/// The largest request body that is read, in bytes. A driver reads at most one byte more and
/// passes on what it has: the core then refuses the request with 413.
pub const MAX_BODY_LEN: usize = 128 * 1024;

/// An HTTP request, its body complete (or cut off just above [`MAX_BODY_LEN`]).
#[derive(Debug)]
pub struct Request {
    /// The client's address.
    pub peer: SocketAddr,
    /// It came by TLS.
    pub tls: bool,
    /// Method, target, headers.
    pub head: http::request::Parts,
    /// The body.
    pub body: Bytes,
}

/// A complete HTTP response.
pub type Response = http::Response<Bytes>;
