//! HTTP on this driver's streams.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

use async_io::{Async, Timer};
use kvill_host::http::{Http, Limits};
use kvill_host::timers::Timers;
use kvill_host::wake::LoopWaker;
use smol::future;

use crate::reactor::{Awake, open};
use crate::stream::{Hangup, Stream};
use crate::watched::Watched;

#[path = "../../runtime-mio/host/tests/drivers/http/exchanges.rs"]
mod exchanges;

use exchanges::Echo;

fn serve(limits: Limits, mut echo: Echo) -> usize {
    let timers = Timers::new(Instant::now());
    let awake = Arc::new(Awake::default());
    let waker = LoopWaker::new(Waker::from(Arc::clone(&awake)));
    let addresses = ["127.0.0.1:0".parse().unwrap()];
    let mut http: Http<Stream, Hangup> =
        Http::bind(&addresses, limits, &timers, Arc::clone(&waker)).unwrap();
    let listener = Async::new(http.watch_handles().unwrap().remove(0)).unwrap();
    let mut listener = Watched::new(listener, &awake);
    echo.on_start(http.addresses().unwrap()[0]);
    let mut timer = Timer::never();
    while !echo.is_over() {
        let mut slept = false;
        smol::block_on(future::poll_fn(|cx| {
            awake.register(cx.waker());
            if http.listener_wants_readable(0) && listener.is_readable() {
                http.on_listener_readable(0);
            }
            if slept {
                return Poll::Ready(());
            }
            slept = true;
            waker.fall_asleep();
            if !http.is_idle() || echo.has_more() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match timers.next() {
                Some(at) => {
                    timer.set_at(at);
                    Pin::new(&mut timer).poll(cx).map(drop)
                }
                None => Poll::Pending,
            }
        }));
        waker.rise();
        timers.advance(Instant::now());
        http.serve(Instant::now(), open);
        echo.answer(&mut http);
    }
    echo.turns
}
