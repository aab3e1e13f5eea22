//! Comings, goings, packets and time, against a small model of who is there.
//!
//! After each operation the server has as many sessions, live paths and viewers as the model; a
//! URL that is over says so; and each packet goes to the viewers of its path, all of them and
//! nobody else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use crate::client::{Client, KEYFRAME, Live, Sent, VIDEO};
use crate::input::Input;
use crate::message;

/// Operations of one input.
const OPERATIONS_MAX: usize = 48;

/// Sessions of one input: each costs a handshake or two milliseconds.
const SESSIONS_MAX: usize = 6;

/// As the core's config has them by default.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const PUBLISHER_GRACE: Duration = Duration::from_secs(30);

/// Whoever was silent for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(15);

const PATHS: [&str; 2] = ["a", "b/c"];

/// One client, and what the model knows of it.
struct Member {
    client: Client,
    path: usize,
    publishes: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has its answer. It is given up at this time.
    Joined(Instant),
    /// It was last heard at this time.
    Connected(Instant),
    Gone,
}

/// What the model knows of a path.
#[derive(Default)]
struct Path {
    /// Who publishes it.
    publisher: Option<usize>,
    /// When it ends, if nobody publishes until then.
    ends: Option<Instant>,
}

#[derive(Default)]
struct Model {
    live: Live,
    members: Vec<Member>,
    paths: BTreeMap<usize, Path>,
}

/// The target.
pub fn run(data: &[u8]) {
    let mut model = Model::default();
    let mut input = Input::new(data);
    for _ in 0..OPERATIONS_MAX {
        let Some(operation) = input.next_byte() else {
            return;
        };
        let which = usize::from(input.byte());
        match operation % 8 {
            0 => model.join(which % PATHS.len(), true),
            1 => model.join(which % PATHS.len(), false),
            2 => model.connect(which),
            3 => model.publish(which),
            4 => model.delete(which),
            5 => model.tick(Duration::from_millis(u64::from(input.number()))),
            6 => model.check(which),
            _ => model.restart(which),
        }
        model.agrees();
    }
}

impl Model {
    fn now(&self) -> Instant {
        self.live.now
    }

    fn join(&mut self, path: usize, publishes: bool) {
        if self.members.len() >= SESSIONS_MAX {
            return;
        }
        let port = u16::try_from(self.members.len() + 1).expect("few members");
        let remote = SocketAddr::from(([10, 0, 0, 9], port));
        let endpoint = if publishes { "whip" } else { "whep" };
        let endpoint = format!("/{}/{endpoint}", PATHS[path]);
        let is_live = self.paths.get(&path).is_some_and(|p| p.publisher.is_some());
        match Client::join(&mut self.live, &endpoint, remote) {
            Ok(client) => {
                assert!(publishes || is_live, "somebody watches nothing");
                self.members.push(Member {
                    client,
                    path,
                    publishes,
                    state: State::Joined(self.now() + HANDSHAKE_TIMEOUT),
                });
            }
            Err(status) => {
                assert_eq!(status, StatusCode::NOT_FOUND);
                assert!(!publishes && !is_live, "a refusal without a reason");
            }
        }
    }

    fn connect(&mut self, which: usize) {
        let now = self.now();
        let Some(index) = self.index(which) else {
            return;
        };
        let member = &mut self.members[index];
        let State::Joined(until) = member.state else {
            return;
        };
        if until <= now {
            return;
        }
        let others = self.live.connect(&mut member.client);
        member.state = State::Connected(now);
        let (path, publishes) = (member.path, member.publishes);
        if publishes {
            let path = self.paths.entry(path).or_default();
            path.ends = None;
            if let Some(old) = path.publisher.replace(index) {
                self.members[old].state = State::Gone;
            }
        }
        self.is_for(&others, path);
    }

    /// A keyframe of the member, in one packet.
    fn publish(&mut self, which: usize) {
        let Some(index) = self.index(which).filter(|index| self.publishes(*index)) else {
            return;
        };
        self.hear(index);
        let member = &mut self.members[index];
        let packet = member.client.packet(0x80 | VIDEO, 0, &KEYFRAME);
        let (path, remote) = (member.path, member.client.remote);
        self.live.arrive(remote, &packet);
        let sent = self.live.drain();
        self.is_for(&sent, path);
        for viewer in self.viewers(path) {
            let got = sent.iter().filter(|s| s.is_media() && s.to == viewer);
            assert_eq!(got.count(), 1, "a packet of path {path} for {viewer}");
        }
    }

