//! One peer's ICE, the lite half of it (RFC 8445 §2.5): which binding requests are genuine, what
//! they are answered, and by which route the peer wants everything.
//!
//! Credentials come in generations, and a restart begins a new one. Until the peer has nominated a
//! route by the new one, the one before goes on being answered and obeyed (RFC 8445 §9): a restart
//! that comes to nothing costs nothing. What a session is sent follows the newest nomination, of
//! whatever generation is still answered.
//!
//! Nothing in a binding request says where it was sent from, so whoever has overheard one can send
//! it again from elsewhere: each nominates once.
//!
//! Bounded: two generations and the names of a few before, one route, one answer that waits to be
//! sent. Addresses are not remembered.

use std::collections::VecDeque;

use is::Sha1HmacProvider;
use is::stun::{StunMessage, TransId};

use crate::net::Route;

/// Room for any answer to a binding request. The longest is a role conflict, of some 80 bytes.
const REPLY_LEN_MAX: usize = 128;

/// How many nominations of a generation are remembered. A peer that makes more soon makes another,
/// which outdoes a repeated one; who makes few, as libnice does, is protected for good.
const NOMINATIONS_MAX: usize = 16;

/// How many generations are known to be past. A request that was overtaken by more restarts than
/// these is taken for another one.
const PAST_MAX: usize = 4;

/// What both sides go by (RFC 8839 §5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) local_ufrag: String,
    pub(crate) local_password: String,
    pub(crate) remote_ufrag: String,
    pub(crate) remote_password: String,
}

impl Names {
    /// Whether a binding request has these names and was made with our password.
    fn made(&self, message: &StunMessage<'_>, hmac: &dyn Sha1HmacProvider) -> bool {
        message.split_username() == Some((self.local_ufrag.as_str(), self.remote_ufrag.as_str()))
            && message.verify(self.local_password.as_bytes(), |key, parts| {
                hmac.sha1_hmac(key, parts)
            })
    }

    /// Whether a peer's words are of this generation. It may leave out either, not both.
    fn are_of(&self, ufrag: Option<&str>, password: Option<&str>) -> bool {
        ufrag.is_none_or(|ufrag| ufrag == self.remote_ufrag)
            && password.is_none_or(|password| password == self.remote_password)
            && (ufrag.is_some() || password.is_some())
    }
}

#[derive(Debug)]
struct Generation {
    names: Names,
    /// A genuine request came: so the peer knows our half.
    heard: bool,
    /// The newest requests that nominated a route.
    nominations: VecDeque<TransId>,
}

impl Generation {
    fn new(names: Names) -> Self {
        Self {
            names,
            heard: false,
            nominations: VecDeque::new(),
        }
    }

    fn is_nominated(&self) -> bool {
        !self.nominations.is_empty()
    }

    /// Whether a nominating request is not one that has come before.
    fn note(&mut self, id: TransId) -> bool {
        let is_new = !self.nominations.contains(&id);
        if is_new {
            if self.nominations.len() >= NOMINATIONS_MAX {
                self.nominations.pop_front();
            }
            self.nominations.push_back(id);
        }
        is_new
    }
}

/// See the module.
pub(crate) struct Ice {
    current: Generation,
    /// The one before, or of several the last that worked.
    previous: Option<Generation>,
    /// Those before these, newest last.
    past: VecDeque<Names>,
    selected: Option<Route>,
    /// That has changed, and nobody was told.
    moved: bool,
    reply: Option<(Route, Vec<u8>)>,
    hmac: &'static dyn Sha1HmacProvider,
}

/// A binding request that was genuine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Check {
    pub(crate) id: TransId,
    /// The peer took us for the controlling side, and was told to be that itself.
    pub(crate) is_conflict: bool,
}

/// Which generation a peer speaks of that tells us of its ICE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// The current one, by some or none of its names.
    Current,
    /// The current one, by all that a restart has to tell.
    CurrentWhole,
    /// The one before, which is still answered.
    Previous,
    /// The one before, which is answered no longer, or one before that.
    Past,
    /// One that is to begin.
    New,
    /// One that is to begin, and half of it is missing.
    Half,
}

