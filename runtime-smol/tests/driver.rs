//! The driver over real sockets.

use kvill_smol::{Driver, Ended, Settings};

#[path = "../../runtime-mio/host/tests/drivers/driver.rs"]
mod shared;

#[test]
fn several_drivers_share_an_executor_with_other_tasks() {
    let executor = smol::LocalExecutor::new();
    let settings = || Settings {
        http_addresses: vec!["127.0.0.1:0".parse().unwrap()],
        udp_addresses: vec!["127.0.0.1:0".parse().unwrap()],
        ..Settings::default()
    };
    let bind = || Driver::bind(settings()).unwrap();
    let (one, other) = (bind(), bind());
    let handles = [one.handle(), other.handle()];
    let events = handles[0].events();
    let drivers = [executor.spawn(one.serve()), executor.spawn(other.serve())];
    smol::block_on(executor.run(async {
        for handle in &handles {
            assert_eq!(handle.stats().await.unwrap().core.sessions, 0);
            handle.stop();
        }
        for driver in drivers {
            assert_eq!(driver.await.unwrap(), Ended::Stopped);
        }
        assert_eq!(events.recv().await, None);
    }));
}
