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

#[test]
fn a_burst_reaches_the_core_over_several_turns() {
    const CLIENTS: usize = 40;
    let listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = listeners.addresses().unwrap()[0];
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(ECHO.as_bytes()).unwrap();
            stream
        })
        .collect();

    let poll = Poll::new().unwrap();
    let timers = Timers::new(Instant::now());
    let waker = Arc::new(mio::Waker::new(poll.registry(), Source::Wake.into()).unwrap());
    let mut http = Http::new(
        listeners,
        Limits::default(),
        poll.registry(),
        &timers,
        waker,
    )
    .unwrap();
    let mut asked = 0;
    let mut turns = 0;
    while asked < CLIENTS {
        assert!(!http.fall_asleep(), "asleep after {asked} requests");
        http.rise();
        http.serve(Instant::now());
        let in_this_turn = std::iter::from_fn(|| http.poll_news()).count();
        assert!(in_this_turn <= REQUESTS_PER_TURN, "{in_this_turn}");
        asked += in_this_turn;
        turns += 1;
    }
    assert_eq!(turns, CLIENTS / REQUESTS_PER_TURN);
    http.serve(Instant::now());
    assert!(http.fall_asleep(), "nothing is left");
    drop(clients);
}

#[test]
fn a_listener_lets_in_so_many_per_turn() {
    let mut listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = listeners.addresses().unwrap()[0];
    let poll = Poll::new().unwrap();
    let waker = Arc::new(mio::Waker::new(poll.registry(), Source::Wake.into()).unwrap());
    let queue = ReadyQueue::new(waker);
    let timers = Timers::new(Instant::now());
    let gateway = Gateway::new(Rc::new(timers), Limits::default());
    let registry = poll.registry().try_clone().unwrap();
    let mut connections = Connections::new(gateway, registry, Arc::clone(&queue));
    let _clients: Vec<_> = (0..40)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    for expected in [16, 16, 8] {
        assert!(listeners.has_more(&connections));
        listeners.accept(Instant::now(), &mut connections);
        assert_eq!(queue.take(usize::MAX).len(), expected);
    }
    assert!(!listeners.has_more(&connections));
}
