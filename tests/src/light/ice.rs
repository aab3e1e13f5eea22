//! Binding requests: that the viewer is there, and how long the way is.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::{StunMessage, TransId};

use super::shared;

/// When a first binding request that went unanswered is sent again.
const RETRY: Duration = Duration::from_millis(250);

/// How often the viewer shows that it is there, as browsers do.
const INTERVAL: Duration = Duration::from_millis(2500);

/// The priority of a host candidate (RFC 8445 §5.1.2.1).
const PRIORITY: u32 = 0x7e00_00ff;

/// The controlling side of ICE (RFC 8445), with one pair of addresses, which it nominates by every
/// request. Requests of the other side are not answered: what is asked for is a server that is lite.
#[derive(Debug)]
pub(super) struct Ice {
    server: SocketAddr,
    username: String,
    password: String,
    /// The last request, while it is not answered.
    asked: Option<(TransId, Instant)>,
    next: Instant,
    rtt: Option<Duration>,
}

impl Ice {
    /// `username` is the server's half, a colon, and the viewer's.
    pub(super) fn new(
        now: Instant,
        server: SocketAddr,
        username: String,
        password: String,
    ) -> Self {
        Self {
            server,
            username,
            password,
            asked: None,
            next: now,
            rtt: None,
        }
    }

    pub(super) fn server(&self) -> SocketAddr {
        self.server
    }

    #[cfg(test)]
    pub(super) fn username(&self) -> &str {
        &self.username
    }

    /// The round-trip time, by the last request that was answered.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// When the next request is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Writes a request, if one is due.
    pub(super) fn write(&mut self, now: Instant, buffer: &mut [u8]) -> Option<usize> {
        if now < self.next {
            return None;
        }
        self.next = now + self.rtt.map_or(RETRY, |_| INTERVAL);
        let id = TransId::new();
        self.asked = Some((id, now));
        let message = StunMessage::binding_request(&self.username, id, true, 1, PRIORITY, true);
        let hmac = shared().crypto.sha1_hmac_provider;
        let password = Some(self.password.as_bytes());
        message
            .to_bytes(password, buffer, |key, parts| hmac.sha1_hmac(key, parts))
            .ok()
    }

    /// Takes in a STUN message. Returns whether it answers the last request.
    pub(super) fn handle(&mut self, now: Instant, contents: &[u8]) -> bool {
        let Ok(message) = StunMessage::parse(contents) else {
            return false;
        };
        let hmac = shared().crypto.sha1_hmac_provider;
        let password = self.password.as_bytes();
        let asked = self.asked.filter(|(id, _)| *id == message.trans_id());
        let Some((_, sent)) = asked.filter(|_| {
            message.is_successful_binding_response()
                && message.verify(password, |key, parts| hmac.sha1_hmac(key, parts))
        }) else {
            return false;
        };
        self.asked = None;
        if self.rtt.is_none() {
            self.next = now + INTERVAL;
        }
        self.rtt = Some(now.saturating_duration_since(sent));
        true
    }
}