impl Ice {
    pub(crate) fn new(names: Names, hmac: &'static dyn Sha1HmacProvider) -> Self {
        Self {
            current: Generation::new(names),
            previous: None,
            past: VecDeque::new(),
            selected: None,
            moved: false,
            reply: None,
            hmac,
        }
    }

    /// The names of the current generation.
    pub(crate) fn names(&self) -> &Names {
        &self.current.names
    }

    /// The names of the one before, while nothing has shown that the peer heard of the current one.
    pub(crate) fn unheard_since(&self) -> Option<&Names> {
        let previous = self.previous.as_ref().filter(|_| !self.current.heard);
        previous.map(|previous| &previous.names)
    }

    /// The route that the peer nominated.
    pub(crate) fn selected(&self) -> Option<Route> {
        self.selected
    }

    /// The same, once after each time that it changed.
    pub(crate) fn poll_selected(&mut self) -> Option<Route> {
        let moved = std::mem::take(&mut self.moved);
        self.selected.filter(|_| moved)
    }

    /// The answer to what was last taken in.
    pub(crate) fn poll_reply(&mut self) -> Option<(Route, Vec<u8>)> {
        self.reply.take()
    }

    /// Takes in a STUN message, which came by `route`. `None`: it is no genuine binding request of
    /// this peer. Else the route leads to it; and that of the newest one with USE-CANDIDATE is
    /// where the peer wants everything (RFC 8445 §7.3.1.5, §12.1), down to the address of ours that
    /// it asked.
    pub(crate) fn handle(&mut self, route: Route, message: &StunMessage<'_>) -> Option<Check> {
        if !message.is_binding_request() {
            return None;
        }
        let hmac = self.hmac;
        let answers = !self.current.is_nominated();
        let previous = self.previous.as_mut().filter(|_| answers);
        let generation = std::iter::once(&mut self.current)
            .chain(previous)
            .find(|generation| generation.names.made(message, hmac))?;
        // A lite agent is never controlling (RFC 8445 §6.1.1): it wins every role conflict.
        let is_conflict = message.ice_controlled().is_some();
        let id = message.trans_id();
        let nominates = message.use_candidate() && !is_conflict && generation.note(id);
        generation.heard = true;
        let reply = if is_conflict {
            StunMessage::binding_role_conflict_reply(id)
        } else {
            StunMessage::binding_reply(id, route.remote)
        };
        let password = generation.names.local_password.as_bytes();
        self.reply = write(reply, password, hmac).map(|contents| (route, contents));
        if nominates && self.selected != Some(route) {
            self.selected = Some(route);
            self.moved = true;
        }
        Some(Check { id, is_conflict })
    }

    /// Which generation a peer speaks of, by what it tells of its half.
    pub(crate) fn told(&self, ufrag: Option<&str>, password: Option<&str>) -> Told {
        let previous = self.previous.as_ref();
        match (ufrag, password) {
            (None, None) => Told::Current,
            _ if self.current.names.are_of(ufrag, password) => match (ufrag, password) {
                (Some(_), Some(_)) => Told::CurrentWhole,
                _ => Told::Current,
            },
            _ if previous.is_some_and(|p| p.names.are_of(ufrag, password)) => {
                if self.current.is_nominated() {
                    Told::Past
                } else {
                    Told::Previous
                }
            }
            _ if self.past.iter().any(|past| past.are_of(ufrag, password)) => Told::Past,
            (Some(_), Some(_)) => Told::New,
            _ => Told::Half,
        }
    }

    /// Begins a new generation. Of those before, the last that worked is kept.
    pub(crate) fn restart(&mut self, names: Names) {
        let last = std::mem::replace(&mut self.current, Generation::new(names));
        let works = Generation::is_nominated;
        let past = if works(&last) || !self.previous.as_ref().is_some_and(works) {
            self.previous.replace(last)
        } else {
            Some(last)
        };
        if let Some(past) = past {
            if self.past.len() >= PAST_MAX {
                self.past.pop_front();
            }
            self.past.push_back(past.names);
        }
    }
}

/// A message in bytes.
pub(crate) fn write(
    message: StunMessage<'_>,
    password: &[u8],
    hmac: &dyn Sha1HmacProvider,
) -> Option<Vec<u8>> {
    let mut contents = vec![0; REPLY_LEN_MAX];
    let written = message.to_bytes(Some(password), &mut contents, |key, parts| {
        hmac.sha1_hmac(key, parts)
    });
    debug_assert!(written.is_ok(), "a message longer than it can be");
    contents.truncate(written.ok()?);
    Some(contents)
}

