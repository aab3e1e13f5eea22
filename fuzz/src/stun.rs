//! STUN as it comes to one session: as it is, and signed with the session's password.
//!
//! Who cannot sign is neither answered nor obeyed. Who can is answered with its own transaction,
//! in a few bytes, and obeyed only if it nominates.

use std::net::SocketAddr;

use is::stun::StunMessage;
use kvill_core::fuzzing::{IceSession, session_of_ufrag};

use crate::message::{self, HEADER_LEN};

const UFRAG: &str = "AAAAAAAAAAAAAAAA";
const PASSWORD: &str = "ourpasswordof24characters";
const PEER: &str = "peer";

/// Longer than any answer to a binding request.
const REPLY_LEN_MAX: usize = 128;

/// The target.
pub fn run(data: &[u8]) {
    let remote = SocketAddr::from(([10, 0, 0, 9], 2));
    if let Ok(message) = StunMessage::parse(data)
        && let Some((name, _)) = message.split_username()
        && let Some(session) = session_of_ufrag(name)
    {
        // 96 bits in 16 characters: one name is one session, whatever the rest of it says.
        assert_eq!(name.len(), 16);
        assert_eq!(session_of_ufrag(name), Some(session));
    }

    let mut ice = IceSession::new(UFRAG, PASSWORD, PEER);
    assert_eq!(ice.handle(remote, data), None, "nobody has signed this");
    assert_eq!(ice.selected(), None);

    // As a message of its own, and as the attributes of a message that names its user.
    let whole = message::signed(data.to_vec(), PASSWORD);
    let user = format!("{UFRAG}:{PEER}");
    let named = message::signed(message::binding_request(&user, [9; 12], data), PASSWORD);
    for request in [&whole, &named] {
        take(remote, request);
    }
}

fn take(remote: SocketAddr, request: &[u8]) {
    let mut ice = IceSession::new(UFRAG, PASSWORD, PEER);
    let Some(reply) = ice.handle(remote, request) else {
        assert_eq!(ice.selected(), None, "obeyed and not answered");
        return;
    };
    assert!(reply.len() <= REPLY_LEN_MAX);
    let read = StunMessage::parse(&reply).expect("an answer that is STUN");
    assert_eq!(reply.get(8..HEADER_LEN), request.get(8..HEADER_LEN));
    if read.is_successful_binding_response() {
        assert_eq!(read.mapped_address(), Some(remote));
        let selected = message::nominates(request).then_some(remote);
        assert_eq!(ice.selected(), selected);
    } else {
        assert_eq!(read.error_code().map(|(code, _)| code), Some(487));
        assert_eq!(ice.selected(), None);
    }

    // What is signed cannot be changed.
    let covered = request.len() - 32;
    for place in [4, covered / 2, covered - 1] {
        let mut forged = request.to_vec();
        forged[place] ^= 1;
        let mut ice = IceSession::new(UFRAG, PASSWORD, PEER);
        assert_eq!(ice.handle(remote, &forged), None, "changed at {place}");
    }
}
