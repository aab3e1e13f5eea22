//! Names of things: of sessions, of their ICE user fragments and HTTP resources, and of what the
//! driver and the core tell each other.
//!
//! A session's id is its slot in the table of sessions and the slot's generation: an id of a
//! session that is gone never resolves to the one that took its slot.

use crate::seeded::Seeded;

/// One UDP socket of the driver: an index into [`Config::transports`](crate::Config::transports).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransportId(pub u8);

/// One HTTP request that the driver passed in and that awaits its response. Chosen by the driver,
/// never twice the same: a counter does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What the program itself publishes on a path: [`Server::publish`](crate::Server::publish) gives
/// one. It stands for that publication only, and for nothing once that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub(crate) SessionId);

/// The program itself as it watches a path: [`Server::watch`](crate::Server::watch) gives one. It
/// stands for nothing once that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatcherId(pub(crate) SessionId);

/// A session, publisher or viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl SessionId {
    pub(crate) fn index(self) -> usize {
        self.slot as usize
    }
}

/// A path, by its slot in the table of paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PathId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl PathId {
    pub(crate) fn index(self) -> usize {
        self.slot as usize
    }
}

/// The shard that a session lives in. There is one today; its place in ufrags and resource ids is
/// taken from the first day, so that packets can be steered before anything is looked up.
const SHARD: u8 = 0;

/// Bytes of a session's route: shard, slot, generation.
const ROUTE_LEN: usize = 9;

/// An ICE user fragment (RFC 8445 §5.3): shard, slot, generation and 24 random bits, as 16
/// characters.
pub(crate) fn ufrag(id: SessionId, rng: &mut Seeded) -> String {
    let mut bytes = [0; ROUTE_LEN + 3];
    let (route, random) = bytes.split_at_mut(ROUTE_LEN);
    route.copy_from_slice(&encode_route(id));
    random.copy_from_slice(&rng.bytes::<3>());
    encode(&bytes, ICE_ALPHABET)
}

/// The session that a ufrag of ours names. It may be gone.
pub(crate) fn session_of_ufrag(ufrag: &str) -> Option<SessionId> {
    let bytes: [u8; ROUTE_LEN + 3] = decode(ufrag, ICE_ALPHABET)?;
    decode_route(&bytes)
}

/// An ICE password: 144 random bits as 24 characters.
pub(crate) fn ice_password(rng: &mut Seeded) -> String {
    encode(&rng.bytes::<18>(), ICE_ALPHABET)
}

/// A canonical name of 96 random bits (RFC 7022 §4.2), 16 characters.
pub(crate) fn cname(rng: &mut Seeded) -> String {
    encode(&rng.bytes::<12>(), URL_ALPHABET)
}

/// The last part of a session's URL: its route and 144 random bits, as 36 characters. Who knows it
/// may end the session.
pub(crate) fn resource(id: SessionId, rng: &mut Seeded) -> String {
    let mut bytes = [0; ROUTE_LEN + 18];
    let (route, random) = bytes.split_at_mut(ROUTE_LEN);
    route.copy_from_slice(&encode_route(id));
    random.copy_from_slice(&rng.bytes::<18>());
    encode(&bytes, URL_ALPHABET)
}

/// The session that a resource names. Whether it is its own has still to be compared, by
/// [`same_secret`].
pub(crate) fn session_of_resource(resource: &str) -> Option<SessionId> {
    let bytes: [u8; ROUTE_LEN + 18] = decode(resource, URL_ALPHABET)?;
    decode_route(&bytes)
}

/// Compares in a time that does not depend on where the two differ.
pub(crate) fn same_secret(a: &str, b: &str) -> bool {
    a.len() == b.len()
        && a.bytes()
            .zip(b.bytes())
            .fold(0, |diff, (a, b)| diff | (a ^ b))
            == 0
}

/// A random UUID (RFC 9562 §5.4): a session's public name, in logs and lists.
pub(crate) fn uuid(rng: &mut Seeded) -> String {
    let mut bytes = rng.bytes::<16>();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let halves = [byte >> 4, byte & 0xf];
        text.extend(halves.map(|half| char::from_digit(half.into(), 16).unwrap_or_default()));
    }
    text
}

fn encode_route(id: SessionId) -> [u8; ROUTE_LEN] {
    let s = id.slot.to_be_bytes();
    let g = id.generation.to_be_bytes();
    [SHARD, s[0], s[1], s[2], s[3], g[0], g[1], g[2], g[3]]
}

fn decode_route(bytes: &[u8]) -> Option<SessionId> {
    let (shard, rest) = bytes.split_first()?;
    let (slot, rest) = rest.split_first_chunk::<4>()?;
    let (generation, _) = rest.split_first_chunk::<4>()?;
    (*shard == SHARD).then_some(SessionId {
        slot: u32::from_be_bytes(*slot),
        generation: u32::from_be_bytes(*generation),
    })
}

