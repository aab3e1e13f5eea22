//! Networks between the server and its clients: delay, loss, bursts, and whatever else goes wrong.
//!
//! A [`Network`] is a [`Link`]. Every client has a path of its own, two [`Direction`]s of which
//! each decides from its own seed and the datagrams that it is shown, and from nothing else: what
//! happens to one client does not depend on the others. A client without a path is reached at once
//! and always, so a handshake can be had before anything goes wrong.
//!
//! Each fault counts how often it had its chance and how often it struck, see [`Faults`].

mod direction;
mod faults;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

pub use self::direction::{BURST_MAX, Delays, Direction, Loss, Profile, Rate};
pub use self::faults::{Fault, Faults};
use crate::memory::{Crossing, Link, Way};

/// What is between the server and its clients.
#[derive(Debug, Default)]
pub struct Network {
    paths: HashMap<SocketAddr, Path>,
    /// Clients that have moved, and of which nothing has come from there yet.
    moved: Vec<SocketAddr>,
    faults: Faults,
    seed: u64,
}

/// Both ways between the server and one client.
#[derive(Debug)]
struct Path {
    to_server: Direction,
    to_client: Direction,
}

impl Network {
    /// A network on which nothing goes wrong until [`lay`](Self::lay).
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// Gives a client a path with these properties, or another one. What is under way on its
    /// old one arrives as it would have. `number` is drawn upon along with the seed: what is laid
    /// with the same one decides the same.
    pub fn lay(
        &mut self,
        client: SocketAddr,
        number: u64,
        to_server: &Profile,
        to_client: &Profile,
    ) {
        let mut seeds = fastrand::Rng::with_seed(self.seed ^ number.wrapping_mul(0x9e37_79b9));
        let [up, down] = [seeds.u64(..), seeds.u64(..)];
        match self.paths.get_mut(&client) {
            Some(path) => {
                path.to_server.change(up, to_server);
                path.to_client.change(down, to_client);
            }
            None => {
                let path = Path {
                    to_server: Direction::new(up, to_server),
                    to_client: Direction::new(down, to_client),
                };
                self.paths.insert(client, path);
            }
        }
    }

    /// Nothing passes between the server and a client that has a path, until then.
    pub fn black_out(&mut self, client: SocketAddr, until: Instant) {
        if let Some(path) = self.paths.get_mut(&client) {
            path.to_server.black_out(until);
            path.to_client.black_out(until);
            self.faults.arm(Fault::Blackout);
        }
    }

    /// Every path is as good as none from now on; what was lost stays lost.
    pub fn heal(&mut self) {
        for path in self.paths.values_mut() {
            for direction in [&mut path.to_server, &mut path.to_client] {
                direction.change(0, &Profile::default());
            }
        }
    }

    /// What had its chance, and what struck.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

impl Link for Network {
    fn carries(&mut self, crossing: &Crossing<'_>) -> bool {
        if crossing.way == Way::ToServer
            && let Some(at) = self.moved.iter().position(|m| *m == crossing.client)
        {
            self.moved.swap_remove(at);
            self.faults.strike(Fault::Roaming);
        }
        true
    }

    fn delays(&mut self, crossing: &Crossing<'_>) -> Delays {
        let Some(path) = self.paths.get_mut(&crossing.client) else {
            return Delays::AT_ONCE;
        };
        let direction = match crossing.way {
            Way::ToServer => &mut path.to_server,
            Way::ToClient => &mut path.to_client,
        };
        direction.pass(crossing.now, crossing.contents.len(), &mut self.faults)
    }

    /// The client takes its path along.
    fn on_moved(&mut self, old: SocketAddr, new: SocketAddr) {
        if let Some(path) = self.paths.remove(&old) {
            self.paths.insert(new, path);
        }
        self.moved.retain(|m| *m != old);
        self.moved.push(new);
        self.faults.arm(Fault::Roaming);
    }
}