impl std::fmt::Debug for Ice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ice")
            .field("ufrag", &self.current.names.local_ufrag)
            .field("selected", &self.selected)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::TransportId;

    fn hmac() -> &'static dyn Sha1HmacProvider {
        crate::dtls::crypto_provider().sha1_hmac_provider
    }

    fn names(n: u32) -> Names {
        Names {
            local_ufrag: format!("us{n}"),
            local_password: format!("ourourourourourourour{n}"),
            remote_ufrag: format!("peer{n}"),
            remote_password: format!("peerpeerpeerpeerpeer{n}"),
        }
    }

    fn route(port: u16) -> Route {
        Route {
            transport: TransportId(0),
            local: ([10, 0, 0, 1], 5).into(),
            remote: ([10, 0, 0, 9], port).into(),
        }
    }

    fn request(names: &Names, controlling: bool, nominates: bool) -> Vec<u8> {
        let username = format!("{}:{}", names.local_ufrag, names.remote_ufrag);
        let id = TransId::new();
        let message = StunMessage::binding_request(&username, id, controlling, 1, 9, nominates);
        write(message, names.local_password.as_bytes(), hmac()).unwrap()
    }

    /// A nominating request of a generation; whether it was taken for genuine.
    fn nominate(ice: &mut Ice, n: u32, port: u16) -> bool {
        let contents = request(&names(n), true, true);
        let message = StunMessage::parse(&contents).unwrap();
        ice.handle(route(port), &message).is_some()
    }

    #[test]
    fn a_genuine_request_is_answered_and_a_forged_one_is_not() {
        let mut ice = Ice::new(names(0), hmac());
        let contents = request(&names(0), true, false);
        let message = StunMessage::parse(&contents).unwrap();
        assert!(ice.handle(route(1), &message).is_some());
        let (by, reply) = ice.poll_reply().unwrap();
        assert_eq!(by, route(1));
        let reply = StunMessage::parse(&reply).unwrap();
        assert!(reply.is_successful_binding_response());
        assert_eq!(reply.trans_id(), message.trans_id());
        assert_eq!(reply.mapped_address(), Some(route(1).remote));
        let our_password = names(0).local_password;
        assert!(reply.verify(our_password.as_bytes(), |k, p| hmac().sha1_hmac(k, p)));
        assert_eq!(ice.selected(), None, "nobody nominated anything");

        for forged in [
            Names {
                local_password: names(1).local_password,
                ..names(0)
            },
            Names {
                remote_ufrag: names(1).remote_ufrag,
                ..names(0)
            },
        ] {
            let contents = request(&forged, true, true);
            let message = StunMessage::parse(&contents).unwrap();
            assert!(ice.handle(route(1), &message).is_none());
            assert!(ice.poll_reply().is_none());
        }
        assert_eq!(ice.selected(), None);
    }

    #[test]
    fn a_peer_that_would_be_controlled_is_told_to_control() {
        let mut ice = Ice::new(names(0), hmac());
        let contents = request(&names(0), false, true);
        let message = StunMessage::parse(&contents).unwrap();
        assert!(ice.handle(route(1), &message).unwrap().is_conflict);
        let (_, reply) = ice.poll_reply().unwrap();
        let reply = StunMessage::parse(&reply).unwrap();
        assert_eq!(reply.error_code().map(|(code, _)| code), Some(487));
        assert_eq!(ice.selected(), None);
    }

    #[test]
    fn the_old_generation_answers_until_the_new_one_is_nominated() {
        let mut ice = Ice::new(names(0), hmac());
        assert!(nominate(&mut ice, 0, 1));
        ice.restart(names(1));
        assert!(nominate(&mut ice, 0, 2));
        assert_eq!(ice.selected(), Some(route(2)), "the old one is obeyed");
        let contents = request(&names(1), true, false);
        let message = StunMessage::parse(&contents).unwrap();
        assert!(ice.handle(route(3), &message).is_some());
        assert_eq!(ice.selected(), Some(route(2)), "nothing is nominated yet");
        assert!(nominate(&mut ice, 0, 2));

        assert!(nominate(&mut ice, 1, 3));
        assert_eq!(ice.selected(), Some(route(3)));
        assert!(!nominate(&mut ice, 0, 2));
        assert_eq!(ice.selected(), Some(route(3)));
    }

    #[test]
    fn of_many_restarts_the_last_and_the_one_that_works_are_kept() {
        let mut ice = Ice::new(names(0), hmac());
        assert!(nominate(&mut ice, 0, 1));
        for n in 1..=9 {
            ice.restart(names(n));
        }
        assert!(!nominate(&mut ice, 8, 2));
        assert_eq!(ice.told(Some("peer8"), None), Told::Past);
        assert_eq!(ice.past.len(), PAST_MAX);
        assert!(nominate(&mut ice, 0, 1));
        assert!(nominate(&mut ice, 9, 2));
        assert!(!nominate(&mut ice, 0, 1));
        ice.restart(names(10));
        assert!(nominate(&mut ice, 9, 2));
        assert!(!nominate(&mut ice, 0, 1));
    }

    #[test]
    fn a_nomination_that_comes_again_moves_nothing() {
        let mut ice = Ice::new(names(0), hmac());
        let contents = request(&names(0), true, true);
        let message = StunMessage::parse(&contents).unwrap();
        assert!(ice.handle(route(1), &message).is_some());
        for port in (2..).take(NOMINATIONS_MAX - 1) {
            assert!(nominate(&mut ice, 0, port));
            assert!(ice.handle(route(1), &message).is_some());
            assert_eq!(ice.poll_reply().unwrap().0, route(1), "it is answered");
            assert_eq!(ice.selected(), Some(route(port)));
        }
        for _ in 0..1000 {
            assert!(nominate(&mut ice, 0, 3));
        }
        assert_eq!(ice.current.nominations.len(), NOMINATIONS_MAX);
    }

    #[test]
    fn a_nomination_is_told_once() {
        let mut ice = Ice::new(names(0), hmac());
        assert!(nominate(&mut ice, 0, 1));
        assert_eq!(ice.poll_selected(), Some(route(1)));
        assert!(nominate(&mut ice, 0, 1));
        assert_eq!(ice.poll_selected(), None);
    }

    #[test]
    fn what_a_peer_tells_is_of_a_generation() {
        let mut ice = Ice::new(names(0), hmac());
        let told = |ice: &Ice, n| {
            let names = names(n);
            ice.told(Some(&names.remote_ufrag), Some(&names.remote_password))
        };
        assert_eq!(ice.told(None, None), Told::Current);
        assert_eq!(told(&ice, 0), Told::CurrentWhole);
        assert_eq!(told(&ice, 1), Told::New);
        assert_eq!(ice.told(Some("peer0"), None), Told::Current);
        assert_eq!(ice.told(Some("peer1"), None), Told::Half);
        assert_eq!(ice.told(None, Some("x")), Told::Half);
        assert_eq!(ice.told(Some("peer0"), Some("x")), Told::New);

        assert!(nominate(&mut ice, 0, 1));
        ice.restart(names(1));
        assert_eq!(told(&ice, 1), Told::CurrentWhole);
        assert_eq!(ice.unheard_since(), Some(&names(0)));
        assert_eq!(ice.told(Some("peer1"), None), Told::Current);
        assert_eq!(told(&ice, 0), Told::Previous);
        assert!(nominate(&mut ice, 1, 1));
        assert_eq!(ice.unheard_since(), None);
        assert_eq!(told(&ice, 1), Told::CurrentWhole);
        assert_eq!(told(&ice, 0), Told::Past);
        assert_eq!(ice.told(Some("peer0"), None), Told::Past);
    }

    #[derive(Debug, Clone)]
    enum Act {
        /// A request of the generation so many before the current one.
        Check {
            back: u32,
            port: u16,
            controlling: bool,
            nominates: bool,
        },
        /// A request that has come before, from elsewhere.
        Repeat {
            which: usize,
            port: u16,
        },
        Restart,
    }

    fn act() -> impl Strategy<Value = Act> {
        let check = (0_u32..4, 1_u16..5, prop::bool::weighted(0.9), any::<bool>());
        prop_oneof![
            6 => check.prop_map(|(back, port, controlling, nominates)| Act::Check {
                back,
                port,
                controlling,
                nominates,
            }),
            2 => (any::<usize>(), 5_u16..9).prop_map(|(which, port)| Act::Repeat { which, port }),
            1 => Just(Act::Restart),
        ]
    }

    /// Generations by their numbers, and which of them count.
    #[derive(Default)]
    struct Model {
        current: u32,
        previous: Option<u32>,
        past: VecDeque<u32>,
        nominated: Vec<u32>,
        heard: Vec<u32>,
        selected: Option<u16>,
    }

    impl Model {
        fn answers(&self, generation: u32) -> bool {
            generation == self.current
                || (Some(generation) == self.previous && !self.nominated.contains(&self.current))
        }

        fn restart(&mut self) {
            let worked = |generation| self.nominated.contains(&generation);
            let past = match self.previous {
                Some(previous) if worked(previous) && !worked(self.current) => Some(self.current),
                _ => self.previous.replace(self.current),
            };
            self.past.extend(past);
            if self.past.len() > PAST_MAX {
                self.past.pop_front();
            }
            self.current += 1;
        }
    }

    proptest! {
        #[test]
        fn generations_are_answered_and_obeyed_as_the_model_says(
            acts in prop::collection::vec(act(), 1..40),
        ) {
            let mut ice = Ice::new(names(0), hmac());
            let mut model = Model::default();
            // What was sent: of which generation, whether it is a nomination, and the bytes.
            let mut sent: Vec<(u32, bool, Vec<u8>)> = Vec::new();
            for act in acts {
                let (generation, port, nominates, contents) = match act {
                    Act::Restart => {
                        model.restart();
                        ice.restart(names(model.current));
                        continue;
                    }
                    Act::Check { back, port, controlling, nominates } => {
                        let generation = model.current.saturating_sub(back);
                        let contents = request(&names(generation), controlling, nominates);
                        let counts = nominates && controlling;
                        sent.push((generation, counts, contents.clone()));
                        // Enough for the one that it may be, and one that came is known again.
                        let known = sent.iter().filter(|(g, n, _)| *n && *g == generation);
                        prop_assume!(known.count() <= NOMINATIONS_MAX);
                        (generation, port, counts, contents)
                    }
                    Act::Repeat { which, port } => {
                        let Some(count) = sent.len().checked_sub(1) else { continue };
                        let (generation, nominates, contents) = sent[which % (count + 1)].clone();
                        // One that was not answered then may be new now.
                        (generation, port, nominates, contents)
                    }
                };
                let message = StunMessage::parse(&contents).unwrap();
                let is_new = !is_known(&ice, message.trans_id());
                let answered = ice.handle(route(port), &message).is_some();
                prop_assert_eq!(answered, model.answers(generation));
                prop_assert_eq!(ice.poll_reply().map(|(by, _)| by), answered.then(|| route(port)));
                if answered {
                    model.heard.push(generation);
                }
                if answered && nominates && is_new {
                    model.selected = Some(port);
                    model.nominated.push(generation);
                }
                prop_assert_eq!(ice.selected(), model.selected.map(route));
                prop_assert_eq!(ice.names(), &names(model.current));
                let unheard = model.previous.filter(|_| !model.heard.contains(&model.current));
                prop_assert_eq!(ice.unheard_since().cloned(), unheard.map(names));
                for generation in 0..=model.current + 1 {
                    let Names { remote_ufrag, remote_password, .. } = names(generation);
                    let told = ice.told(Some(&remote_ufrag), Some(&remote_password));
                    let expected = match generation {
                        it if it == model.current => Told::CurrentWhole,
                        it if model.answers(it) => Told::Previous,
                        it if Some(it) == model.previous || model.past.contains(&it) => Told::Past,
                        _ => Told::New,
                    };
                    prop_assert_eq!(told, expected);
                }
            }
        }
    }

    /// Whether a nomination has come before.
    fn is_known(ice: &Ice, id: TransId) -> bool {
        let generations = std::iter::once(&ice.current).chain(&ice.previous);
        generations
            .into_iter()
            .any(|generation| generation.nominations.contains(&id))
    }
}
