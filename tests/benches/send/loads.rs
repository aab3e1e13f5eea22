//! Which frames are sent, and when.

use std::time::Duration;

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) name: &'static str,
    pub(super) packets: usize,
    /// The first packets that are a byte shorter than the others. The bare loop sends all of one
    /// length: what a server would that fills them up.
    pub(super) shorter: usize,
    pub(super) sound: bool,
    /// From one frame to the next. Without it each is sent once the last is done.
    pub(super) interval: Option<Duration>,
}

pub(super) const LOADS: [Load; 5] = [
    Load {
        name: "8 packets and sound",
        packets: 8,
        shorter: 0,
        sound: true,
        interval: None,
    },
    Load {
        name: "the same, 30 a second",
        packets: 8,
        shorter: 0,
        sound: true,
        interval: Some(Duration::from_micros(33_333)),
    },
    Load {
        name: "as Chromium cuts it: 4, 4 a byte longer, sound",
        packets: 8,
        shorter: 4,
        sound: true,
        interval: None,
    },
    Load {
        name: "1 packet",
        packets: 1,
        shorter: 0,
        sound: false,
        interval: None,
    },
    Load {
        name: "a keyframe's 40 packets",
        packets: 40,
        shorter: 0,
        sound: false,
        interval: None,
    },
];
