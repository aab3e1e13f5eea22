//! Binding requests: that the viewer is there, and how long the way is.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::{StunMessage, TransId};

use super::shared;

/// When a first binding request that went unanswered is sent again.
const RETRY: Duration = Duration::from_millis(250);

/// Between two ways that are tried (RFC 8445 §14.2).
const PACE: Duration = Duration::from_millis(50);

/// How often the viewer shows that it is there, as browsers do.
const INTERVAL: Duration = Duration::from_millis(2500);

/// When a request on the way that works is sent again, if it went unanswered: a lost one is no sign of
/// anything.
const RENEWAL: Duration = Duration::from_millis(500);

/// A server that has answered no request for so long is gone. RFC 7675 §5.1 has 30 s at most: a shorter
/// time shows a dead server in a shorter run, and takes a frozen one for dead.
pub(super) const CONSENT: Duration = Duration::from_secs(5);

/// The priority of a host candidate (RFC 8445 §5.1.2.1).
const PRIORITY: u32 = 0x7e00_00ff;

/// As many ways are tried: servers with more addresses name their best ones first.
const WAYS_MAX: usize = 8;

/// Its own half of the user name (RFC 8445 §7.2.2). All are called the same: a server tells its
/// sessions apart by its own half.
pub(super) const UFRAG: &str = "light";

/// What a server that is not lite proves its requests by. All viewers have the same, for each has an
/// address of its own.
pub(super) const PASSWORD: &str = "aPasswordThatAllViewersHave";

/// The controlling side of ICE (RFC 8445). The first way that works is taken, and nominated by every
/// request. Servers that are not lite ask as well, and are answered; an address that they ask from is
/// one more way, for it may have been missing in the answer.
#[derive(Debug)]
pub(super) struct Ice {
    ways: Vec<Way>,
    /// Which way is tried next, while none works.
    turn: usize,
    /// The way that works.
    found: Option<SocketAddr>,
    /// Where what was written last goes.
    destination: SocketAddr,
    username: String,
    password: String,
    /// A request of the server's that is to be answered. One is remembered: it asks again.
    question: Option<(TransId, SocketAddr, Instant)>,
    next: Instant,
    rtt: Option<Duration>,
    /// When the first request was sent of those that went unanswered, on the way that works.
    unanswered_since: Option<Instant>,
}

/// An address of the server, and the last request to it while that is not answered.
#[derive(Debug)]
struct Way {
    server: SocketAddr,
    asked: Option<(TransId, Instant)>,
}

impl Ice {
    /// `username` is the server's half, a colon, and the viewer's. The ways are tried in this order.
    pub(super) fn new(
        now: Instant,
        servers: &[SocketAddr],
        username: String,
        password: String,
    ) -> Self {
        let ways = servers.iter().take(WAYS_MAX).map(|server| Way {
            server: *server,
            asked: None,
        });
        Self {
            ways: ways.collect(),
            turn: 0,
            found: None,
            destination: servers
                .first()
                .copied()
                .unwrap_or(SocketAddr::from(([0; 4], 9))),
            username,
            password,
            question: None,
            next: now,
            rtt: None,
            unanswered_since: None,
        }
    }

    /// Whether the server has answered before, and does not any more: the viewer may not send to it
    /// (RFC 7675 §5.1).
    pub(super) fn is_expired(&self, now: Instant) -> bool {
        let since = self.unanswered_since;
        since.is_some_and(|since| now >= since + CONSENT)
    }

    /// Where what was written last is to be sent.
    pub(super) fn destination(&self) -> SocketAddr {
        self.destination
    }

    /// What is written next by others goes by the way that works.
    pub(super) fn turn_to_found(&mut self) {
        self.destination = self.found.unwrap_or(self.destination);
    }

    /// The addresses of the server.
    pub(super) fn servers(&self) -> impl Iterator<Item = SocketAddr> {
        self.ways.iter().map(|way| way.server)
    }

