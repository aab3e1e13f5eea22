//! When a packet was published, in its last bytes.
//!
//! Servers that pass packets on leave the last bytes where they are. Those that take frames apart and
//! put them together anew leave them at the end of a frame, and of each packet of sound.

use std::time::{Duration, Instant};

/// Bytes of a stamp: the run, and the time.
const STAMP_LEN: usize = 16;

/// What a run's stamps count from. Those of another run, or of another process, are read by nobody: their
/// times mean nothing here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    epoch: Instant,
    /// Random: it tells stamps from other bytes, too.
    run: [u8; 8],
}

impl Clock {
    pub(super) fn new(epoch: Instant) -> Self {
        let run = rand::random();
        Self { epoch, run }
    }

    /// Writes the time into the last bytes of a payload.
    pub(super) fn write(&self, payload: &mut [u8], now: Instant) {
        let Some((_, tail)) = payload.split_last_chunk_mut::<STAMP_LEN>() else {
            return;
        };
        let nanos = now.saturating_duration_since(self.epoch).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        let (run, time) = tail.split_at_mut(self.run.len());
        run.copy_from_slice(&self.run);
        time.copy_from_slice(&nanos.to_be_bytes());
    }

    /// When the payload was published.
    pub(super) fn read(&self, payload: &[u8]) -> Option<Instant> {
        let tail = payload.last_chunk::<STAMP_LEN>()?;
        let nanos = tail.strip_prefix(&self.run)?;
        let nanos = u64::from_be_bytes(nanos.try_into().ok()?);
        self.epoch.checked_add(Duration::from_nanos(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written_and_by_its_own_run_alone() {
        let epoch = Instant::now();
        let clock = Clock::new(epoch);
        let at = epoch + Duration::from_nanos(1_234_567_890);
        let mut payload = [7; 40];
        clock.write(&mut payload, at);
        assert_eq!(payload[..24], [7; 24]);
        assert_eq!(clock.read(&payload), Some(at));
        assert_eq!(clock.read(&payload[1..39]), None, "it is not at the end");
        assert_eq!(clock.read(&[0; 3]), None);
        assert_eq!(Clock::new(epoch).read(&payload), None, "another run");
    }
}
