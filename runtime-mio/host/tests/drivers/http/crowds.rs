//! Clients that leave, and more clients than there is room or time for.

use super::*;

#[test]
fn a_client_that_only_stops_sending_gets_its_answer() {
    let served = Served::start(Limits::default());
    let mut stream = served.connect();
    stream
        .write_all(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = read_until(&mut stream, "late", 1);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(is_closed(&mut stream));
    assert!(served.cancelled.try_recv().is_err());
}

#[test]
fn a_client_that_leaves_cancels_its_request() {
    let served = Served::start(Limits {
        half_closed_timeout: Duration::from_millis(100),
        ..Limits::default()
    });
    let mut stream = served.connect();
    stream.write_all(NEVER.as_bytes()).unwrap();
    let patience = Duration::from_millis(200);
    assert!(served.cancelled.recv_timeout(patience).is_err());
    drop(stream);
    let patience = Duration::from_secs(5);
    served.cancelled.recv_timeout(patience).unwrap();
}

#[test]
fn a_client_that_resets_cancels_its_request_at_once() {
    let served = Served::start(Limits {
        half_closed_timeout: Duration::from_secs(3_600),
        ..Limits::default()
    });
    let mut stream = served.connect();
    stream
        .write_all(format!("{ECHO}{NEVER}").as_bytes())
        .unwrap();
    // The first answer is there and stays unread: closing then resets the connection.
    assert!(stream.peek(&mut [0; 16]).unwrap() > 0);
    thread::sleep(Duration::from_millis(100));
    drop(stream);
    let patience = Duration::from_secs(5);
    served.cancelled.recv_timeout(patience).unwrap();
}

#[test]
fn clients_above_the_limit_wait_until_one_leaves() {
    let served = Served::start(Limits {
        connections_max: 2,
        half_closed_timeout: Duration::from_millis(10),
        ..Limits::default()
    });
    let mut first = served.connect();
    let mut second = served.connect();
    for stream in [&mut first, &mut second] {
        stream.write_all(NEVER.as_bytes()).unwrap();
    }
    let mut third = served.connect();
    third.write_all(ECHO.as_bytes()).unwrap();
    third
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(
        third.read(&mut [0; 16]).is_err(),
        "answered above the limit"
    );
    drop(first);
    third
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    read_until(&mut third, "3 bytes", 1);
}

#[test]
fn at_the_limit_the_client_that_is_idle_longest_makes_room() {
    let served = Served::start(Limits {
        connections_max: 2,
        idle_timeout: Duration::from_secs(3_600),
        ..Limits::default()
    });
    let mut first = served.connect();
    let mut second = served.connect();
    let use_once = |stream: &mut TcpStream| {
        stream.write_all(ECHO.as_bytes()).unwrap();
        read_until(stream, "3 bytes", 1);
    };
    use_once(&mut first);
    use_once(&mut second);
    use_once(&mut first);
    let mut third = served.connect();
    use_once(&mut third);
    assert!(is_closed(&mut second), "idle longest");
    use_once(&mut first);
}
