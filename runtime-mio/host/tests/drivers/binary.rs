//! A driver's binary as a user meets it: its output, its exit codes, its goodbye. Each driver has
//! these as tests of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{BINARY, NAME};

fn kvill(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A running server. Killed when dropped, if it still runs.
struct Running {
    child: Child,
    banner: String,
}

impl Running {
    /// Starts on free ports and reads the banner to its end.
    fn start() -> Self {
        Self::start_with_log("info", Stdio::piped())
    }

    fn start_with_log(level: &str, log: Stdio) -> Self {
        let addresses = [
            "--http-address",
            "127.0.0.1:0",
            "--udp-address",
            "127.0.0.1:0",
            "--log-level",
            level,
        ];
        let mut child = kvill(&addresses).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut banner = String::new();
        while !banner.contains("stops the server") {
            assert!(
                stdout.read_line(&mut banner).unwrap() > 0,
                "the banner ended: {banner}"
            );
        }
        Self { child, banner }
    }

    fn http_address(&self) -> &str {
        let url = self
            .banner
            .split_whitespace()
            .find(|word| word.starts_with("http://"))
            .unwrap();
        url.trim_start_matches("http://").trim_end_matches('/')
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for the end and returns the exit code and how long it took.
    fn wait(&mut self) -> (Option<i32>, Duration) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), start.elapsed());
            }
            assert!(start.elapsed() < Duration::from_secs(5), "still running");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_banner_names_the_ports_that_were_chosen() {
    let running = Running::start();
    assert!(!running.banner.contains(":0/"), "{}", running.banner);
    TcpStream::connect(running.http_address()).unwrap();
    for path in ["/live/publish", "/live/", "/live/whip", "/live/whep"] {
        let url = format!("http://{}{path}", running.http_address());
        assert!(running.banner.contains(&url), "{}", running.banner);
    }
}

#[test]
fn sigterm_and_sigint_stop_it_within_a_second() {
    for name in ["TERM", "INT"] {
        let mut running = Running::start();
        let _idle = TcpStream::connect(running.http_address()).unwrap();
        running.signal(name);
        let (code, took) = running.wait();
        assert_eq!(code, Some(0), "after SIG{name}");
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn regress_signals_that_arrive_together_are_not_a_second_one() {
    let mut running = Running::start();
    running.signal("STOP");
    let stat = format!("/proc/{}/stat", running.child.id());
    while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
        std::thread::yield_now();
    }
    running.signal("INT");
    running.signal("TERM");
    running.signal("CONT");
    let (code, _) = running.wait();
    assert_eq!(code, Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn regress_a_log_that_cannot_be_written_ends_nothing() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut running = Running::start_with_log("debug", full.into());
    let post = "POST /live/whip HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\n\
                Content-Length: 3\r\nConnection: close\r\n\r\nv=0";
    assert!(ask(&running, post).starts_with("HTTP/1.1 4"));
    let get = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert!(ask(&running, get).starts_with("HTTP/1.1 200 OK\r\n"));
    // Stopping is logged too.
    running.signal("TERM");
    assert_eq!(running.wait().0, Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn an_error_that_cannot_be_written_still_is_the_exit_code() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let status = kvill(&["--additional-hosts", ""])
        .stderr(full)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn the_totals_are_logged_at_the_end() {
    let mut running = Running::start();
    running.signal("TERM");
    running.wait();
    let mut log = String::new();
    let mut stderr = running.child.stderr.take().unwrap();
    stderr.read_to_string(&mut log).unwrap();
    assert!(
        log.contains("UDP totals") && log.contains("datagrams=") && log.contains("HTTP totals"),
        "{log}"
    );
}

/// What a server logs from its start to its end.
fn whole_log(arguments: &[&str]) -> String {
    let addresses = [
        "--http-address",
        "127.0.0.1:0",
        "--udp-address",
        "127.0.0.1:0",
    ];
    let mut child = kvill(&[&addresses, arguments].concat()).spawn().unwrap();
    let mut banner = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("stops the server") {
        line.clear();
        assert!(banner.read_line(&mut line).unwrap() > 0, "the banner ended");
    }
    let mut running = Running {
        child,
        banner: line,
    };
    running.signal("TERM");
    running.wait();
    let mut log = String::new();
    let mut stderr = running.child.stderr.take().unwrap();
    stderr.read_to_string(&mut log).unwrap();
    log
}

#[test]
fn a_server_that_only_this_machine_reaches_says_what_to_set() {
    let log = whole_log(&[]);
    let warnings: Vec<_> = log.lines().filter(|line| line.contains(" WARN ")).collect();
    let [warning] = warnings.as_slice() else {
        panic!("one warning: {log}")
    };
    assert!(
        warning.contains("127.0.0.1 only") && warning.contains("--additional-hosts"),
        "{warning}"
    );
    let log = whole_log(&["--additional-hosts", "203.0.113.7"]);
    assert!(!log.contains(" WARN "), "{log}");
}

#[test]
fn an_http_port_in_use_is_named_and_explained() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = kvill(&["--http-address", &address, "--udp-address", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains(&address) && text.contains("in use") && text.contains("--http-address"),
        "{text}"
    );
}

#[test]
fn a_udp_port_in_use_is_named_and_explained() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = kvill(&["--http-address", "127.0.0.1:0", "--udp-address", &address])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains(&address) && text.contains("in use") && text.contains("--udp-address"),
        "{text}"
    );
}

#[test]
fn bad_flags_exit_with_2_and_show_a_good_one() {
    let output = kvill(&["--http-address", "8889"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("`:8889`"), "{}", stderr(&output));
    assert_eq!(
        kvill(&["--no-such-flag"]).output().unwrap().status.code(),
        Some(2)
    );
}

#[test]
fn a_host_without_an_address_exits_with_1() {
    let output = kvill(&["--additional-hosts", "kvill.invalid"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("kvill.invalid"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn help_and_version_go_to_standard_output() {
    let help = kvill(&["--help"]).output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(
        text.contains(&format!("  {NAME} --additional-hosts"))
            && text.contains("--additional-hosts"),
        "{text}"
    );
    let version = kvill(&["--version"]).output().unwrap();
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        format!("{NAME} {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn it_serves_until_it_is_stopped() {
    let running = Running::start();
    let get = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = ask(&running, get);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

/// Sends a request and reads all that comes back.
fn ask(running: &Running, request: &str) -> String {
    let mut stream = TcpStream::connect(running.http_address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
