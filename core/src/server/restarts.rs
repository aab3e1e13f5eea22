//! What a PATCH asks of a session: candidates are taken in, and ICE begins anew (RFC 9725 §4.3).
//!
//! A restart changes the names that binding requests go by, and nothing else: DTLS, the SRTP keys,
//! the sources and their numbers do not hear of it. What is sent moves when the peer nominates.

use std::net::IpAddr;

use crate::ice::{Ice, Names, Told};
use crate::ids::{self, SessionId};
use crate::server::Server;
use crate::signal::Response;
use crate::signal::fragment::{self, Fragment};
use crate::signal::precondition::Precondition;
use crate::signal::refusal::Refusal;
use crate::signal::respond;
use crate::signal::route::Patch;

impl Server {
    /// A PATCH of a session. `peer` is whom it came from.
    pub(super) fn patch(
        &mut self,
        id: SessionId,
        peer: IpAddr,
        wish: Patch,
    ) -> Result<Response, Refusal> {
        let Patch {
            fragment,
            precondition,
        } = wish;
        let Some(session) = self.sessions.get_mut(id) else {
            return Err(Refusal::Internal("the session is gone".to_owned()));
        };
        let ice = session.ice_mut();
        match act(ice, &fragment, &precondition)? {
            Act::TakeIn => {
                tracing::debug!(
                    "session {}: {} candidates",
                    session.uuid,
                    fragment.candidates
                );
                return Ok(respond::trickled());
            }
            Act::Repeat => {}
            Act::Restart {
                remote_ufrag,
                remote_password,
            } => {
                if self.candidates.for_peer(peer).addresses.is_empty() {
                    return Err(Refusal::NoCandidates);
                }
                ice.restart(Names {
                    local_ufrag: ids::ufrag(id, &mut self.rng),
                    local_password: ids::ice_password(&mut self.rng),
                    remote_ufrag,
                    remote_password,
                });
                tracing::debug!("session {}: ICE restarts", session.uuid);
            }
        }
        let names = session.ice().names();
        let text = fragment::write(
            &names.local_ufrag,
            &names.local_password,
            &self.candidates.for_peer(peer).lines,
            fragment.section.as_ref(),
        );
        Ok(respond::restarted(&names.local_ufrag, text))
    }
}

/// What a PATCH is for.
enum Act {
    /// Candidates, or that there are no more.
    TakeIn,
    /// The restart that was asked for last, once more.
    Repeat,
    Restart {
        remote_ufrag: String,
        remote_password: String,
    },
}

/// A restart whose answer was lost is asked for again in the same words: then it is answered again
/// in the same words, until a binding request has shown that the answer arrived. A new generation
/// for every repetition would make the answer that did arrive, if late, worthless. Whoever asks
/// again knows the tag of before; whoever knows the new tag has the answer, and brings candidates.
fn act(ice: &Ice, fragment: &Fragment, precondition: &Precondition) -> Result<Act, Refusal> {
    let tag = ice.names().local_ufrag.as_str();
    let told = ice.told(fragment.ufrag.as_deref(), fragment.pwd.as_deref());
    if told == Told::CurrentUnheard && !precondition.names(tag) {
        let before = ice.previous_names().map(|names| names.local_ufrag.as_str());
        if before.is_some_and(|before| precondition.holds_for(before)) {
            return Ok(Act::Repeat);
        }
    }
    if !precondition.holds_for(tag) {
        return Err(Refusal::Precondition);
    }
    match told {
        Told::Current | Told::CurrentUnheard | Told::Previous => Ok(Act::TakeIn),
        Told::Past => Err(Refusal::PastRestart),
        Told::Half => Err(Refusal::HalfRestart),
        Told::New => match (&fragment.ufrag, &fragment.pwd) {
            (Some(ufrag), Some(pwd)) => Ok(Act::Restart {
                remote_ufrag: ufrag.clone(),
                remote_password: pwd.clone(),
            }),
            _ => Err(Refusal::HalfRestart),
        },
    }
}
