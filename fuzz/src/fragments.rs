//! Trickle fragments: read, written and read again; and by PATCH to a session, whose answer
//! follows from what was read.

use std::cell::Cell;

use http::Method;
use kvill_core::fuzzing::{Fragment, read_fragment, write_fragment};
use kvill_core::signal::MAX_BODY_LEN;

use crate::client::{Client, Live};

/// A session, and the peer's names as it knows them.
struct Session {
    live: Live,
    client: Client,
    names: (String, String),
    /// Names of before.
    past: Vec<(String, String)>,
}

thread_local! {
    static SESSION: Cell<Option<Session>> = const { Cell::new(None) };
}

/// How many generations of names are told apart in the core. Beyond these a session begins anew.
const PAST_MAX: usize = 3;

/// The target.
pub fn run(data: &[u8]) {
    let data = &data[..data.len().min(MAX_BODY_LEN)];
    let read = read_fragment(data);
    if let Some(read) = &read {
        is_written_and_read(read);
    }
    let mut session = SESSION.take().unwrap_or_else(Session::new);
    session.patch(data, read.as_ref());
    SESSION.set(Some(session).filter(|session| session.past.len() < PAST_MAX));
}

/// What was read makes no lines of its own.
fn is_written_and_read(read: &Fragment) {
    let ufrag = read.ufrag.as_deref().unwrap_or("us");
    let pwd = read.pwd.as_deref().unwrap_or("secret");
    let candidates = "a=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n".repeat(read.candidates % 4);
    let written = write_fragment(ufrag, pwd, &candidates, read.section.as_ref());
    let expected = Fragment {
        ufrag: Some(ufrag.to_owned()),
        pwd: Some(pwd.to_owned()),
        section: read.section.clone(),
        candidates: read.candidates % 4,
        ended: true,
    };
    assert_eq!(
        read_fragment(written.as_bytes()),
        Some(expected),
        "{written}"
    );
}

impl Session {
    fn new() -> Self {
        let mut live = Live::default();
        let remote = ([10, 0, 0, 9], 1).into();
        let client = Client::join(&mut live, "/a/whip", remote).expect("a session");
        let names = ("peer".to_owned(), "peerpeerpeerpeerpeerpeer".to_owned());
        Self {
            live,
            client,
            names,
            past: Vec::new(),
        }
    }

    fn patch(&mut self, data: &[u8], read: Option<&Fragment>) {
        let response = self.live.request(
            Method::PATCH,
            &self.client.location,
            "application/trickle-ice-sdpfrag",
            data,
        );
        let status = response.status().as_u16();
        let Some(read) = read else {
            assert_eq!(status, 400);
            return;
        };
        let (ufrag, pwd) = (read.ufrag.as_ref(), read.pwd.as_ref());
        let is_of = |(own_ufrag, own_pwd): &(String, String)| {
            ufrag.is_none_or(|ufrag| ufrag == own_ufrag) && pwd.is_none_or(|pwd| pwd == own_pwd)
        };
        match (ufrag, pwd) {
            _ if is_of(&self.names) && (ufrag.is_none() || pwd.is_none()) => {
                assert_eq!(status, 204, "candidates");
            }
            // Who says again what made this generation may have missed the answer.
            _ if is_of(&self.names) => {
                assert_eq!(status, if self.past.is_empty() { 204 } else { 200 });
            }
            _ if self.past.iter().any(is_of) => {
                // The last one that worked is still answered; the others are past.
                assert!(matches!(status, 204 | 409), "{status}");
            }
            (Some(ufrag), Some(pwd)) => {
                assert_eq!(status, 200, "a restart");
                let own = read_fragment(response.body()).expect("our half");
                assert_eq!(own.section, read.section);
                assert!(own.ended && own.ufrag.is_some() && own.pwd.is_some());
                let names = (ufrag.clone(), pwd.clone());
                self.past.push(std::mem::replace(&mut self.names, names));
            }
            _ => assert_eq!(status, 400, "half a restart"),
        }
    }
}
