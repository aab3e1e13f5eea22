//! RTCP as viewers send it, once it is decrypted: read by the core's views, and by a second reader
//! that is as plain as can be. Both read the same.

use kvill_core::fuzzing::{Feedback, feedback};

/// The target.
pub fn run(data: &[u8]) {
    let read: Vec<_> = feedback(data).collect();
    assert_eq!(read, plain(data));
    assert!(read.len() <= data.len() / 4, "made of nothing");
    // Whatever stands behind what is well-formed changes nothing before it.
    let cut: Vec<_> = feedback(&data[..data.len() / 2]).collect();
    assert!(read.starts_with(&cut));
}

/// RFC 3550 §6.4, RFC 4585 §6.1, RFC 5104 §4.3.1 and RFC 3611 §4.4, by offsets.
fn plain(data: &[u8]) -> Vec<Feedback> {
    let mut read = Vec::new();
    let half = |at: usize| u16::from_be_bytes([data[at], data[at + 1]]);
    let word = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().expect("four bytes"));
    let mut at = 0;
    while at + 4 <= data.len() && data[at] >> 6 == 2 {
        let end = at + 4 + 4 * usize::from(half(at + 2));
        if end > data.len() {
            break;
        }
        let entries = |from: usize, len: usize| {
            let entries = (at + from..end).step_by(len);
            entries.filter(move |entry| entry + len <= end)
        };
        let count = usize::from(data[at] & 31);
        let report = |entry: usize| {
            Feedback::Report(
                word(entry),
                data[entry + 4],
                i32::from_be_bytes([data[entry + 5], data[entry + 6], data[entry + 7], 0]) >> 8,
                word(entry + 12),
                word(entry + 16),
                word(entry + 20),
            )
        };
        match (data[at + 1], count) {
            (200, _) => read.extend(entries(28, 24).take(count).map(report)),
            (201, _) => read.extend(entries(8, 24).take(count).map(report)),
            (203, _) => read.push(Feedback::Goodbye),
            (205, 1) if end >= at + 12 => read.extend(
                entries(12, 4)
                    .map(|entry| Feedback::Nack(word(at + 8), half(entry), half(entry + 2))),
            ),
            (206, 1) if end >= at + 12 => read.push(Feedback::Keyframe(word(at + 8))),
            (206, 4) => read.extend(entries(12, 8).map(|entry| Feedback::Keyframe(word(entry)))),
            (207, _) if end >= at + 8 => {
                let mut block = at + 8;
                while block + 4 <= end {
                    let next = block + 4 + 4 * usize::from(half(block + 2));
                    if next > end {
                        break;
                    }
                    if data[block] == 4 && next >= block + 12 {
                        let middle = word(block + 4) << 16 | word(block + 8) >> 16;
                        read.push(Feedback::ReferenceTime(word(at + 4), middle));
                    }
                    block = next;
                }
            }
            _ => {}
        }
        at = end;
    }
    read
}