    fn delete(&mut self, which: usize) {
        let Some(index) = self.index(which) else {
            return;
        };
        let location = self.members[index].client.location.clone();
        let response = self.live.request(Method::DELETE, &location, "", b"");
        let is_there = self.members[index].state != State::Gone;
        let expected = if is_there { 200 } else { 404 };
        assert_eq!(response.status(), expected, "{location}");
        let sent = self.live.drain();
        self.is_for(&sent, self.members[index].path);
        if is_there {
            self.leave(index);
        }
    }

    fn tick(&mut self, time: Duration) {
        self.live.advance(time);
        let now = self.now();
        let is_over = |member: &Member| match member.state {
            State::Joined(until) => until <= now,
            State::Connected(heard) => heard + SILENCE_MAX <= now,
            State::Gone => false,
        };
        // What falls due falls due in one call here, whenever it did.
        let over: Vec<_> = (0..self.members.len())
            .filter(|index| is_over(&self.members[*index]))
            .collect();
        over.into_iter().for_each(|index| self.leave(index));
        let ended: Vec<_> = self
            .paths
            .iter()
            .filter(|(_, path)| path.ends.is_some_and(|at| at <= now))
            .map(|(path, _)| *path)
            .collect();
        for path in ended {
            self.paths.remove(&path);
            for member in &mut self.members {
                if member.path == path && !member.publishes {
                    member.state = State::Gone;
                }
            }
        }
        self.live.drain();
    }

    /// The member shows that it is there.
    fn check(&mut self, which: usize) {
        let Some(index) = self.index(which) else {
            return;
        };
        if !matches!(self.members[index].state, State::Connected(_)) {
            return;
        }
        self.hear(index);
        let client = &mut self.members[index].client;
        self.live.check(client, None, &message::check(false));
        let sent = self.live.drain();
        let remote = self.members[index].client.remote;
        assert!(sent.iter().any(|sent| sent.to == remote), "no answer");
    }

    /// The member asks for a restart, and never uses it: nothing changes.
    fn restart(&mut self, which: usize) {
        let Some(index) = self.index(which) else {
            return;
        };
        let location = self.members[index].client.location.clone();
        let fragment = b"a=ice-ufrag:other\r\na=ice-pwd:otherotherotherotherother\r\n";
        let content_type = "application/trickle-ice-sdpfrag";
        let response = self
            .live
            .request(Method::PATCH, &location, content_type, fragment);
        let is_there = self.members[index].state != State::Gone;
        let expected = if is_there { 200 } else { 404 };
        assert_eq!(response.status(), expected, "{location}");
    }

    fn index(&self, which: usize) -> Option<usize> {
        which.checked_rem(self.members.len())
    }

    fn publishes(&self, index: usize) -> bool {
        let member = &self.members[index];
        let path = self.paths.get(&member.path);
        member.publishes && path.is_some_and(|path| path.publisher == Some(index))
    }

    fn hear(&mut self, index: usize) {
        let now = self.now();
        self.members[index].state = State::Connected(now);
    }

    /// A session is over, and with it perhaps its path.
    fn leave(&mut self, index: usize) {
        let now = self.now();
        let was_publisher = self.publishes(index);
        self.members[index].state = State::Gone;
        let number = self.members[index].path;
        let Some(path) = self.paths.get_mut(&number) else {
            return;
        };
        if was_publisher {
            path.publisher = None;
            path.ends = Some(now + PUBLISHER_GRACE);
        }
        let is_watched = self.members.iter().any(|member| {
            member.path == number && !member.publishes && member.state != State::Gone
        });
        if path.publisher.is_none() && !is_watched {
            self.paths.remove(&number);
        }
    }

    /// The addresses of a path's viewers.
    fn viewers(&self, path: usize) -> Vec<SocketAddr> {
        let members = self.members.iter().filter(|member| {
            member.path == path && !member.publishes && matches!(member.state, State::Connected(_))
        });
        members.map(|member| member.client.remote).collect()
    }

    /// Whatever media is sent goes to the viewers of this path.
    fn is_for(&self, sent: &[Sent], path: usize) {
        let viewers = self.viewers(path);
        for datagram in sent.iter().filter(|sent| sent.is_media()) {
            assert!(
                viewers.contains(&datagram.to),
                "{} watches no {path}",
                datagram.to
            );
        }
    }

    fn agrees(&self) {
        let stats = self.live.server.stats();
        let there = self.members.iter().filter(|m| m.state != State::Gone);
        assert_eq!(stats.sessions, there.count());
        let told: Vec<_> = stats
            .paths
            .iter()
            .map(|path| (path.name.as_str(), path.live, path.viewers))
            .collect();
        let expected: Vec<_> = self
            .paths
            .iter()
            .map(|(number, path)| {
                let viewers = self.viewers(*number).len();
                (PATHS[*number], path.publisher.is_some(), viewers)
            })
            .collect();
        assert_eq!(told, expected);
    }
}
