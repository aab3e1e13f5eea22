//! RTCP as a light viewer writes and reads it.

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

/// A packet that grows in a buffer.
pub(super) struct Compound<'a> {
    buffer: &'a mut [u8],
    len: usize,
    /// Who speaks.
    sender: u32,
}

impl<'a> Compound<'a> {
    /// `buffer` has room for all that is put in.
    pub(super) fn new(buffer: &'a mut [u8], sender: u32) -> Self {
        Self {
            buffer,
            len: 0,
            sender,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Packets of a source did not arrive (RFC 4585 §6.2.1): each a sequence number, and a bit for
    /// every one of the sixteen after it.
    pub(super) fn nack(&mut self, source: u32, lost: &[(u16, u16)]) {
        let begin = self.begin(1, TRANSPORT_FEEDBACK);
        self.put(&source.to_be_bytes());
        for (first, following) in lost {
            self.put(&first.to_be_bytes());
            self.put(&following.to_be_bytes());
        }
        self.end(begin);
    }

    /// RFC 4585 §6.3.1.
    pub(super) fn picture_loss(&mut self, source: u32) {
        let begin = self.begin(1, PAYLOAD_FEEDBACK);
        self.put(&source.to_be_bytes());
        self.end(begin);
    }

    /// RFC 5104 §4.3.1. `number` is another one for each request.
    pub(super) fn full_intra_request(&mut self, source: u32, number: u8) {
        let begin = self.begin(4, PAYLOAD_FEEDBACK);
        self.put(&[0; 4]);
        self.put(&source.to_be_bytes());
        self.put(&[number, 0, 0, 0]);
        self.end(begin);
    }

    /// RFC 3550 §6.4.2.
    pub(super) fn receiver_report(&mut self, blocks: impl Iterator<Item = Block>) {
        let begin = self.begin(0, RECEIVER_REPORT);
        for block in blocks {
            self.buffer[begin] += 1;
            self.put(&block.ssrc.to_be_bytes());
            let [_, l0, l1, l2] = block.lost.to_be_bytes();
            self.put(&[block.fraction_lost, l0, l1, l2]);
            self.put(&block.highest.to_be_bytes());
            self.put(&[0; 4]);
            self.put(&block.last_report.to_be_bytes());
            self.put(&block.delay.to_be_bytes());
        }
        self.end(begin);
    }

    fn begin(&mut self, format: u8, packet_type: u8) -> usize {
        let begin = self.len;
        self.put(&[0x80 | format, packet_type, 0, 0]);
        let sender = self.sender;
        self.put(&sender.to_be_bytes());
        begin
    }

    fn end(&mut self, begin: usize) {
        let words = u16::try_from((self.len - begin) / 4 - 1).expect("a short packet");
        self.buffer[begin + 2..begin + 4].copy_from_slice(&words.to_be_bytes());
    }

    fn put(&mut self, bytes: &[u8]) {
        self.buffer[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

/// A reception report (RFC 3550 §6.4.1), without jitter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) ssrc: u32,
    pub(super) fraction_lost: u8,
    pub(super) lost: i32,
    /// The lower half of the highest extended sequence number.
    pub(super) highest: u32,
    /// The middle of the NTP time of the last sender report; 0: there was none.
    pub(super) last_report: u32,
    /// How long ago that came, in 65,536ths of a second.
    pub(super) delay: u32,
}

/// What a server says that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// A sender report, and the middle of its NTP time.
    Report {
        ssrc: u32,
        ntp: u32,
    },
    Goodbye,
}

/// Reads a compound packet, up to the first byte that is not RTCP.
pub(super) fn read(mut compound: &[u8]) -> impl Iterator<Item = Said> + '_ {
    std::iter::from_fn(move || {
        loop {
            let ([_, packet_type, high, low], rest) = compound.split_first_chunk::<4>()?;
            let len = usize::from(u16::from_be_bytes([*high, *low])) * 4;
            let (body, rest) = rest.split_at_checked(len)?;
            compound = rest;
            match (*packet_type, body) {
                (SENDER_REPORT, [s0, s1, s2, s3, _, _, n0, n1, n2, n3, ..]) => {
                    return Some(Said::Report {
                        ssrc: u32::from_be_bytes([*s0, *s1, *s2, *s3]),
                        ntp: u32::from_be_bytes([*n0, *n1, *n2, *n3]),
                    });
                }
                (GOODBYE, _) => return Some(Said::Goodbye),
                _ => {}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Compound<'_>)) -> Vec<u8> {
        let mut buffer = [0; 400];
        let mut compound = Compound::new(&mut buffer, 9);
        write(&mut compound);
        let len = compound.len();
        buffer[..len].to_vec()
    }

    #[test]
    fn requests_are_written_as_the_rfcs_have_it() {
        let nack = written(|compound| compound.nack(7, &[(5, 0b101), (90, 0)]));
        let expected = [
            0x81, 205, 0, 4, 0, 0, 0, 9, 0, 0, 0, 7, 0, 5, 0, 5, 0, 90, 0, 0,
        ];
        assert_eq!(nack, expected);
        let requests = written(|compound| {
            compound.picture_loss(7);
            compound.full_intra_request(8, 3);
        });
        let expected = [
            0x81, 206, 0, 2, 0, 0, 0, 9, 0, 0, 0, 7, //
            0x84, 206, 0, 4, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 8, 3, 0, 0, 0,
        ];
        assert_eq!(requests, expected);
    }

    #[test]
    fn a_report_has_a_block_for_every_source() {
        let block = Block {
            ssrc: 7,
            fraction_lost: 5,
            lost: -2,
            highest: 70_000,
            last_report: 11,
            delay: 12,
        };
        let report = written(|compound| compound.receiver_report([block; 2].into_iter()));
        assert_eq!(report[..8], [0x82, 201, 0, 13, 0, 0, 0, 9]);
        let expected = [
            0, 0, 0, 7, 5, 0xff, 0xff, 0xfe, 0, 1, 17, 112, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 12,
        ];
        assert_eq!(report[8..], [expected; 2].concat());
    }

    #[test]
    fn sender_reports_and_goodbyes_are_read() {
        let mut compound = vec![0x80, 200, 0, 6, 0, 0, 0, 7, 0, 0, 1, 2, 3, 4, 0, 0];
        compound.extend([0; 12]);
        compound.extend([0x81, 202, 0, 1, 0, 0, 0, 0, 0x81, 203, 0, 1, 0, 0, 0, 7]);
        let said: Vec<_> = read(&compound).collect();
        let report = Said::Report {
            ssrc: 7,
            ntp: 0x0102_0304,
        };
        assert_eq!(said, [report, Said::Goodbye]);
    }
}