    #[cfg(test)]
    pub(super) fn username(&self) -> &str {
        &self.username
    }

    /// The round-trip time, by the last request that was answered.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// When the next request is due. An answer is due at once.
    pub(super) fn next(&self) -> Instant {
        let question = self.question.map(|(_, _, at)| at);
        question.map_or(self.next, |at| at.min(self.next))
    }

    /// Writes an answer or a request, if one is due.
    pub(super) fn write(&mut self, now: Instant, buffer: &mut [u8]) -> Option<usize> {
        let hmac = shared().crypto.sha1_hmac_provider;
        if let Some((id, asker, _)) = self.question.take() {
            self.destination = asker;
            let answer = StunMessage::binding_reply(id, asker);
            let password = Some(PASSWORD.as_bytes());
            return answer
                .to_bytes(password, buffer, |key, parts| hmac.sha1_hmac(key, parts))
                .ok();
        }
        if now < self.next {
            return None;
        }
        let pause = match (self.found, self.ways.len()) {
            // A server that is farther away has its time to answer.
            (Some(_), _) => self.rtt.map_or(RENEWAL, |rtt| RENEWAL.max(2 * rtt)),
            (None, 0 | 1) => RETRY,
            (None, _) => PACE,
        };
        self.next = now + pause;
        let way = match self.found {
            Some(found) => {
                self.unanswered_since.get_or_insert(now);
                self.ways.iter_mut().find(|way| way.server == found)?
            }
            None => {
                let turn = self.turn.checked_rem(self.ways.len())?;
                self.turn = turn + 1;
                &mut self.ways[turn]
            }
        };
        let id = TransId::new();
        way.asked = Some((id, now));
        self.destination = way.server;
        let message = StunMessage::binding_request(&self.username, id, true, 1, PRIORITY, true);
        let password = Some(self.password.as_bytes());
        message
            .to_bytes(password, buffer, |key, parts| hmac.sha1_hmac(key, parts))
            .ok()
    }

    /// Takes in a STUN message. Returns whether it answers the last request.
    pub(super) fn handle(&mut self, now: Instant, from: SocketAddr, contents: &[u8]) -> bool {
        let Ok(message) = StunMessage::parse(contents) else {
            return false;
        };
        if message.is_binding_request() {
            if is_genuine(&message, PASSWORD) {
                self.on_question(now, from, message.trans_id());
            }
            return false;
        }
        let is_answered = |way: &Way| way.asked.is_some_and(|(id, _)| id == message.trans_id());
        let Some(way) = self.ways.iter_mut().find(|way| is_answered(way)) else {
            return false;
        };
        if !message.is_successful_binding_response() || !is_genuine(&message, &self.password) {
            return false;
        }
        let asked = way.asked.take();
        let found = *self.found.get_or_insert(way.server);
        if found == way.server {
            self.unanswered_since = None;
            self.next = now + INTERVAL;
        }
        self.rtt = asked.map(|(_, sent)| now.saturating_duration_since(sent));
        true
    }

    fn on_question(&mut self, now: Instant, from: SocketAddr, id: TransId) {
        self.question = Some((id, from, now));
        let is_known = self.ways.iter().any(|way| way.server == from);
        if self.found.is_none() && !is_known && self.ways.len() < WAYS_MAX {
            self.turn = self.ways.len();
            self.ways.push(Way {
                server: from,
                asked: None,
            });
            self.next = now;
        }
    }
}

