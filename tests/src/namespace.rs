//! Network namespaces (Linux): machines of a test, with addresses of their own.
//!
//! A namespace is there for as long as its handle, or a process in it. Making one needs the rights
//! of root.

mod pair;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::peer::skipped;

pub use pair::{CABLE, Pair};

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// An empty namespace: loopback is there, and up.
    ///
    /// # Errors
    ///
    /// There is no right to do that, or no `ip` of iproute2.
    pub fn new() -> io::Result<Self> {
        let make = || {
            // SAFETY: a network namespace of its own takes nothing away from the thread that it
            // relies on in memory; descriptors stay shared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            File::open("/proc/thread-self/ns/net")
        };
        let file = on_thread(make)?;
        let namespace = Self { file };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// A namespace, or `None` where nobody may make one: see [`skipped`].
    ///
    /// # Panics
    ///
    /// As [`skipped`].
    #[must_use]
    pub fn if_possible() -> Option<Self> {
        or_skipped(Self::new())
    }

    /// Runs `what` in it, on a thread of its own. Sockets and processes that are made there stay
    /// in it.
    ///
    /// # Panics
    ///
    /// If `what` does.
    pub fn run<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        on_thread(|| {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.file.as_fd(), kind).expect("a namespace that is there");
            what()
        })
    }

    /// Runs `ip` in it, with these words.
    ///
    /// # Errors
    ///
    /// It cannot be run, or says what it did not like.
    pub fn ip(&self, words: &str) -> io::Result<()> {
        self.ask_ip(words).map(drop)
    }

    /// The same, and gives what it says.
    ///
    /// # Errors
    ///
    /// As [`ip`](Self::ip).
    pub fn ask_ip(&self, words: &str) -> io::Result<String> {
        let mut command = Command::new("ip");
        command.args(words.split(' ')).stdin(Stdio::null());
        let output = self.run(|| command.output())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(io::Error::other(format!("ip {words}: {complaint}")))
    }

    /// Lays a cable to another: the interface `name` is at both ends, down still.
    ///
    /// # Errors
    ///
    /// As [`ip`](Self::ip).
    pub fn connect(&self, other: &Self, name: &str) -> io::Result<()> {
        let other = other.file.as_raw_fd();
        let there = format!("/proc/{}/fd/{other}", std::process::id());
        self.ip(&format!(
            "link add {name} type veth peer name {name} netns {there}"
        ))
    }
}

/// What was made, or `None` where nobody may make it: see [`skipped`].
fn or_skipped<T>(made: io::Result<T>) -> Option<T> {
    made.map_or_else(
        |error| {
            skipped(
                &format!("no network namespaces ({error})"),
                "run tests/setup, and this as root",
            )
        },
        Some,
    )
}

/// Runs something on a thread of its own.
fn on_thread<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    let result = thread::scope(|scope| scope.spawn(what).join());
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
