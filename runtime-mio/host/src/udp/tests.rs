//! Two real sockets over loopback.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use kvill_core::ids::TransportId;
use kvill_core::net::Transmit;

use super::*;

const TRANSPORT: TransportId = TransportId(3);

/// A datagram as it arrived.
#[derive(Debug, PartialEq, Eq)]
struct Arrived {
    local: SocketAddr,
    remote: SocketAddr,
    contents: Vec<u8>,
}

fn bind(address: &str) -> UdpSocket {
    UdpSocket::bind(address.parse().unwrap()).unwrap()
}

fn has_ipv6() -> bool {
    std::net::UdpSocket::bind("[::1]:0").is_ok()
}

/// Receives until `count` datagrams are there; panics after two seconds.
fn receive(socket: &UdpSocket, count: usize) -> Vec<Arrived> {
    let mut buffers = ReceiveBuffers::new();
    let mut arrived = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(2);
    while arrived.len() < count {
        assert!(
            Instant::now() < deadline,
            "{} of {count} datagrams arrived",
            arrived.len()
        );
        match socket.receive(&mut buffers) {
            Ok(_) => arrived.extend(buffers.datagrams(TRANSPORT).map(|datagram| {
                assert_eq!(datagram.transport, TRANSPORT);
                Arrived {
                    local: datagram.local,
                    remote: datagram.remote,
                    contents: datagram.contents.to_vec(),
                }
            })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    arrived
}

fn transmit(
    source: &str,
    destination: SocketAddr,
    size: usize,
    segment_size: Option<usize>,
) -> Transmit {
    let source = SocketAddr::new(source.parse().unwrap(), 0);
    Transmit {
        source,
        destination,
        size,
        segment_size,
    }
}

fn numbered_bytes(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index / 100) as u8).collect()
}

fn at(ip: &str, socket: &UdpSocket) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().unwrap(), socket.local_address().port())
}

