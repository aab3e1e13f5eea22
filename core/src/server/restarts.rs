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
        let uuid = session.uuid.clone();
        let Some(ice) = session.ice_mut() else {
            return Err(Refusal::Internal("the session has no ICE".to_owned()));
        };
        match act(ice, &fragment, &precondition)? {
            Act::TakeIn => {
                tracing::debug!("session {uuid}: {} candidates", fragment.candidates);
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
                tracing::debug!("session {uuid}: ICE restarts");
            }
        }
        let names = ice.names();
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

/// The answer to a restart may be lost: networks that change are why there are restarts. Until a
/// binding request has shown that it arrived, the tag of before is as good for another restart; and
/// the same restart once more is answered in the same words, since a new generation would make the
/// answer worthless that arrives late. Whoever knows the new tag has the answer, and brings
/// candidates.
fn act(ice: &Ice, fragment: &Fragment, precondition: &Precondition) -> Result<Act, Refusal> {
    let tag = ice.names().local_ufrag.as_str();
    let is_current = precondition.holds_for(tag);
    let may_have_missed_it = ice
        .unheard_since()
        .is_some_and(|before| precondition.holds_for(&before.local_ufrag));
    match ice.told(fragment.ufrag.as_deref(), fragment.pwd.as_deref()) {
        Told::CurrentWhole if may_have_missed_it && !precondition.names(tag) => Ok(Act::Repeat),
        Told::New if is_current || may_have_missed_it => match (&fragment.ufrag, &fragment.pwd) {
            (Some(ufrag), Some(pwd)) => Ok(Act::Restart {
                remote_ufrag: ufrag.clone(),
                remote_password: pwd.clone(),
            }),
            _ => Err(Refusal::HalfRestart),
        },
        _ if !is_current => Err(Refusal::Precondition),
        Told::Current | Told::CurrentWhole | Told::Previous => Ok(Act::TakeIn),
        Told::Past => Err(Refusal::PastRestart),
        Told::Half | Told::New => Err(Refusal::HalfRestart),
    }
}
