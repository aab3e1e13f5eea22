//! The driver with the core, over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kvill_core::Config;
use kvill_host::http::{Limits, MAX_BODY_LEN};
use kvill_host::settings::Settings;
use kvill_mio::{Driver, Ended, Stopper};

/// A driver in a thread.
struct Running {
    http: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<Ended>>,
}

impl Running {
    fn start() -> Self {
        let settings = Settings {
            http_addresses: vec!["127.0.0.1:0".parse().unwrap()],
            udp_addresses: vec!["127.0.0.1:0".parse().unwrap(), "[::]:0".parse().unwrap()],
            config: Config::default(),
            http_limits: Limits::default(),
        };
        let (started_in, started) = mpsc::channel();
        let thread = thread::spawn(move || {
            let driver = Driver::bind(settings).unwrap();
            started_in
                .send((driver.http_addresses()[0], driver.stopper()))
                .unwrap();
            driver.run().unwrap()
        });
        let (http, stopper) = started.recv().unwrap();
        Self {
            http,
            stopper,
            thread: Some(thread),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.http).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream
    }

    fn stop(&mut self) -> Option<Ended> {
        self.stopper.stop();
        self.thread.take().map(|thread| thread.join().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Reads until the stream closes or `count` responses have begun.
fn read_responses(stream: &mut TcpStream, count: usize) -> String {
    let mut got = String::new();
    let mut chunk = [0; 4096];
    while got.matches("HTTP/1.1 ").count() < count {
        let len = stream.read(&mut chunk).expect("an answer within 5 s");
        assert!(len > 0, "closed after: {got}");
        got.push_str(&String::from_utf8_lossy(&chunk[..len]));
    }
    got
}

const OPTIONS: &str = "OPTIONS /live/whep HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn pipelined_requests_are_answered_by_the_core_on_a_kept_connection() {
    let running = Running::start();
    let mut stream = running.connect();
    for _ in 0..2 {
        stream
            .write_all(format!("{OPTIONS}{OPTIONS}").as_bytes())
            .unwrap();
        let answers = read_responses(&mut stream, 2);
        assert_eq!(answers.matches("HTTP/1.1 204 ").count(), 2, "{answers}");
    }
}

#[test]
fn a_body_above_the_limit_is_refused_with_413() {
    let running = Running::start();
    let mut stream = running.connect();
    let len = 2 * MAX_BODY_LEN;
    let head = format!(
        "POST /live/whip HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: {len}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b'a'; len]).unwrap();
    let answer = read_responses(&mut stream, 1);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn a_stopper_ends_the_loop_and_closes_idle_connections() {
    let mut running = Running::start();
    let mut idle = running.connect();
    idle.write_all(OPTIONS.as_bytes()).unwrap();
    read_responses(&mut idle, 1);
    let start = Instant::now();
    assert_eq!(running.stop(), Some(Ended::Stopped));
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(idle.read(&mut [0; 16]).unwrap(), 0);
    assert!(TcpStream::connect(running.http).is_err(), "still listening");
}
