//! HTTP in a loop of a driver's, with a core that answers by what it was asked.
//!
//! `/echo` is answered at once with the body's length, `/late` in the next turn but one; `/never` is
//! not answered. Each driver has these as tests of its own: the module above brings `serve`, which
//! runs a loop around a [`Http`] on the driver's streams.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvill_core::ids::RequestId;
use kvill_host::http::{DRAIN_LEN_MAX, Http, Limits, MAX_BODY_LEN, News, Watch};

use super::serve;

mod crowds;

/// A loop in a thread.
struct Served {
    address: SocketAddr,
    cancelled: mpsc::Receiver<RequestId>,
    stop: Arc<AtomicBool>,
    turns: Option<JoinHandle<usize>>,
}

/// What stands for the core.
pub(super) struct Echo {
    started: mpsc::Sender<SocketAddr>,
    cancelled: mpsc::Sender<RequestId>,
    stop: Arc<AtomicBool>,
    late: Vec<RequestId>,
    pub(super) turns: usize,
}

impl Echo {
    /// Where the loop listens.
    pub(super) fn on_start(&self, address: SocketAddr) {
        self.started.send(address).unwrap();
    }

    /// Whether the loop is to end.
    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Whether it has something to say without being asked.
    pub(super) fn has_more(&self) -> bool {
        !self.late.is_empty()
    }

    /// Answers what this turn of the loop brought.
    pub(super) fn answer<S, W>(&mut self, http: &mut Http<S, W>)
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
        W: Watch,
    {
        self.turns += 1;
        for id in self.late.drain(..) {
            http.respond(id, ::http::Response::new(Bytes::from_static(b"late")));
        }
        while let Some(news) = http.poll_news() {
            match news {
                News::Asked(id, request) if request.head.uri.path() == "/echo" => {
                    let body = format!("{} bytes", request.body.len());
                    http.respond(id, ::http::Response::new(Bytes::from(body)));
                }
                News::Asked(id, request) if request.head.uri.path() == "/late" => {
                    self.late.push(id);
                }
                News::Asked(..) => {}
                News::Cancelled(id) => self.cancelled.send(id).unwrap(),
            }
        }
    }
}

impl Served {
    fn start(limits: Limits) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (started_in, started) = mpsc::channel();
        let (cancelled_in, cancelled) = mpsc::channel();
        let echo = Echo {
            started: started_in,
            cancelled: cancelled_in,
            stop: Arc::clone(&stop),
            late: Vec::new(),
            turns: 0,
        };
        let turns = thread::spawn(move || serve(limits, echo));
        Self {
            address: started.recv().unwrap(),
            cancelled,
            stop,
            turns: Some(turns),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream
    }

    /// Ends the loop and returns how many turns it made.
    fn turns(&mut self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.turns.take().unwrap().join().unwrap()
    }
}

/// Reads until `text` has come `count` times.
fn read_until(stream: &mut TcpStream, text: &str, count: usize) -> String {
    let mut got = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let so_far = String::from_utf8_lossy(&got).into_owned();
        if so_far.matches(text).count() >= count {
            return so_far;
        }
        let len = stream.read(&mut chunk).expect("an answer within 5 s");
        assert!(len > 0, "closed after: {so_far}");
        got.extend_from_slice(&chunk[..len]);
    }
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 4096]) {
        Ok(0) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
        Ok(_) => false,
    }
}

const NEVER: &str = "GET /never HTTP/1.1\r\nHost: x\r\n\r\n";
const ECHO: &str = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let served = Served::start(Limits::default());
    let mut stream = served.connect();
    for _ in 0..3 {
        stream.write_all(ECHO.as_bytes()).unwrap();
        let answer = read_until(&mut stream, "3 bytes", 1);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

#[test]
fn two_pipelined_requests_are_both_answered() {
    let served = Served::start(Limits::default());
    let mut stream = served.connect();
    stream
        .write_all(format!("{ECHO}{ECHO}").as_bytes())
        .unwrap();
    let answer = read_until(&mut stream, "3 bytes", 2);
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2);
}

#[test]
fn a_request_in_pieces_is_put_together() {
    let served = Served::start(Limits::default());
    let mut stream = served.connect();
    for byte in ECHO.as_bytes() {
        stream.write_all(&[*byte]).unwrap();
        thread::yield_now();
    }
    read_until(&mut stream, "3 bytes", 1);
}

#[test]
fn a_slow_header_is_cut_off() {
    let limits = Limits {
        header_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let served = Served::start(limits);
    let mut slow = served.connect();
    slow.write_all(b"POST /echo HTTP/1.1\r\nHost").unwrap();
    let start = Instant::now();
    assert!(is_closed(&mut slow));
    assert!(
        start.elapsed() >= Duration::from_millis(150),
        "{:?}",
        start.elapsed()
    );
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_slow_header_of_a_second_request_is_cut_off_and_idling_is_not() {
    let limits = Limits {
        header_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let served = Served::start(limits);
    let mut stream = served.connect();
    stream.write_all(ECHO.as_bytes()).unwrap();
    read_until(&mut stream, "3 bytes", 1);
    thread::sleep(Duration::from_millis(400));
    stream.write_all(ECHO.as_bytes()).unwrap();
    read_until(&mut stream, "3 bytes", 1);
    stream.write_all(b"POST").unwrap();
    assert!(is_closed(&mut stream));
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let limits = Limits {
        idle_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let served = Served::start(limits);
    let mut stream = served.connect();
    stream.write_all(ECHO.as_bytes()).unwrap();
    read_until(&mut stream, "3 bytes", 1);
    let start = Instant::now();
    assert!(is_closed(&mut stream));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_body_that_does_not_come_is_answered_with_408() {
    let limits = Limits {
        body_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let served = Served::start(limits);
    let mut stream = served.connect();
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na")
        .unwrap();
    let answer = read_until(&mut stream, "\"status\":\"error\"", 1);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[test]
fn a_body_above_the_limit_reaches_the_core_cut() {
    let served = Served::start(Limits::default());
    for (len, kept_len) in [
        (MAX_BODY_LEN, MAX_BODY_LEN),
        (MAX_BODY_LEN + 1, MAX_BODY_LEN + 1),
        (MAX_BODY_LEN + 100_000, MAX_BODY_LEN + 1),
        (DRAIN_LEN_MAX, MAX_BODY_LEN + 1),
    ] {
        let mut stream = served.connect();
        let head = format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![b'a'; len]).unwrap();
        read_until(&mut stream, &format!("{kept_len} bytes"), 1);
    }
}

#[test]
fn a_request_of_http_1_1_names_its_host() {
    let served = Served::start(Limits::default());
    let mut stream = served.connect();
    stream.write_all(b"GET /echo HTTP/1.1\r\n\r\n").unwrap();
    let answer = read_until(&mut stream, "\"status\":\"error\"", 1);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("Host header"), "{answer}");
    stream
        .write_all(b"GET /echo HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n")
        .unwrap();
    let answer = read_until(&mut stream, "\"status\":\"error\"", 1);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    // The connection is still of use, and HTTP/1.0 knew no host.
    stream.write_all(b"GET /echo HTTP/1.0\r\n\r\n").unwrap();
    read_until(&mut stream, "0 bytes", 1);
}

#[test]
fn idle_connections_do_not_wake_the_loop() {
    let mut served = Served::start(Limits::default());
    let mut stream = served.connect();
    stream.write_all(ECHO.as_bytes()).unwrap();
    read_until(&mut stream, "3 bytes", 1);
    thread::sleep(Duration::from_millis(500));
    let turns = served.turns();
    assert!(turns < 12, "{turns} turns for one request");
}
