//! HTTP requests in, responses out: WHIP, WHEP and the pages.
//!
//! What can be decided without knowing who is connected is decided here, by pure functions:
//! `route` tells what a request wants or refuses it, `offer` reads SDP, `policy` makes a plan
//! of it, `answer` writes the answer, `fragment` and `precondition` read what a PATCH brings,
//! `respond` makes the responses. The server does the rest.

pub(crate) mod answer;
pub(crate) mod fragment;
pub(crate) mod offer;
mod pages;
pub(crate) mod policy;
pub(crate) mod precondition;
pub(crate) mod refusal;
pub(crate) mod respond;
pub(crate) mod route;

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;

pub use route::loggable;

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

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// Media comes in (WHIP).
    Publish,
    /// Media goes out (WHEP).
    View,
}

impl Role {
    /// The last word of its endpoint's URL.
    pub(crate) fn endpoint(self) -> &'static str {
        match self {
            Self::Publish => "whip",
            Self::View => "whep",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publisher",
            Self::View => "viewer",
        })
    }
}
