//! A driver with the core, over real sockets. Each driver has these as tests of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use kvill_host::engine::Ended;
use kvill_host::handle::HandleError;
use kvill_host::http::MAX_BODY_LEN;
use kvill_host::settings::Settings;
use kvill_host::spawn::Running;

use super::Driver;

pub(super) fn start() -> Running {
    let settings = Settings {
        http_addresses: vec!["127.0.0.1:0".parse().unwrap()],
        udp_addresses: vec!["127.0.0.1:0".parse().unwrap(), "[::]:0".parse().unwrap()],
        ..Settings::default()
    };
    Driver::spawn(settings).unwrap()
}

fn connect(running: &Running) -> TcpStream {
    let stream = TcpStream::connect(running.http_addresses()[0]).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream
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
    let running = start();
    let mut stream = connect(&running);
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
    let running = start();
    let mut stream = connect(&running);
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
fn a_handle_ends_the_loop_and_closes_idle_connections() {
    let running = start();
    let address = running.http_addresses()[0];
    let mut idle = connect(&running);
    idle.write_all(OPTIONS.as_bytes()).unwrap();
    read_responses(&mut idle, 1);
    let start = Instant::now();
    assert_eq!(running.stop().unwrap(), Ended::Stopped);
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(idle.read(&mut [0; 16]).unwrap(), 0);
    assert!(TcpStream::connect(address).is_err(), "still listening");
}

#[test]
fn a_handle_of_a_stopped_driver_says_so() {
    let running = start();
    let handle = running.handle().clone();
    let events = handle.events();
    assert_eq!(handle.stats().wait().unwrap().core.sessions, 0);
    running.stop().unwrap();
    assert!(matches!(handle.stats().wait(), Err(HandleError::Stopped)));
    assert!(events.wait().is_none() && handle.events().wait().is_none());
}

#[test]
fn two_drivers_in_one_process_know_nothing_of_each_other() {
    let (one, other) = (start(), start());
    assert_ne!(one.http_addresses(), other.http_addresses());
    assert_ne!(one.udp_addresses(), other.udp_addresses());
    one.stop().unwrap();
    let mut stream = connect(&other);
    stream.write_all(OPTIONS.as_bytes()).unwrap();
    read_responses(&mut stream, 1);
    let refused = other.handle().stats().wait().unwrap().core.counters.refused;
    assert_eq!(refused, 0);
}

#[test]
fn a_port_in_use_is_told_by_whoever_spawns() {
    let running = start();
    let settings = Settings {
        http_addresses: running.http_addresses().to_vec(),
        udp_addresses: vec!["127.0.0.1:0".parse().unwrap()],
        ..Settings::default()
    };
    let error = Driver::spawn(settings).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
}
