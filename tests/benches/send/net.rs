//! Where server and clients are.

use std::net::{IpAddr, Ipv4Addr};

use kvill_tests::namespace::{CABLE, Pair};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);
const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 2);

/// See the module.
pub(super) struct Net {
    pub(super) name: &'static str,
    pair: Option<Pair>,
}

impl Net {
    pub(super) fn loopback() -> Self {
        Self {
            name: "loopback",
            pair: None,
        }
    }

    pub(super) fn cable() -> Option<Self> {
        let pair = Pair::if_possible(&[SERVER.into()], &[CLIENTS.into()])?;
        let device = format!("link set dev {CABLE} gso_max_segs 1");
        pair.server.ip(&device).expect("a device without USO");
        Some(Self {
            name: "cable",
            pair: Some(pair),
        })
    }

    pub(super) fn addresses(&self) -> [IpAddr; 2] {
        match self.pair {
            Some(_) => [SERVER.into(), CLIENTS.into()],
            None => [Ipv4Addr::LOCALHOST.into(); 2],
        }
    }

    pub(super) fn at_server<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        match &self.pair {
            Some(pair) => pair.server.run(what),
            None => what(),
        }
    }

    pub(super) fn at_clients<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        match &self.pair {
            Some(pair) => pair.clients.run(what),
            None => what(),
        }
    }
}
