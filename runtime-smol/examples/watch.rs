//! A program that watches a path of its own server, and passes its RTP packets on by UDP: to
//! a recorder, say, or to another network.
//!
//! ```sh
//! cargo run -p kvill-smol --example watch -- 127.0.0.1:8889 127.0.0.1:5004
//! ```
//!
//! serves at the first address, and sends video of the path `live` to the second one with payload
//! type 96, sound two ports above it with 97. Whoever receives it has to be told the codecs, which are
//! printed; for VP8, say:
//!
//! ```sh
//! gst-launch-1.0 udpsrc port=5004 caps=application/x-rtp,encoding-name=VP8 ! rtpvp8depay ! vp8dec \
//!     ! autovideosink
//! ```

use std::error::Error;
use std::net::{SocketAddr, UdpSocket};

use kvill_smol::core::media::MediaKind;
use kvill_smol::core::server::Event;
use kvill_smol::{Driver, Handle, Settings, Watcher};

const PATH: &str = "live";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let http = arguments.next().unwrap_or("127.0.0.1:8889".to_owned());
    let to = arguments.next().unwrap_or("127.0.0.1:5004".to_owned());
    let (http, to) = (http.parse()?, to.parse()?);
    let driver = Driver::bind(Settings {
        http_addresses: vec![http],
        udp_addresses: vec!["127.0.0.1:0".parse()?],
        ..Settings::default()
    })?;
    let origin = format!("http://{}/{PATH}", driver.http_addresses()[0]);
    println!("publish at {origin}/publish, its RTP packets go to {to}");

    // Both on this thread: the driver, and what is done with its packets.
    let handle = driver.handle();
    let executor = smol::LocalExecutor::new();
    let serving = executor.spawn(driver.serve());
    let passing = executor.spawn(pass_on_forever(handle, to));
    smol::block_on(executor.run(smol::future::or(passing, async {
        serving.await?;
        Ok(())
    })))
}

/// Watches the path whenever somebody publishes there.
async fn pass_on_forever(handle: Handle, to: SocketAddr) -> Result<(), Box<dyn Error>> {
    let events = handle.events();
    while let Some(event) = events.recv().await {
        let is_live = matches!(&event, Event::PublisherJoined { path, .. } if path == PATH);
        if is_live && let Ok(watcher) = handle.watch(PATH).await? {
            pass_on(&watcher, to).await?;
        }
    }
    Ok(())
}

/// Sends what a watcher gets, to its end.
async fn pass_on(watcher: &Watcher, to: SocketAddr) -> Result<(), Box<dyn Error>> {
    // None if it has ended meanwhile, which its packets tell too.
    for track in watcher.tracks().await?.unwrap_or_default() {
        println!("{}: {}", track.codec.encoding(), track.codec);
    }
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let ends = loop {
        let packet = match watcher.recv().await {
            Ok(packet) => packet,
            Err(end) => break end,
        };
        let (payload_type, ssrc, port) = match packet.kind {
            MediaKind::Video => (96, 1, to.port()),
            MediaKind::Audio => (97, 2, to.port() + 2),
        };
        let mut rtp = Vec::with_capacity(1500);
        packet.write_rtp(payload_type, ssrc, &mut rtp);
        // Nobody may be there yet.
        let _ = socket.send_to(&rtp, (to.ip(), port));
    };
    println!("{ends}");
    Ok(())
}
