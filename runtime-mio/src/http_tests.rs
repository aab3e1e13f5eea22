//! HTTP on this driver's streams.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use kvill_host::http::{Http, Limits};
use kvill_host::timers::Timers;
use kvill_host::wake::LoopWaker;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll};

use crate::reactor::{Awake, open};
use crate::stream::{Readiness, Stream};
use crate::token::Source;

#[path = "../host/tests/drivers/http/exchanges.rs"]
mod exchanges;

use exchanges::Echo;

fn serve(limits: Limits, mut echo: Echo) -> usize {
    let mut poll = Poll::new().unwrap();
    let timers = Timers::new(Instant::now());
    let waker = mio::Waker::new(poll.registry(), Source::Wake.into()).unwrap();
    let waker = LoopWaker::new(Waker::from(Arc::new(Awake(waker))));
    let addresses = ["127.0.0.1:0".parse().unwrap()];
    let mut http: Http<Stream, Rc<Readiness>> =
        Http::bind(&addresses, limits, &timers, Arc::clone(&waker)).unwrap();
    let mut listener = TcpListener::from_std(http.watch_handles().unwrap().remove(0));
    let token = Source::Listener(0).into();
    poll.registry()
        .register(&mut listener, token, Interest::READABLE)
        .unwrap();
    echo.on_start(http.addresses().unwrap()[0]);
    let mut events = Events::with_capacity(16);
    while !echo.is_over() {
        waker.fall_asleep();
        let timeout = if http.is_idle() && !echo.has_more() {
            let next = timers.next();
            next.map(|at| at.saturating_duration_since(Instant::now()))
        } else {
            Some(Duration::ZERO)
        };
        poll.poll(&mut events, timeout).unwrap();
        waker.rise();
        timers.advance(Instant::now());
        for event in &events {
            match Source::from(event.token()) {
                Source::Listener(index) => http.on_listener_readable(index),
                Source::Connection(key) => {
                    if let Some((readiness, waker)) = http.watch(key) {
                        readiness.on_event(event);
                        waker.wake_by_ref();
                    }
                }
                _ => {}
            }
        }
        http.serve(Instant::now(), |key, socket| {
            open(poll.registry(), key, socket)
        });
        echo.answer(&mut http);
    }
    echo.turns
}
