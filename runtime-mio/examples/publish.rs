//! A program that feeds H264 of its own into a path, and serves it to viewers.
//!
//! It reads an Annex B stream from standard input, whose access units begin with delimiters, as x264
//! and NVENC write them on demand:
//!
//! ```sh
//! gst-launch-1.0 -q videotestsrc is-live=true ! video/x-raw,framerate=30/1 \
//!     ! x264enc tune=zerolatency key-int-max=30 ! video/x-h264,profile=constrained-baseline \
//!     ! h264parse ! video/x-h264,stream-format=byte-stream,alignment=au ! fdsink \
//!     | cargo run -p kvill-mio --example publish
//! ```
//!
//! The first argument is where to listen for HTTP.

use std::error::Error;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use kvill_mio::core::media::{Codec, MediaKind};
use kvill_mio::{Driver, HandleError, SendError, Settings};

/// What the encoder was told.
const FRAMES_PER_SECOND: u32 = 30;

/// A NAL unit of type 9, which begins an access unit (ITU-T H.264 §7.4.1.2.3).
const DELIMITER: [u8; 4] = [0, 0, 1, 9];

/// Where the delimiter of the unit after the one that begins here is looked for: not its own, which
/// may have a zero before it.
const BEGUN: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let http = std::env::args().nth(1);
    let http = http.as_deref().unwrap_or("127.0.0.1:8889").parse()?;
    let running = Driver::spawn(Settings {
        http_addresses: vec![http],
        udp_addresses: vec!["127.0.0.1:0".parse()?],
        ..Settings::default()
    })?;
    println!("watch at http://{}/live/", running.http_addresses()[0]);

    // Constrained Baseline, level 3.1. The first keyframe shows what it really is.
    let codecs = [Codec::h264(0x42e01f)];
    let publisher = running.handle().publish("live", &codecs).wait()??;
    let start = Instant::now();
    let mut input = AccessUnits::of(io::stdin().lock());
    for count in 0.. {
        let Some(unit) = input.next()? else { break };
        if publisher.takes_keyframe_request() {
            // An encoder within the program would be asked for one here.
            eprintln!("a viewer waits for the next keyframe");
        }
        let captured = start + Duration::from_secs(1) * count / FRAMES_PER_SECOND;
        match publisher.send_frame(MediaKind::Video, captured, unit) {
            // This frame is lost: what is piped in came faster than it can be taken.
            Err(SendError::Handle(HandleError::Busy)) => {}
            result => result?,
        }
    }
    drop(publisher);
    running.stop()?;
    Ok(())
}

/// The access units of a stream.
struct AccessUnits<R> {
    input: R,
    /// What was read and not given out, from a delimiter on.
    rest: Vec<u8>,
    /// As far as no further delimiter begins.
    looked_through: usize,
}

impl<R: Read> AccessUnits<R> {
    fn of(input: R) -> Self {
        Self {
            input,
            rest: Vec::new(),
            looked_through: BEGUN,
        }
    }

    /// The next one: whole once the one after it begins, or the stream ends.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut chunk = [0; 16 * 1024];
        loop {
            let unseen = self.rest.get(self.looked_through..).unwrap_or_default();
            let found = unseen.windows(4).position(|four| four == DELIMITER);
            if let Some(at) = found {
                // A zero before the start code belongs to it, and does no harm to the unit before.
                let following = self.rest.split_off(self.looked_through + at);
                self.looked_through = BEGUN;
                return Ok(Some(std::mem::replace(&mut self.rest, following)));
            }
            self.looked_through = self.rest.len().saturating_sub(3).max(BEGUN);
            match self.input.read(&mut chunk)? {
                0 if self.rest.is_empty() => return Ok(None),
                0 => return Ok(Some(std::mem::take(&mut self.rest))),
                len => self.rest.extend_from_slice(&chunk[..len]),
            }
        }
    }
}
