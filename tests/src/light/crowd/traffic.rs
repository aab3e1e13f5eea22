//! What crosses between a server and its viewers.

use crate::light::sdp::RTX;

/// Datagrams and their bytes of UDP payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// How many were sent.
    pub sent: u64,
    /// How many bytes these had.
    pub bytes: u64,
    /// How many did not arrive.
    pub lost: u64,
}

impl Flow {
    fn count(&mut self, len: usize, is_lost: bool) {
        self.sent += 1;
        self.bytes += len as u64;
        self.lost += u64::from(is_lost);
    }
}

/// What has crossed between the server and its viewers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// RTP of the tracks.
    pub media: Flow,
    /// RTP of the source of repairs.
    pub repairs: Flow,
    /// All else that was sent to viewers.
    pub other: Flow,
    /// Viewers' RTCP.
    pub feedback: Flow,
}

impl Traffic {
    /// A datagram to a viewer.
    pub(super) fn count_to_viewer(&mut self, datagram: &[u8], is_lost: bool) {
        let flow = match datagram {
            [128..=191, 192..=223, ..] => &mut self.other,
            [128..=191, second, ..] if second & 0x7f == RTX => &mut self.repairs,
            [128..=191, ..] => &mut self.media,
            _ => &mut self.other,
        };
        flow.count(datagram.len(), is_lost);
    }

    /// A datagram of a viewer's.
    pub(super) fn count_from_viewer(&mut self, datagram: &[u8], is_lost: bool) {
        if matches!(datagram, [128..=191, ..]) {
            self.feedback.count(datagram.len(), is_lost);
        }
    }
}
