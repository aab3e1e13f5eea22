//! When a packet was published, in its last bytes.
//!
//! Servers that pass packets on leave the last bytes where they are. Those that take frames apart and
//! put them together anew leave them at the end of a frame, and of each packet of sound.

use std::time::{Duration, Instant};

/// Tells stamps from other bytes.
const MAGIC: [u8; 8] = *b"kvill\x01ld";

/// Bytes of a stamp.
pub(super) const STAMP_LEN: usize = MAGIC.len() + 8;

/// Writes the time since `epoch` into the last bytes of a payload.
pub(super) fn write(payload: &mut [u8], epoch: Instant, now: Instant) {
    let Some((_, tail)) = payload.split_last_chunk_mut::<STAMP_LEN>() else {
        return;
    };
    let nanos = now.saturating_duration_since(epoch).as_nanos();
    let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
    tail[..MAGIC.len()].copy_from_slice(&MAGIC);
    tail[MAGIC.len()..].copy_from_slice(&nanos.to_be_bytes());
}

/// When the payload was published.
pub(super) fn read(payload: &[u8], epoch: Instant) -> Option<Instant> {
    let tail = payload.last_chunk::<STAMP_LEN>()?;
    let nanos = tail.strip_prefix(&MAGIC)?;
    let nanos = u64::from_be_bytes(nanos.try_into().ok()?);
    epoch.checked_add(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let epoch = Instant::now();
        let at = epoch + Duration::from_nanos(1_234_567_890);
        let mut payload = [7; 40];
        write(&mut payload, epoch, at);
        assert_eq!(payload[..24], [7; 24]);
        assert_eq!(read(&payload, epoch), Some(at));
        assert_eq!(read(&payload[1..39], epoch), None, "it is not at the end");
        assert_eq!(read(&[0; 3], epoch), None);
    }
}
