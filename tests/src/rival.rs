//! Other servers than Kvill, to be measured beside it: each is built on first use, and started as a
//! process.

use std::ffi::OsString;
use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::peer::{find, peers, skipped};
use crate::process::{self, Process};

/// Where a rival listens, if nothing else is said.
const LOOPBACK: &str = "127.0.0.1:0";

/// The program on Pion, and what it is made of.
const PION: &str = "pion/kvill-pion";
const PION_SOURCES: [&str; 3] = ["pion/main.go", "pion/go.mod", "pion/go.sum"];

/// MediaMTX as its script builds it, and how it is configured.
const MEDIAMTX: &str = "mediamtx/mediamtx";
const MEDIAMTX_CONFIGURATION: &str = "mediamtx/mediamtx.yml";

/// How long MediaMTX, which does not say that it is ready, may take until it is.
const START_TIME: Duration = Duration::from_secs(10);
const START_POLL: Duration = Duration::from_millis(10);

/// What goes below `path` at any server here: what it serves.
const PATH: &str = "live";

/// A server that somebody else wrote, with WHIP and WHEP at the path `live`. Dropping it ends it.
#[derive(Debug)]
pub struct Rival {
    name: &'static str,
    process: Process,
    url: String,
}

impl Rival {
    /// The Go program below `tests/peers/pion`, on free ports of 127.0.0.1; its first start builds
    /// it, which takes a minute where Go has built nothing yet.
    ///
    /// # Panics
    /// When it cannot be built, or does not start.
    #[must_use]
    pub fn pion() -> Option<Self> {
        Self::pion_at(LOOPBACK, LOOPBACK)
    }

    /// As [`pion`](Self::pion), at other addresses.
    ///
    /// # Panics
    /// As [`pion`](Self::pion).
    #[must_use]
    pub fn pion_at(http: &str, udp: &str) -> Option<Self> {
        Self::pion_with(&["-http", http, "-udp", udp])
    }

    /// As [`pion`](Self::pion), with SRTP by AES128_CM_HMAC_SHA1_80 alone.
    ///
    /// # Panics
    /// As [`pion`](Self::pion).
    #[must_use]
    pub fn pion_without_aead() -> Option<Self> {
        Self::pion_with(&["-no-aead"])
    }

    fn pion_with(arguments: &[&str]) -> Option<Self> {
        let mut command = Command::new(built_pion()?);
        Some(Self::start("Pion", command.args(arguments)))
    }

    /// MediaMTX with nothing but WebRTC, on free ports of 127.0.0.1. `tests/peers/mediamtx/build`
    /// builds it, which takes minutes: so that is left to somebody who asks for it.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn mediamtx() -> Option<Self> {
        let http = TcpListener::bind(LOOPBACK).and_then(|socket| socket.local_addr());
        let udp = UdpSocket::bind(LOOPBACK).and_then(|socket| socket.local_addr());
        let [http, udp] = [http, udp].map(|free| free.expect("a port is free").to_string());
        Self::mediamtx_at(&http, &udp)
    }

    /// As [`mediamtx`](Self::mediamtx), at other addresses, whose ports are not 0.
    ///
    /// # Panics
    /// As [`mediamtx`](Self::mediamtx).
    #[must_use]
    pub fn mediamtx_at(http: &str, udp: &str) -> Option<Self> {
        let program = peers().join(MEDIAMTX);
        if !program.is_file() {
            eprintln!("without MediaMTX: tests/peers/mediamtx/build makes it");
            return None;
        }
        let mut command = Command::new(program);
        command
            .arg(peers().join(MEDIAMTX_CONFIGURATION))
            .env("MTX_WEBRTCADDRESS", http)
            .env("MTX_WEBRTCLOCALUDPADDRESS", udp)
            .stdin(Stdio::null());
        let mut process = Process::start("MediaMTX", &mut command);
        let deadline = Instant::now() + START_TIME;
        while TcpStream::connect(http).is_err() {
            let has_ended = process.wait(START_POLL).is_some();
            assert!(
                !has_ended && Instant::now() < deadline,
                "MediaMTX does not listen\n{}",
                process.log()
            );
        }
        Some(Self {
            name: "MediaMTX",
            process,
            url: format!("http://{http}"),
        })
    }

    fn start(name: &'static str, command: &mut Command) -> Self {
        let mut process = Process::start(name, command.stdin(Stdio::null()));
        let url = process.url(name);
        Self { name, process, url }
    }

    /// What it is called in a table.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The process id, for whoever measures the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where it serves, as `http://127.0.0.1:PORT` without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where to publish.
    #[must_use]
    pub fn whip(&self) -> String {
        format!("{}/{PATH}/whip", self.url)
    }

    /// Where to watch what is published.
    #[must_use]
    pub fn whep(&self) -> String {
        format!("{}/{PATH}/whep", self.url)
    }

    /// CPU time that its threads have used so far. Linux's alone.
    ///
    /// # Panics
    /// When the system does not tell, or it has ended.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        process::cpu(self.id())
    }

    /// Bytes of memory that it has resident. Linux's alone.
    ///
    /// # Panics
    /// When the system does not tell, or it has ended.
    #[must_use]
    pub fn resident(&self) -> u64 {
        process::resident(self.id())
    }

    /// All it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// The program on Pion, newer than its sources.
fn built_pion() -> Option<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let program = peers().join(PION);
    let written = |file: &Path| fs::metadata(file).and_then(|data| data.modified()).ok();
    let made = written(&program);
    let is_new = |source: &str| written(&peers().join(source)) > made;
    if made.is_some() && !PION_SOURCES.into_iter().any(is_new) {
        return Some(program);
    }
    let Some(go) = go() else {
        return skipped("no Go of 1.24 or newer", "install Go, or run tests/setup");
    };
    let mut command = Command::new(go);
    command
        .current_dir(peers().join("pion"))
        // Without C there is less to build, and nothing else to install.
        .env("CGO_ENABLED", "0")
        .args(["build", "-trimpath", "-buildvcs=false", "-o"])
        .arg(&program);
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Some(program)
}

/// Go, of PATH or from the package that `tests/setup` installs where that has none.
fn go() -> Option<PathBuf> {
    let installed = find(&OsString::from("go"));
    let packaged = peers().join(".venv/bin/go");
    installed.into_iter().chain([packaged]).find(|go| {
        let version = Command::new(go).args(["env", "GOVERSION"]).output();
        version.is_ok_and(|output| suits(&String::from_utf8_lossy(&output.stdout)))
    })
}

/// Whether a version of Go is what the program asks for in its `go.mod`.
fn suits(version: &str) -> bool {
    let mut numbers = version.trim().strip_prefix("go").unwrap_or("").split('.');
    let mut next = || numbers.next().and_then(|number| number.parse::<u32>().ok());
    (next(), next()) >= (Some(1), Some(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_has_to_be_new_enough() {
        assert!(suits("go1.24.0\n"));
        assert!(suits("go1.27.3 linux/amd64"));
        assert!(suits("go2.0"));
        assert!(!suits("go1.19.8"));
        assert!(!suits(""));
    }
}