/// Sends a train and checks that each segment arrives as a datagram of its own.
fn check_train(from: &mut UdpSocket, source: &str, to: &UdpSocket, destination: &str) {
    let contents = numbered_bytes(20 * 1_100 + 321);
    let transmit = transmit(source, at(destination, to), contents.len(), Some(1_100));
    assert_eq!(from.send(&transmit, &contents, 0), Sent::Done);
    let arrived = receive(to, 21);
    for (arrived, expected) in arrived.iter().zip(contents.chunks(1_100)) {
        assert_eq!(arrived.contents, expected);
        assert_eq!(arrived.local, at(destination, to));
        assert_eq!(arrived.remote, at(source, from));
    }
    assert_eq!(from.counters().datagrams, 21);
    if from.state.max_gso_segments() > 1 {
        assert_eq!(from.counters().sends, 1, "one system call for the train");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn linux_has_gso() {
    // Or the tests above did not see a train.
    assert!(bind("127.0.0.1:0").state.max_gso_segments() > 1);
}

#[test]
fn a_train_arrives_as_datagrams_over_ipv4() {
    check_train(
        &mut bind("127.0.0.1:0"),
        "127.0.0.1",
        &bind("127.0.0.1:0"),
        "127.0.0.1",
    );
}

#[test]
fn a_train_arrives_as_datagrams_over_ipv6() {
    if has_ipv6() {
        check_train(&mut bind("[::1]:0"), "::1", &bind("[::1]:0"), "::1");
    }
}

#[test]
fn a_dual_stack_socket_speaks_plain_ipv4() {
    check_train(
        &mut bind("[::]:0"),
        "127.0.0.1",
        &bind("[::]:0"),
        "127.0.0.1",
    );
}

#[test]
fn a_dual_stack_socket_speaks_ipv6() {
    if has_ipv6() {
        check_train(&mut bind("[::]:0"), "::1", &bind("[::]:0"), "::1");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_source_address_is_honoured() {
    for wildcard in ["0.0.0.0:0", "[::]:0"] {
        check_train(
            &mut bind(wildcard),
            "127.0.0.2",
            &bind(wildcard),
            "127.0.0.3",
        );
    }
}

#[test]
fn a_train_goes_segment_by_segment_where_there_is_no_gso() {
    let to = bind("127.0.0.1:0");
    let mut from = bind("127.0.0.1:0");
    let contents = numbered_bytes(250);
    let transmit = transmit("0.0.0.0", to.local_address(), contents.len(), Some(100));
    // A segment of no more than half the largest payload would be a train: these are larger.
    let large = numbered_bytes(2 * 40_000);
    let large_train = Transmit {
        size: large.len(),
        segment_size: Some(40_000),
        ..transmit
    };
    assert_eq!(from.send(&large_train, &large, 0), Sent::Done);
    assert_eq!(from.counters().sends, 2);
    assert_eq!(receive(&to, 2).len(), 2);

    assert_eq!(from.send(&transmit, &contents, 100), Sent::Done);
    let lens: Vec<_> = receive(&to, 2)
        .iter()
        .map(|arrived| arrived.contents.len())
        .collect();
    assert_eq!(lens, [100, 50], "a retried train goes on where it was");
}

#[test]
fn a_train_arrives_whole_and_in_order_after_gso_was_given_up() {
    let to = bind("127.0.0.1:0");
    let mut from = bind("127.0.0.1:0");
    from.gso = false;
    let contents = numbered_bytes(7 * 1_100 + 321);
    let train = transmit("127.0.0.1", to.local_address(), contents.len(), Some(1_100));
    assert_eq!(from.send(&train, &contents, 0), Sent::Done);
    let arrived = receive(&to, 8);
    for (arrived, expected) in arrived.iter().zip(contents.chunks(1_100)) {
        assert_eq!(arrived.contents, expected);
    }
    assert_eq!(from.counters().sends, 8);
    assert_eq!(from.counters().datagrams, 8);
    assert_eq!(from.counters().trains_split, 0);
}

#[test]
fn a_full_socket_says_where_to_go_on() {
    let mut from = bind("127.0.0.1:0");
    from.gso = false;
    let contents = numbered_bytes(250);
    let train = transmit("0.0.0.0", at("127.0.0.1", &from), 250, Some(100));
    let mut calls = 0;
    let sent = from.send_chunks(&train, &contents, 0, |_, _, _, _| {
        calls += 1;
        if calls == 3 {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            Ok(())
        }
    });
    assert_eq!(sent, Sent::Full { next: 200 });
    assert_eq!(from.counters().datagrams, 2);
    assert_eq!(from.counters().full, 1);

    let mut rest = Vec::new();
    let sent = from.send_chunks(&train, &contents, 200, |_, _, chunk, _| {
        rest.extend_from_slice(chunk);
        Ok(())
    });
    assert_eq!(sent, Sent::Done);
    assert_eq!(rest, contents[200..]);
}

#[test]
fn a_transmit_whose_address_cannot_work_costs_two_system_calls() {
    let mut from = bind("0.0.0.0:0");
    if from.state.max_gso_segments() == 1 {
        return;
    }
    let contents = numbered_bytes(4_000);
    let nowhere = "127.0.0.1:0".parse().unwrap();
    let train = transmit("0.0.0.0", nowhere, contents.len(), Some(100));
    let mut calls = 0;
    let sent = from.send_chunks(&train, &contents, 0, |socket, transmit, chunk, len| {
        calls += 1;
        socket.try_send(transmit, chunk, len)
    });
    assert_eq!(sent, Sent::Done);
    assert_eq!(calls, 2);
    assert_eq!(from.counters().failed, 40);
}

#[test]
fn many_datagrams_come_in_one_batch() {
    let to = bind("127.0.0.1:0");
    let mut from = bind("127.0.0.1:0");
    for number in 0..10u8 {
        let transmit = transmit("0.0.0.0", to.local_address(), 1, None);
        assert_eq!(from.send(&transmit, &[number], 0), Sent::Done);
    }
    let mut buffers = ReceiveBuffers::new();
    to.receive(&mut buffers).unwrap();
    let numbers: Vec<_> = buffers
        .datagrams(TRANSPORT)
        .map(|datagram| datagram.contents[0])
        .collect();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
}

#[test]
fn an_oversized_datagram_is_dropped_alone_and_gso_stays() {
    let to = bind("127.0.0.1:0");
    let mut from = bind("127.0.0.1:0");
    let segments_before = from.state.max_gso_segments();
    let contents = vec![0; 65_535];
    let too_large = transmit("0.0.0.0", to.local_address(), contents.len(), None);
    assert_eq!(from.send(&too_large, &contents, 0), Sent::Done);
    assert_eq!(from.counters().too_large, 1);
    assert_eq!(from.state.max_gso_segments(), segments_before);
    check_delivery(&mut from, &to);
}

#[test]
fn an_address_that_cannot_work_does_not_cost_the_others_their_trains() {
    let to = bind("127.0.0.1:0");
    let mut from = bind("0.0.0.0:0");
    let segments_before = from.state.max_gso_segments();
    let contents = numbered_bytes(300);
    // Linux says EINVAL to port 0, as it does where a device has no GSO.
    let train = transmit(
        "0.0.0.0",
        "127.0.0.1:0".parse().unwrap(),
        contents.len(),
        Some(100),
    );
    assert_eq!(
        from.try_send(&train, &contents, 100).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(from.send(&train, &contents, 0), Sent::Done);
    assert_eq!(from.counters().failed, 3);
    assert_eq!(from.state.max_gso_segments(), segments_before);
    check_delivery(&mut from, &to);
}

#[test]
fn an_address_that_this_machine_lost_does_not_cost_the_others_their_trains() {
    if !has_ipv6() {
        return;
    }
    let to = bind("[::1]:0");
    let mut from = bind("[::]:0");
    let segments_before = from.state.max_gso_segments();
    let contents = numbered_bytes(300);
    for (source, destination) in [("203.0.113.77", "127.0.0.1"), ("2001:db8::77", "::1")] {
        // Documentation addresses (RFC 5737, 3849): no machine has them.
        let train = transmit(source, at(destination, &to), contents.len(), Some(100));
        assert_eq!(from.send(&train, &contents, 0), Sent::Done);
    }
    assert_eq!(from.counters().failed, 6);
    assert_eq!(from.state.max_gso_segments(), segments_before);
    check_delivery(&mut from, &to);
}

#[test]
#[cfg(target_os = "linux")]
fn an_address_that_was_taken_away_is_told() {
    use kvill_tests::namespace::Namespace;

    let Some(machine) = Namespace::if_possible() else {
        return;
    };
    let check = |address: &str, destination: &str, bound_to: IpAddr| {
        // IPv6 is not to look for duplicates first: until then it does not send from it.
        let option = ["", " nodad"][usize::from(address.contains(':'))];
        let words = format!("addr add {address} dev lo{option}");
        machine.ip(&words).unwrap();
        let to = bind("[::]:0");
        let mut from = UdpSocket::bind(SocketAddr::new(bound_to, 0)).unwrap();
        let contents = numbered_bytes(300);
        let train = transmit(address, at(destination, &to), contents.len(), Some(100));
        assert_eq!(from.send(&train, &contents, 0), Sent::Done);
        assert_eq!(from.take_lost_address(), None);

        machine.ip(&format!("addr del {address} dev lo")).unwrap();
        assert_eq!(from.send(&train, &contents, 0), Sent::Done);
        assert_eq!(from.counters().failed, 3, "{address} on {bound_to}");
        assert_eq!(from.take_lost_address(), Some(train.source.ip()));
        assert_eq!(from.take_lost_address(), None);
    };
    machine.run(|| {
        for (address, destination) in [("10.99.0.1", "127.0.0.1"), ("fd99::1", "::1")] {
            check(address, destination, "::".parse().unwrap());
            check(address, destination, address.parse().unwrap());
        }
    });
}

#[test]
fn an_address_that_is_there_is_not_told_whatever_else_fails() {
    let mut from = bind("[::]:0");
    let nowhere = "127.0.0.1:0".parse().unwrap();
    for source in ["127.0.0.1", "0.0.0.0"] {
        let stray = transmit(source, nowhere, 2, None);
        assert_eq!(from.send(&stray, b"hi", 0), Sent::Done);
        assert_eq!(from.take_lost_address(), None);
    }
    assert_eq!(from.counters().failed, 2);
}

fn check_delivery(from: &mut UdpSocket, to: &UdpSocket) {
    let unspecified = if to.local_address().is_ipv6() {
        "::"
    } else {
        "0.0.0.0"
    };
    let hello = transmit(unspecified, to.local_address(), 5, None);
    assert_eq!(from.send(&hello, b"hello", 0), Sent::Done);
    assert_eq!(receive(to, 1)[0].contents, b"hello");
}

#[test]
fn an_ipv6_destination_on_an_ipv4_socket_is_counted() {
    let mut from = bind("127.0.0.1:0");
    let stray = transmit("::", "[::1]:9".parse().unwrap(), 2, None);
    assert_eq!(from.send(&stray, b"hi", 0), Sent::Done);
    assert_eq!(from.counters().failed, 1);
}

#[test]
#[cfg(target_os = "linux")]
fn fragmentation_is_allowed() {
    use std::os::fd::AsRawFd;

    let discover = |socket: &UdpSocket, level, name| {
        let mut value: libc::c_int = -1;
        let mut len = size_of_val(&value) as libc::socklen_t;
        // SAFETY: pointer and length describe `value`, and the descriptor is open.
        let result = unsafe {
            libc::getsockopt(
                socket.socket.as_raw_fd(),
                level,
                name,
                (&raw mut value).cast(),
                &raw mut len,
            )
        };
        assert_eq!(result, 0);
        value
    };
    for socket in [bind("127.0.0.1:0"), bind("[::]:0")] {
        let v4 = discover(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER);
        assert_eq!(v4, libc::IP_PMTUDISC_DONT);
        if socket.local_address().is_ipv6() {
            let v6 = discover(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER);
            assert_eq!(v6, libc::IPV6_PMTUDISC_DONT);
            assert_eq!(
                discover(&socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG),
                0
            );
        }
    }
}

#[test]
fn a_port_in_use_is_refused() {
    let first = bind("127.0.0.1:0");
    let error = UdpSocket::bind(first.local_address()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_quiet_socket_would_block() {
    let socket = bind("127.0.0.1:0");
    let error = socket.receive(&mut ReceiveBuffers::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}