fn is_genuine(message: &StunMessage<'_>, password: &str) -> bool {
    let hmac = shared().crypto.sha1_hmac_provider;
    message.verify(password.as_bytes(), |key, parts| hmac.sha1_hmac(key, parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "theirPasswordOfSomeLength";

    fn reply(buffer: &mut [u8], request: &[u8]) -> usize {
        let request = StunMessage::parse(request).unwrap();
        let mapped = SocketAddr::from(([192, 0, 2, 9], 9));
        let hmac = shared().crypto.sha1_hmac_provider;
        StunMessage::binding_reply(request.trans_id(), mapped)
            .to_bytes(Some(SERVER.as_bytes()), buffer, |key, parts| {
                hmac.sha1_hmac(key, parts)
            })
            .unwrap()
    }

    #[test]
    fn the_way_that_answers_is_taken() {
        let servers = [1, 2].map(|host| SocketAddr::from(([192, 0, 2, host], 8189)));
        let now = Instant::now();
        let mut ice = Ice::new(now, &servers, "x:light".to_owned(), SERVER.to_owned());
        let (mut request, mut answer) = ([0; 500], [0; 500]);
        ice.write(now, &mut request).unwrap();
        assert_eq!(ice.destination(), servers[0]);
        assert!(ice.write(now, &mut request).is_none());
        let len = ice.write(now + PACE, &mut request).unwrap();
        assert_eq!(ice.destination(), servers[1]);
        let answer_len = reply(&mut answer, &request[..len]);
        assert!(ice.handle(now + 2 * PACE, servers[1], &answer[..answer_len]));
        assert_eq!(ice.rtt(), Some(PACE));
        assert_eq!(ice.next(), now + 2 * PACE + INTERVAL);
        ice.write(ice.next(), &mut request).unwrap();
        assert_eq!(ice.destination(), servers[1]);
    }

    #[test]
    fn a_server_that_answers_no_more_is_gone_and_a_lost_answer_is_nothing() {
        let server = SocketAddr::from(([192, 0, 2, 1], 8189));
        let now = Instant::now();
        let mut ice = Ice::new(now, &[server], "x:light".to_owned(), SERVER.to_owned());
        let (mut request, mut answer) = ([0; 500], [0; 500]);
        // Every third request is answered.
        for asked in 0..9 {
            let at = ice.next();
            let len = ice.write(at, &mut request).unwrap();
            assert!(!ice.is_expired(at));
            if asked % 3 == 0 {
                let answer_len = reply(&mut answer, &request[..len]);
                assert!(ice.handle(at, server, &answer[..answer_len]));
            }
        }
        let len = ice.write(ice.next(), &mut request).unwrap();
        let answer_len = reply(&mut answer, &request[..len]);
        assert!(ice.handle(now, server, &answer[..answer_len]));
        let since = ice.next();
        let mut asked = 0;
        while !ice.is_expired(ice.next()) {
            ice.write(ice.next(), &mut request).unwrap();
            asked += 1;
        }
        assert_eq!((ice.next() - since, asked), (CONSENT, 10));
    }

    #[test]
    fn a_server_that_asks_is_answered_and_asked_back() {
        let now = Instant::now();
        let from = SocketAddr::from(([192, 0, 2, 7], 700));
        let mut ice = Ice::new(now, &[], "x:light".to_owned(), SERVER.to_owned());
        let mut buffer = [0; 500];
        assert!(ice.write(now, &mut buffer).is_none(), "nobody is known");
        let id = TransId::new();
        let hmac = shared().crypto.sha1_hmac_provider;
        let len = StunMessage::binding_request("light:x", id, false, 1, PRIORITY, false)
            .to_bytes(Some(PASSWORD.as_bytes()), &mut buffer, |key, parts| {
                hmac.sha1_hmac(key, parts)
            })
            .unwrap();
        assert!(!ice.handle(now, from, &buffer[..len]));
        let len = ice.write(now, &mut buffer).unwrap();
        let answer = StunMessage::parse(&buffer[..len]).unwrap();
        assert!(answer.is_successful_binding_response() && answer.trans_id() == id);
        assert_eq!(
            (ice.destination(), answer.mapped_address()),
            (from, Some(from))
        );
        let len = ice.write(now, &mut buffer).unwrap();
        assert!(
            StunMessage::parse(&buffer[..len])
                .unwrap()
                .is_binding_request()
        );
        assert_eq!(ice.destination(), from);
    }
}
