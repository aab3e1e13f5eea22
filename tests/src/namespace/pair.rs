//! A server's machine, a machine of its clients, and a cable between them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use super::{Namespace, or_skipped};
use crate::process::Kvill;

/// The interface at both ends.
pub const CABLE: &str = "cable";

/// How long a link may take to come up. Linux looks once a second.
const UP_TIME: Duration = Duration::from_secs(5);

const UP_POLL: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub struct Pair {
    /// Where the server runs.
    pub server: Namespace,
    /// Where its clients are.
    pub clients: Namespace,
}

impl Pair {
    /// Two machines with these addresses, in networks of 16 or 64 bits. Nothing changes by itself
    /// afterwards: the link is up, and there is no address that the system would still look into.
    ///
    /// # Errors
    ///
    /// As [`Namespace::new`].
    pub fn new(server: &[IpAddr], clients: &[IpAddr]) -> io::Result<Self> {
        let pair = Self {
            server: Namespace::new()?,
            clients: Namespace::new()?,
        };
        pair.lay(CABLE, server, clients)?;
        Ok(pair)
    }

    /// The same, or `None` where nobody may make namespaces.
    ///
    /// # Panics
    ///
    /// As [`skipped`](crate::peer::skipped).
    #[must_use]
    pub fn if_possible(server: &[IpAddr], clients: &[IpAddr]) -> Option<Self> {
        or_skipped(Self::new(server, clients))
    }

    /// Lays a cable more.
    ///
    /// # Errors
    ///
    /// As [`Namespace::ip`].
    pub fn lay(&self, name: &str, server: &[IpAddr], clients: &[IpAddr]) -> io::Result<()> {
        self.server.connect(&self.clients, name)?;
        let ends = [(&self.server, server), (&self.clients, clients)];
        for (machine, addresses) in ends {
            // A link-local address would be told of a second later.
            machine.ip(&format!("link set {name} addrgenmode none"))?;
            for address in addresses {
                let (prefix_len, option) = match address {
                    IpAddr::V4(_) => (16, ""),
                    // Nobody else has it: no need to ask around for a second first.
                    IpAddr::V6(_) => (64, " nodad"),
                };
                machine.ip(&format!(
                    "addr add {address}/{prefix_len} dev {name}{option}"
                ))?;
            }
            machine.ip(&format!("link set {name} up"))?;
        }
        let deadline = Instant::now() + UP_TIME;
        for (machine, _) in ends {
            let show = format!("-o link show dev {name}");
            while !machine.ask_ip(&show)?.contains("state UP") {
                if Instant::now() >= deadline {
                    return Err(io::Error::other(format!("{name} does not come up")));
                }
                thread::sleep(UP_POLL);
            }
        }
        Ok(())
    }

    /// Where a server that listens on all addresses is reached by one of them.
    ///
    /// # Panics
    ///
    /// If it has no port.
    #[must_use]
    pub fn url(kvill: &Kvill, address: IpAddr) -> String {
        let port = kvill.url().rsplit_once(':').map(|(_, port)| port.parse());
        let port = port.and_then(Result::ok).expect("a URL with a port");
        format!("http://{}", SocketAddr::new(address, port))
    }
}