/// `ice-char` of RFC 8839 §5.4.
const ICE_ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// `unreserved` characters of RFC 3986 §2.3.
const URL_ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Six bits a character. The length is a multiple of three, so that there is no padding.
fn encode(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    debug_assert_eq!(bytes.len() % 3, 0);
    let mut text = String::with_capacity(bytes.len() / 3 * 4);
    for c in bytes.chunks_exact(3) {
        let word = c
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let sixes = [18, 12, 6, 0].map(|shift| (word >> shift) as usize & 63);
        text.extend(
            sixes
                .iter()
                .filter_map(|i| alphabet.get(*i))
                .map(|c| char::from(*c)),
        );
    }
    text
}

fn decode<const N: usize>(text: &str, alphabet: &[u8; 64]) -> Option<[u8; N]> {
    if text.len() * 3 != N * 4 {
        return None;
    }
    let mut bytes = [0; N];
    for (out, chunk) in bytes
        .chunks_exact_mut(3)
        .zip(text.as_bytes().chunks_exact(4))
    {
        let mut word = 0_u32;
        for c in chunk {
            let six = alphabet.iter().position(|a| a == c)?;
            word = word << 6 | u32::try_from(six).ok()?;
        }
        out.copy_from_slice(word.to_be_bytes().get(1..)?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> SessionId {
        SessionId {
            slot: 70_000,
            generation: 3,
        }
    }

    #[test]
    fn a_ufrag_names_its_session() {
        let mut rng = Seeded::new([1; 32]);
        let ufrag = ufrag(id(), &mut rng);
        assert_eq!(ufrag.len(), 16);
        assert_eq!(session_of_ufrag(&ufrag), Some(id()));
    }

    #[test]
    fn a_resource_names_its_session_and_is_unguessable() {
        let mut rng = Seeded::new([1; 32]);
        let one = resource(id(), &mut rng);
        let other = resource(id(), &mut rng);
        assert_eq!(session_of_resource(&one), Some(id()));
        assert_ne!(one, other);
        assert!(!same_secret(&one, &other));
        assert!(same_secret(&one, &one.clone()));
    }

    #[test]
    fn foreign_text_names_nobody() {
        for text in [
            "",
            "x",
            "AAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAA!",
            "//////////////AA",
            "ÄÄÄÄÄÄÄÄ",
        ] {
            assert_eq!(session_of_ufrag(text), None, "{text}");
            assert_eq!(session_of_resource(text), None, "{text}");
        }
    }

    #[test]
    fn a_uuid_has_its_version_and_variant() {
        let uuid = uuid(&mut Seeded::new([7; 32]));
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&uuid.as_bytes()[19]));
    }

    fn any_id() -> impl Strategy<Value = SessionId> {
        (any::<u32>(), any::<u32>()).prop_map(|(slot, generation)| SessionId { slot, generation })
    }

    /// Whom a name of either kind names, and the characters that say so.
    fn named(text: &str) -> [(Option<SessionId>, &'static [u8; 64]); 2] {
        [
            (session_of_ufrag(text), ICE_ALPHABET),
            (session_of_resource(text), URL_ALPHABET),
        ]
    }

    proptest! {
        #[test]
        fn every_session_is_named_by_its_own_names(id in any_id(), seed in any::<[u8; 32]>()) {
            let mut rng = Seeded::new(seed);
            let ufrag = ufrag(id, &mut rng);
            let resource = resource(id, &mut rng);
            prop_assert_eq!(session_of_ufrag(&ufrag), Some(id));
            prop_assert_eq!(session_of_resource(&resource), Some(id));
            prop_assert_eq!(session_of_ufrag(&resource), None);
            prop_assert_eq!(session_of_resource(&ufrag), None);
            prop_assert!(ufrag.bytes().all(|c| ICE_ALPHABET.contains(&c)));
            prop_assert!(resource.bytes().all(|c| URL_ALPHABET.contains(&c)));
        }

        /// What names somebody begins with this one's route, character by character: no two ways
        /// of writing lead to one session, and none to a session that it does not spell.
        #[test]
        fn a_changed_name_names_whom_it_spells_or_nobody(
            id in any_id(),
            seed in any::<[u8; 32]>(),
            changes in prop::collection::vec((0_usize..40, any::<char>()), 0..4),
            cut in 0_usize..40,
        ) {
            let mut rng = Seeded::new(seed);
            for name in [ufrag(id, &mut rng), resource(id, &mut rng)] {
                let mut text: Vec<char> = name.chars().collect();
                for (place, character) in &changes {
                    if let Some(old) = text.get_mut(*place) {
                        *old = *character;
                    }
                }
                for text in [text.iter().collect::<String>(), text.iter().skip(cut).collect()] {
                    for (named, alphabet) in named(&text) {
                        let Some(named) = named else { continue };
                        let route = encode(&encode_route(named), alphabet);
                        prop_assert!(text.starts_with(&route), "{} names {:?}", text, named);
                        prop_assert_eq!(text.len(), name.len());
                    }
                }
            }
        }

        #[test]
        fn a_secret_is_the_same_as_itself_only(a in "[A-Z-]{0,4}", b in "[A-Z-]{0,4}") {
            prop_assert_eq!(same_secret(&a, &b), a == b);
        }
    }
}
