//! The provider on machines of its own: network namespaces, whose addresses come and go.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use kvill_tests::namespace::Namespace;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use super::*;

/// How long a notice may take: far longer than it does.
const PATIENCE: Duration = Duration::from_secs(10);

/// A list that nothing but a notice ends.
fn forever(wanted: Wanted) -> InterfaceSettings {
    InterfaceSettings {
        wanted,
        ttl: Duration::MAX,
    }
}

/// A provider on a machine, and what watches its notices: edge-triggered, as in a driver.
struct Watched {
    provider: InterfaceProvider,
    poll: Poll,
}

impl Watched {
    fn new(wanted: Wanted) -> Self {
        let mut provider = InterfaceProvider::new(forever(wanted));
        let poll = Poll::new().unwrap();
        let notices = provider.notices().expect("Linux gives notices").as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&notices), Token(0), Interest::READABLE)
            .unwrap();
        provider.refresh(Instant::now());
        Self { provider, poll }
    }

    /// Waits until the descriptor becomes readable: the system may take a moment.
    #[track_caller]
    fn wait(&mut self) {
        let mut events = Events::with_capacity(4);
        self.poll.poll(&mut events, Some(PATIENCE)).unwrap();
        let list = addresses(self.provider.list());
        assert!(!events.is_empty(), "no notice came, listed are {list:?}");
    }

    /// Does as a driver, which asks when it was told to and at no other time, until it lists these.
    #[track_caller]
    fn comes_to(&mut self, expected: &[&str]) {
        while addresses(self.provider.list()) != expected {
            self.wait();
            self.provider.handle_notices();
            self.provider.refresh(Instant::now());
        }
    }
}

fn addresses(list: &[Interface]) -> Vec<String> {
    list.iter().map(|entry| entry.address.to_string()).collect()
}

fn named(name: &str) -> Wanted {
    Wanted::Named(vec![name.to_owned()])
}

#[test]
fn addresses_and_links_that_come_and_go_are_noticed_at_once() {
    let (Some(machine), Some(other)) = (Namespace::if_possible(), Namespace::if_possible()) else {
        return;
    };
    machine.connect(&other, "cable").unwrap();
    other.ip("link set cable up").unwrap();
    machine.ip("link set cable up").unwrap();
    let mut watched = machine.run(|| Watched::new(named("cable")));
    machine.run(|| {
        watched.comes_to(&[]);
        machine.ip("addr add 10.99.0.1/24 dev cable").unwrap();
        watched.comes_to(&["10.99.0.1"]);
        machine.ip("addr add fd99::1/64 dev cable").unwrap();
        watched.comes_to(&["10.99.0.1", "fd99::1"]);
        machine.ip("addr del 10.99.0.1/24 dev cable").unwrap();
        watched.comes_to(&["fd99::1"]);
        let labelled = "addr add 10.99.0.2/24 dev cable label cable:2";
        machine.ip(labelled).unwrap();
        watched.comes_to(&["fd99::1", "10.99.0.2"]);

        machine.ip("link set cable down").unwrap();
        watched.comes_to(&[]);
        machine.ip("link set cable up").unwrap();
        watched.comes_to(&["10.99.0.2"]);
        machine.ip("link del cable").unwrap();
        watched.comes_to(&[]);
    });
}

#[test]
fn a_change_elsewhere_is_noticed_and_changes_nothing() {
    let Some(machine) = Namespace::if_possible() else {
        return;
    };
    machine.run(|| {
        let mut watched = Watched::new(named("cable"));
        machine.ip("addr add 127.9.0.1/8 dev lo").unwrap();
        watched.wait();
        assert!(watched.provider.handle_notices());
        for _ in 0..2 {
            assert_eq!(watched.provider.refresh(Instant::now()), None);
        }
        let counters = watched.provider.counters();
        assert_eq!((counters.asked, counters.served), (2, 1));
        assert_eq!(counters.ended_by_notice, 1);
    });
}

#[test]
fn notices_that_were_lost_count_as_one() {
    let Some(machine) = Namespace::if_possible() else {
        return;
    };
    machine.run(|| {
        let mut watched = Watched::new(Wanted::All);
        let before = watched.provider.list().len();
        let notices = watched.provider.notices().unwrap();
        // The system makes it its least, which is a few notices.
        SockRef::from(notices).set_recv_buffer_size(1).unwrap();
        for n in 1..20 {
            machine
                .ip(&format!("addr add 127.9.0.{n}/8 dev lo"))
                .unwrap();
        }
        watched.wait();
        assert!(watched.provider.handle_notices());
        let list = watched.provider.refresh(Instant::now());
        assert_eq!(list.unwrap().len(), before + 19);
        // The socket is as good as before.
        machine.ip("addr del 127.9.0.7/8 dev lo").unwrap();
        watched.wait();
        assert!(watched.provider.handle_notices());
        let list = watched.provider.refresh(Instant::now());
        assert_eq!(list.unwrap().len(), before + 18);
    });
}

#[test]
fn what_is_not_kept_is_not_watched() {
    for (wanted, ttl) in [(Wanted::None, INTERFACE_TTL), (Wanted::All, Duration::ZERO)] {
        let mut provider = InterfaceProvider::new(InterfaceSettings { wanted, ttl });
        assert!(provider.notices().is_none());
        assert!(!provider.handle_notices());
    }
}
