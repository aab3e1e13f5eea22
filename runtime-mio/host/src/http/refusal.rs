//! Requests that the core is not asked about: they are refused here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::{HeaderValue, StatusCode, Version};
use kvill_core::signal::Response;

/// How long a refusal for one cause is not told again. Longer keeps logs shorter in a flood;
/// shorter shows sooner that it goes on.
const PERIOD: Duration = Duration::from_secs(60);

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(super) enum Refusal {
    /// It does not say which host it is for, or says it several times (RFC 9112 §3.2).
    #[error("an HTTP/1.1 request names its host once: send one Host header")]
    Host,
    /// Its body did not come in time (RFC 9110 §15.5.9).
    #[error("the request body did not arrive in time: send it at once")]
    Slow,
}

impl Refusal {
    /// The status it is answered with.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Host => StatusCode::BAD_REQUEST,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// The answer: the sentence as JSON.
    pub(super) fn response(self) -> Response {
        // The sentences have nothing that JSON would escape.
        let body = format!(r#"{{"error":"{self}","status":"error"}}"#);
        let mut response = http::Response::new(Bytes::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self == Self::Slow {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Whether a request names the host it is for, as one of HTTP/1.1 has to, once (RFC 9112 §3.2).
pub(super) fn has_its_host(head: &http::request::Parts) -> bool {
    match head.headers.get_all(HOST).iter().count() {
        0 => head.version < Version::HTTP_11,
        count => count == 1,
    }
}

/// What was refused here: all of it is counted, and each cause is told once a minute.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub(super) count: u64,
    told_at: HashMap<Refusal, Instant>,
}

impl Refusals {
    /// Counts and tells. `request` is its method and path, as far as they may be told.
    pub(super) fn note(&mut self, now: Instant, peer: SocketAddr, request: &str, refusal: Refusal) {
        self.count += 1;
        let status = refusal.status().as_u16();
        let ip = peer.ip().to_canonical();
        if self.is_news(now, refusal) {
            tracing::info!("{request} of {ip} refused with {status}: {refusal}");
        } else {
            tracing::debug!("{request} of {ip} refused with {status}: {refusal}");
        }
    }

    fn is_news(&mut self, now: Instant, refusal: Refusal) -> bool {
        let told_at = self.told_at.get(&refusal);
        let is_news = told_at.is_none_or(|at| now.saturating_duration_since(*at) >= PERIOD);
        if is_news {
            self.told_at.insert(refusal, now);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Refusal; 2] = [Refusal::Host, Refusal::Slow];

    #[test]
    fn every_refusal_says_what_to_do_and_stands_in_the_readme() {
        let source = include_str!("refusal.rs");
        let variants = source.matches("#[error(").count() - 1;
        assert_eq!(ALL.len(), variants, "a variant is missing in ALL");
        let readme = include_str!("../../../../README.md");
        for refusal in ALL {
            let sentence = refusal.to_string();
            let (_, advice) = sentence
                .split_once(": ")
                .expect("what was wrong: what to do");
            let row = format!("| {} | {advice} |", refusal.status().as_u16());
            assert!(readme.contains(&row), "{refusal:?}: no row with {row}");
            assert!(
                !sentence.contains(['"', '\\']),
                "{sentence} is no JSON string as it stands"
            );
            let body = format!(r#"{{"error":"{sentence}","status":"error"}}"#);
            assert_eq!(refusal.response().body(), &body);
        }
    }

    #[test]
    fn a_flood_is_counted_and_told_once_a_minute_for_each_cause() {
        let mut refusals = Refusals::default();
        let start = Instant::now();
        assert!(refusals.is_news(start, Refusal::Host));
        assert!(refusals.is_news(start, Refusal::Slow));
        assert!(!refusals.is_news(start + PERIOD / 2, Refusal::Host));
        assert!(refusals.is_news(start + PERIOD, Refusal::Host));
        let peer = ([127, 0, 0, 1], 1).into();
        (0..3).for_each(|_| refusals.note(start, peer, "GET /", Refusal::Host));
        assert_eq!(refusals.count, 3);
    }
}
