//! What a payload says of itself: of which track and frame it is, and which packet of that.

/// The name of one packet. It stands at the end of the packet's payload, and everything before it
/// but the codec's header is noise that follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Which [`Source`](super::media::Source) made it.
    pub source: u32,
    /// Which of the source's frames, counted in its timestamps' steps.
    pub frame: u32,
    /// Which of the source's packets: as far from its first as the sequence numbers are.
    pub ordinal: u32,
    /// Which packet of the frame.
    pub index: u16,
    /// How many packets the frame has.
    pub count: u16,
    /// The frame needs no other.
    pub key: bool,
}

/// How many bytes a name takes.
pub(super) const NAME_LEN: usize = 16;

/// In the bits of `count`, of which a frame needs fewer.
const KEY: u16 = 1 << 15;

impl Name {
    /// Reads the name of a payload.
    #[must_use]
    pub fn of(payload: &[u8]) -> Option<Self> {
        let name: &[u8; NAME_LEN] = payload.last_chunk()?;
        let long = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| name[at + i]));
        let short = |at: usize| u16::from_be_bytes([name[at], name[at + 1]]);
        Some(Self {
            source: long(0),
            frame: long(4),
            ordinal: long(8),
            index: short(12),
            count: short(14) & !KEY,
            key: short(14) & KEY != 0,
        })
    }

    /// Fills a payload up to `len` bytes: noise, and the name at its end.
    pub(super) fn fill(&self, payload: &mut Vec<u8>, len: usize) {
        let head = payload.len();
        payload.resize(len, 0);
        let (noise, name) = payload[head..].split_at_mut(len - head - NAME_LEN);
        let seed = u64::from(self.source) << 32 | u64::from(self.ordinal);
        fastrand::Rng::with_seed(seed).fill(noise);
        name[0..4].copy_from_slice(&self.source.to_be_bytes());
        name[4..8].copy_from_slice(&self.frame.to_be_bytes());
        name[8..12].copy_from_slice(&self.ordinal.to_be_bytes());
        name[12..14].copy_from_slice(&self.index.to_be_bytes());
        let count = self.count | if self.key { KEY } else { 0 };
        name[14..16].copy_from_slice(&count.to_be_bytes());
    }
}
